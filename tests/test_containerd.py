"""The plug-in's process, without a registry: what it says, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgsign.containerd import REASON_LIMIT, shorten

ROOT = Path(__file__).resolve().parent.parent
DIGEST = "sha256:" + "a" * 64
START = "from imgsign.containerd import run; run()"
POLICY = 'version = 1\ndefault = "reject"\n[scopes."example.com/free"]\nrequire = [{ unsafe-accept-unsigned = true }]\n'


def ask(
    base: Path, *arguments: str, stdin: bytes | None = None, config: str = 'policy = "policy.toml"'
) -> tuple[int, list[str], str]:
    """Run the plug-in as its launcher does; exit code, lines of stdout, stderr."""
    (base / "policy.toml").write_text(POLICY)
    (base / "containerd.toml").write_text(config)
    size = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 2}
    done = subprocess.run(
        [sys.executable, "-c", START, "--config", base / "containerd.toml", *arguments],
        input=json.dumps(size).encode() if stdin is None else stdin,
        capture_output=True,
        cwd=base,
        env={**os.environ, "PYTHONPATH": str(ROOT), "IMGSIGN_POLICY": "/nowhere"},
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def question(name: str) -> tuple[str, ...]:
    return "-name", name, "-digest", DIGEST, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"


def test_a_rejected_name_is_denied_without_a_request(tmp_path: Path) -> None:
    code, lines, errors = ask(tmp_path, *question("example.com/app:1"))
    assert code == 1
    assert lines == [
        f"denied example.com/app:1@{DIGEST}  scope (default): reject: no scope of the policy covers it, "
        "and the default rejects",
        "hint: add a scope for it to the policy",
    ]
    assert errors == ""


def test_an_image_that_may_be_unsigned_needs_no_registry(tmp_path: Path) -> None:
    code, lines, _ = ask(tmp_path, *question("example.com/free/pause:3.10"))
    assert code == 0
    assert lines == [f"allowed example.com/free/pause:3.10@{DIGEST}  scope example.com/free  accepted unsigned"]


def test_a_cold_plug_in_loads_neither_the_command_line_nor_the_webhook(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "containerd.toml").write_text('policy = "policy.toml"')
    code = f"""
import io, json, sys
from pathlib import Path
from imgsign.containerd import Voice, answer
raw = json.dumps({{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "{DIGEST}", "size": 2}})
sys.stdin = io.TextIOWrapper(io.BytesIO(raw.encode()))
assert answer({list(question("example.com/app:1"))!r}, Path({str(tmp_path / "containerd.toml")!r}), Voice())[0] == 1
print(*sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = set(done.stdout.split())
    assert "imgsign.evaluate" in loaded
    tops = {m.partition(".")[0] for m in loaded}
    assert not tops & {
        "typer",
        "yaml",
        "tomlkit",
        "granian",
        "prometheus_client",
        "securesystemslib",
        "rich",
        "requests",
    }
    assert not {m for m in loaded if m.startswith(("imgsign.signing", "imgsign.images"))}


def test_a_descriptor_cut_off_is_undecided_and_no_traceback(tmp_path: Path) -> None:
    code, lines, errors = ask(tmp_path, *question("example.com/app:1"), stdin=b'{"mediaType"')
    assert (code, errors) == (3, "")
    assert lines == ["undecided: not JSON: expecting ':' delimiter at line 1 column 13"]


def test_a_broken_policy_is_undecided_and_names_the_file(tmp_path: Path) -> None:
    code, lines, _ = ask(tmp_path, *question("example.com/app:1"), config='policy = "absent.toml"')
    assert code == 3
    assert lines == [f"undecided: cannot read '{tmp_path}/absent.toml': no such file or directory"]


def test_arguments_of_another_protocol_are_refused(tmp_path: Path) -> None:
    code, lines, _ = ask(tmp_path, "-operation", "run", *question("example.com/app:1"))
    assert code == 2
    assert lines[0].startswith("undecided: these are not the arguments of an image verifier: '-operation' 'run' ")


def test_a_name_cannot_choose_the_configuration(tmp_path: Path) -> None:
    code, lines, _ = ask(tmp_path, "-name", "--config", "-digest", DIGEST, "-stdin-media-type", "x")
    assert code == 2
    assert lines == ["undecided: unknown media type of standard input 'x'"]


def test_standard_input_that_never_ends_is_cut_by_the_own_deadline(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "containerd.toml").write_text('policy = "policy.toml"\ntimeout = "1s"')
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", START, "--config", tmp_path / "containerd.toml", *question("example.com/app:1")],
        stdin=read,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        said = process.communicate(timeout=20)[0]
    os.close(read)
    os.close(write)
    assert process.returncode == 3
    assert said.decode() == f"undecided example.com/app:1@{DIGEST}: no verdict within 1 s, so nothing is pulled\n"


def test_a_verdict_stands_though_nobody_reads_the_reason(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "containerd.toml").write_text('policy = "policy.toml"')
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", START, "--config", tmp_path / "containerd.toml", "-name", "x"],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (2, b"")


def test_check_reads_configuration_and_policy(tmp_path: Path) -> None:
    code, lines, _ = ask(tmp_path, "--check")
    assert code == 0
    assert lines == [
        f"ok {tmp_path}/containerd.toml  policy {tmp_path}/policy.toml with 1 scopes  timeout 8s",
    ]


def test_nothing_is_installed_that_would_only_fail(tmp_path: Path) -> None:
    code, lines, _ = ask(tmp_path, "--install", str(tmp_path / "bin"), config='polcy = "policy.toml"')
    assert code == 3
    assert lines[0].startswith(f"error: configuration '{tmp_path}/containerd.toml': unknown key 'polcy'")
    assert not (tmp_path / "bin").exists()


@pytest.mark.parametrize("given", [["--instal", "x"], ["--install"], ["--check", "-name", "x"]])
def test_a_misspelt_option_is_a_usage_error(tmp_path: Path, given: list[str]) -> None:
    code, lines, _ = ask(tmp_path, *given)
    assert code == 2
    assert lines[-1] == "hint: imgsign-containerd --help"


def test_a_reason_over_containerds_limit_is_cut_at_a_line() -> None:
    line = "é" * 499 + "\n"  # 999 bytes
    cut = shorten(line * 50)
    assert len(cut) <= REASON_LIMIT
    assert cut == (line * 32).encode() + "…\n".encode()


def test_one_long_line_is_cut_between_characters() -> None:
    cut = shorten("é" * 40_000)
    assert len(cut) <= REASON_LIMIT
    assert cut.decode() == "é" * 16_382 + "…\n"
