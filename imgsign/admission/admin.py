"""The port beside the webhook's: plain http for probes, Prometheus and, if asked for, the decision page.

It has threads of its own, so that a busy webhook answers its probes and a scrape costs no review anything.

    GET /healthz          the loop of reviews turns; nothing else, since a dead registry is no reason to restart
    GET /readyz           reviews are welcome; one line for each thing that is wrong, also while it is ready
    GET /metrics          for Prometheus
    GET / and its parts   the decision page, to loopback only (``kubectl port-forward`` ends there)

The page names images, users and namespaces, so it is off by default, and a name other than loopback's in
``Host`` is refused, which keeps a website in the same browser from reading it (DNS rebinding). It changes
nothing, and no request is read beyond its head.
"""

from __future__ import annotations

import http.server
import ipaddress
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from imgsign.record import record

_TIMEOUT = 10.0  # seconds for a request's head, and between two on one connection
_THREADS = 128  # connections served at once; what is above waits

_PAGE = Path(__file__).parent / "page"
_PARTS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@record
class Views:
    """What the port shows; each is called in a thread of the port. The texts are lines for people."""

    alive: Callable[[], bool]
    ready: Callable[[], tuple[bool, tuple[str, ...]]]
    metrics: Callable[[], bytes]
    decisions: Callable[[], bytes] | None = None


class Admin:
    """The port; from :meth:`start` on it answers."""

    def __init__(self, host: str, port: int, views: Views) -> None:
        """Bind the port.

        Raises:
            OSError: it cannot be bound.
        """
        self._server = _Server((host, port), views)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="admin", daemon=True)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], views: Views) -> None:
        self.views = views
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = threading.BoundedSemaphore(_THREADS)
        super().__init__(address, _Request)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "imgsign"
    sys_version = ""
    timeout = _TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        views = self.server.views
        if path in ("/healthz", "/livez"):
            alive = views.alive()
            self._text(HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, "ok" if alive else "stuck")
        elif path == "/readyz":
            ready, lines = views.ready()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            self._text(status, "\n".join(("ok" if ready else "not ready", *lines)))
        elif path == "/metrics":
            self._send(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", views.metrics())
        elif views.decisions is not None and (path in _PARTS or path == "/decisions.json"):
            self._page(path, views.decisions)
        else:
            self._text(HTTPStatus.NOT_FOUND, "not found")

    do_HEAD = do_GET  # noqa: N815  # http.server's names

    def _page(self, path: str, decisions: Callable[[], bytes]) -> None:
        if not _is_loopback(str(self.client_address[0])) or not _is_loopback(_host(self.headers.get("Host", ""))):
            self._text(HTTPStatus.FORBIDDEN, "the decision page is shown to loopback only: kubectl port-forward")
        elif path == "/decisions.json":
            self._send(HTTPStatus.OK, "application/json", decisions())
        else:
            name, kind = _PARTS[path]
            self._send(HTTPStatus.OK, kind, (_PAGE / name).read_bytes())

    def _text(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", text.encode("utf-8", "replace") + b"\n")

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no probes and no scrapes."""


def _host(header: str) -> str:
    """Take the host of a ``Host`` header."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
