"""Public keys by their spec: files, inline text, environment variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsign.errors import DestinationError, ImgsignError, InvalidKey
from imgsign.keys import PublicKey
from imgsign.load import load_public_key

KEYS = Path(__file__).resolve().parents[1] / "keys-test"
CI = PublicKey.from_pem((KEYS / "ci.pub").read_bytes())


@pytest.mark.parametrize(
    ("spec", "base"),
    [
        (str(KEYS / "ci.pub"), None),
        (f"file:{KEYS / 'ci.pub'}", None),
        (str(KEYS / "ci.pub"), Path("/somewhere/else")),
        ("ci.pub", KEYS),
        ("../keys-test/ci.pub", KEYS),
        ("env:CI_PUB", None),
        (CI.to_pem().decode(), None),
        (CI.to_pem().decode().strip(), KEYS),
    ],
)
def test_every_spelling_names_the_same_key(spec: str, base: Path | None) -> None:
    assert load_public_key(spec, environ={"CI_PUB": CI.to_pem().decode()}, base=base) == CI


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("nowhere.pub", DestinationError, "cannot read 'BASE/nowhere.pub': no such file or directory"),
        (".", DestinationError, "cannot read 'BASE': is a directory"),
        ("pipe", DestinationError, "'BASE/pipe' is not a regular file"),
        ("/dev/zero", DestinationError, "'/dev/zero' is not a regular file"),
        ("huge.pub", DestinationError, "'BASE/huge.pub' is longer than 65536 bytes"),
        ("", DestinationError, "no key was given"),
        ("env:NOT_SET", DestinationError, "environment variable 'NOT_SET' is not set"),
        ("https://example.com/k.pub?token=secret", DestinationError, "cannot read keys from 'https'"),
        ("empty.pub", InvalidKey, "'BASE/empty.pub': not a PEM public key"),
        ("private.pub", InvalidKey, "'BASE/private.pub': this is a private key, a public key is needed"),
        ("env:GARBAGE", InvalidKey, "environment variable 'GARBAGE': not a PEM public key"),
        ("-----BEGIN PUBLIC KEY-----\n", InvalidKey, "inline key: not a PEM public key"),
        ("-----BEGIN PRIVATE KEY-----\nsecret", InvalidKey, "a private key was given as text"),
    ],
)
def test_refusal_names_the_place_and_never_the_content(
    spec: str, error: type[ImgsignError], message: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.pub").touch()
    (tmp_path / "huge.pub").write_bytes(b"\n" * 70_000)
    (tmp_path / "private.pub").write_bytes((KEYS / "ci.key").read_bytes())
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error) as caught:
        load_public_key(spec, environ={"GARBAGE": "secret"}, base=tmp_path)
    assert caught.value.message == message.replace("BASE", str(tmp_path))
    assert "secret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("exists", "spec", "hint"),
    [
        ("release.pub", "release", "did you mean 'BASE/release.pub'?"),
        ("release.key", "release.pub", "imgsign key show BASE/release.key --pem > BASE/release.pub"),
        ("other.key", "release.pub", "imgsign key generate"),
    ],
)
def test_missing_file_hints_at_the_next_thing_to_type(exists: str, spec: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / exists).touch()
    with pytest.raises(DestinationError) as caught:
        load_public_key(spec, environ={}, base=tmp_path)
    assert caught.value.hint == hint.replace("BASE", str(tmp_path))
