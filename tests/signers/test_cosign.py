"""cosign's encrypted key files, read and written, against files of cosign, skopeo and go-securesystemslib."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import SecretBox

from imgsign.errors import ImgsignError, InvalidKey, SignerError
from imgsign.keys import PublicKey
from imgsign.signers import KeyFormat, cosign
from imgsign.signers.disk import KEY_LIMIT, Source
from imgsign.signers.keyfile import parse_private, public_key_of, to_pem
from tests.shared import read, requires_shared

if TYPE_CHECKING:
    from imgsign.signers.keyfile import PrivateKey

P256 = ec.generate_private_key(ec.SECP256R1())
DER = P256.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
BOX = cosign.seal(DER, b"test")


def never_asked(what: str) -> bytes:
    raise AssertionError(f"asked for the password of {what}")


def parse(raw: bytes, password: bytes) -> PrivateKey:
    return parse_private(Source("'k'", raw), lambda _: password)


def wrap(box: bytes, label: str = "ENCRYPTED SIGSTORE PRIVATE KEY") -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(box).decode()}\n-----END {label}-----\n".encode()


def test_file_is_written_as_cosign_writes_it() -> None:
    lines = to_pem(P256, KeyFormat.COSIGN, b"test").decode().splitlines(keepends=True)
    assert lines[0] == "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
    assert lines[-1] == "-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
    assert {len(line) for line in lines[1:-2]} == {65}
    pattern = (
        r'\{"kdf":\{"name":"scrypt","params":\{"N":32768,"r":8,"p":1\},"salt":"[A-Za-z0-9+/]{43}="\},'
        r'"cipher":\{"name":"nacl/secretbox","nonce":"[A-Za-z0-9+/]{32}"\},"ciphertext":"[A-Za-z0-9+/]+={0,2}"\}'
    )
    assert re.fullmatch(pattern, base64.b64decode("".join(lines[1:-1])).decode())


def test_file_is_opened_by_another_implementation() -> None:
    box = json.loads(BOX)
    salt, nonce, body = (
        base64.b64decode(text) for text in (box["kdf"]["salt"], box["cipher"]["nonce"], box["ciphertext"])
    )
    key = hashlib.scrypt(b"test", salt=salt, n=32768, r=8, p=1, dklen=32, maxmem=2**26)
    assert SecretBox(key).decrypt(body, nonce) == DER


def test_salt_and_nonce_are_fresh() -> None:
    first, second = cosign.parse_box(BOX), cosign.parse_box(cosign.seal(DER, b"test"))
    assert first.salt != second.salt
    assert first.nonce != second.nonce


def test_older_label_is_read_and_an_empty_password_is_legal() -> None:
    raw = wrap(cosign.seal(DER, b""), "ENCRYPTED COSIGN PRIVATE KEY")
    assert public_key_of(parse(raw, b"")) == public_key_of(P256)


@requires_shared
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("pemcosignkey", "CYtspttZZ7e9PMd8wyU2CWDlpEXN"),
        ("pemcosigneckey", "+9E3Qe+h25ofmz3Uo2T004Dfy49i"),
        ("pemsigstorekey", "7z9gA/tqa9iHt/f9F3ulyVi4lwqU"),
    ],
)
def test_key_of_cosigns_own_tests_is_opened(name: str, start: str) -> None:
    raw = read(f"sigstore/keys/{name}.pem")
    spki = base64.b64encode(public_key_of(parse(raw, b"hello")).spki).decode()
    assert spki.startswith("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE" + start)
    with pytest.raises(SignerError, match=r"^wrong password for 'k'$"):
        parse(raw, b"hell0")


@requires_shared
@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("cosign-ed25519.key", b"testpass"),
        ("cosign-p256.key", b"testpass"),
        ("cosign-p256-emptypass.key", b""),
        ("cosign-p256-n65536.key", b"testpass"),
        ("cosign-p384.key", b"testpass"),
        ("cosign-rsa2048.key", b"testpass"),
        ("sigstore-p256.key", b"testpass"),
        ("skopeo-generated.private", b"testpass"),
    ],
)
def test_key_made_for_skopeo_is_opened(name: str, password: bytes) -> None:
    public = PublicKey.from_pem(read(f"skopeo/keys/{name.partition('.')[0]}.pub"))
    assert public_key_of(parse(read(f"skopeo/keys/{name}"), password)) == public


def changed(*path: str, value: object) -> Callable[[], bytes]:
    """Return BOX with one member replaced."""

    def make() -> bytes:
        box = json.loads(BOX)
        node = box
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = value
        return json.dumps(box).encode()

    return make


def without(name: str) -> Callable[[], bytes]:
    return lambda: json.dumps({k: v for k, v in json.loads(BOX).items() if k != name}).encode()


PARAMS = "scrypt parameters are not those of cosign: N of 2^15, 2^16 or 2^17, r = 8, p = 1 at $.kdf.params"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "n-bomb": (changed("kdf", "params", "N", value=2**40), PARAMS),
    "n-2^18": (changed("kdf", "params", "N", value=2**18), PARAMS),
    "n-weak": (changed("kdf", "params", "N", value=2**14), PARAMS),
    "n-negative": (changed("kdf", "params", "N", value=-(2**15)), PARAMS),
    "r-bomb": (changed("kdf", "params", "r", value=2**20), PARAMS),
    "p-bomb": (changed("kdf", "params", "p", value=2**30), PARAMS),
    "n-float": (changed("kdf", "params", "N", value=32768.0), "expected integer, got number at $.kdf.params.N"),
    "n-true": (changed("kdf", "params", "p", value=True), "expected integer, got boolean at $.kdf.params.p"),
    "kdf-other": (changed("kdf", "name", value="pbkdf2"), "expected 'scrypt' at $.kdf.name"),
    "cipher-other": (changed("cipher", "name", value="none"), "expected 'nacl/secretbox' at $.cipher.name"),
    "salt-short": (changed("kdf", "salt", value="AAAA"), "expected 32 bytes, got 3 at $.kdf.salt"),
    "salt-not-base64": (changed("kdf", "salt", value="*"), "not standard base64 at $.kdf.salt"),
    "nonce-long": (changed("cipher", "nonce", value="A" * 36), "expected 24 bytes, got 27 at $.cipher.nonce"),
    "no-ciphertext": (without("ciphertext"), "missing key 'ciphertext' at $"),
    "empty-ciphertext": (changed("ciphertext", value=""), "too short at $.ciphertext"),
    "unknown-key": (changed("extra", value=1), "unknown key 'extra' at $"),
    "duplicate-key": (lambda: BOX.replace(b'"r":8', b'"N":1,"r":8'), "duplicate key 'N'"),
    "trailing-data": (lambda: BOX + b"{}", f"not JSON: extra data at line 1 column {len(BOX) + 1}"),
    "list": (lambda: b"[]", "expected object, got list at $"),
    "not-json": (lambda: b"\x30\x82", "not UTF-8 at byte 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_scrypt_work(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(InvalidKey) as caught:
        parse_private(Source("'k'", wrap(make())), never_asked)
    assert caught.value.message == f"'k': {message}"


def test_longer_than_a_key_file_is_refused() -> None:
    with pytest.raises(InvalidKey, match=r"is longer than 65536$"):
        parse_private(Source("'k'", wrap(b" " * KEY_LIMIT + BOX)), never_asked)


def test_sealed_garbage_is_invalid_and_not_a_wrong_password() -> None:
    with pytest.raises(InvalidKey, match=r"^'k': damaged or unsupported private key$"):
        parse(wrap(cosign.seal(b"garbage", b"test")), b"test")


@pytest.mark.parametrize("at", range(0, len(BOX), 80))
def test_changed_file_never_opens_as_another_key(at: int) -> None:
    raw = wrap(BOX[:at] + bytes([BOX[at] ^ 1]) + BOX[at + 1 :])
    with pytest.raises(ImgsignError):
        parse(raw, b"test")


@given(st.integers(0, len(BOX) - 1))
def test_cut_file_is_refused(at: int) -> None:
    with pytest.raises(InvalidKey):
        cosign.parse_box(BOX[:at])
