"""Public keys: what is read and refused, and what verifies under which scheme."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import InvalidKey, UntrustedSigner
from imgsign.keys import PEM_LIMIT, SCHEMES, PublicKey

KEYS = Path(__file__).resolve().parents[1] / "keys-test"
MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"

PRIVATE: dict[str, PrivateKeyTypes] = {
    "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-p521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate(),
}
HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def sign(kind: str, scheme: str, message: bytes = MESSAGE) -> bytes:
    """Sign with cryptography alone, independently of imgsign.signers."""
    match PRIVATE[kind]:
        case ec.EllipticCurvePrivateKey() as key:
            return key.sign(message, ec.ECDSA(HASHES[scheme]()))
        case rsa.RSAPrivateKey() as key:
            return key.sign(message, padding.PKCS1v15(), HASHES[scheme]())
        case ed25519.Ed25519PrivateKey() | mldsa.MLDSA65PrivateKey() as key:
            return key.sign(message)
        case other:
            raise AssertionError(other)


def public(kind: str) -> PublicKey:
    return PublicKey.from_crypto(PRIVATE[kind].public_key())


def pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def rsa_public(exponent: int, bits: int) -> bytes:
    return pem(rsa.RSAPublicNumbers(exponent, (1 << bits) - 159).public_key())


P256 = pem(PRIVATE["ecdsa-p256"].public_key())
NOT_A_KEY = "not a PEM public key"


@pytest.mark.parametrize("name", sorted(p.stem for p in KEYS.glob("*.pub")))
def test_test_key_is_read_and_written_back_unchanged(name: str) -> None:
    raw = (KEYS / f"{name}.pub").read_bytes()
    assert PublicKey.from_pem(raw).to_pem() == raw


@pytest.mark.parametrize("kind", PRIVATE)
def test_every_kind_of_the_table_is_read(kind: str) -> None:
    key = PublicKey.from_pem(pem(PRIVATE[kind].public_key()))
    assert (key.kind, key.scheme) == (kind, SCHEMES[kind])


def test_every_kind_of_the_table_is_tested() -> None:
    assert set(PRIVATE) == set(SCHEMES)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_sizes_of_the_table_are_read(bits: int) -> None:
    assert PublicKey.from_pem(rsa_public(65537, bits)).kind == "rsa"


@pytest.mark.parametrize(
    "raw",
    [P256.strip(), b"\n \n" + P256 + b"\n\n", P256.replace(b"\n", b"\r\n")],
    ids=["no-final-line-break", "blank-lines-around", "crlf"],
)
def test_harmless_whitespace_does_not_change_the_key(raw: bytes) -> None:
    assert PublicKey.from_pem(raw) == public("ecdsa-p256")


def test_compressed_point_is_the_same_key() -> None:
    """Two spellings of one key must not count as two signers of a threshold."""
    point = PRIVATE["ecdsa-p256"].public_key()
    assert isinstance(point, ec.EllipticCurvePublicKey)
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
    body = base64.encodebytes(spki).decode()
    raw = f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n".encode()
    assert PublicKey.from_pem(raw).digest == public("ecdsa-p256").digest


def test_fingerprint_and_hint_are_of_the_spki() -> None:
    # By openssl: pkey -pubin -outform DER | dgst -sha256 -binary | base64
    key = PublicKey.from_pem(
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        b"-----END PUBLIC KEY-----\n"
    )
    assert key.fingerprint == "SHA256:" + key.hint.rstrip("=")
    assert key.hint == "oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8="
    assert base64.b64decode(key.hint).hex() == key.digest


def private_pem() -> bytes:
    return PRIVATE["ecdsa-p256"].private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "rsa-e-3": (lambda: rsa_public(3, 2048), "RSA key with a public exponent below 65537 is not supported"),
    "rsa-e-17": (lambda: rsa_public(17, 3072), "RSA key with a public exponent below 65537 is not supported"),
    "rsa-1024": (lambda: rsa_public(65537, 1024), "RSA key of 1024 bits is not supported"),
    "rsa-2056": (lambda: rsa_public(65537, 2056), "RSA key of 2056 bits is not supported"),
    "rsa-8192": (lambda: rsa_public(65537, 8192), "RSA key of 8192 bits is not supported"),
    "p-224": (
        lambda: pem(ec.generate_private_key(ec.SECP224R1()).public_key()),
        "curve secp224r1 is not supported",
    ),
    "secp256k1": (
        lambda: pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
        "curve secp256k1 is not supported",
    ),
    "brainpool": (
        lambda: pem(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()),
        "curve brainpoolP256r1 is not supported",
    ),
    "x25519": (lambda: pem(x25519.X25519PrivateKey.generate().public_key()), "X25519PublicKey is not supported"),
    "ed448": (lambda: pem(ed448.Ed448PrivateKey.generate().public_key()), "Ed448PublicKey is not supported"),
    "dsa": (lambda: pem(dsa.generate_private_key(1024).public_key()), "DSAPublicKey is not supported"),  # noqa: S505  # refused
    "ml-dsa-44": (lambda: pem(mldsa.MLDSA44PrivateKey.generate().public_key()), "MLDSA44PublicKey is not supported"),
    "private": (private_pem, "this is a private key, a public key is needed"),
    "two-blocks": (lambda: P256 + P256, "more than one PEM block where one public key is needed"),
    "private-behind-public": (lambda: P256 + private_pem(), "this is a private key, a public key is needed"),
    "text-before": (lambda: b"my key:\n" + P256, NOT_A_KEY),
    "text-behind": (lambda: P256 + b"and more\n", NOT_A_KEY),
    "certificate": (lambda: P256.replace(b"PUBLIC KEY", b"CERTIFICATE"), NOT_A_KEY),
    "pkcs1-public": (lambda: P256.replace(b"PUBLIC KEY", b"RSA PUBLIC KEY"), NOT_A_KEY),
    "ssh": (lambda: b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me", NOT_A_KEY),
    "empty": (lambda: b"", NOT_A_KEY),
    "no-body": (
        lambda: b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "damaged or unsupported PEM public key",
    ),
    "cut-body": (
        lambda: P256.replace(P256.splitlines()[2] + b"\n", b""),
        "damaged or unsupported PEM public key",
    ),
    "too-long": (
        lambda: P256 + b"\n" * PEM_LIMIT,
        f"public key of {len(P256) + PEM_LIMIT} bytes is longer than {PEM_LIMIT}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(InvalidKey) as caught:
        PublicKey.from_pem(make())
    assert caught.value.message == message


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_without_crashing(raw: bytes) -> None:
    with pytest.raises(InvalidKey):
        PublicKey.from_pem(raw)


@given(st.integers(0, len(P256) - 1), st.integers(0, 255))
def test_changed_pem_is_refused_or_another_key_or_the_same(at: int, byte: int) -> None:
    raw = P256[:at] + bytes([byte]) + P256[at + 1 :]
    try:
        key = PublicKey.from_pem(raw)
    except InvalidKey:
        return
    assert PublicKey.from_pem(key.to_pem()) == key


ACCEPTED = [(kind, scheme) for kind, row in SCHEMES.items() for scheme in row.accept]


@pytest.mark.parametrize(("kind", "scheme"), ACCEPTED)
def test_signature_of_an_accepted_scheme_verifies(kind: str, scheme: str) -> None:
    public(kind).verify(sign(kind, scheme), MESSAGE)


@pytest.mark.parametrize("kind", SCHEMES)
def test_signing_schemes_are_accepted_schemes(kind: str) -> None:
    row = SCHEMES[kind]
    assert {row.bundle, row.simple} - {None} <= set(row.accept)


WRONG_HASH = [
    ("ecdsa-p256", "sha384"),
    ("ecdsa-p256", "sha512"),
    ("ecdsa-p384", "sha512"),
    ("ecdsa-p521", "sha384"),
    ("rsa", "sha384"),
    ("rsa", "sha512"),
]


@pytest.mark.parametrize(("kind", "scheme"), WRONG_HASH)
def test_signature_with_another_hash_is_refused(kind: str, scheme: str) -> None:
    key = public(kind)
    with pytest.raises(UntrustedSigner, match="does not verify with key SHA256:"):
        key.verify(sign(kind, scheme), MESSAGE)


@pytest.mark.parametrize(("kind", "scheme"), WRONG_HASH)
def test_hash_override_accepts_that_hash(kind: str, scheme: str) -> None:
    public(kind).verify(sign(kind, scheme), MESSAGE, hash=scheme)


@pytest.mark.parametrize(("kind", "used", "named"), [("ecdsa-p384", "sha256", "sha384"), ("rsa", "sha256", "sha512")])
def test_hash_override_excludes_the_others(kind: str, used: str, named: str) -> None:
    key, signature = public(kind), sign(kind, used)
    with pytest.raises(UntrustedSigner):
        key.verify(signature, MESSAGE, hash=named)


def test_rsa_pss_is_refused() -> None:
    private = PRIVATE["rsa"]
    assert isinstance(private, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    signature = private.sign(MESSAGE, pss, hashes.SHA256())
    key = public("rsa")
    with pytest.raises(UntrustedSigner):
        key.verify(signature, MESSAGE)


def test_ml_dsa_with_a_context_is_refused() -> None:
    private = PRIVATE["ml-dsa-65"]
    assert isinstance(private, mldsa.MLDSA65PrivateKey)
    key, signature = public("ml-dsa-65"), private.sign(MESSAGE, b"context")
    with pytest.raises(UntrustedSigner):
        key.verify(signature, MESSAGE)


@pytest.mark.parametrize(("kind", "scheme"), ACCEPTED)
def test_mangled_signature_and_message_are_refused(kind: str, scheme: str) -> None:
    key, good = public(kind), sign(kind, scheme)
    step = max(1, len(good) // 40)
    changed = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(0, len(good), step)]
    cut = [good[:i] for i in range(0, len(good), step)]
    for signature in (*changed, *cut, good + b"\0", b"\0" * len(good)):
        with pytest.raises(UntrustedSigner):
            key.verify(signature, MESSAGE)
    for message in (b"", MESSAGE + b"\0", MESSAGE[:-1], b"\0" + MESSAGE):
        with pytest.raises(UntrustedSigner):
            key.verify(good, message)


@pytest.mark.parametrize("kind", SCHEMES)
def test_signature_of_another_key_is_refused(kind: str) -> None:
    other = "ed25519" if kind != "ed25519" else "ecdsa-p256"
    key, foreign = public(kind), sign(other, SCHEMES[other].bundle)
    with pytest.raises(UntrustedSigner):
        key.verify(foreign, MESSAGE)
