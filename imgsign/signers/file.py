"""Private keys from files and environment variables: the backends ``file:`` and ``env:``.

Sources: the SCHEMES table of :mod:`imgsign.keys`; FIPS 204 §5.2 (ML-DSA with an empty context).

Signing goes through securesystemslib's ``CryptoSigner`` with an explicit scheme, because its default for RSA is
PSS, which no peer reads. ML-DSA goes to cryptography directly, because securesystemslib signs TUF's prefixed
variant. Every signature is verified before it is returned: a fault while signing can give an RSA or
deterministic key away (Boneh, DeMillo, Lipton 1997), and a wrong signature is not worth pushing.

Refused: any scheme that is not in the key's row of the table for signing. One key under two hashes is what
cross-protocol tricks are made of.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, cast

from imgsign.errors import DestinationError, SignatureInvalid, SignerError
from imgsign.keys import PublicKey
from imgsign.record import record
from imgsign.signers import Password
from imgsign.signers.disk import Source
from imgsign.signers.keyfile import parse_private, public_key_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from imgsign.signers.keyfile import PrivateKey

    _Classic = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

_SCHEMES = {
    ("ecdsa-p256", "sha256"): "ecdsa-sha2-nistp256",
    ("ecdsa-p384", "sha384"): "ecdsa-sha2-nistp384",
    ("ecdsa-p521", "sha512"): "ecdsa-sha2-nistp521",
    ("ed25519", "pure"): "ed25519",
    ("rsa", "sha256"): "rsa-pkcs1v15-sha256",
}
"""securesystemslib's scheme by kind of key and hash."""


@record(kw_only=False)
class FileSigner:
    """A private key in memory; it never appears in ``repr``."""

    public_key: PublicKey
    _key: PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes, scheme: str) -> bytes:
        """Sign; see :class:`imgsign.signers.Signer`."""
        row = self.public_key.scheme
        if scheme not in (row.bundle, row.simple):
            raise SignerError(f"{row.title} keys do not sign with {scheme!r}")
        signature = self._sign(message, scheme)
        try:
            self.public_key.verify(signature, message, hash=scheme)
        except SignatureInvalid as e:
            raise SignerError(f"the signature just made with key {self.public_key.fingerprint} is wrong") from e
        return signature

    def _sign(self, message: bytes, scheme: str) -> bytes:
        if self.public_key.kind == "ml-dsa-65":
            return cast("MLDSA65PrivateKey", self._key).sign(message)
        return _sign_classic(cast("_Classic", self._key), message, _SCHEMES[self.public_key.kind, scheme])


def load_private_key(read: Callable[[], Source], password: Password) -> FileSigner:
    """Open a private key that ``read`` brings.

    Raises:
        SignerError: if it cannot be read, or the password is missing or wrong.
        InvalidKey: if it is not one private key of a supported kind.
    """
    try:
        source = read()
    except DestinationError as e:
        raise SignerError(f"no private key: {e.message}", hint=e.hint or "imgsign key generate") from e
    key = parse_private(source, password)
    return FileSigner(public_key_of(key), key)


def _sign_classic(key: _Classic, message: bytes, scheme: str) -> bytes:
    first = "securesystemslib" not in sys.modules
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # public, but no __all__

    if first:  # importing it adds a handler that would write to our stderr
        logging.getLogger("securesystemslib").handlers.clear()
    public = SSlibKey.from_crypto(key.public_key(), scheme=scheme)
    return bytes.fromhex(CryptoSigner(key, public).sign(message).signature)
