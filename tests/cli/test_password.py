"""Passwords from people: prompts appear only on a terminal, never echo, and never wait without one."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imgsign.signers.disk import read_path
from imgsign.signers.keyfile import parse_private

ROOT = Path(__file__).resolve().parents[2]
KEYS = ROOT / "keys-test"
PATIENCE = 30.0  # seconds until a waiting command counts as hanging


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def converse(base: Path, arguments: list[str], *answers: str, command: str = "key") -> tuple[int, str, str]:
    """Run on a terminal, typing one answer for each prompt; return code, stdout, what the terminal showed."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "imgsign", command, *arguments],
        cwd=base, env=environ(), stdin=slave, stderr=slave, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown, waiting, deadline = "", list(answers), time.monotonic() + PATIENCE
    prompts = 0
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                shown += os.read(master, 4096).decode()
            except OSError:  # the other end is closed
                break
            if shown.count(": ") > prompts and shown.endswith(": ") and waiting:
                prompts = shown.count(": ")
                os.write(master, waiting.pop(0).encode())
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        os.close(master)
    return process.returncode, out.decode(), shown.replace("\r\n", "\n")


def opens(path: Path, password: bytes) -> bool:
    return parse_private(read_path(path), lambda _: password) is not None


def test_new_password_is_typed_twice_and_never_shown(tmp_path: Path) -> None:
    code, out, shown = converse(tmp_path, ["generate", "k"], "hunter2\n", "hunter2\n")
    assert (code, shown) == (0, "new password for 'k.key': \nthe same again: \n")
    assert "hunter2" not in out
    assert opens(tmp_path / "k.key", b"hunter2")


def test_two_different_passwords_write_nothing(tmp_path: Path) -> None:
    code, _, shown = converse(tmp_path, ["generate", "k"], "one\n", "two\n")
    assert code == 3
    assert shown.endswith("error: the two passwords differ\nhint: try again\n")
    assert list(tmp_path.iterdir()) == []


def test_end_of_input_at_the_prompt_is_an_error(tmp_path: Path) -> None:
    code, _, shown = converse(tmp_path, ["show", str(KEYS / "ci.key")], "\x04")
    assert (code, shown) == (3, f"password for '{KEYS}/ci.key': \nerror: no password was typed\n")


def test_password_stdin_on_a_terminal_prompts_without_echo(tmp_path: Path) -> None:
    code, out, shown = converse(tmp_path, ["show", str(KEYS / "ci.key"), "--password-stdin"], "test\n")
    assert (code, shown) == (0, f"password for '{KEYS}/ci.key': \n")
    assert out.startswith("kind         ecdsa-p256\n")


def test_the_flag_on_a_terminal_prompts_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGSIGN_PASSWORD", "not of this key")
    code, _, shown = converse(tmp_path, ["show", str(KEYS / "ci.key"), "--password-stdin"], "test\n")
    assert (code, shown) == (0, f"password for '{KEYS}/ci.key': \n")


@pytest.fixture
def asks_basic() -> Iterator[str]:
    """A registry on loopback that wants the password ``s3cret-typed`` of alice; its ``host:port``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.headers["Authorization"] == "Basic " + b64encode(b"alice:s3cret-typed").decode()
            self.send_response(200 if good else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_login_asks_for_user_and_password_and_shows_only_the_user(
    tmp_path: Path, asks_basic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("IMGSIGN_PASSWORD", "of-a-key")  # which is none of the registry's business
    code, out, shown = converse(tmp_path, [asks_basic], "alice\n", "s3cret-typed\n", command="login")
    path = tmp_path / "config.json"
    assert (code, out) == (0, f"logged in to {asks_basic}, stored in '{path}'\n")
    assert shown == (
        f"user name for {asks_basic}: alice\npassword for {asks_basic}: \n"
        f"warning: the password is stored unencrypted in '{path}'\n"
    )
    stored = b64encode(b"alice:s3cret-typed").decode()
    assert json.loads(path.read_text()) == {"auths": {asks_basic: {"auth": stored}}}


def test_login_with_nothing_typed_sends_and_stores_nothing(
    tmp_path: Path, asks_basic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    code, _, shown = converse(tmp_path, [asks_basic, "-u", "alice"], "\n", command="login")
    assert (code, shown) == (
        2, f"password for {asks_basic}: \nerror: the password for {asks_basic} is empty\n",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_empty_answer_keeps_the_password_of_a_converted_key(tmp_path: Path) -> None:
    code, _, shown = converse(tmp_path, ["convert", str(KEYS / "ci.key"), "k.key"], "test\n", "\n")
    assert code == 0
    assert shown.endswith("new password for 'k.key' (empty keeps the old one): \n")
    assert opens(tmp_path / "k.key", b"test")


@pytest.mark.parametrize(
    ("terminal", "arguments"),
    [
        ("none", ["generate", "k"]),
        ("none", ["show", str(KEYS / "ci.key")]),
        ("stdin only", ["generate", "k"]),
        ("stderr only", ["show", str(KEYS / "ci.key")]),
    ],
)
def test_without_a_terminal_nothing_is_asked_or_read(tmp_path: Path, terminal: str, arguments: list[str]) -> None:
    """A pipeline that leaves standard input open must get an error, not a hang (agntcy/dir#1891)."""
    reader, writer = os.pipe()  # never written to, never closed while the command runs
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "imgsign", "key", *arguments],
        cwd=tmp_path, env=environ(), start_new_session=True,
        stdin=slave if terminal == "stdin only" else reader,
        stderr=slave if terminal == "stderr only" else subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=PATIENCE)
        shown = os.read(master, 4096) if terminal == "stderr only" else err
    finally:
        process.kill()
        for fd in (reader, writer, master, slave):
            os.close(fd)
    assert (process.returncode, out) == (3, b"")
    assert b"no password was given" in shown.splitlines()[0]
    assert b"hint: set IMGSIGN_PASSWORD, or use --password-stdin" in shown


def test_closed_standard_input_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    command = 'exec "$0" -m imgsign key show "$1" --password-stdin <&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(KEYS / "ci.key")],
        cwd=tmp_path, env=environ(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "error: there is no standard input to read a password from\n")
