"""``imgsign key convert``: the same key in another file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from imgsign.keys import PublicKey
from tests.cli.shell import Shell

KEYS = Path(__file__).resolve().parents[2] / "keys-test"
CI = PublicKey.from_pem((KEYS / "ci.pub").read_bytes())
PASSWORD = {"IMGSIGN_PASSWORD": "test"}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_convert_to_cosign_keeps_key_and_password(shell: Shell) -> None:
    code, out, err = shell.run(f"convert {KEYS}/ci.key out.key --format cosign", PASSWORD)
    assert (code, err) == (0, "")
    assert out == (
        "private key  out.key  (ecdsa-p256, protected by a password)\n"
        f"fingerprint  {CI.fingerprint}\n"
        "next         imgsign key show out.key --pem > out.pub\n"
    )
    assert (shell.base / "out.key").read_text().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    assert stat.S_IMODE((shell.base / "out.key").stat().st_mode) == 0o600
    assert shell.private("out.key") == CI


def test_convert_from_cosign_with_a_new_password(shell: Shell) -> None:
    environ = {"IMGSIGN_PASSWORD": "test", "IMGSIGN_NEW_PASSWORD": "other"}
    assert shell.run(f"convert {KEYS}/cosign-p256.key out.key", environ)[0] == 0
    assert shell.private("out.key", b"other") == PublicKey.from_pem((KEYS / "cosign-p256.pub").read_bytes())


def test_convert_in_place_needs_force(shell: Shell) -> None:
    (shell.base / "k.key").write_bytes((KEYS / "ci.key").read_bytes())
    environ = {"IMGSIGN_PASSWORD": "test", "IMGSIGN_NEW_PASSWORD": "other"}
    assert shell.run("convert k.key k.key", environ)[0] == 3
    assert shell.private("k.key") == CI
    assert shell.run("convert k.key k.key --force", environ)[0] == 0
    assert shell.private("k.key", b"other") == CI


def test_convert_protects_an_unprotected_key(shell: Shell) -> None:
    """The old password is none; leaving the new file without one must be said on purpose."""
    assert shell.run("generate k --no-password")[0] == 0
    assert shell.run("convert k.key out.key") == (
        3,
        "",
        "error: no password was given for the new key 'out.key'\n"
        "hint: set IMGSIGN_NEW_PASSWORD, or use --no-password to leave it unprotected\n",
    )
    assert shell.run("convert k.key out.key", {"IMGSIGN_NEW_PASSWORD": "test"})[0] == 0
    assert shell.private("out.key") == shell.public("k.pub")


def test_convert_without_password_is_said_twice(shell: Shell) -> None:
    _, out, _ = shell.run(f"convert {KEYS}/ci.key out.key --no-password", PASSWORD)
    assert out.startswith("private key  out.key  (ecdsa-p256, NOT protected by a password)\n")
    assert (shell.base / "out.key").read_text().startswith("-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("line", "environ", "code", "message"),
    [
        ("convert KEYS/ci.key o.key", {"IMGSIGN_NEW_PASSWORD": ""}, 3, "IMGSIGN_NEW_PASSWORD is set but empty"),
        (
            "convert KEYS/ci.key o.key --no-password",
            {"IMGSIGN_NEW_PASSWORD": "x"},
            2,
            "--no-password contradicts IMGSIGN_NEW_PASSWORD",
        ),
        ("convert KEYS/ci.pub o.key", {}, 3, "'KEYS/ci.pub': this is a public key, a private key is needed"),
        ("convert KEYS/ml-dsa-65.key o.key --format cosign", {}, 2, "cosign cannot read keys of kind ml-dsa-65"),
        ("convert KEYS/ci.key -", {}, 2, "'-' names no file"),
    ],
)
def test_convert_refuses_and_writes_nothing(
    shell: Shell, line: str, environ: dict[str, str], code: int, message: str
) -> None:
    found, out, err = shell.run(line.replace("KEYS", str(KEYS)), PASSWORD | environ)
    assert (found, out, err.splitlines()[0]) == (code, "", "error: " + message.replace("KEYS", str(KEYS)))
    assert shell.files() == []
