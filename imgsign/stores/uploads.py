"""Storing blobs: monolithic uploads.

Sources: distribution-spec v1.1.1 "Pushing blobs", "POST then PUT"; RFC 9110 §10.2.2 (Location).

    HEAD blobs/<digest>          there already: nothing to do
    POST blobs/uploads/          202 with Location, relative or absolute, its query opaque
    PUT  <Location>&digest=…     201
    POST blobs/uploads/?mount=…  201: it was in another repository of the registry; 202: as above

An upload is not repeatable in the middle: what fails is begun again from the start. The Location is
foreign input; at another origin it gets no Authorization (CVE-2026-50151), and it follows the rules of
a redirect otherwise (:func:`imgsign.transport.hosts.check_hop`).
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from urllib.parse import quote as percent_encode

from imgsign.errors import NotFound, RegistryError, Unavailable
from imgsign.oci import Blob, Descriptor
from imgsign.reference import Repository
from imgsign.transport import Access, Reply, Request, Streamed, Transient, Transport
from imgsign.transport.hosts import check_hop
from imgsign.transport.retry import TRIES

_STORED = frozenset({200, 201, 204})  # the specification says 201; some proxies drop the body and say 204


def has_blob(
    repository: Repository, transport: Transport, blob: Descriptor, *, access: Access = Access.PULL, tries: int = TRIES
) -> bool:
    """Whether a blob is there. Says nothing about its bytes."""
    try:
        transport.call(
            Request(
                repository=repository,
                method="HEAD",
                target=f"blobs/{blob.digest}",
                what=f"blob {blob.digest} of {repository.path}",
                access=access,
                tries=tries,
            )
        )
    except NotFound:
        return False
    return True


def push_blob(repository: Repository, transport: Transport, blob: Blob) -> None:
    """Store a blob unless it is there.

    Raises:
        RegistryError: if it could not be stored after several tries.
    """

    def once() -> None:
        if not has_blob(repository, transport, blob.descriptor, access=Access.PUSH, tries=1):
            _upload(repository, transport, blob)

    transport.retry(once)


class Way(Enum):
    """How a blob came to be where it was wanted."""

    THERE = "there"
    MOUNTED = "mounted"
    SENT = "sent"


def send_blob(
    repository: Repository,
    transport: Transport,
    blob: Descriptor,
    body: bytes | Streamed,
    *,
    mount: Repository | None = None,
) -> Way:
    """Store a blob unless it is there, by mounting it from another repository of the registry if it can be.

    Raises:
        RegistryError: if it could not be stored after several tries; or whatever making the body raises.
    """

    def once() -> Way:
        if has_blob(repository, transport, blob, access=Access.PUSH, tries=1):
            return Way.THERE
        begun = None if mount is None else _mount(repository, transport, blob, mount)
        if begun is not None and begun.status == HTTPStatus.CREATED:
            return Way.MOUNTED
        _finish(repository, transport, blob, body, begun or _begin(repository, transport, "blobs/uploads/"))
        return Way.SENT

    return transport.retry(once)


def _mount(repository: Repository, transport: Transport, blob: Descriptor, source: Repository) -> Reply | None:
    """Ask for a blob of another repository (distribution-spec "Mounting a blob"); ``None``: send it.

    202 begins an upload instead. Who may not read the other repository with the token for this one is
    refused by some registries: then the blob is sent like any other.
    """
    target = f"blobs/uploads/?mount={percent_encode(str(blob.digest), safe='')}&from={percent_encode(source.path)}"
    try:
        return _begin(repository, transport, target)
    except Transient:
        raise
    except RegistryError:
        return None


def _upload(repository: Repository, transport: Transport, blob: Blob) -> None:
    _finish(repository, transport, blob.descriptor, blob.raw, _begin(repository, transport, "blobs/uploads/"))


def _begin(repository: Repository, transport: Transport, target: str) -> Reply:
    return transport.call(
        Request(
            repository=repository,
            method="POST",
            target=target,
            what=f"an upload to {repository.path}",
            access=Access.PUSH,
            expect=frozenset({202}) if "?" not in target else frozenset({201, 202}),
            tries=1,
        )
    )


def _finish(
    repository: Repository, transport: Transport, blob: Descriptor, body: bytes | Streamed, begun: Reply
) -> None:
    """Send the bytes to where the upload was begun."""
    location = begun.headers.get("location")
    if location is None:
        raise Unavailable(f"{repository.registry} begins an upload without saying where", status=begun.status)
    url, _ = check_hop(begun.url, location, what="upload")
    digest = percent_encode(str(blob.digest), safe="")
    transport.call(
        Request(
            repository=repository,
            method="PUT",
            target=f"{url}{'&' if '?' in url else '?'}digest={digest}",
            what=f"blob {blob.digest} of {repository.path}",
            headers={"Content-Type": "application/octet-stream"},
            body=body if blob.size else b"",
            access=Access.PUSH,
            expect=_STORED,
            tries=1,
        )
    )
