"""What can go wrong with one request, as the fault matrix names it; each is installed into a simulator.

    refused  no connection            reset   the connection breaks in the middle of the answer's body
    hang     no answer in time        401 403 404 408 500 503
    429s     Retry-After in seconds   429d    Retry-After as a date
    html     200 with a web page      cut     the first half of the right body, framed as if it were whole
    digest   other bytes or digests   size    one byte more, or sizes that are off by one
    away     a redirect to a thief    loop    a redirect to itself

``digest`` and ``size`` change what the answer has: the bytes of a blob, the digests or sizes written in a
manifest or listing, the declared digest of an answer without a body. ``Docker-Content-Digest`` stays.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import requests

from imgsign.reference import Digest
from tests.answers import Answer, Respond, Seen
from tests.simulator import Simulator

COLUMNS = (
    *("refused", "reset", "hang", "401", "403", "404", "408", "429s", "429d", "500", "503"),
    *("html", "cut", "digest", "size", "away", "loop"),
)
THIEF = "thief.test"
THIEF_QUERY = "X-Amz-Signature=5ecretThief77"
PAGE = b"<!doctype html><title>Log in</title>"
_CHALLENGE = 'Bearer realm="https://auth.registry.test/token",service="registry.test",scope="repository:app:pull,push"'


class Broken(io.RawIOBase):
    """A body whose connection is reset once these bytes were read."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._left = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed's Buffer cannot be measured
        if not self._left:
            raise ConnectionResetError(104, "Connection reset by peer")
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


@dataclass(slots=True)
class Installed:
    """A fault at work: ``hits`` counts the requests it saw, ``left`` how many it still spoils (``None``: all)."""

    left: int | None
    hits: int = 0
    thief: list[Seen] = field(default_factory=list)


def install(sim: Simulator, name: str, pattern: str, *, once: bool = False) -> Installed:
    """Spoil the requests that match: all of them, or ``once`` the first that can be spoiled."""
    fault = Installed(left=1 if once else None)

    def respond(seen: Seen, normally: Respond) -> Answer:
        fault.hits += 1
        if fault.left == 0:
            return normally(seen)
        left, fault.left = fault.left, 0 if fault.left is not None else None
        answer, spoiled = _spoil(sim, name, seen, normally)
        if not spoiled:
            fault.left = left
        return answer

    def steal(seen: Seen) -> Answer:
        fault.thief.append(seen)
        return Answer(status=401, headers=(("WWW-Authenticate", 'Basic realm="give me"'),))

    sim.site(THIEF, steal)
    sim.wrap(pattern, respond)
    return fault


def _spoil(sim: Simulator, name: str, seen: Seen, normally: Respond) -> tuple[Answer, bool]:
    """Return the answer, and whether it differs from the normal one."""
    if name in _INSTEAD:
        return _INSTEAD[name](sim, seen), True
    usual = normally(seen)
    if usual.status >= 300 or seen.method == "HEAD":
        return usual, False
    changed = _CHANGED[name](usual)
    return changed, changed != usual


def _refuse(sim: Simulator, seen: Seen) -> Answer:
    raise requests.exceptions.ConnectionError(ConnectionRefusedError(111, "Connection refused"))


def _hang(sim: Simulator, seen: Seen) -> Answer:
    sim.clock.now += 60
    raise requests.exceptions.ReadTimeout("read timed out")


def _status(code: int, *headers: tuple[str, str]) -> Callable[[Simulator, Seen], Answer]:
    return lambda sim, seen: Answer(status=code, headers=headers)


_DATE = ("Date", "Mon, 23 Nov 2026 12:00:00 GMT")
_INSTEAD: dict[str, Callable[[Simulator, Seen], Answer]] = {
    "refused": _refuse,
    "hang": _hang,
    "401": _status(401, ("WWW-Authenticate", _CHALLENGE)),
    "403": _status(403),
    "404": lambda sim, seen: Answer(status=404, body=b"404 page not found\n"),
    "408": _status(408),
    "429s": _status(429, ("Retry-After", "2")),
    "429d": _status(429, _DATE, ("Retry-After", "Mon, 23 Nov 2026 12:00:02 GMT")),
    "500": _status(500),
    "503": _status(503),
    "html": lambda sim, seen: Answer(headers=(("Content-Type", "text/html; charset=utf-8"),), body=PAGE),
    "away": lambda sim, seen: Answer(status=307, headers=(("Location", f"https://{THIEF}/x?{THIEF_QUERY}"),)),
    "loop": lambda sim, seen: Answer(status=307, headers=(("Location", seen.url.partition(seen.host)[2]),)),
}


def _reset(usual: Answer) -> Answer:
    size = len(usual.body) or 10
    return replace(usual, stream=Broken(usual.body[: size // 2])).with_header("Content-Length", str(size))


def _cut(usual: Answer) -> Answer:
    if not usual.body:
        return usual
    return replace(usual, body=usual.body[: len(usual.body) // 2]).with_header("Docker-Content-Digest", None)


def _other_digest(usual: Answer) -> Answer:
    if not usual.body:
        declared = any(n == "Docker-Content-Digest" for n, _ in usual.headers)
        return usual.with_header("Docker-Content-Digest", str(Digest.of(b"another"))) if declared else usual
    body = re.sub(rb"sha256:([0-9a-f])", lambda m: b"sha256:%x" % (int(m[1], 16) ^ 1), usual.body)
    if body == usual.body:
        body = re.sub(rb'("(?:access_)?token": ")', rb"\1x", body)
    if body == usual.body and b'"manifests"' not in body:
        middle = len(body) // 2
        body = body[:middle] + bytes((body[middle] ^ 1,)) + body[middle + 1 :]
    return replace(usual, body=body)


def _other_size(usual: Answer) -> Answer:
    if not usual.body:
        return usual
    body = re.sub(rb'("size": ?)([0-9]+)', lambda m: m[1] + str(int(m[2]) + 1).encode(), usual.body)
    return replace(usual, body=body if body != usual.body else body + b" ")


_CHANGED = {"reset": _reset, "cut": _cut, "digest": _other_digest, "size": _other_size}
