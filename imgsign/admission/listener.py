"""The HTTPS port: Granian inside this process, with certificates that change while connections go on.

Measured on two busy cores (empty handler, 3.4 KB posted, 16 TLS keep-alive connections): Granian WSGI with 64
threads 30,000/s at a p99 of 24 ms, Granian RSGI embedded 12,000/s at 11 ms, uvicorn some 5,000/s. WSGI was
refused for what it cannot do, not for its speed: its body is read by a thread that nothing can interrupt, so
that 64 clients who send a header and then nothing stop the webhook; its server runs the application in a child
process, whose certificate changes only with the process, verdicts and all. Embedded RSGI is one loop in this
process: bodies have a deadline, and a remembered verdict waits for no thread.

What Granian gives, read in its source and tried: TLS 1.2 and 1.3 by rustls, which has AEAD suites only; a TLS
handshake has 10 s; hyper's ``header_read_timeout`` also ends idle connections, so :data:`IDLE` is both (a header
that never ends costs a connection of :data:`CONNECTIONS`, no thread); ``backpressure`` counts connections.

What it does not give is a new certificate for a running worker. So each pair gets a worker and a listening
socket of its own, all of one ``SO_REUSEPORT`` group, and a one-instruction classic BPF program (socket(7)
``SO_ATTACH_REUSEPORT_CBPF``) sends new connections to the newest. The old worker answers on its connections with
``Connection: close``, until after more than :data:`IDLE` none can be left; then it ends. No connection is ever
closed under a client that is about to use it, which Go's transport would not repeat for a POST.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from imgsign.admission.certificate import Pair, memory_file

IDLE = 130.0
"""Seconds an idle connection is kept: the API server gives one up after 90, and must be the one who does."""

CONNECTIONS = 2048
"""Open connections: an API server keeps 25 idle ones and opens more under load; there are rarely more than 5."""

_BACKLOG = 1024
_SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h; not in Python's socket module
_BPF_RET_K = 0x06

Handler = Callable[[Any, Any, "Worker"], Awaitable[None]]  # Any: Granian's RSGI scope and protocol are untyped


@dataclass(eq=False)
class Worker:
    """One certificate's Granian. ``closing``: answers end their connection."""

    server: _Server
    socket: socket.socket
    files: tuple[int, ...]
    closing: bool = False
    task: asyncio.Task[None] | None = field(default=None)


class _Server(Server):
    """Granian's embedded server on a socket and a key pair that are ours."""

    def __init__(self, target: Callable[[Any, Any], Awaitable[None]], own: socket.socket, files: tuple[int, int]):
        self._own = own
        self._files = files
        super().__init__(
            target=target,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,  # the API server offers nothing else
            websockets=False,
            log_enabled=False,
            backpressure=CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=int(IDLE * 1000), max_buffer_size=1024 * 1024),
        )

    def build_ssl_context(self, *_: object) -> None:
        certificate, key = (f"/proc/self/fd/{fd}" for fd in self._files)
        self.ssl_ctx: Any = (True, certificate, key, None, "tls1.2", None, [], False)  # Any: as _init_shared_socket's

    def _init_shared_socket(self) -> None:
        # A copy: whoever accepts on a descriptor closes it in the end. Any: the stubs know fewer arguments.
        holder: Any = SocketHolder
        self._ssp: Any = None
        self._shd: Any = holder(os.dup(self._own.fileno()), False, _BACKLOG)
        self._sfd: Any = self._shd.get_fd()

    def end(self) -> None:
        """Accept nothing more; what is under way is finished."""
        self.signal_handler_interrupt()  # type: ignore[no-untyped-call]  # Granian's


class Listener:
    """The port. All methods belong to the loop's thread."""

    def __init__(self, host: str, port: int, handler: Handler, *, retire_after: float = IDLE + 20) -> None:
        """Bind nothing yet."""
        self._host, self._port = host, port
        self._handler = handler
        self._retire_after = retire_after
        self._group: list[Worker] = []  # in the order of the kernel's reuseport group
        self._newest: Worker | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self.steered = True

    @property
    def port(self) -> int:
        """The bound port."""
        return self._port

    async def serve(self, pair: Pair) -> None:
        """Serve new connections with this pair from now on.

        Raises:
            OSError: the port cannot be bound.
        """
        own = self._bind()
        self._port = own.getsockname()[1]
        files = (memory_file("tls.crt", pair.certificate), memory_file("tls.key", pair.key))
        worker: Worker

        async def answer(scope: Any, protocol: Any) -> None:  # Granian's types are untyped
            await self._handler(scope, protocol, worker)

        worker = Worker(_Server(answer, own, files), own, files)
        old, self._newest = self._newest, worker
        self._group.append(worker)
        worker.task = asyncio.get_running_loop().create_task(worker.server.serve())
        await asyncio.sleep(0)  # the task runs up to its accepting thread
        self._steer()
        if old is not None:
            self._retire(old)

    def failed(self) -> bool:
        """Whether the newest worker ended by itself."""
        return self._newest is not None and self._newest.task is not None and self._newest.task.done()

    def drain(self) -> None:
        """Ask every client, with its next answer, to leave."""
        for worker in self._group:
            worker.closing = True

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, and wait for what is under way."""
        for timer in self._timers:
            timer.cancel()
        tasks = [w.task for w in self._group if w.task is not None]
        for worker in self._group:
            worker.closing = True
            worker.server.end()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for worker in list(self._group):
            self._close(worker)

    def _bind(self) -> socket.socket:
        own = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            for level, option in (
                (socket.SOL_SOCKET, socket.SO_REUSEADDR),
                (socket.SOL_SOCKET, socket.SO_REUSEPORT),
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            ):
                own.setsockopt(level, option, 1)
            own.bind((self._host, self._port))
            own.listen(_BACKLOG)
            own.setblocking(False)
        except OSError:
            own.close()
            raise
        return own

    def _steer(self) -> None:
        """Send new connections to the newest worker."""
        if self._newest is None or len(self._group) < 2:
            return
        try:
            _attach(self._newest.socket, self._group.index(self._newest))
        except OSError:
            self.steered = False  # a sandbox that forbids it

    def _retire(self, worker: Worker) -> None:
        worker.closing = True
        # Without steering the old certificate would still be served: then it ends now, idle connections and all.
        self._later(self._retire_after if self.steered else 0.0, lambda: worker.server.end())
        if worker.task is not None:
            worker.task.add_done_callback(lambda _: self._close(worker))

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    def _close(self, worker: Worker) -> None:
        if worker not in self._group:
            return
        worker.socket.close()
        for fd in worker.files:
            os.close(fd)
        # As the kernel does (net/core/sock_reuseport.c): the last one takes the place that came free.
        last = self._group.pop()
        if last is not worker:
            self._group[self._group.index(worker)] = last
        self._steer()


def _attach(own: socket.socket, index: int) -> None:
    code = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET_K, 0, 0, index))
    own.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("HL", 1, ctypes.addressof(code)))
