"""``imgsign key generate`` and ``show``: the commands as a person types them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from imgsign.keys import PublicKey
from imgsign.signers import Kind
from imgsign.signers.keyfile import kind_title
from tests.cli.shell import Shell

KEYS = Path(__file__).resolve().parents[2] / "keys-test"
CI = PublicKey.from_pem((KEYS / "ci.pub").read_bytes())
PASSWORD = {"IMGSIGN_PASSWORD": "test"}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_generate_writes_a_pair_and_says_the_next_command(shell: Shell) -> None:
    code, out, err = shell.run("generate release", PASSWORD)
    key = shell.public("release.pub")
    assert (code, err) == (0, "")
    assert out == (
        "private key  release.key  (ecdsa-p256, protected by a password)\n"
        "public key   release.pub\n"
        f"fingerprint  {key.fingerprint}\n"
        "next         imgsign sign IMAGE -k release.key\n"
    )
    assert shell.private("release.key") == key
    assert shell.files() == ["release.key", "release.pub"]
    assert stat.S_IMODE((shell.base / "release.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((shell.base / "release.pub").stat().st_mode) == 0o644
    assert (shell.base / "release.key").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")


def test_generate_without_a_name_writes_imgsign(shell: Shell) -> None:
    assert shell.run("generate --no-password")[0] == 0
    assert shell.files() == ["imgsign.key", "imgsign.pub"]


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.RSA_4096])
def test_generate_makes_every_kind(shell: Shell, kind: str) -> None:
    code, out, _ = shell.run(f"generate k --type {kind} --no-password")
    assert (code, out.splitlines()[0]) == (0, f"private key  k.key  ({kind}, NOT protected by a password)")
    assert kind_title(shell.public("k.pub")) == kind
    assert shell.private("k.key") == shell.public("k.pub")


def test_generate_says_what_other_tools_do_not_read(shell: Shell) -> None:
    _, _, err = shell.run("generate k --type ecdsa-p384 --no-password")
    assert err == (
        "note: 'cosign verify' reads this key's signatures only with --signature-digest-algorithm\n"
        "note: it cannot sign with --format simple: no reader of .sig tags knows this kind of key\n"
    )


@pytest.mark.parametrize("name", ["release.key", "release.pub", "./release"])
def test_generate_takes_the_name_with_its_suffix(shell: Shell, name: str) -> None:
    assert shell.run(f"generate {name} --no-password")[0] == 0
    assert shell.files() == ["release.key", "release.pub"]


def test_generate_keeps_dots_and_quotes_blanks(shell: Shell) -> None:
    _, out, _ = shell.run("generate 'team a v1.2' --no-password")
    assert shell.files() == ["team a v1.2.key", "team a v1.2.pub"]
    assert out.endswith("next         imgsign sign IMAGE -k 'team a v1.2.key'\n")


def test_generate_in_cosigns_format(shell: Shell) -> None:
    assert shell.run("generate k --format cosign", PASSWORD)[0] == 0
    assert (shell.base / "k.key").read_text().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    assert shell.private("k.key") == shell.public("k.pub")


@pytest.mark.parametrize(
    ("line", "environ", "code", "err"),
    [
        (
            "generate k",
            {},
            3,
            "error: no password was given for the new key 'k.key'\n"
            "hint: set IMGSIGN_PASSWORD, or use --password-stdin, or --no-password to leave it unprotected\n",
        ),
        (
            "generate k",
            {"IMGSIGN_PASSWORD": ""},
            3,
            "error: IMGSIGN_PASSWORD is set but empty\nhint: --no-password leaves the key unprotected on purpose\n",
        ),
        (
            "generate k --no-password",
            {"IMGSIGN_PASSWORD": "test"},
            2,
            "error: --no-password contradicts IMGSIGN_PASSWORD\nhint: unset IMGSIGN_PASSWORD\n",
        ),
        ("generate k --no-password --password-stdin", {}, 2, "error: --no-password contradicts --password-stdin\n"),
        (
            "generate k --type ml-dsa-65 --format cosign",
            {"IMGSIGN_PASSWORD": "test"},
            2,
            "error: cosign cannot read keys of kind ml-dsa-65\nhint: leave out --format cosign\n",
        ),
        (
            "generate a/k",
            {},
            3,
            "error: cannot write 'a/k.key': no such directory\nhint: mkdir -p a\n",
        ),
        ("generate a/", {}, 2, "error: 'a/' names no file\nhint: add a file name\n"),
        ("generate ''", {}, 2, "error: '' names no file\nhint: add a file name\n"),
        ("generate .key", {}, 2, "error: '' names no file\nhint: add a file name\n"),
    ],
)
def test_generate_refuses_and_writes_nothing(
    shell: Shell, line: str, environ: dict[str, str], code: int, err: str
) -> None:
    assert shell.run(line, environ) == (code, "", err)
    assert shell.files() == []


@pytest.mark.parametrize("taken", ["k.key", "k.pub"])
def test_generate_never_overwrites_without_force(shell: Shell, taken: str) -> None:
    (shell.base / taken).write_text("precious")
    assert shell.run("generate k --no-password") == (
        3,
        "",
        f"error: {taken!r} already exists\nhint: choose another name, or overwrite it with --force\n",
    )
    assert shell.files() == [taken]
    assert (shell.base / taken).read_text() == "precious"
    assert shell.run("generate k --no-password --force")[0] == 0
    assert shell.private("k.key") == shell.public("k.pub")


SHOWN = f"kind         ecdsa-p256\nfingerprint  {CI.fingerprint}\ncosign hint  {CI.hint}\n{CI.to_pem().decode()}"
MISSING = "error: cannot read '{}': no such file or directory\n"


def test_show_public_key_needs_no_password(shell: Shell) -> None:
    assert shell.run(f"show {KEYS}/ci.pub") == (0, SHOWN, "")


@pytest.mark.parametrize("newline", [b"", b"\n", b"\r\n", b"\nmore\n"])
def test_show_private_key_with_one_line_of_standard_input(shell: Shell, newline: bytes) -> None:
    assert shell.run(f"show {KEYS}/ci.key --password-stdin", stdin=b"test" + newline) == (0, SHOWN, "")


def test_show_key_in_a_variable(shell: Shell) -> None:
    environ = {"CI_KEY": (KEYS / "ci.key").read_text(), "IMGSIGN_PASSWORD": "test"}
    assert shell.run("show env:CI_KEY", environ) == (0, SHOWN, "")


def test_show_json_and_pem(shell: Shell) -> None:
    code, out, err = shell.run(f"show {KEYS}/ci.pub --output json")
    fields = {"kind": "ecdsa-p256", "fingerprint": CI.fingerprint, "hint": CI.hint, "pem": CI.to_pem().decode()}
    assert (code, json.loads(out), err) == (0, fields, "")
    assert out.count("\n") == 1
    assert shell.run(f"show {KEYS}/ci.pub --pem") == (0, CI.to_pem().decode(), "")


@pytest.mark.parametrize("name", ["rsa-3072", "ml-dsa-65"])
def test_show_names_the_kind_as_generate_does(shell: Shell, name: str) -> None:
    assert shell.run(f"show {KEYS}/{name}.pub")[1].startswith(f"kind         {name}\n")


@pytest.mark.parametrize(
    ("line", "environ", "code", "err"),
    [
        (
            "show KEYS/ci.key",
            {},
            3,
            "error: 'KEYS/ci.key' is encrypted and no password was given\n"
            "hint: set IMGSIGN_PASSWORD, or use --password-stdin\n",
        ),
        (
            "show KEYS/ci.key",
            {"IMGSIGN_PASSWORD": "hunter2"},
            3,
            "error: wrong password for 'KEYS/ci.key'\nhint: IMGSIGN_PASSWORD counts before a prompt\n",
        ),
        ("show nowhere", {}, 3, f"{MISSING.format('nowhere')}hint: imgsign key generate\n"),
        ("show KEYS/ci", {}, 3, f"{MISSING.format('KEYS/ci')}hint: did you mean 'KEYS/ci.pub'?\n"),
        (
            "show KEYS/make.py",
            {},
            3,
            "error: 'KEYS/make.py': not a PEM public key\nhint: it starts with -----BEGIN PUBLIC KEY-----\n",
        ),
        (
            "show KEYS/ci.pub --pem --output json",
            {},
            2,
            "error: --pem contradicts --output json\nhint: leave out one of them\n",
        ),
    ],
)
def test_show_refuses(shell: Shell, line: str, environ: dict[str, str], code: int, err: str) -> None:
    assert shell.run(line.replace("KEYS", str(KEYS)), environ) == (code, "", err.replace("KEYS", str(KEYS)))


def test_the_flag_for_standard_input_comes_before_the_environment(shell: Shell) -> None:
    wrong = {"IMGSIGN_PASSWORD": "not of this key"}
    assert shell.run(f"show {KEYS}/ci.key --password-stdin", wrong, stdin=b"test\n") == (0, SHOWN, "")
    assert shell.run("generate k --password-stdin", wrong, stdin=b"typed\n")[0] == 0
    assert shell.private("k.key", b"typed") == shell.public("k.pub")


def test_an_empty_standard_input_is_not_replaced_by_the_environment(shell: Shell) -> None:
    code, _, err = shell.run(f"show {KEYS}/ci.key --password-stdin", PASSWORD, stdin=b"")
    assert (code, err.splitlines()[0]) == (3, "error: no password on standard input")


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "no password on standard input"),
        (b"x" * 4097, "the password on standard input is longer than 4096 bytes"),
        (b"x" * 10_000_000, "the password on standard input is longer than 4096 bytes"),
        (b"\n", f"wrong password for '{KEYS}/ci.key'"),
    ],
)
def test_standard_input_is_bounded(shell: Shell, stdin: bytes, message: str) -> None:
    code, out, err = shell.run(f"show {KEYS}/ci.key --password-stdin", stdin=stdin)
    assert (code, out, err.splitlines()[0]) == (3, "", f"error: {message}")


def test_empty_line_is_no_password_for_a_new_key(shell: Shell) -> None:
    code, _, err = shell.run("generate k --password-stdin", stdin=b"\n")
    assert (code, err.splitlines()[0]) == (3, "error: the password on standard input is empty")
    assert shell.files() == []


def test_password_of_4096_bytes_is_taken_whole(shell: Shell) -> None:
    assert shell.run("generate k --password-stdin", stdin=b"x" * 4096 + b"\r\n")[0] == 0
    assert shell.private("k.key", b"x" * 4096) == shell.public("k.pub")


def test_password_bytes_of_the_environment_are_not_decoded(shell: Shell) -> None:
    assert shell.run("generate k", {"IMGSIGN_PASSWORD": os.fsdecode(b"\xff\xfe")})[0] == 0
    assert shell.private("k.key", b"\xff\xfe") == shell.public("k.pub")
