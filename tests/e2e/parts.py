"""Real servers for the end-to-end tests: started on loopback, stopped by their process id.

A missing part skips the test when somebody runs pytest by hand; under ``tests/run`` (``IMGSIGN_E2E``) it
fails, so that a continuous run never passes by skipping.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

START_TIMEOUT = 30.0  # seconds until a server must answer


def need(*commands: str) -> None:
    """Skip, or under tests/run fail, unless all commands are there."""
    missing = [c for c in commands if shutil.which(c) is None]
    if missing and os.environ.get("IMGSIGN_E2E"):
        pytest.fail(f"missing part: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing part: {', '.join(missing)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(
    *command: str | Path,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; on failure show everything it said."""
    full = {**os.environ, **(env or {})}
    done = subprocess.run(
        [str(c) for c in command],
        env=full,
        cwd=cwd,
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def imgsign(*arguments: str | Path, **kw: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command line in a process of its own."""
    return run(sys.executable, "-m", "imgsign", *arguments, **kw)  # type: ignore[arg-type]  # run's own keywords


@dataclass(frozen=True, slots=True)
class Registry:
    """A running docker-registry."""

    host: str
    storage: Path
    ca: Path | None = None

    @property
    def url(self) -> str:
        return f"http{'' if self.ca is None else 's'}://{self.host}"

    def get(self, path: str, accept: str = "*/*") -> tuple[int, bytes]:
        """GET without credentials: status and body."""
        return self._ask(urllib.request.Request(f"{self.url}{path}", headers={"Accept": accept}))

    def put(self, path: str, body: bytes, media_type: str) -> int:
        """PUT without credentials: status."""
        headers = {"Content-Type": media_type}
        return self._ask(urllib.request.Request(f"{self.url}{path}", body, headers, method="PUT"))[0]

    def upload(self, path: str, raw: bytes) -> int:
        """Store a blob without credentials: status."""
        start = urllib.request.Request(f"{self.url}/v2/{path}/blobs/uploads/", b"", method="POST")
        with self._open(start) as answer:
            location = answer.headers["Location"]
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        return self.put(f"/v2/{location.partition('/v2/')[2]}&digest={digest}", raw, "application/octet-stream")

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        context = None if self.ca is None else ssl.create_default_context(cafile=str(self.ca))
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=10, context=context)
        return answer

    def _ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with self._open(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read()


@contextlib.contextmanager
def started(command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a server in the background; end it and what it started when done."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(ready: object, log: Path) -> None:
    """Call ``ready()`` until it is true."""
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if ready():  # type: ignore[operator]  # a function without arguments
            return
        time.sleep(0.05)
    raise AssertionError(f"server did not start:\n{log.read_text(errors='replace')[-4000:]}")


@contextlib.contextmanager
def registry(
    base: Path,
    *,
    htpasswd: Path | None = None,
    read_only: bool = False,
    auth: Mapping[str, object] | None = None,
    upstream: str | None = None,
    tls: tuple[Path, Path, Path] | None = None,
    address: str = "127.0.0.1",
    deletes: bool = False,
) -> Iterator[Registry]:
    """Start Debian's docker-registry with its storage under ``base``; ``deletes``: it deletes manifests.

    ``upstream``: the URL of the registry it is a pull-through cache of. ``tls``: certificate, key, authority.
    """
    need("docker-registry")
    port = free_port()
    storage = base / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    maintenance = {"readonly": {"enabled": read_only}, "uploadpurging": {"enabled": False}}
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "maintenance": maintenance,
            "delete": {"enabled": deletes},
        },
        "http": {"addr": f"{address}:{port}"},
    }
    if upstream is not None:
        config["proxy"] = {"remoteurl": upstream}
    if tls is not None:
        config["http"] = {"addr": f"{address}:{port}", "tls": {"certificate": str(tls[0]), "key": str(tls[1])}}
    if htpasswd is not None:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(htpasswd)}}
    if auth is not None:
        config["auth"] = dict(auth)
    path = base / "registry.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    found = Registry(f"{address}:{port}", storage, None if tls is None else tls[2])
    log = base / "registry.log"
    # OTEL and REGISTRY_* of the caller must not configure it.
    with started(["docker-registry", "serve", path], log):
        wait_for(lambda: _answers(found), log)
        yield found


def _answers(found: Registry) -> bool:
    try:
        return found.get("/v2/")[0] in (200, 401)
    except OSError:
        return False


@contextlib.contextmanager
def nginx(base: Path, server: str) -> Iterator[int]:
    """Start nginx with one ``server`` block's content; ``PORT`` in it is the port that is yielded."""
    need("nginx")
    base.mkdir(parents=True, exist_ok=True)
    port = free_port()
    temporary = "".join(
        f"{kind}_temp_path {base}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = base / "nginx.conf"
    path.write_text(
        f"daemon off; pid {base}/pid; error_log {base}/error.log; worker_processes 1;"
        f"events {{}} http {{ access_log {base}/access.log; client_max_body_size 0; {temporary}"
        f"server {{ {server.replace('PORT', str(port))} }} }}"
    )
    log = base / "out.log"
    with started(["nginx", "-e", base / "error.log", "-c", path], log):
        wait_for(lambda: _listens(port), log)
        yield port


@contextlib.contextmanager
def tinyproxy(base: Path, user: str, password: str) -> Iterator[tuple[int, Path]]:
    """Start tinyproxy with a password; yields its port and its log, which names every CONNECT."""
    need("tinyproxy")
    base.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path, access = base / "tinyproxy.conf", base / "access.log"
    path.write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth {user} {password}\nLogFile "{access}"\n'
        f'LogLevel Connect\nPidFile "{base}/pid"\n'
    )
    log = base / "out.log"
    with started(["tinyproxy", "-d", "-c", path], log):
        wait_for(lambda: _listens(port), log)
        yield port, access


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def dockerd(base: Path) -> Iterator[str]:
    """Start a docker engine on a socket of its own; yields the DOCKER_HOST value."""
    need("dockerd", "docker")
    base.mkdir(parents=True, exist_ok=True)
    host = f"unix://{base}/docker.sock"
    log = base / "dockerd.log"
    command = [
        "dockerd",
        "--iptables=false",
        "--bridge=none",
        "--storage-driver=vfs",
        f"--data-root={base}/data",
        f"--exec-root={base}/exec",
        f"--pidfile={base}/pid",
        f"--host={host}",
    ]
    with started(command, log):
        wait_for(lambda: run("docker", "info", check=False, env={"DOCKER_HOST": host}).returncode == 0, log)
        yield host
