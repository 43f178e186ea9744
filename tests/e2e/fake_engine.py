"""A docker engine made of a dictionary, on a Unix socket: it can say what no real one says."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socketserver
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, object] | bytes
"""Status and JSON value (a list: one line each), or the raw bytes of a whole HTTP answer."""


@dataclass(slots=True)
class FakeEngine:
    """State and behaviour. ``names`` maps every name and image ID to an image ID.

    ``registry`` is what it can pull: ``repo@digest`` to an image ID. ``instead`` answers requests whose
    ``METHOD path`` starts with a key; ``unread`` answers POSTs before their body is read; ``silent`` keeps
    the connection open after such an answer. ``tagged_as`` is what a tag leads to in truth, whatever was asked.
    """

    socket: Path
    names: dict[str, str] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    digests: Callable[[list[str]], object] = lambda names: names
    instead: dict[str, Answer] = field(default_factory=dict)
    tagged_as: str | None = None
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    archives: list[bytes] = field(default_factory=list)
    silent: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def tags(self) -> dict[str, str]:
        return {n: i for n, i in self.names.items() if "@" not in n and not n.startswith("sha256:")}

    def changes(self) -> list[str]:
        """The requests that were not only questions."""
        return [r for r in self.requests if not r.startswith("GET ")]

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        url = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        path = unquote(url.path)
        for start, found in self.instead.items():
            if f"{method} {path}".startswith(start):
                return found
        if path == "/version":
            return 200, {"Version": "fake"}
        if path == "/info":
            return 200, {"OSType": "linux", "Architecture": "aarch64", "Name": "fake"}
        if path == "/images/create":
            return self.create(f"{query['fromImage']}@{query['tag']}")
        if path == "/images/load":
            return self.load(body)
        name = path.removeprefix("/images/")
        if method == "GET" and name.endswith("/json"):
            return self.inspect(name.removesuffix("/json"))
        if method == "POST" and name.endswith("/tag"):
            self.names[f"{query['repo']}:{query['tag']}"] = self.tagged_as or self.names[name.removesuffix("/tag")]
            return b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        if method == "DELETE" and name in self.names:
            del self.names[name]
            return 200, [{"Untagged": name}]
        return 404, {"message": f"No such image: {name}"}

    def create(self, pinned: str) -> Answer:
        if pinned not in self.registry:
            return 500, {"message": 'Get "https://registry.example/v2/": dial tcp: no such host'}
        identifier = self.registry[pinned]
        self.names |= {pinned: identifier, identifier: identifier}
        return 200, [{"status": "Pulling"}, {"status": "Downloading", "id": "x"}, {"status": f"Digest: {pinned}"}]

    def load(self, body: bytes) -> Answer:
        self.archives.append(body)
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            opened = tar.extractfile("manifest.json")
            assert opened is not None
            (entry,) = json.loads(opened.read())
            config = tar.extractfile(entry["Config"])
            assert config is not None
            identifier = "sha256:" + hashlib.sha256(config.read()).hexdigest()
        self.names[identifier] = identifier
        return 200, [{"stream": f"Loaded image ID: {identifier}"}]

    def inspect(self, name: str) -> Answer:
        if name not in self.names:
            return 404, {"message": f"No such image: {name}"}
        identifier = self.names[name]
        pushed = [n for n, i in self.names.items() if "@" in n and i == identifier]
        return 200, {"Id": identifier, "RepoDigests": self.digests(pushed), "RepoTags": []}


@contextlib.contextmanager
def fake_engine(base: Path) -> Iterator[FakeEngine]:
    """Run one; ``base`` must be short, since a socket's path is limited to 107 bytes."""
    engine = FakeEngine(socket=base / "s")

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            engine.requests.append(f"{self.command} {unquote(self.path)}")
            engine.headers.append(dict(self.headers))
            refuses = engine.instead.get("unread")
            if refuses is not None and self.command == "POST":
                found = refuses
            else:
                found = engine.answer(
                    self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
                )
            self.close_connection = True
            if isinstance(found, bytes):
                self.wfile.write(found)
                if engine.silent:
                    engine.done.wait(30)
                return
            status, value = found
            lines = value if isinstance(value, list) and self.command == "POST" else [value]
            raw = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
            self.wfile.write(f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(raw), raw))

        do_GET = do_POST = do_DELETE = respond  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server(str(engine.socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield engine
        finally:
            engine.done.set()
            server.shutdown()
            thread.join()
