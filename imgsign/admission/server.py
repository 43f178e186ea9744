"""``imgsign admission serve``: one process that puts together what :mod:`imgsign.admission` has, and ends well.

One process a replica: what is remembered, the single flight and the metrics are the process's, and replicas
share nothing. Threads: this loop for reviews, Granian's own for TLS and HTTP, :data:`THREADS` for work at
registries, and one each for the admin port, the reloads and the audit log.

Start: everything is loaded, and anything that cannot be used ends the process with its reason; then the admin
port answers, then the webhook's; then it is ready. End, on SIGTERM: unready at once; reviews are served on for
``drain`` seconds, each answer with ``Connection: close``, while the endpoint's removal spreads; then nothing
more is accepted, what is under way is finished, and the process ends. A second signal ends the waiting, SIGINT
does not begin it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgsign.admission.admin import Admin, Views
from imgsign.admission.audit import Audit
from imgsign.admission.certificate import Pair, load_pair
from imgsign.admission.judge import Judge, Times
from imgsign.admission.limits import SLOTS, Limits
from imgsign.admission.listener import Listener, Worker
from imgsign.admission.metrics import Metrics
from imgsign.admission.mounted import signature
from imgsign.admission.places import ImagePlaces, PlaceOptions
from imgsign.admission.pull_secrets import PullSecrets
from imgsign.admission.reload import EVERY, Reloader, Watched
from imgsign.admission.service import Service
from imgsign.admission.snapshot import Snapshot, load_snapshot
from imgsign.errors import DestinationError
from imgsign.record import record
from imgsign.transport.config.docker import config_path
from imgsign.wire import quote

THREADS = 64
"""For work at registries and large bodies: more than there are slots, so that none waits for another's."""

FINISH = 30.0
"""Seconds that reviews under way have in the end: the longest timeout of a webhook."""

_ALIVE = 15.0  # seconds without a turn of the loop after which it counts as stuck


@record
class Options:
    """What the process was told. Times are seconds; ``port`` 0 is any free one.

    ``pull_secrets``: the directory of the service account that reads imagePullSecrets, ``None``: they are not read.
    """

    source: Path
    is_policy: bool = False
    certificate: Path
    key: Path
    host: str = "0.0.0.0"  # noqa: S104  # a webhook is called from outside its Pod
    port: int = 8443
    admin_host: str = "0.0.0.0"  # noqa: S104  # the kubelet and Prometheus ask from outside too
    admin_port: int = 8080
    page: bool = False
    timeout: float = 10.0
    times: Times = field(default_factory=Times)
    drain: float = 20.0
    places: PlaceOptions = field(default_factory=PlaceOptions)
    pull_secrets: Path | None = None
    reload_every: float = EVERY


class _Process:
    """The running webhook."""

    def __init__(self, options: Options, environ: Mapping[str, str], log: Callable[[str], None]) -> None:
        self._options = o = options
        self._environ = environ
        self._log = log
        self.metrics = Metrics()
        self.audit = Audit(sys.stdout.buffer, dropped=self.metrics.audit_dropped.inc)
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")
        secrets = None if o.pull_secrets is None else PullSecrets.from_environ(environ, o.pull_secrets)
        self.places = ImagePlaces(environ, o.places, pull_secrets=secrets)
        self.limits = Limits(time.monotonic, slots=SLOTS)
        self.judge = Judge(self.places, pool=self.pool, limits=self.limits, metrics=self.metrics, times=o.times)
        self.service: Service | None = None
        self.state = "starting"
        self._beat = time.monotonic()
        self._pair: Pair | None = None
        self._loop = asyncio.get_running_loop()
        self.listener = Listener(o.host, o.port, self._handle)
        self._outside: tuple[Path, ...] = ()
        self._policy = Watched("policy", self._look, self._load, self._take_snapshot, self._tell)
        self._certificate = Watched("certificate", self._look_pair, self._load_pair, self._take_pair, self._tell)
        self._credentials = Watched(
            "credentials", self._look_credentials, lambda: None, lambda _: self.places.refresh(), self._tell
        )
        watched: tuple[Watched[Any], ...] = (self._policy, self._certificate, self._credentials)  # Any: what each loads
        self.reloader = Reloader(watched, every=o.reload_every)

    # What is watched; called in the reloader's thread after the start

    def _look(self) -> Any:  # Any: a Signature
        return signature((self._options.source.parent,), self._outside)

    def _load(self) -> Snapshot:
        return load_snapshot(self._options.source, is_policy=self._options.is_policy, environ=self._environ)

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        self._outside = snapshot.files
        self.metrics.policies({name: p.policy_digest for name, p in snapshot.policies.items()})
        if self.service is None:
            self.service = Service(
                self.judge,
                self.metrics,
                self.audit,
                snapshot,
                pool=self.pool,
                timeout=self._options.timeout,
                pull_secrets=self._options.pull_secrets is not None,
                log=self._log,
            )
        else:
            self.service.snapshot = snapshot  # one assignment: a review sees the old one or the new one
        for p in snapshot.policies.values():
            self._log(f"policy {p.name} in force: sha256:{p.policy_digest}")

    def _look_pair(self) -> Any:  # Any: a Signature
        return signature({self._options.certificate.parent, self._options.key.parent})

    def _load_pair(self) -> Pair:
        return load_pair(self._options.certificate, self._options.key, now=datetime.now(UTC))

    def _take_pair(self, pair: Pair) -> None:
        if self._pair is not None:
            asyncio.run_coroutine_threadsafe(self.listener.serve(pair), self._loop).result(30)
            if not self.listener.steered:
                self._log("note: SO_ATTACH_REUSEPORT_CBPF is refused here: idle connections were closed for it")
        self._pair = pair
        self.metrics.tls_not_after.set(pair.not_after.timestamp())
        until = pair.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._log(f"certificate in force: {', '.join(pair.names[:8])} until {until}")

    def _look_credentials(self) -> Any:  # Any: a Signature
        path = config_path(self._environ)
        return signature((), () if path is None else (path,))

    def _tell(self, what: str, trouble: str | None) -> None:
        self.metrics.reload(what, ok=trouble is None, now=time.time())
        if trouble is not None:
            self._log(f"warning: {trouble}")

    # Requests

    async def _handle(self, scope: Any, protocol: Any, worker: Worker) -> None:  # Any: Granian's
        if self.service is None:
            raise RuntimeError("the port is opened after the policy is loaded")
        await self.service.handle(scope, protocol, closing=worker.closing)

    # The admin port

    def _ready(self) -> tuple[bool, tuple[str, ...]]:
        lines = self.reloader.troubles
        if self.state != "ready":
            lines = (self.state, *lines)
        return self.state == "ready", lines

    def _alive(self) -> bool:
        return time.monotonic() - self._beat < _ALIVE

    def _metrics_text(self) -> bytes:
        self.metrics.entries.set(self.judge.entries)
        self.metrics.ready.set(1 if self.state == "ready" else 0)
        return self.metrics.render()

    def _decisions(self) -> bytes:
        """The page's data: lines that are JSON already, newest first."""
        service = self.service
        recent = [] if service is None else list(service.recent)
        return b'{"health":%s,"decisions":[%s]}' % (json.dumps(self._health()).encode(), b",".join(reversed(recent)))

    def _health(self) -> dict[str, object]:
        hits, misses = self.metrics.cache_use()
        policies = () if self.service is None else self.service.snapshot.policies.values()
        return {
            "state": self.state,
            "ready": self.state == "ready",
            "problems": list(self.reloader.troubles),
            "cache": {"entries": self.judge.entries, "hits": hits, "misses": misses},
            "policies": [{"name": p.name, "digest": p.policy_digest} for p in policies],
            "certificate_until": "" if self._pair is None else self._pair.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "registries": [
                {"host": h.host, "busy": h.busy, "waiting": h.waiting, "failures": h.failures, "open": h.open}
                for h in self.limits.health()
            ],
        }

    # Life

    async def run(self) -> int:
        """Serve until a signal."""
        o = self._options
        self._policy.first()
        self._credentials.first()
        pair = self._certificate.first()
        views = Views(
            alive=self._alive,
            ready=self._ready,
            metrics=self._metrics_text,
            decisions=self._decisions if o.page else None,
        )
        admin = _bound(lambda: Admin(o.admin_host, o.admin_port, views), o.admin_host, o.admin_port)
        admin.start()
        self.audit.start()
        end, hurry = self._signals()
        try:
            await self.listener.serve(pair)
        except OSError as e:
            raise DestinationError(f"cannot listen on {o.host}:{o.port}: {(e.strerror or '?').lower()}") from e
        self.reloader.start()
        self._become_ready(admin)
        watch = asyncio.ensure_future(self._turn())
        await asyncio.wait({asyncio.ensure_future(end.wait()), watch}, return_when=asyncio.FIRST_COMPLETED)
        failed = watch.done()
        if not failed:
            await self._drain(hurry)
        await self._finish(admin)
        return 70 if failed else 0

    def _become_ready(self, admin: Admin) -> None:
        # What is loaded by now stays for good: the collector need not look at it again and again. Reviews make many
        # short-lived objects without cycles, and a look at every remembered verdict costs milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self.state = "ready"
        if self.service is not None:
            self.service.welcome = True
        self._log(f"ready: https://{self._options.host}:{self.listener.port}, admin port {admin.port}")

    def _signals(self) -> tuple[asyncio.Event, asyncio.Event]:
        end, hurry = asyncio.Event(), asyncio.Event()

        def stop(*, at_once: bool) -> None:
            if at_once or end.is_set():
                hurry.set()
            end.set()

        self._loop.add_signal_handler(signal.SIGTERM, lambda: stop(at_once=False))
        self._loop.add_signal_handler(signal.SIGINT, lambda: stop(at_once=True))
        return end, hurry

    async def _turn(self) -> None:
        """Say that the loop turns; ends if the port died."""
        while not self.listener.failed():
            self._beat = time.monotonic()
            if self.service is not None:
                self.service.sweep()
            await asyncio.sleep(1)
        self._log("error: the webhook's port ended by itself")

    async def _drain(self, hurry: asyncio.Event) -> None:
        self.state = "draining"
        self.listener.drain()
        self._log(f"draining: unready, serving on for {self._options.drain:g} s")
        try:
            async with asyncio.timeout(self._options.drain):
                await hurry.wait()
        except TimeoutError:
            pass

    async def _finish(self, admin: Admin) -> None:
        self.state = "stopping"
        self.reloader.stop()
        await self.listener.stop(FINISH)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.audit.close(5)
        admin.stop()
        self._log("stopped")


def _bound(make: Callable[[], Admin], host: str, port: int) -> Admin:
    try:
        return make()
    except OSError as e:
        raise DestinationError(f"cannot listen on {quote(host)}:{port}: {(e.strerror or '?').lower()}") from e


def serve(options: Options, environ: Mapping[str, str], log: Callable[[str], None]) -> int:
    """Run the webhook until a signal; returns the exit code.

    Raises:
        ImgsignError: something could not be loaded or bound at the start.
    """

    async def main() -> int:
        return await _Process(options, environ, log).run()

    return asyncio.run(main())
