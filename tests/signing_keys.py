"""Signers for tests: made once a process, unencrypted, in memory."""

from __future__ import annotations

from functools import cache

from imgsign.keys import PublicKey
from imgsign.signers import KeyFormat, Kind, Signer, load_signer
from imgsign.signers.keyfile import generate, to_pem


@cache
def signer(name: str, kind: Kind = Kind.ECDSA_P256) -> Signer:
    """The signer of that name; the same name and kind give the same key within one process."""
    pem = to_pem(generate(kind), KeyFormat.PKCS8, b"").decode()
    return load_signer("env:KEY", environ={"KEY": pem}, password=lambda what: None)


def public(name: str) -> PublicKey:
    """The public key of :func:`signer`."""
    return signer(name).public_key
