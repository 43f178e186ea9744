"""A local docker engine, by its API over a Unix socket.

Sources: Docker Engine API v1.24 and newer (``/info``, ``/images/…``), moby ``pkg/jsonmessage`` for the
stream of progress that ``create`` and ``load`` answer with.

What an engine says is foreign text: every answer and every line is bounded and parsed strictly, and a URL
in an error is cut to origin and path. :func:`inspect` asks read-only, for hints: what an engine says about
an image is never evidence, and a local image ID is never signed, since it is the digest of a config and
not of a manifest. :mod:`imgsign.stores.engine_pull` makes an engine take an image.

Only Unix sockets: an engine that is asked over a network would be sent registry passwords over it.
"""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import BinaryIO
from urllib.parse import quote as url_quote
from urllib.parse import urlencode

from imgsign.errors import DestinationError, ImgsignError, InvalidDigest, InvalidReference, Malformed
from imgsign.oci import Platform
from imgsign.platforms import host_platform
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.wire import Node, load_json, printable, redact

DEFAULT_SOCKET = "/var/run/docker.sock"
_ANSWER_LIMIT = 4 * 1024 * 1024  # bytes of an answer
_PIECE = 1024 * 1024  # bytes of an archive sent at once
_LINE_LIMIT = 64 * 1024  # bytes of one line of progress; real ones stay under 1 KiB
_SAID_LIMIT = 400  # characters of an engine's error in ours
_HINT_TIMEOUT = 3.0  # seconds; a hint is not worth more
_TIMEOUT = 30.0  # seconds an engine may take for an answer
_IDLE_TIMEOUT = 300.0  # seconds without a line of progress: a slow disk unpacks a large layer in silence
_URL = re.compile(r"https?://[^\s\"'<>]+")

Seen = Callable[[Node], None]
"""Told each line of progress."""


@record
class EngineImage:
    """An image the engine has: ``pushed`` are the digested references it was pushed or pulled as."""

    identifier: str
    pushed: tuple[Reference, ...]

    @property
    def digest(self) -> Digest | None:
        """The image ID, if it is a digest: of the config, or of the manifest where the engine keeps those."""
        try:
            return Digest.parse(self.identifier)
        except InvalidDigest:
            return None

    def is_known_as(self, pinned: Reference) -> bool:
        """Whether the engine lists it under this repository and digest."""
        return any((p.repository, p.digest) == (pinned.repository, pinned.digest) for p in self.pushed)


@record
class RegistryAuth:
    """A value of ``X-Registry-Auth``, and what of it must not appear in any text."""

    header: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, blocksize=_PIECE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """An engine behind a Unix socket; every request has a connection and a timeout of its own.

    All methods raise ``DestinationError`` where the engine does not answer or answers nonsense.
    """

    def __init__(self, path: str, *, timeout: float = _TIMEOUT, idle_timeout: float = _IDLE_TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout
        self._idle_timeout = idle_timeout

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, timeout: float = _TIMEOUT) -> Engine:
        """Find the engine that ``DOCKER_HOST`` names, or the usual one; docker's contexts are not read.

        Raises:
            DestinationError: it names something else than a Unix socket.
        """
        host = environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
        if not host.startswith("unix://"):
            raise DestinationError(
                "DOCKER_HOST does not name a Unix socket",
                hint="write an archive instead: docker-archive:FILE, then docker load -i FILE",
            )
        return cls(host.removeprefix("unix://"), timeout=timeout)

    def __str__(self) -> str:
        return f"the engine at {self._path!r}"

    def check(self) -> None:
        """See that it answers."""
        self._ask("GET", "/version")

    def platform(self) -> Platform:
        """Return the platform the engine runs images for.

        Raises:
            UsageError: it is one that is not known here.
        """
        with self._understood():
            members = (self._ask("GET", "/info") or Node(None)).fields(("OSType", "Architecture"), closed=False)
            machine, system = members["Architecture"].text(), members["OSType"].text()
        return host_platform(machine, system)

    def image(self, name: Reference | Digest | str) -> EngineImage | None:
        """Return what the engine has under a name or image ID; ``None``: a definite "no such image"."""
        with self._understood():
            node = self._ask("GET", f"/images/{_escaped(name)}/json", missing=(404,))
            if node is None:
                return None
            members = node.fields(("Id",), ("RepoDigests",), closed=False)
            listed = members["RepoDigests"].items() if "RepoDigests" in members and members["RepoDigests"].value else ()
            return EngineImage(identifier=members["Id"].text(), pushed=_references([n.text() for n in listed]))

    def images(self) -> list[tuple[tuple[Reference, ...], tuple[Reference, ...]]]:
        """List all images: names with tags, and references by repository digest."""
        with self._understood():
            found = []
            for node in (self._ask("GET", "/images/json") or Node([])).items():
                members = node.fields((), ("RepoTags", "RepoDigests"), closed=False)
                listed = [
                    _references([n.text() for n in members[k].items()]) if k in members and members[k].value else ()
                    for k in ("RepoTags", "RepoDigests")
                ]
                found.append((listed[0], listed[1]))
            return found

    def tag(self, image: EngineImage, name: Reference) -> None:
        """Give an image a name with a tag; it moves from whatever image had it."""
        query = urlencode({"repo": str(name.repository), "tag": name.tag or "latest"})
        self._ask("POST", f"/images/{_escaped(image.identifier)}/tag?{query}")

    def remove(self, name: Reference) -> None:
        """Take a name away; without another name the engine drops the image too. No such name is fine."""
        self._ask("DELETE", f"/images/{_escaped(name)}?noprune=true", missing=(404,))

    def pull(
        self, pinned: Reference, *, platform: Platform | None, auth: RegistryAuth | None, seen: Seen
    ) -> str | None:
        """Let the engine pull ``repo@digest``; returns what it says went wrong, ``None``: nothing.

        Which image of an index it is to take, ``platform`` says.
        """
        query = {"fromImage": str(pinned.repository), "tag": str(pinned.digest)}
        if platform is not None:
            query["platform"] = str(platform)
        headers = {} if auth is None else {"X-Registry-Auth": auth.header}
        secrets = () if auth is None else (auth.header, *auth.secrets)
        return self._follow(f"/images/create?{urlencode(query)}", headers, None, seen, secrets)

    def load(self, archive: BinaryIO, size: int) -> str | None:
        """Let the engine load an archive of ``size`` bytes; returns what it says went wrong, ``None``: nothing."""
        headers = {"Content-Type": "application/x-tar", "Content-Length": str(size)}
        return self._follow("/images/load?quiet=0", headers, archive, lambda line: None, ())

    def _ask(self, method: str, path: str, *, missing: tuple[int, ...] = ()) -> Node | None:
        """Send one request; the JSON of its answer (``null`` if it is empty), ``None`` for a status in ``missing``."""
        with self._connected(self._timeout) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            raw = answer.read(_ANSWER_LIMIT + 1)
            if answer.status in missing:
                return None
            if not 200 <= answer.status < 300:
                raise DestinationError(f"{self} answers {answer.status}: {_explain(raw)}")
            return load_json(raw, limit=_ANSWER_LIMIT) if raw else Node(None)

    def _follow(
        self, path: str, headers: dict[str, str], body: BinaryIO | None, seen: Seen, secrets: tuple[str, ...]
    ) -> str | None:
        """POST, then read the stream of progress to its end; returns the error in it, without the secrets."""
        with self._connected(self._idle_timeout) as connection:
            try:
                connection.request("POST", path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it refuses before it has read all: its answer says why
            answer = connection.getresponse()
            if answer.status != 200:
                return _explain(answer.read(_ANSWER_LIMIT + 1), secrets)
            for line in _lines(answer):
                members = line.fields((), ("error", "errorDetail"), closed=False)
                if "error" in members or "errorDetail" in members:
                    return _said(members["error"].value if "error" in members else None, secrets)
                seen(line)
        return None

    @contextmanager
    def _connected(self, timeout: float) -> Iterator[_SocketConnection]:
        """Open a connection; whatever fails on it is one error that names the engine."""
        connection = _SocketConnection(self._path, timeout)
        try:
            with self._understood():
                yield connection
        except TimeoutError as e:
            raise DestinationError(f"{self} has said nothing for {timeout:.0f} s") from e
        except OSError as e:
            reason = (e.strerror or str(e)).lower()
            raise DestinationError(
                f"cannot use {self}: {reason}", hint="start it, or set DOCKER_HOST to its unix:// socket"
            ) from e
        except http.client.HTTPException as e:
            raise DestinationError(f"{self} does not speak HTTP, or broke off: {type(e).__name__}") from e
        finally:
            connection.close()

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Turn an answer of an unexpected shape into an error that names the engine."""
        try:
            yield
        except Malformed as e:
            raise DestinationError(f"{self} gives an answer that cannot be read: {e.message}") from e


def inspect(name: str, environ: Mapping[str, str]) -> EngineImage | None:
    """Ask the engine about an image; ``None`` if there is no engine, no such image, or no sense in the answer.

    ``DOCKER_HOST`` is honoured where it names a Unix socket; other engines are not asked.
    """
    try:
        return Engine.from_environ(environ, timeout=_HINT_TIMEOUT).image(name)
    except ImgsignError:
        return None


def _escaped(name: Reference | Digest | str) -> str:
    """A name as part of a path; ``/`` is not escaped, as docker's own client does not."""
    return url_quote(str(name), safe="/:@")


def _lines(answer: http.client.HTTPResponse) -> Iterator[Node]:
    """Yield the JSON values of a stream, one a line.

    Raises:
        Malformed: a line is too long or is not JSON.
        IncompleteRead: it ends before the engine said it would.
    """
    rest = b""
    while piece := answer.read1(_LINE_LIMIT):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            lines.append(rest)
        yield from (load_json(line, limit=_LINE_LIMIT) for line in lines if line.strip())
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    if rest.strip():
        yield load_json(rest, limit=_LINE_LIMIT)


def _explain(raw: bytes, secrets: tuple[str, ...] = ()) -> str:
    """The message of an error answer (``{"message": …}``)."""
    try:
        members = load_json(raw, limit=_ANSWER_LIMIT).fields(("message",), closed=False)
    except Malformed:
        return _said(None, ())
    return _said(members["message"].value, secrets)


def _said(value: object, secrets: tuple[str, ...]) -> str:
    """An engine's words, fit to print: one line, bounded, without secrets and without what URLs may hide."""
    if not isinstance(value, str) or not value.strip():
        return "it does not say why"
    for secret in secrets:
        if len(secret) > 3:  # replacing single letters would not hide them
            value = value.replace(secret, "…")
    return printable(_URL.sub(lambda url: redact(url[0]), value).strip(), limit=_SAID_LIMIT)


def _references(texts: list[str]) -> tuple[Reference, ...]:
    """Those of an engine's names that are references."""
    found = []
    for text in texts:
        try:
            found.append(Reference.parse(text))
        except InvalidReference:
            continue
    return tuple(found)
