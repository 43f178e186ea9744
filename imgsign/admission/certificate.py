"""The webhook's certificate and key, read as one pair and checked before anything serves them.

cert-manager changes key and certificate together (``rotationPolicy: Always``), and a Secret's files change by
one rename of ``..data``; a pair read around that rename does not match and is refused, and read again. Not
checked here: whether the API server trusts it (``caBundle``), which only the API server can say.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path

from imgsign.admission.mounted import moment
from imgsign.errors import Malformed
from imgsign.record import record
from imgsign.signers.disk import read_file
from imgsign.wire import quote

FILE_LIMIT = 1024 * 1024  # bytes, as a Secret has at most


@record
class Pair:
    """A certificate chain (leaf first) and its key, PEM, that belong together."""

    certificate: bytes
    key: bytes = field(repr=False)
    not_after: datetime
    names: tuple[str, ...]


def load_pair(certificate: Path, key: Path, *, now: datetime) -> Pair:
    """Read both files, of a mounted Secret through one resolved ``..data``.

    Raises:
        DestinationError: one cannot be read.
        Malformed: they are no pair, or the certificate has ended.
    """
    at = moment(certificate.parent)
    certificate_raw = read_file(at / certificate.name, limit=FILE_LIMIT)
    key_at = at if key.parent == certificate.parent else moment(key.parent)
    key_raw = read_file(key_at / key.name, limit=FILE_LIMIT)
    return check_pair(certificate_raw, key_raw, about=str(certificate), now=now)


def check_pair(certificate: bytes, key: bytes, *, about: str, now: datetime) -> Pair:
    """Check that a certificate and a key belong together and that the certificate can be used now.

    Raises:
        Malformed: otherwise; never with any part of the key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
    except (ValueError, IndexError):
        raise Malformed(f"no certificate in PEM in {quote(about)}") from None
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):  # TypeError: it is encrypted
        raise Malformed(f"the key of {quote(about)} is not an unencrypted private key in PEM") from None
    shape = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*shape) != leaf.public_key().public_bytes(*shape):
        raise Malformed(f"certificate {quote(about)} and its key do not belong together")
    if leaf.not_valid_after_utc <= now:
        raise Malformed(f"certificate {quote(about)} has ended at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    _check_usable(certificate, key, about)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise Malformed(
            f"certificate {quote(about)} has no subject alternative name, and the API server reads no other"
        ) from None
    shown = (*names.get_values_for_type(x509.DNSName), *(str(a) for a in names.get_values_for_type(x509.IPAddress)))
    return Pair(
        certificate=certificate, key=key, not_after=leaf.not_valid_after_utc.astimezone(UTC), names=tuple(shown)
    )


def _check_usable(certificate: bytes, key: bytes, about: str) -> None:
    """Let OpenSSL load it too: a chain that is no chain, a key that is too short."""
    fd = memory_file("pair", certificate + b"\n" + key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{fd}")
    except (ssl.SSLError, OSError) as e:
        raise Malformed(f"certificate {quote(about)} cannot be used: {e.__class__.__name__}") from None
    finally:
        os.close(fd)


def memory_file(name: str, raw: bytes) -> int:
    """Keep bytes in a file that is on no disk, for those who read by path only; returns its descriptor.

    What was checked is what is served, a key is written nowhere, and a read-only container needs no directory.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(raw)
    return fd
