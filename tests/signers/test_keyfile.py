"""Private key files: every kind through every format, imports from other tools, refusals."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import ImgsignError, InvalidKey, SignerError, UsageError
from imgsign.signers import KeyFormat, Kind, cosign, keyfile, pbes2
from imgsign.signers.disk import KEY_LIMIT, Source
from imgsign.signers.file import FileSigner
from imgsign.signers.keyfile import parse_private, public_key_of, to_pem
from tests.shared import read, requires_shared

P256 = ec.generate_private_key(ec.SECP256R1())
PLAIN = to_pem(P256, KeyFormat.PKCS8, b"")


def never_asked(what: str) -> bytes:
    raise AssertionError(f"asked for the password of {what}")


def parse(raw: bytes, password: bytes | None = None) -> keyfile.PrivateKey:
    """Parse as ``'k'``; without a password, asking for one is a failure."""
    return parse_private(Source("'k'", raw), never_asked if password is None else lambda _: password)


# cosign has no ML-DSA; opening the RSA keys of keys-test is the other half of their way through PKCS#8.
LEFT_OUT = [(Kind.ML_DSA_65, "cosign"), (Kind.RSA_3072, "pkcs8"), (Kind.RSA_4096, "pkcs8")]
FORMATS = [(kind, format) for kind in Kind for format in KeyFormat if (kind, format) not in LEFT_OUT]


@pytest.mark.parametrize(("kind", "format"), FORMATS)
def test_key_round_trips_through_the_format(kind: Kind, format: KeyFormat, signers: dict[str, FileSigner]) -> None:
    signer = signers[kind]
    raw = to_pem(signer._key, format, "pässword".encode())
    again = parse(raw, "pässword".encode())
    assert public_key_of(again) == signer.public_key


@pytest.mark.parametrize("format", list(KeyFormat))
def test_wrong_password_is_said(format: KeyFormat) -> None:
    with pytest.raises(SignerError) as caught:
        parse(to_pem(P256, format, b"test"), b"Test")
    assert caught.value.message == "wrong password for 'k'"
    assert caught.value.hint == "IMGSIGN_PASSWORD counts before a prompt"


@pytest.mark.parametrize("kind", [k for k in Kind if k not in (Kind.RSA_3072, Kind.RSA_4096)])
def test_fresh_key_is_new_and_of_its_kind(kind: Kind) -> None:
    first, second = (public_key_of(keyfile.generate(kind)) for _ in range(2))
    assert first != second
    assert keyfile.kind_title(first) == kind


def test_rsa_4096_test_key_has_its_size(signers: dict[str, FileSigner]) -> None:
    assert keyfile.kind_title(signers["rsa-4096"].public_key) == "rsa-4096"


@pytest.mark.parametrize("format", list(KeyFormat))
def test_password_is_bytes_and_not_text(format: KeyFormat) -> None:
    password = b"\xff\xfe not utf-8 \0"
    assert public_key_of(parse(to_pem(P256, format, password), password)) == public_key_of(P256)


def test_encrypted_pkcs8_is_opened_by_cryptography() -> None:
    """Another reader than ours: PBKDF2-HMAC-SHA-256 with 600,000 rounds and AES-256-CBC."""
    raw = to_pem(P256, KeyFormat.PKCS8, b"test")
    key = serialization.load_pem_private_key(raw, b"test")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.private_numbers() == P256.private_numbers()
    der = keyfile._unwrap(raw)[2]
    assert bytes.fromhex("02030927c0300c06082a864886f70d02090500") in der  # rounds, then the PRF
    assert bytes.fromhex("060960864801650304012a0410") in der  # aes256-CBC and its IV


def test_salt_and_iv_are_fresh() -> None:
    assert to_pem(P256, KeyFormat.PKCS8, b"test") != to_pem(P256, KeyFormat.PKCS8, b"test")


def test_unencrypted_key_asks_for_no_password() -> None:
    assert PLAIN.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert public_key_of(parse(PLAIN)) == public_key_of(P256)


def test_cosign_format_is_refused_for_ml_dsa(signers: dict[str, FileSigner]) -> None:
    with pytest.raises(UsageError, match=r"^cosign cannot read keys of kind ml-dsa-65$"):
        to_pem(signers["ml-dsa-65"]._key, KeyFormat.COSIGN, b"test")


SEC1 = P256.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


@pytest.mark.parametrize(
    "raw",
    [SEC1, PARAMETERS + SEC1, PLAIN.strip(), PLAIN.replace(b"\n", b"\r\n"), b"\n" + PLAIN + b"\n"],
    ids=["sec1", "openssl-ecparam", "no-final-line-break", "crlf", "blank-lines"],
)
def test_spelling_of_other_tools_is_read(raw: bytes) -> None:
    assert public_key_of(parse(raw)) == public_key_of(P256)


def stored(
    curve: ec.EllipticCurve,
    encryption: serialization.KeySerializationEncryption | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
) -> bytes:
    """Write a fresh key with cryptography, which knows more curves than we read."""
    return ec.generate_private_key(curve).private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def pem(label: str, body: str = "AAAA") -> bytes:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


PUBLIC = public_key_of(P256).to_pem()
NOT_ONE = "not one PEM private key"
DAMAGED = "damaged or unsupported private key"
REFUSED = {
    "empty": (b"", NOT_ONE),
    "public": (PUBLIC, "this is a public key, a private key is needed"),
    "public-behind-private": (PLAIN + PUBLIC, "this is a public key, a private key is needed"),
    "two-private": (PLAIN + PLAIN, NOT_ONE),
    "parameters-twice": (PARAMETERS + PARAMETERS + SEC1, NOT_ONE),
    "trailing-garbage": (PLAIN + b"x\n", NOT_ONE),
    "leading-text": (b"Bag Attributes\n" + PLAIN, NOT_ONE),
    "certificate": (pem("CERTIFICATE"), "'CERTIFICATE' is not a private key that imgsign reads"),
    "label-mismatch": (PLAIN.replace(b"END PRIVATE", b"END EC PRIVATE"), NOT_ONE),
    "empty-body": (b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", NOT_ONE),
    "not-base64": (pem("PRIVATE KEY", "A"), "not standard base64"),
    "base64-not-canonical": (pem("PRIVATE KEY", "AAB="), "not canonical base64"),
    "not-der": (pem("PRIVATE KEY"), DAMAGED),
    "wrong-label": (PLAIN.replace(b" PRIVATE KEY", b" RSA PRIVATE KEY"), DAMAGED),
    "openssh": (pem("OPENSSH PRIVATE KEY"), "OpenSSH keys are not supported"),
    "legacy-pem": (
        stored(ec.SECP256R1(), BestAvailableEncryption(b"test"), PrivateFormat.TraditionalOpenSSL),
        "encrypted with OpenSSL's legacy method",
    ),
    "p-224": (stored(ec.SECP224R1()), "curve secp224r1 is not supported"),
    "secp256k1": (stored(ec.SECP256K1()), "curve secp256k1 is not supported"),
    "too-long": (
        PLAIN + b"\n" * KEY_LIMIT,
        f"private key of {len(PLAIN) + KEY_LIMIT} bytes is longer than {KEY_LIMIT}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_password(case: str) -> None:
    raw, message = REFUSED[case]
    with pytest.raises(InvalidKey) as caught:
        parse(raw)
    assert caught.value.message == f"'k': {message}"


def test_refused_kind_inside_encryption_is_invalid_and_not_a_wrong_password() -> None:
    raw = stored(ec.SECP224R1(), BestAvailableEncryption(b"test"))
    with pytest.raises(InvalidKey, match=r"^'k': curve secp224r1 is not supported$"):
        parse(raw, b"test")


def rsa_pem(p: int, q: int, *, format: KeyFormat | None = None) -> bytes:
    """Write an RSA key of any two numbers, without the checks every library makes."""
    n, d = p * q, pow(65537, -1, (p - 1) * (q - 1))
    numbers = (0, n, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    pkcs1 = pbes2._tlv(0x30, *(pbes2._tlv(2, v.to_bytes(v.bit_length() // 8 + 1, "big")) for v in numbers))
    rsa_algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    pkcs8 = pbes2._tlv(0x30, bytes.fromhex("020100"), rsa_algorithm, pbes2._tlv(4, pkcs1))
    match format:
        case KeyFormat.COSIGN:
            return keyfile._to_pem(cosign.PEM_TYPE, cosign.seal(pkcs8, b"test"))
        case KeyFormat.PKCS8:
            return keyfile._to_pem("ENCRYPTED PRIVATE KEY", pbes2.encrypt(pkcs8, b"test"))
        case None:
            return keyfile._to_pem("RSA PRIVATE KEY", pkcs1)


@pytest.mark.parametrize("format", [None, *KeyFormat])
def test_rsa_key_of_composite_numbers_is_damaged(format: KeyFormat | None) -> None:
    """Loading leaves the check of RSA numbers out until the size is known; it must not be forgotten."""
    raw = rsa_pem((1 << 1023) + 45, (1 << 1024) - 57, format=format)
    with pytest.raises(InvalidKey, match=r"^'k': damaged or unsupported private key$"):
        parse(raw, b"test")


@pytest.mark.parametrize("format", [None, *KeyFormat])
def test_huge_rsa_key_is_refused_by_its_size_without_checking_its_numbers(format: KeyFormat | None) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidKey, match=r"^'k': RSA key of 40000 bits is not supported$"):
        parse(rsa_pem((1 << 19999) + 1, (1 << 20000) + 1, format=format), b"test")
    assert time.monotonic() - started < 10  # seconds; the check alone would take minutes


def test_encrypted_key_with_an_empty_password_is_a_wrong_password() -> None:
    """cryptography takes an empty password for none; an unset variable must give a clear error."""
    with pytest.raises(SignerError, match=r"^wrong password for 'k'$"):
        parse(to_pem(P256, KeyFormat.PKCS8, b"test"), b"")


@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255))
def test_changed_file_is_refused_or_a_key(at: int, byte: int) -> None:
    """Nothing but our own errors leaves the parser."""
    try:
        parse(PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :], b"test")
    except ImgsignError as e:
        assert "'k'" in e.message  # noqa: PT017  # either outcome is fine, a crash is not


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_without_crashing(raw: bytes) -> None:
    with pytest.raises(InvalidKey):
        parse(raw)


VALID = "validecp256 validecp384 validecp521 validecpkcs8 validrsa validrsapkcs1 validrsapkcs8 ed25519key"


@requires_shared
@pytest.mark.parametrize("name", VALID.split())
def test_key_that_cosign_imports_is_read(name: str, openssl: str) -> None:
    raw = read(f"sigstore/keys/{name}.pem")
    done = subprocess.run([openssl, "pkey", "-pubout"], input=raw, capture_output=True, check=True, timeout=20)
    assert public_key_of(parse(raw)).to_pem() == done.stdout


@requires_shared
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("invalidecp224", "'k': curve secp224r1 is not supported"),
        ("invalidecunsupported", "'k': curve secp256k1 is not supported"),
        ("invalidkey", "'k': not one PEM private key"),
        ("invalidrsalargekey", "'k': RSA key of 5120 bits is not supported"),
        ("invalidrsasmallkey", "'k': RSA key of 1024 bits is not supported"),
        ("invalidrsawithpubkey", "'k': this is a public key, a private key is needed"),
    ],
)
def test_key_that_cosign_does_not_import_is_refused(name: str, message: str) -> None:
    raw = read(f"sigstore/keys/{name}.pem")
    with pytest.raises(InvalidKey, match=f"^{re.escape(message)}$"):
        parse(raw)
