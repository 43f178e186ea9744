"""The formats of private key files: reading all of them, writing two, making new keys.

Sources: RFC 7468 (PEM), RFC 5958 (PKCS#8 ``PRIVATE KEY``, ``ENCRYPTED PRIVATE KEY``), RFC 5915 (SEC1
``EC PRIVATE KEY``), RFC 8017 appendix A.1.2 (PKCS#1 ``RSA PRIVATE KEY``), RFC 9881 (ML-DSA, as its seed), and
cosign's own (:mod:`imgsign.signers.cosign`).

Refused: anything around the one PEM block (but for the ``EC PARAMETERS`` that ``openssl ecparam`` puts in
front), public keys, OpenSSH and PGP keys, PEM encrypted in OpenSSL's legacy way (one round of MD5), key
kinds outside :data:`imgsign.keys.SCHEMES`, and files that ask for a key derivation of unbounded cost.

Not done here: files (:mod:`imgsign.signers.disk`), and asking a person for a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from imgsign.errors import InvalidKey, SignerError, UsageError
from imgsign.keys import PublicKey
from imgsign.signers import KeyFormat, Kind, Password, cosign, pbes2
from imgsign.signers.disk import KEY_LIMIT, Source
from imgsign.wire import b64decode, b64encode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

    PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | MLDSA65PrivateKey


_RSA_EXPONENT = 65537  # FIPS 186-5 §5.4 and every peer


def generate(kind: Kind) -> PrivateKey:
    """Make a new private key from the operating system's randomness."""
    match kind:
        case Kind.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case Kind.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case Kind.RSA_3072:
            return rsa.generate_private_key(_RSA_EXPONENT, 3072)
        case Kind.RSA_4096:
            return rsa.generate_private_key(_RSA_EXPONENT, 4096)
        case Kind.ECDSA_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case Kind.ECDSA_P521:
            return ec.generate_private_key(ec.SECP521R1())
        case Kind.ML_DSA_65:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

            return MLDSA65PrivateKey.generate()
    assert_never(kind)


def public_key_of(key: PrivateKey) -> PublicKey:
    """Return the public half.

    Raises:
        InvalidKey: if the kind is not supported.
    """
    return PublicKey.from_crypto(key.public_key())


def kind_title(key: PublicKey) -> str:
    """Name the kind as ``generate`` does: RSA with its bits, such as ``rsa-2048``."""
    crypto = serialization.load_der_public_key(key.spki)
    return f"rsa-{crypto.key_size}" if isinstance(crypto, rsa.RSAPublicKey) else key.kind


def check_format(kind: str, format: KeyFormat) -> None:
    """Refuse a format whose other readers do not know the kind of key.

    Raises:
        UsageError: for ML-DSA in cosign's format.
    """
    if format is KeyFormat.COSIGN and kind == Kind.ML_DSA_65:
        raise UsageError(f"cosign cannot read keys of kind {kind}", hint="leave out --format cosign")


def to_pem(key: PrivateKey, format: KeyFormat, password: bytes) -> bytes:
    """Write a private key file.

    An empty password means no protection: plain PKCS#8, or cosign's format under the empty password.

    Raises:
        UsageError: see :func:`check_format`.
    """
    check_format(public_key_of(key).kind, format)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    match format:
        case KeyFormat.COSIGN:
            return _to_pem(cosign.PEM_TYPE, cosign.seal(der, password))
        case KeyFormat.PKCS8 if password:
            return _to_pem("ENCRYPTED PRIVATE KEY", pbes2.encrypt(der, password))
        case KeyFormat.PKCS8:
            return _to_pem("PRIVATE KEY", der)
    assert_never(format)


def is_private(raw: bytes) -> bool:
    """Tell whether PEM text claims to be a private key; nothing is checked."""
    return b"PRIVATE KEY" in raw


def parse_private(source: Source, password: Password) -> PrivateKey:
    """Read a private key, asking for its password only if it is encrypted.

    Raises:
        SignerError: if the password is missing or wrong.
        InvalidKey: if it is not one private key of a supported kind; names the source.
    """
    try:
        label, block, body = _unwrap(source.raw)
        if label in cosign.PEM_TYPES:
            box = cosign.parse_box(body)
            der = cosign.open_box(box, _ask(source, password))
            key = _load_der(der) if der is not None else _wrong_password(source)
        elif label == "ENCRYPTED PRIVATE KEY":
            pbes2.check_cost(body)
            key = _decrypt(block, _ask(source, password), source)
        else:
            key = _load_pem(block)
        return _supported(key)
    except InvalidKey as e:
        raise InvalidKey(f"{source.name}: {e.message}", hint=e.hint) from e


_DAMAGED = "damaged or unsupported private key"
_PLAIN_TYPES = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_BODY = rb"[A-Za-z0-9+/=\r\n]+"
_PEM = re.compile(
    rb"(?:-----BEGIN EC PARAMETERS-----\r?\n" + _BODY + rb"-----END EC PARAMETERS-----\r?\n)?"
    rb"(?P<block>-----BEGIN (?P<label>[A-Z0-9 ]{1,64})-----\r?\n(?P<body>" + _BODY + rb")-----END (?P=label)-----)"
)


def _unwrap(raw: bytes) -> tuple[str, bytes, bytes]:
    """Return label, text and decoded body of the only PEM block."""
    if len(raw) > KEY_LIMIT:
        raise InvalidKey(f"private key of {len(raw)} bytes is longer than {KEY_LIMIT}")
    if b"-----BEGIN PUBLIC KEY-----" in raw:
        raise InvalidKey("this is a public key, a private key is needed", hint="take the .key file")
    if b"Proc-Type: 4,ENCRYPTED" in raw:
        raise InvalidKey("encrypted with OpenSSL's legacy method", hint=pbes2.LEGACY_HINT)
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in raw:
        raise InvalidKey("OpenSSH keys are not supported", hint="imgsign key generate")
    match = _PEM.fullmatch(raw.strip())
    if match is None:
        raise InvalidKey(
            "not one PEM private key", hint="it starts with -----BEGIN ENCRYPTED PRIVATE KEY----- or the like"
        )
    label = match["label"].decode("ascii")
    if label not in (*_PLAIN_TYPES, *cosign.PEM_TYPES, "ENCRYPTED PRIVATE KEY"):
        raise InvalidKey(f"{label!r} is not a private key that imgsign reads", hint="imgsign key generate")
    text = b"".join(match["body"].split()).decode("ascii")
    return label, match["block"] + b"\n", b64decode(text, error=InvalidKey)


def _ask(source: Source, password: Password) -> bytes:
    given = password(source.name)
    if given is None:
        raise SignerError(f"{source.name} is encrypted and no password was given", hint="set IMGSIGN_PASSWORD")
    return given


def _decrypt(block: bytes, password: bytes, source: Source) -> object:
    if not password:  # cryptography takes an empty password for none
        _wrong_password(source)
    try:
        return serialization.load_pem_private_key(block, password, unsafe_skip_rsa_key_validation=True)
    except ValueError:
        # CBC has no tag: a wrong password and damage look the same.
        _wrong_password(source)
    except UnsupportedAlgorithm as e:
        raise InvalidKey("encrypted with an unknown cipher", hint=pbes2.LEGACY_HINT) from e


def _wrong_password(source: Source) -> NoReturn:
    raise SignerError(f"wrong password for {source.name}", hint="IMGSIGN_PASSWORD counts before a prompt")


def _load_pem(block: bytes) -> object:
    try:
        return serialization.load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True)  # see _supported
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise InvalidKey(_DAMAGED) from e


def _load_der(der: bytes) -> object:
    try:
        return serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)  # see _supported
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise InvalidKey(_DAMAGED) from e


def _supported(key: object) -> PrivateKey:
    """Admit the kinds of the table, and check an RSA key's numbers, which loading left out.

    The size is checked first: checking the numbers of a key that fills a key file takes hours.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        public_key_of(key)
        return key
    if isinstance(key, rsa.RSAPrivateKey):
        public_key_of(key)
        try:
            return key.private_numbers().private_key()
        except ValueError as e:
            raise InvalidKey(_DAMAGED) from e
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

    if isinstance(key, MLDSA65PrivateKey):
        return key
    raise InvalidKey(f"{type(key).__name__} is not supported", hint="use ECDSA P-256 or Ed25519")


def _to_pem(label: str, body: bytes) -> bytes:
    text = b64encode(body)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")
