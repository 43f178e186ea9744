"""Encrypted PKCS#8: the cost a file asks for is bounded before any work."""

from __future__ import annotations

import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import InvalidKey
from imgsign.signers import KeyFormat, pbes2
from imgsign.signers.disk import Source
from imgsign.signers.keyfile import _to_pem, _unwrap, parse_private, public_key_of, to_pem
from imgsign.signers.pbes2 import MAX_PBKDF2_ROUNDS, MAX_SCRYPT_COST, check_cost

P256 = ec.generate_private_key(ec.SECP256R1())
PLAIN = to_pem(P256, KeyFormat.PKCS8, b"")
DER = pbes2.encrypt(b"not a key", b"test")
DAMAGED = "damaged encrypted private key"


def never_asked(what: str) -> bytes:
    raise AssertionError(f"asked for the password of {what}")


def tlv(tag: int, *parts: bytes) -> bytes:
    return pbes2._tlv(tag, *parts)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(text: str) -> bytes:
    return tlv(6, bytes.fromhex(text))


PBES2, PBES1 = oid("2a864886f70d01050d"), oid("2a864886f70d010503")
PBKDF2, SCRYPT = oid("2a864886f70d01050c"), oid("2b06010401da47040b")
CIPHER = tlv(0x30, oid("60864801650304012a"), tlv(4, bytes(16)))


def encrypted(kdf: bytes, parameters: bytes) -> bytes:
    return tlv(0x30, tlv(0x30, PBES2, tlv(0x30, tlv(0x30, kdf, parameters), CIPHER)), tlv(4, bytes(32)))


def pbkdf2(rounds: int) -> bytes:
    return encrypted(PBKDF2, tlv(0x30, tlv(4, bytes(16)), integer(rounds)))


def scrypt(n: int, r: int, p: int) -> bytes:
    return encrypted(SCRYPT, tlv(0x30, tlv(4, bytes(16)), integer(n), integer(r), integer(p)))


@pytest.mark.parametrize(
    "der",
    [DER, pbkdf2(1), pbkdf2(2048), pbkdf2(MAX_PBKDF2_ROUNDS), scrypt(2**14, 8, 1), scrypt(2**17, 8, 1)],
    ids=["ours", "1", "openssl", "most", "openssl-scrypt", "most-scrypt"],
)
def test_bounded_cost_is_accepted(der: bytes) -> None:
    check_cost(der)


OUT_OF_BOUNDS = "scrypt cost n * r * p is not within 1 to 1048576"


@pytest.mark.parametrize(
    ("der", "message"),
    [
        (pbkdf2(0), "0 rounds of PBKDF2 are not within 1 to 10000000"),
        (pbkdf2(-1), "-1 rounds of PBKDF2 are not within 1 to 10000000"),
        (pbkdf2(MAX_PBKDF2_ROUNDS + 1), "10000001 rounds of PBKDF2 are not within 1 to 10000000"),
        (pbkdf2(2**63), "key derivation of absurd cost"),
        (pbkdf2(2**4000), "key derivation of absurd cost"),
        (scrypt(2**18, 8, 1), OUT_OF_BOUNDS),
        (scrypt(2**14, 8, 2**20), OUT_OF_BOUNDS),
        (scrypt(2**14, 2**30, 1), OUT_OF_BOUNDS),
        (scrypt(-(2**40), -8, 1), OUT_OF_BOUNDS),
        (scrypt(2**14, 0, 1), OUT_OF_BOUNDS),
        (encrypted(oid("2a0304"), tlv(0x30)), "encrypted with an unknown key derivation"),
        (encrypted(PBKDF2, tlv(0x30, tlv(0x30), integer(1))), "encrypted with an unknown key derivation"),
        (tlv(0x30, tlv(0x30, PBES1, tlv(0x30)), tlv(4, b"x")), "encrypted with an outdated method"),
        (b"", DAMAGED),
        (DER + b"\0\0", DAMAGED),
        (tlv(4, b"x"), DAMAGED),
        (tlv(0x30, tlv(0x30), tlv(4)), DAMAGED),
        (tlv(0x30, tlv(0x30, PBES2, tlv(0x30)), tlv(4)), DAMAGED),
        (encrypted(b"", b""), DAMAGED),
    ],
)
def test_refused_before_any_work(der: bytes, message: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        parse_private(Source("'k'", _to_pem("ENCRYPTED PRIVATE KEY", der or b"")), never_asked)
    assert caught.value.message == (f"'k': {message}" if der else "'k': not one PEM private key")


def test_largest_scrypt_is_cosigns_largest() -> None:
    assert MAX_SCRYPT_COST == 2**17 * 8


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_changed_structure_is_refused_or_bounded(at: int, byte: int) -> None:
    try:
        check_cost(DER[:at] + bytes([byte]) + DER[at + 1 :])
    except InvalidKey:
        pass


@given(st.integers(0, len(DER) - 1))
def test_cut_structure_is_refused(at: int) -> None:
    with pytest.raises(InvalidKey):
        check_cost(DER[:at])


@pytest.mark.parametrize("length", ["8100", "817f", "82007f", "820080", "80", "8300ffff", "ff"])
def test_length_that_is_not_der_is_refused(length: str) -> None:
    """Two readers of one structure must not see two structures."""
    with pytest.raises(InvalidKey, match=f"^{DAMAGED}$"):
        pbes2._children(b"\x30" + bytes.fromhex(length) + bytes(200))


def convert(openssl: str, *options: str) -> bytes:
    command = [openssl, "pkcs8", "-topk8", "-passout", "pass:test", *options]
    return subprocess.run(command, input=PLAIN, capture_output=True, check=True, timeout=20).stdout


@pytest.mark.parametrize(
    "options",
    [("-v2", "aes-256-cbc"), ("-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512"), ("-scrypt",), ("-v2", "des3")],
    ids=["default", "sha512", "scrypt", "3des"],
)
def test_key_encrypted_by_openssl_is_read(options: tuple[str, ...], openssl: str) -> None:
    raw = convert(openssl, *options)
    assert public_key_of(parse_private(Source("'k'", raw), lambda _: b"test")) == public_key_of(P256)


def test_pbes1_by_openssl_is_refused_with_the_command_that_converts_it(openssl: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        parse_private(Source("'k'", convert(openssl, "-v1", "PBE-SHA1-3DES")), never_asked)
    assert caught.value.message == "'k': encrypted with an outdated method"
    assert caught.value.hint is not None
    assert "openssl pkcs8 -topk8 -v2 aes-256-cbc" in caught.value.hint


def test_openssl_opens_what_we_encrypt(openssl: str) -> None:
    raw = to_pem(P256, KeyFormat.PKCS8, b"test")
    command = [openssl, "pkey", "-passin", "pass:test", "-pubout"]
    done = subprocess.run(command, input=raw, capture_output=True, check=True, timeout=20)
    assert done.stdout == public_key_of(P256).to_pem()
    assert _unwrap(raw)[0] == "ENCRYPTED PRIVATE KEY"
