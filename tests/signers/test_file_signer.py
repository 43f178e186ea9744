"""Opening private keys by their spec, and signing with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from imgsign.errors import InvalidKey, SignerError
from imgsign.keys import SCHEMES, PublicKey
from imgsign.signers import Kind, Signer, load_signer, split_spec
from imgsign.signers.file import FileSigner

ROOT = Path(__file__).resolve().parents[2]
KEYS = ROOT / "keys-test"
MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
NAMES = ("sha256", "sha384", "sha512", "pure")


def password(what: str) -> bytes:
    return b"test"


def never_asked(what: str) -> bytes:
    raise AssertionError(f"asked for the password of {what}")


def signing_schemes(kind: str) -> set[str | None]:
    return {SCHEMES[kind].bundle, SCHEMES[kind].simple} - {None}


@pytest.mark.parametrize("kind", list(Kind))
def test_signature_verifies_with_the_public_file_and_its_scheme_alone(
    kind: str, signers: dict[str, FileSigner]
) -> None:
    file = "release-a" if kind == "ecdsa-p256" else kind
    public_key = PublicKey.from_pem((KEYS / f"{file}.pub").read_bytes())
    signer: Signer = signers[kind]
    assert signer.public_key == public_key
    for scheme in NAMES:
        if scheme in signing_schemes(public_key.kind):
            public_key.verify(signer.sign(MESSAGE, scheme), MESSAGE, hash=scheme)


@pytest.mark.parametrize("kind", list(Kind))
def test_scheme_outside_the_table_is_refused(kind: str, signers: dict[str, FileSigner]) -> None:
    """A P-384 key verifies old SHA-256 signatures, but never makes one."""
    signer = signers[kind]
    for scheme in {*NAMES, "sha1", "md5", "", "SHA256", "pss"} - signing_schemes(signer.public_key.kind):
        with pytest.raises(SignerError) as caught:
            signer.sign(MESSAGE, str(scheme))
        assert caught.value.message == f"{signer.public_key.scheme.title} keys do not sign with {scheme!r}"


def test_rsa_signature_is_deterministic_pkcs1_and_not_pss(signers: dict[str, FileSigner]) -> None:
    signer = signers["rsa-3072"]
    assert signer.sign(MESSAGE, "sha256") == signer.sign(MESSAGE, "sha256")


def test_ml_dsa_is_pure_fips_204_with_an_empty_context(signers: dict[str, FileSigner]) -> None:
    """securesystemslib would sign a prefixed message, which only TUF verifies."""
    signer = signers["ml-dsa-65"]
    key = load_der_public_key(signer.public_key.spki)
    assert isinstance(key, mldsa.MLDSA65PublicKey)
    key.verify(signer.sign(MESSAGE, "pure"), MESSAGE, b"")


def test_wrong_signature_never_leaves(signers: dict[str, FileSigner]) -> None:
    """A fault while signing may give the key away; here the two halves do not belong together."""
    broken = FileSigner(signers["ed25519"].public_key, load("ci.key")._key)
    object.__setattr__(broken, "public_key", PublicKey.from_pem((KEYS / "stranger.pub").read_bytes()))
    with pytest.raises(SignerError, match=r"^the signature just made with key SHA256:.* is wrong$"):
        broken.sign(MESSAGE, "sha256")


def load(name: str) -> FileSigner:
    signer = load_signer(str(KEYS / name), environ={}, password=password)
    assert isinstance(signer, FileSigner)
    return signer


def test_private_key_is_never_in_repr(signers: dict[str, FileSigner]) -> None:
    for signer in signers.values():
        assert repr(signer) == f"FileSigner(public_key={signer.public_key!r})"
        assert "rivateKey" not in f"{signer!r}{signer!s}"


def test_path_file_scheme_and_variable_name_the_same_key() -> None:
    path = KEYS / "ci.key"
    environ = {"CI_KEY": path.read_text()}
    asked: list[str] = []

    def ask(what: str) -> bytes:
        asked.append(what)
        return b"test"

    specs = (str(path), f"file:{path}", "env:CI_KEY")
    keys = {load_signer(spec, environ=environ, password=ask).public_key for spec in specs}
    assert keys == {PublicKey.from_pem((KEYS / "ci.pub").read_bytes())}
    assert asked == [repr(str(path)), repr(str(path)), "environment variable 'CI_KEY'"]


def test_variable_may_lack_the_final_line_break() -> None:
    environ = {"CI_KEY": (KEYS / "ci.key").read_text().strip()}
    assert load_signer("env:CI_KEY", environ=environ, password=password)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no key was given"),
        ("nowhere.key", "no private key: cannot read 'nowhere.key': no such file or directory"),
        (".", "no private key: cannot read '.': is a directory"),
        ("/dev/zero", "no private key: '/dev/zero' is not a regular file"),
        ("a\0b", "no private key: cannot read 'a\\x00b': not a possible file name"),
        ("x" * 5000, f"no private key: cannot read '{'x' * 120}…': file name too long"),
        ("env:NOT_SET", "no private key: environment variable 'NOT_SET' is not set"),
        ("env:EMPTY", "no private key: environment variable 'EMPTY' is empty"),
        ("env:HUGE", "no private key: environment variable 'HUGE' is longer than 65536 bytes"),
        ("env:", "no private key: environment variable '' is not set"),
        ("awskms:///alias/release", "no key backend 'awskms'"),
        ("pkcs11:object=k?pin-value=1234", "no key backend 'pkcs11'"),
        ("C:release.key", "no private key: cannot read 'C:release.key': no such file or directory"),
    ],
)
def test_missing_key_is_a_signer_error_that_names_it(spec: str, message: str, tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(SignerError) as caught:
            load_signer(spec, environ={"EMPTY": "", "HUGE": "x" * 70_000}, password=never_asked)
    finally:
        os.chdir(here)
    assert caught.value.message == message


def test_key_given_as_text_is_refused_and_not_repeated() -> None:
    text = (KEYS / "ci.key").read_text()
    with pytest.raises(SignerError) as caught:
        load_signer(text, environ={}, password=never_asked)
    assert caught.value.message == "a key was given where the place of a key is needed"
    assert caught.value.hint == "put it into a variable and say env:NAME"


def test_secret_in_a_variable_is_not_repeated() -> None:
    with pytest.raises(InvalidKey) as caught:
        load_signer("env:TOKEN", environ={"TOKEN": "hunter2"}, password=never_asked)
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


def test_missing_file_hints_at_the_private_half(tmp_path: Path) -> None:
    (tmp_path / "release.key").write_bytes(b"")
    with pytest.raises(SignerError) as caught:
        load_signer(str(tmp_path / "release"), environ={}, password=never_asked)
    assert caught.value.hint == f"did you mean {str(tmp_path / 'release.key')!r}?"


def test_colon_in_a_file_name_needs_a_path(tmp_path: Path) -> None:
    assert split_spec("./keys:2026.key") == ("file", "./keys:2026.key")
    assert split_spec("keys:2026.key") == ("keys", "2026.key")
    assert split_spec("C:\\release.key") == ("file", "C:\\release.key")


def test_wrong_password_names_the_key_and_not_the_password() -> None:
    path = str(KEYS / "ci.key")
    with pytest.raises(SignerError) as caught:
        load_signer(path, environ={}, password=lambda _: b"hunter2")
    assert caught.value.message == f"wrong password for {path!r}"
    assert "hunter2" not in str(caught.value.__cause__) + str(caught.value.hint)


def test_encrypted_key_without_a_password_says_how_to_give_one() -> None:
    path = str(KEYS / "ci.key")
    with pytest.raises(SignerError) as caught:
        load_signer(path, environ={}, password=lambda _: None)
    assert caught.value.message == f"{path!r} is encrypted and no password was given"
    assert caught.value.hint == "set IMGSIGN_PASSWORD"


LAZY = """
import logging, sys
import imgsign.load, imgsign.signers, imgsign.signers.file
heavy = {"securesystemslib", "nacl", "typer", "requests"}
print(sorted(heavy & set(sys.modules)))
signer = imgsign.signers.load_signer(sys.argv[1], environ={}, password=lambda _: b"test")
print(sorted(heavy & set(sys.modules)))
signer.sign(b"", "sha256")
print(sorted(heavy & set(sys.modules)), logging.getLogger("securesystemslib").handlers)
"""


def test_securesystemslib_is_imported_only_to_sign_and_stays_quiet() -> None:
    command = [sys.executable, "-W", "error", "-c", LAZY, str(KEYS / "ci.key")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n[]\n['securesystemslib'] []\n", "")
