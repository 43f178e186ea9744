"""Tiny real servers on loopback: some answer every request with one thing, one stands in front of a registry."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 64 * 1024
_PASSED_ON = ("Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest")


class _Server(ThreadingHTTPServer):
    """One whose clients may be killed: that is neither said nor waited for."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server with this handler; yields host:port."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def status(code: int, body: bytes, media_type: str = "application/json") -> Iterator[str]:
    """Answer every GET with one status and body; yields host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with _serving(Handler) as host:
        yield host


@contextlib.contextmanager
def schema1() -> Iterator[str]:
    """A registry that has only Docker image manifests of schema 1."""
    body = json.dumps({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": []}).encode()
    with status(200, body, "application/vnd.docker.distribution.manifest.v1+prettyjws") as host:
        yield host


@dataclass(slots=True)
class Served:
    """One GET of a blob: from which byte on, and how many bytes were sent."""

    digest: str
    start: int
    sent: int = 0


@dataclass(slots=True)
class Answer:
    """How a registry answers the GET of a blob, for a test to change.

    ``cut`` and ``stall`` are numbers of bytes of the body after which the connection is closed, or nothing
    more is sent.
    """

    digest: str
    start: int
    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None
    stall: int | None = None


@dataclass(slots=True)
class Front:
    """A registry in front of a real one: it notes what is read of blobs, sends slowly, and lies.

    ``rate`` is in bytes a second, of all connections together. ``lie`` changes the answers to GETs of
    blobs of at least ``lie_from`` bytes, so that configs and signatures stay as they are.
    """

    upstream: str
    host: str = ""
    rate: float | None = None
    lie: Callable[[Answer], None] | None = None
    lie_from: int = 10_000
    served: list[Served] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _busy_until: float = 0.0

    def starts(self, digest: str) -> list[int]:
        """From which bytes on a blob was asked for."""
        return [s.start for s in self.served if s.digest == digest]

    def pause(self, count: int) -> None:
        """Wait as long as so many bytes take."""
        if self.rate is None:
            return
        with self._lock:
            self._busy_until = max(time.monotonic(), self._busy_until) + count / self.rate
            until = self._busy_until
        self.ended.wait(max(0.0, until - time.monotonic()))


@contextlib.contextmanager
def front(upstream: str) -> Iterator[Front]:
    """Run one in front of the registry at ``upstream`` (host:port); it only reads."""
    found = Front(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = {n: v for n in ("Accept", "Range") if (v := self.headers.get(n)) is not None}
            connection = http.client.HTTPConnection(found.upstream, timeout=30)
            with contextlib.closing(connection), contextlib.suppress(OSError):
                connection.request("GET", self.path, headers=asked)
                answer = connection.getresponse()
                headers = {n: v for n in _PASSED_ON if (v := answer.headers.get(n)) is not None}
                blob = re.search(r"/blobs/(sha256:[0-9a-f]{64})$", self.path)
                if blob is None:
                    self.begin(answer.status, headers)
                    self.wfile.write(answer.read())
                    return
                start = re.fullmatch(r"bytes=([0-9]+)-", asked.get("Range", ""))
                note = Served(blob[1], int(start[1]) if start else 0)
                found.served.append(note)
                if found.lie is None or int(headers["Content-Length"]) + note.start < found.lie_from:
                    self.begin(answer.status, headers)
                    self.relay(answer, note)
                else:
                    self.send(Answer(blob[1], note.start, answer.status, headers, answer.read()), note, found.lie)

        def begin(self, code: int, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def relay(self, answer: http.client.HTTPResponse, note: Served) -> None:
            while piece := answer.read(_PIECE):
                found.pause(len(piece))
                self.wfile.write(piece)
                note.sent += len(piece)

        def send(self, answer: Answer, note: Served, lie: Callable[[Answer], None]) -> None:
            lie(answer)
            self.begin(answer.status, answer.headers)
            ends = [n for n in (answer.cut, answer.stall) if n is not None]
            body = answer.body[: min(ends)] if ends else answer.body
            for at in range(0, len(body), _PIECE):
                piece = body[at : at + _PIECE]
                found.pause(len(piece))
                self.wfile.write(piece)
                note.sent += len(piece)
            if answer.stall is not None:
                found.ended.wait(60)
            if ends or "Content-Length" not in answer.headers:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with _serving(Handler) as host:
        found.host = host
        try:
            yield found
        finally:
            found.ended.set()
