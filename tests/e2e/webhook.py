"""A running ``imgsign admission serve`` for the end-to-end tests and benchmarks, and clients of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import parts
from tests.e2e.certificates import Authority

POLICY = """\
version = 1
default = "reject"
[anchors.release]
keys = ["release.pub"]
[scopes."{host}"]
require = [ {{ signed-by = "release" }} ]
"""
SETTINGS = """\
version = 1
policy = "policy.toml"
unsafe-local-hosts = [{hosts}]
"""


class Mounted:
    """A directory as the kubelet mounts a ConfigMap or Secret: files are links into ``..data``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0
        directory.mkdir(parents=True)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Show these files, all at the same moment."""
        self._count += 1
        fresh = self.directory / f"..2026_11_24_{self._count}"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        old = os.readlink(self.directory / "..data") if self._count > 1 else None
        (self.directory / "..data_tmp").symlink_to(fresh.name)
        (self.directory / "..data_tmp").rename(self.directory / "..data")
        for name in files:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        if old is not None:
            shutil.rmtree(self.directory / old)


class Cluster:
    """What an operator mounts: settings, policy, keys and a certificate of an authority of its own."""

    def __init__(self, base: Path, public_key: bytes, *hosts: str) -> None:
        self.authority = Authority(base / "authority")
        self.config, self.tls = Mounted(base / "config"), Mounted(base / "tls")
        self.public_key, self.hosts = public_key, hosts
        self._issued = 0
        self.set_policy("\n".join(POLICY.format(host=h) if i == 0 else _scope(h) for i, h in enumerate(hosts)))
        self.renew()

    def set_policy(self, policy: str) -> None:
        """Mount another policy beside the same settings and key."""
        settings = SETTINGS.format(hosts=", ".join(json.dumps(h) for h in self.hosts))
        self.config.write({"admission.toml": settings, "policy.toml": policy, "release.pub": self.public_key})

    def renew(self) -> str:
        """Mount a new certificate and key; returns its name."""
        self._issued += 1
        name = f"webhook-{self._issued}"
        certificate, key = self.authority.issue(name, "localhost", "127.0.0.1")
        self.tls.write({"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()})
        return name


def _scope(host: str) -> str:
    return f'[scopes."{host}"]\nrequire = [ {{ signed-by = "release" }} ]\n'


@dataclass(frozen=True, slots=True)
class Webhook:
    """A running webhook."""

    port: int
    admin_port: int
    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    ca: Path

    def context(self) -> ssl.SSLContext:
        """Trust its authority."""
        return ssl.create_default_context(cafile=str(self.ca))

    def connect(self, timeout: float = 30) -> http.client.HTTPSConnection:
        """Open a connection of one's own."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context())

    def ask(self, raw: bytes, gate: str = "validate", *, timeout: str = "10s") -> tuple[int, dict[str, str], bytes]:
        """Post a body on a new connection: status, headers, body."""
        connection = self.connect()
        try:
            return post(connection, raw, gate, timeout=timeout)
        finally:
            connection.close()

    def review(self, raw: bytes, gate: str = "validate", *, timeout: str = "10s") -> dict[str, object]:
        """Post a review and return its response object."""
        status, _, answer = self.ask(raw, gate, timeout=timeout)
        assert status == 200, (status, answer)
        found: dict[str, object] = json.loads(answer)["response"]
        return found

    def admin(self, path: str) -> tuple[int, str]:
        """GET from the admin port: status and text."""
        return get(f"http://127.0.0.1:{self.admin_port}{path}")

    def metric(self, name: str) -> float:
        """Add up all series of a metric's name (with labels, if given up to a brace)."""
        lines = self.admin("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{re.escape(name)}[ {{]", line))

    def resident(self) -> float:
        """MiB of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def post(
    connection: http.client.HTTPSConnection, raw: bytes, gate: str = "validate", *, timeout: str = "10s"
) -> tuple[int, dict[str, str], bytes]:
    """Post as the API server does."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, */*"}
    connection.request("POST", f"/{gate}?timeout={timeout}", raw, headers)
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def get(url: str) -> tuple[int, str]:
    """GET: status and text."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()


@contextlib.contextmanager
def webhook(base: Path, cluster: Cluster, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Webhook]:
    """Start it on free ports and wait until it is ready."""
    base.mkdir(parents=True, exist_ok=True)
    out, err = base / "audit.jsonl", base / "webhook.log"
    command = [sys.executable, "-m", "imgsign", "admission", "serve"]
    command += ["--settings", str(cluster.config.directory / "admission.toml"), "--tls", str(cluster.tls.directory)]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env={**os.environ, **(env or {})}
        )
    try:
        parts.wait_for(lambda: process.poll() is not None or b"ready: " in err.read_bytes(), err)
        match = re.search(r"ready: https://127\.0\.0\.1:(\d+), admin port (\d+)", err.read_text())
        assert match is not None, err.read_text()
        yield Webhook(int(match[1]), int(match[2]), process, out, err, cluster.authority.file)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def audit(found: Webhook) -> list[dict[str, object]]:
    """Read the audit log so far."""
    return [json.loads(line) for line in found.out.read_text().splitlines()]


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured; latencies in milliseconds. ``errors``: sockets and answers that were no 2xx."""

    rate: float
    p50: float
    p99: float
    errors: int
    requests: int


def wrk(
    base: Path,
    url: str,
    bodies: Sequence[bytes],
    *,
    seconds: float,
    connections: int = 16,
    threads: int = 2,
    name: str = "wrk",
) -> Load:
    """Post the bodies, in turn in each thread, over kept TLS connections."""
    parts.need("wrk")
    for number, raw in enumerate(bodies):
        (base / f"{name}.{number}.json").write_bytes(raw)
    script = base / f"{name}.lua"
    script.write_text(
        f"""
local started = 0
function setup(thread) thread:set("first", started * {max(1, len(bodies) // threads)}); started = started + 1 end
function init(args)
  wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
  requests = {{}}; count = {len(bodies)}; at = first
  for n = 0, count - 1 do
    local file = io.open("{base}/{name}." .. n .. ".json", "rb"); local raw = file:read("*a"); file:close()
    requests[n + 1] = wrk.format("POST", nil, nil, raw)
  end
end
function request() at = at % count + 1; return requests[at] end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %f %f %f %d %d\\n", summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, e.connect + e.read + e.write + e.status + e.timeout,
    summary.requests))
end
"""
    )
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script), url]
    done = parts.run(*command, timeout=seconds + 60)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    rate, p50, p99, errors, requests = line.split()[1:]
    return Load(float(rate), float(p50), float(p99), int(errors), int(requests))


def until(ready: object, seconds: float = 20) -> None:
    """Wait until ``ready()`` is true."""
    end = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]  # a function without arguments
        if time.monotonic() > end:
            raise AssertionError("did not happen in time")
        time.sleep(0.05)
