"""Reading what a server answers: bounded, timed, never decoded, and as an error when it is one.

Sources: distribution-spec v1.1.1 "Error Codes"; RFC 9110 §8.4 (Content-Encoding), §15 (statuses).

Every read has a limit in bytes and a limit in time: a read waits at most the read timeout, a body that
trickles (:data:`SLOWEST`) is given up, and nothing is read after the deadline. Content-Length is not
believed: it only makes a short body an error. Text from a server reaches a message only through
``wire.printable`` and without the secrets that were sent to it, which some servers repeat.

NOTE: the status line and headers are read by ``http.client``, each receive within the read timeout; a
server that trickles headers can hold a request longer than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from io import BufferedReader
from types import TracebackType
from typing import TYPE_CHECKING

from imgsign.errors import (
    AuthenticationFailed,
    Malformed,
    NotFound,
    RegistryError,
    TooLarge,
    Unavailable,
)
from imgsign.record import record
from imgsign.transport.hosts import Origin
from imgsign.transport.retry import TIMEOUT_COST, Transient, is_temporary, retry_after
from imgsign.wire import Node, load_json, printable, quote, redact

if TYPE_CHECKING:
    from requests import Response

PIECE = 1024 * 1024
"""Bytes of one piece of a streamed body: hashing and writing large pieces releases the GIL for long."""

ERROR_LIMIT = 64 * 1024
"""Bytes read of an error's body (go-containerregistry reads 64 KiB of a token)."""

SLOWEST = 1024.0
"""Bytes a second a body must bring on average once it has been waited for :data:`PATIENCE` seconds."""

PATIENCE = 60.0
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_RECEIVE = 256 * 1024  # bytes asked of the socket at once
_CODE_LIMIT = 8  # error codes kept of one answer
_SAID_LIMIT = 300  # characters quoted of what a server says


@record
class Reply:
    """A complete answer; header names are in lower case, ``url`` is where it came from, after redirects.

    ``took``: seconds from sending the last request (after redirects and challenges) to the end of its body.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    url: str = field(repr=False)
    raw: bytes = field(repr=False)
    took: float

    def refuse_page(self, what: str) -> None:
        """Refuse a web page that stands where ``what`` should be: a proxy's or a portal's, not the registry's word.

        Raises:
            Unavailable: since it says neither what the registry has nor that it has nothing.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _PAGES:
            where = Origin.parse(self.url).authority
            raise Unavailable(
                f"{where} sends a web page instead of {what}",
                status=self.status,
                url=redact(self.url),
                hint="a proxy or a login page may be answering in the registry's place",
            )


class Body:
    """An open answer whose body has not been read; close it, or use it in a ``with`` statement."""

    def __init__(
        self,
        response: Response,
        url: str,
        *,
        began: float,
        clock: Callable[[], float],
        left: Callable[[str], float],
    ) -> None:
        """Wrap a response; ``left`` returns the seconds until the deadline or raises, saying what one was doing."""
        self.began = began
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.url = url
        self.origin = Origin.parse(url)
        self._raw = response.raw
        self._clock = clock
        self._left = left
        self._got = 0
        self._waited = 0.0
        self._error: bytes | None = None

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else end it."""
        self._raw.close()

    def pieces(self, limit: int, room: Callable[[], memoryview] | None = None) -> Iterator[bytes | memoryview]:
        """Yield the body as it comes, in pieces of at most :data:`PIECE` bytes, ``limit`` bytes in all.

        With ``room`` a piece may be the beginning of what that returned last.

        Raises:
            Transient: if the connection breaks, the body is shorter than declared, or trickles.
        """
        while limit:
            piece = self._receive(min(PIECE, limit)) if room is None else self._receive_into(room()[:limit])
            if not piece:
                return
            yield piece
            limit -= len(piece)

    def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            TooLarge: if it is longer than ``limit`` bytes; no more than one byte beyond it is kept.
        """
        raw = self._gather(limit + 1)
        if len(raw) > limit:
            raise TooLarge(f"{self.origin.authority} sends more than the limit of {limit} bytes", url=redact(self.url))
        return raw

    def read_error(self) -> bytes:
        """Return the start of an error's body, or nothing: the status is the message. May be called again."""
        if self._error is None:
            self._error = self._read_start()
        return self._error

    def _read_start(self) -> bytes:
        # Some servers send less than they declare with 416 (docker-registry 2.8.2), which would only time out.
        if self.status == 416 or self.is_encoded:
            return b""
        parts: list[bytes] = []
        try:
            self._collect(parts, ERROR_LIMIT)
        except Transient:
            pass
        return b"".join(parts)

    @property
    def peer(self) -> tuple[str, Mapping[str, object]] | None:
        """The TLS version and the server's checked certificate as ``ssl`` describes it; ``None`` if not known.

        To be asked before the body is read to its end, which gives the connection back.
        """
        socket = getattr(getattr(self._raw, "connection", None), "sock", None)
        if socket is None or not hasattr(socket, "getpeercert"):
            return None
        return str(socket.version()), socket.getpeercert() or {}

    @property
    def is_encoded(self) -> bool:
        """Whether the body was transformed although we asked that it is not."""
        return self.headers.get("content-encoding", "").strip().lower() not in ("", "identity")

    def _gather(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the body."""
        parts: list[bytes] = []
        self._collect(parts, size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _collect(self, parts: list[bytes], size: int) -> None:
        while size and (part := self._receive(min(_RECEIVE, size))):
            parts.append(part)
            size -= len(part)

    def _receive(self, size: int) -> bytes:
        """Return up to ``size`` bytes as they come, nothing at the end."""
        with self._receiving():
            data = self._raw.read1(size, decode_content=False) or b""
        self._count(len(data))
        return data

    def _receive_into(self, into: memoryview) -> bytes | memoryview:
        """Like :meth:`_receive`, but where it can be done, fill the beginning of ``into`` and return that.

        One copy fewer, for a body of declared length on an ordinary connection and never for its last byte:
        the end, and all that is out of the ordinary, is urllib3's, which then gives the connection back.
        """
        from http.client import HTTPResponse

        reader, left = getattr(self._raw, "_fp", None), getattr(self._raw, "length_remaining", None)
        if not isinstance(reader, HTTPResponse) or reader.chunked or not isinstance(reader.fp, BufferedReader):
            return self._receive(len(into))
        if left is None or left < 2 or left != reader.length:
            return self._receive(len(into))
        with self._receiving():
            count = reader.fp.readinto1(into[: left - 1])
        if not count:
            raise _cut(self, "ended its answer early")
        self._raw.length_remaining = reader.length = left - count
        self._count(count)
        return into[:count]

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        """Bound one receive in time, and say what broke it."""
        import urllib3.exceptions

        left = self._left(f"reading from {self.origin.authority}")
        # The timeout set when the request was sent may by now reach beyond the deadline.
        socket = getattr(getattr(self._raw, "connection", None), "sock", None)
        if socket is not None and (current := socket.gettimeout()) is not None and current > left:
            socket.settimeout(left)
        began = self._clock()
        try:
            yield
        except (urllib3.exceptions.ReadTimeoutError, TimeoutError):
            raise _cut(self, "stopped sending", cost=TIMEOUT_COST) from None
        except (urllib3.exceptions.HTTPError, OSError):
            # `from None` here and elsewhere: the texts of requests and urllib3 quote URLs, which may hold secrets.
            raise _cut(self, "ended its answer early") from None
        self._waited += self._clock() - began

    def _count(self, received: int) -> None:
        self._got += received
        if self._waited > PATIENCE and self._got < self._waited * SLOWEST:
            raise _cut(self, f"sends less than {SLOWEST:.0f} bytes a second", cost=TIMEOUT_COST)


def _cut(body: Body, what: str, *, cost: int = 1) -> Transient:
    failure = Transient(f"{body.origin.authority} {what}", status=body.status, url=redact(body.url))
    failure.cost = cost
    return failure


def failure(body: Body, *, method: str, what: str, registry: str, secrets: tuple[str, ...]) -> RegistryError:
    """Turn an answer that was not hoped for into an error. Reads its body.

    ``what`` names what was asked for, ``registry`` the registry as references name it. A status that is
    worth another try gives a :class:`Transient`.
    """
    codes, said = _read_codes(body.read_error(), secrets)
    detail = f" ({said})" if said else ""
    who = registry if body.origin.authority == registry else f"{body.origin.authority} (for {registry})"
    message = f"{who} answered {body.status} to {method} {what}{detail}"

    def error(kind: type[RegistryError], message: str = message, hint: str | None = None) -> RegistryError:
        return kind(message, status=body.status, codes=codes, url=redact(body.url), hint=hint)

    if body.status == 404:
        return error(NotFound, f"{who} has no {what}{detail}")
    if body.status in (401, 403):
        return error(AuthenticationFailed, hint=f"imgsign login {registry}")
    if is_temporary(body.status):
        wait = retry_after(body.headers)
        asked = "" if wait is None else f", asks to wait {wait:.0f} s"
        temporary = Transient(message + asked, status=body.status, codes=codes, url=redact(body.url))
        temporary.wait = wait
        return temporary
    # A status below 400 that was not hoped for breaks the protocol.
    return error(Unavailable if body.status >= 500 or body.status < 400 else RegistryError)


def _read_codes(untrusted_raw: bytes, secrets: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Read the error codes of a body and what it says in words; anything that is no such JSON says nothing."""
    codes: list[str] = []
    said: list[str] = []
    try:
        errors = load_json(untrusted_raw, limit=ERROR_LIMIT).entries().get("errors")
        for node in () if errors is None else errors.items()[:_CODE_LIMIT]:
            members = node.entries()
            code, message = (_scrub(_text(members.get(k)), secrets) for k in ("code", "message"))
            if code:
                codes.append(printable(code, limit=64))
            said.append(f"{code}: {message}" if code and message else code or message)
    except Malformed:
        pass
    return tuple(codes), printable("; ".join(s for s in said if s), limit=_SAID_LIMIT)


def _text(node: Node | None) -> str:
    return node.text() if node is not None and isinstance(node.value, str) else ""


def _scrub(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if len(secret) > 3:  # replacing single letters would not hide them
            text = text.replace(secret, "…")
    return text


def refuse_encoding(body: Body) -> Body:
    """Return the body unless it was transformed: a digest is over the bytes as they are stored.

    Raises:
        Unavailable: naming the encoding; the body is closed.
    """
    if not body.is_encoded:
        return body
    body.close()
    encoding = quote(body.headers.get("content-encoding", ""))
    raise Unavailable(
        f"{body.origin.authority} sends content encoding {encoding} although identity was asked for",
        status=body.status,
        url=redact(body.url),
    )
