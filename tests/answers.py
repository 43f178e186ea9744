"""What a simulated server sees and answers, and the clock of the simulation."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlsplit

import requests
import urllib3


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived; header names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.url).query, keep_blank_values=True)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered; ``stream`` replaces ``body`` for bodies that trickle or never end."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: io.RawIOBase | None = None

    def with_header(self, name: str, value: str | None) -> Answer:
        """The same with one header replaced, or left out."""
        kept = tuple((n, v) for n, v in self.headers if n.lower() != name.lower())
        return replace(self, headers=kept if value is None else (*kept, (name, value)))


def json_answer(value: object, *, status: int = 200, media_type: str = "application/json") -> Answer:
    """An answer that holds JSON."""
    return Answer(status=status, headers=(("Content-Type", media_type),), body=json.dumps(value).encode())


def error_answer(status: int, code: str, message: str = "") -> Answer:
    """An error as registries say it."""
    return json_answer({"errors": [{"code": code, "message": message}]}, status=status)


Respond = Callable[[Seen], Answer]


class Clock:
    """A time that moves only when somebody sleeps (or a body trickles)."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Zeros(io.RawIOBase):
    """A body that does not end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed's Buffer cannot be measured
        size = len(buffer)
        buffer[:] = bytes(size)
        return size


class Trickle(io.RawIOBase):
    """A body that comes byte by byte."""

    def __init__(self, raw: bytes, clock: Clock, seconds: float) -> None:
        super().__init__()
        self._bytes = iter(raw)
        self._clock = clock
        self._seconds = seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed's Buffer cannot be measured
        self._clock.now += self._seconds
        for byte in self._bytes:
            buffer[0] = byte
            return 1
        return 0


def to_response(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    """Dress an answer as the adapter of requests does, urllib3's own checks of lengths included."""
    headers = urllib3.HTTPHeaderDict()
    for name, value in answer.headers:
        headers.add(name, value)
    if answer.stream is None and "Content-Length" not in headers:
        headers.add("Content-Length", str(len(answer.body)))
    stream: io.IOBase = io.BytesIO(b"" if request.method == "HEAD" else answer.body)
    if answer.stream is not None:
        stream = io.BufferedReader(answer.stream)
    raw = urllib3.HTTPResponse(
        body=stream,
        headers=headers,
        status=answer.status,
        preload_content=False,
        decode_content=False,
        request_method=request.method,
    )
    response = requests.Response()
    response.status_code = answer.status
    response.headers = requests.structures.CaseInsensitiveDict(headers)
    response.raw = raw
    response.url = str(request.url)
    response.request = request
    return response
