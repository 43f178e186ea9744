"""Public keys and the one table of signature schemes.

Sources: RFC 5280 §4.1.2.7 (SPKI), RFC 7468 §13 (PEM "PUBLIC KEY"), FIPS 186-5, FIPS 204, RFC 8032,
RFC 8017 §8.2. Peers refuse what looks natural, so :data:`SCHEMES` was tried against them first:
RSA-PSS is refused by all of them, P-384 with SHA-384 by cosign unless flagged and by skopeo.

Refused: curves and key kinds not in the table, RSA moduli other than 2048, 3072 and 4096 bits, RSA
exponents below 65537 (with e = 1 every signature would verify), PEM with anything around it.

Not done here: private keys (:mod:`imgsign.signers`), and any trust in a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from imgsign.errors import InvalidKey, UntrustedSigner
from imgsign.record import record
from imgsign.wire import b64encode

PEM_LIMIT = 16 * 1024
"""Bytes of one public key file; the largest supported key (ML-DSA-65) takes under 3 KiB."""

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@record
class Scheme:
    """One row of the table: how a kind of key signs in each format, and what is accepted from it.

    Hash names are ``sha256`` … or ``pure`` for schemes that hash by themselves. ``simple`` is ``None``
    where no reader of simple signing exists. ``note`` is printed when a key of this kind signs a bundle.
    """

    kind: str
    title: str
    bundle: str
    simple: str | None
    accept: tuple[str, ...]
    note: str | None = None


_FLAG_NOTE = "'cosign verify' reads this key's signatures only with --signature-digest-algorithm"

SCHEMES: dict[str, Scheme] = {
    row.kind: row
    for row in (
        Scheme(kind="ecdsa-p256", title="ECDSA P-256", bundle="sha256", simple="sha256", accept=("sha256",)),
        Scheme(kind="ed25519", title="Ed25519", bundle="pure", simple="pure", accept=("pure",)),
        Scheme(kind="rsa", title="RSA PKCS#1 v1.5", bundle="sha256", simple="sha256", accept=("sha256",)),
        Scheme(
            kind="ecdsa-p384",
            title="ECDSA P-384",
            bundle="sha384",
            simple=None,
            accept=("sha384", "sha256"),
            note=_FLAG_NOTE,
        ),
        Scheme(
            kind="ecdsa-p521",
            title="ECDSA P-521",
            bundle="sha512",
            simple=None,
            accept=("sha512", "sha256"),
            note=_FLAG_NOTE,
        ),
        Scheme(kind="ml-dsa-65", title="ML-DSA-65", bundle="pure", simple=None, accept=("pure",)),
    )
}
"""The SCHEMES table of the design, by kind of key."""

_CURVES = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384", "secp521r1": "ecdsa-p521"}
_RSA_BITS = (2048, 3072, 4096)
_RSA_LEAST_EXPONENT = 65537


@dataclass(frozen=True)
class PublicKey:
    """A supported public key: ``spki`` is its DER SubjectPublicKeyInfo, ``kind`` a key of SCHEMES."""

    spki: bytes = field(repr=False)
    kind: str

    @classmethod
    def from_pem(cls, raw: bytes) -> PublicKey:
        """Read one PEM ``PUBLIC KEY``.

        Raises:
            InvalidKey: for private keys, certificates, several keys, unsupported kinds.
        """
        return cls.from_crypto(_load_pem(raw))

    @classmethod
    def from_crypto(cls, key: object) -> PublicKey:
        """Take a public key object of ``cryptography``.

        Raises:
            InvalidKey: if its kind or size is not supported.
        """
        kind = kind_of(key)
        spki = key.public_bytes(  # type: ignore[attr-defined]  # kind_of accepts public key classes only
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(spki, kind)

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the SPKI: what makes two keys the same."""
        return hashlib.sha256(self.spki).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """``SHA256:`` and unpadded base64 of the sha256 of the SPKI: how a key is shown to people."""
        return "SHA256:" + b64encode(hashlib.sha256(self.spki).digest()).rstrip("=")

    @cached_property
    def hint(self) -> str:
        """Base64 sha256 of the SPKI: cosign's ``publicKey.hint``."""
        return b64encode(hashlib.sha256(self.spki).digest())

    @property
    def scheme(self) -> Scheme:
        """This key's row of SCHEMES."""
        return SCHEMES[self.kind]

    def to_pem(self) -> bytes:
        """Return the PEM ``PUBLIC KEY`` with a final line break."""
        body = b64encode(self.spki)
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode("ascii")

    def verify(self, signature: bytes, message: bytes, *, hash: str | None = None) -> None:
        """Check a signature over ``message`` by this key's accepted hashes, or by ``hash`` alone.

        Raises:
            UntrustedSigner: if it does not verify.
        """
        key = self._crypto
        for name in (hash,) if hash is not None else self.scheme.accept:
            try:
                _verify_once(key, name, signature, message)
            except InvalidSignature:
                continue
            return
        raise UntrustedSigner(f"does not verify with key {self.fingerprint}")

    @cached_property
    def _crypto(self) -> object:
        return serialization.load_der_public_key(self.spki)


def kind_of(key: object) -> str:
    """Name the kind of a public key object of ``cryptography``.

    Raises:
        InvalidKey: if it is not in SCHEMES, or an RSA key of a refused size or exponent.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        kind = _CURVES.get(key.curve.name)
        if kind is None:
            raise InvalidKey(f"curve {key.curve.name} is not supported", hint="use P-256")
        return kind
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise InvalidKey(f"RSA key of {key.key_size} bits is not supported", hint="use 3072 or 4096 bits")
        if key.public_numbers().e < _RSA_LEAST_EXPONENT:
            raise InvalidKey("RSA key with a public exponent below 65537 is not supported")
        return "rsa"
    if _is_mldsa65(key):
        return "ml-dsa-65"
    raise InvalidKey(f"{type(key).__name__.lstrip('_')} is not supported", hint="use ECDSA P-256 or Ed25519")


def _is_mldsa65(key: object) -> bool:
    if "MLDSA" not in type(key).__name__:
        return False  # spares the import for every other key
    from cryptography.hazmat.primitives.asymmetric import mldsa

    return isinstance(key, mldsa.MLDSA65PublicKey)


def _load_pem(raw: bytes) -> object:
    text = raw.strip()
    if len(raw) > PEM_LIMIT:
        raise InvalidKey(f"public key of {len(raw)} bytes is longer than {PEM_LIMIT}")
    if b"PRIVATE KEY-----" in text:
        raise InvalidKey(
            "this is a private key, a public key is needed",
            hint="take the .pub file, or: imgsign key show KEY",
        )
    if not text.startswith(b"-----BEGIN PUBLIC KEY-----") or not text.endswith(b"-----END PUBLIC KEY-----"):
        raise InvalidKey("not a PEM public key", hint="it starts with -----BEGIN PUBLIC KEY-----")
    if text.count(b"-----BEGIN ") != 1:
        raise InvalidKey("more than one PEM block where one public key is needed")
    try:
        return serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise InvalidKey("damaged or unsupported PEM public key") from e


def _verify_once(key: object, hash: str, signature: bytes, message: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(_HASHES[hash]()))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), _HASHES[hash]())
    else:  # Ed25519 and ML-DSA: pure, with an empty context
        key.verify(signature, message)  # type: ignore[attr-defined]  # kind_of admitted it
