"""Real servers for the end-to-end tests: started on loopback, stopped by their process id.

A missing part skips the test when somebody runs pytest by hand; under ``tests/run`` (``IMGSIGN_E2E``) it
fails, so that a continuous run never passes by skipping.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
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

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def get(self, path: str, accept: str = "*/*") -> tuple[int, bytes]:
        """GET without credentials: status and body."""
        return self._ask(urllib.request.Request(f"{self.url}{path}", headers={"Accept": accept}))

    def put(self, path: str, body: bytes, media_type: str) -> int:
        """PUT without credentials: status."""
        headers = {"Content-Type": media_type}
        return self._ask(urllib.request.Request(f"{self.url}{path}", body, headers, method="PUT"))[0]

    def _ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
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
def registry(base: Path, *, htpasswd: Path | None = None, read_only: bool = False) -> Iterator[Registry]:
    """Start Debian's docker-registry with its storage under ``base``."""
    need("docker-registry")
    port = free_port()
    storage = base / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    maintenance = {"readonly": {"enabled": read_only}, "uploadpurging": {"enabled": False}}
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "maintenance": maintenance},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if htpasswd is not None:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(htpasswd)}}
    path = base / "registry.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    found = Registry(f"127.0.0.1:{port}", storage)
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
