"""A cluster's images out of ``kubectl get pods -A -o json``, read pod by pod.

Source: Kubernetes API v1 Pod (``spec.containers[].image``, ``status.containerStatuses[].imageID``). Init
and ephemeral containers count. The name is the one of the spec, since that is what a policy knows; the
digest is of what really runs. A runtime that reports only its own image ID (the digest of a config, no
manifest's) leaves the spec's name alone; what its tag means by now is then judged, not what runs.

A list of ten thousand pods is some hundred megabytes: only one pod at a time is in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TextIO

from imgsign.errors import InvalidDigest, InvalidReference, Malformed, UsageError
from imgsign.reference import Digest, Reference
from imgsign.wire import Node, load_json, quote

_PIECE = 256 * 1024
POD_LIMIT = 8 * 1024 * 1024
"""Characters of one pod; etcd keeps objects of at most 1.5 MB."""

_ITEMS = re.compile(r'"items"\s*:\s*\[')
_KINDS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")

Use = tuple[str, str]
"""A reference, and where it is used: ``namespace/pod (container)``."""


def read_pods(file: TextIO, start: str) -> Iterator[Use]:
    """Yield each container of a list of pods, or of one pod; ``start`` is what was read of the file already.

    Raises:
        UsageError: it is no list of pods.
    """
    text = start
    while (match := _ITEMS.search(text)) is None:
        piece = file.read(_PIECE)
        if not piece or len(text) > POD_LIMIT:
            yield from _of_pod(_load(text))  # one pod alone
            return
        text += piece
    yield from _read_items(file, text[match.end() :])


def _read_items(file: TextIO, text: str) -> Iterator[Use]:
    decoder = json.JSONDecoder()
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("]"):
            return
        try:
            _, end = decoder.raw_decode(text)
        except ValueError as e:
            # Twice as much each time, so that a large pod is not scanned again for every piece.
            piece = file.read(max(_PIECE, len(text)))
            if not piece or len(text) > POD_LIMIT:
                raise UsageError("the list of pods ends in the middle of one, or one of them is too large") from e
            text += piece
            continue
        yield from _of_pod(_load(text[:end]))
        text = text[end:]


def _load(text: str) -> Node:
    try:
        return load_json(text.encode("utf-8", "surrogatepass"), limit=4 * POD_LIMIT)
    except Malformed as e:
        raise UsageError(f"not a list of pods: {e.message}", hint="kubectl get pods -A -o json") from e


def _of_pod(node: Node) -> Iterator[Use]:
    try:
        members = node.fields((), ("kind", "metadata", "spec", "status"), closed=False)
        kind = members["kind"].text() if "kind" in members else "Pod"
        if kind != "Pod" or "spec" not in members:
            raise UsageError(f"not a pod but {quote(kind)}", hint="kubectl get pods -A -o json")
        about = members["metadata"].fields((), ("name", "namespace"), closed=False) if "metadata" in members else {}
        pod = f"{_text(about, 'namespace') or 'default'}/{_text(about, 'name') or '?'}"
        running = _running(members["status"]) if "status" in members else {}
        spec = members["spec"].fields((), _KINDS, closed=False)
        for kind in _KINDS:
            for container in _list(spec, kind):
                found = container.fields(("name",), ("image",), closed=False)
                name = found["name"].text()
                image = _text(found, "image")
                if image:
                    yield _reference(image, running.get(name, "")), f"{pod} ({name})"
    except Malformed as e:
        raise UsageError(f"a pod of the list cannot be read: {e.message}") from e


def _running(status: Node) -> dict[str, str]:
    found = {}
    members = status.fields((), _STATUSES, closed=False)
    for kind in _STATUSES:
        for node in _list(members, kind):
            one = node.fields(("name",), ("imageID",), closed=False)
            found[one["name"].text()] = _text(one, "imageID") or ""
    return found


def _reference(image: str, running: str) -> str:
    """``repo:tag@digest`` of the spec's name and the running digest; the spec's text if it is no reference."""
    try:
        named = Reference.parse(image).tag_or_latest()
    except InvalidReference:
        return image
    # "docker.io/library/nginx@sha256:…", "docker-pullable://…", or "sha256:…", which is an ID and no address.
    repository, at, digest = running.rpartition("://")[2].partition("@")
    if at and repository and named.digest is None:
        try:
            return str(named.at(Digest.parse(digest)))
        except InvalidDigest:
            pass
    return str(named)


def _list(members: dict[str, Node], key: str) -> tuple[Node, ...]:
    return members[key].items() if key in members and members[key].value is not None else ()


def _text(members: dict[str, Node], key: str) -> str | None:
    return members[key].text() if key in members and members[key].value is not None else None
