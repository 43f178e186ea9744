"""Private keys behind one protocol, and the table of key backends by URI scheme.

A key is named by a *spec*: a path (``release.key``, ``file:release.key``), or ``env:NAME`` for an
environment variable that holds the PEM text itself. Anything else that looks like ``scheme:…`` is refused
by its scheme alone, because the rest may hold secrets (``pkcs11:…?pin-value=…``, RFC 7512 §2.4); a file
whose name has a colon is written ``./name``.

Refused: a private key given as text where its place is needed. It would end in shell histories, process
lists and error messages.

Importing this package loads no backend: a backend is imported when a key of it is loaded, and
securesystemslib when one signs. Verifying needs neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from imgsign.errors import SignerError

if TYPE_CHECKING:
    from imgsign.keys import PublicKey

Password = Callable[[str], bytes | None]
"""Asked for the password of an encrypted key, named as in ``'release.key'``; ``None`` means there is none."""


class Kind(StrEnum):
    """The kinds of keys that can be made."""

    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_P384 = "ecdsa-p384"
    ECDSA_P521 = "ecdsa-p521"
    ML_DSA_65 = "ml-dsa-65"


class KeyFormat(StrEnum):
    """The formats of private key files that can be written."""

    PKCS8 = "pkcs8"
    COSIGN = "cosign"


class Signer(Protocol):
    """A private key somewhere: in a file, a key service, a hardware token."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, message: bytes, scheme: str) -> bytes:
        """Sign ``message`` (the message itself, not its digest).

        ``scheme`` is the hash of a row of :data:`imgsign.keys.SCHEMES`: ``sha256``, ``sha384``, ``sha512`` or
        ``pure``. ECDSA signatures are DER (RFC 3279 §2.2.3), never raw ``r || s``.

        Raises:
            SignerError: if the table has no such scheme for this key, or the backend fails.
        """
        ...


def _load_file(rest: str, environ: Mapping[str, str], password: Password) -> Signer:
    from imgsign.signers.disk import read_path
    from imgsign.signers.file import load_private_key

    return load_private_key(lambda: read_path(rest, suffix=".key"), password)


def _load_env(rest: str, environ: Mapping[str, str], password: Password) -> Signer:
    from imgsign.signers.disk import read_variable
    from imgsign.signers.file import load_private_key

    return load_private_key(lambda: read_variable(rest, environ), password)


SIGNERS: dict[str, Callable[[str, Mapping[str, str], Password], Signer]] = {
    "env": _load_env,
    "file": _load_file,
}
"""Key backends by the scheme of a key's spec; a loader gets what follows the colon."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)  # RFC 3986 §3.1; two letters spare C:\


def split_spec(spec: str) -> tuple[str, str]:
    """Split a key's spec into scheme and rest; without a scheme it is a file.

    Raises:
        SignerError: if it is empty, or a key instead of a place; the text is never repeated.
    """
    if not spec:
        raise SignerError("no key was given", hint="imgsign key generate")
    if "-----BEGIN" in spec:
        raise SignerError(
            "a key was given where the place of a key is needed",
            hint="put it into a variable and say env:NAME",
        )
    if (match := _SCHEME.fullmatch(spec)) is None:
        return "file", spec
    return match[1], match[2]


def load_signer(spec: str, *, environ: Mapping[str, str], password: Password) -> Signer:
    """Open the private key a spec names.

    ``password`` is asked only if the key is encrypted, with the key's description.

    Raises:
        SignerError: if the key is missing, its password is missing or wrong, or no backend knows the scheme.
        InvalidKey: if it is not a private key, or of a kind imgsign refuses.
    """
    scheme, rest = split_spec(spec)
    if (load := SIGNERS.get(scheme)) is None:
        raise SignerError(
            f"no key backend {scheme!r}",
            hint=f"known are {', '.join(sorted(SIGNERS))}; a file whose name has a colon is written ./name",
        )
    return load(rest, environ, password)
