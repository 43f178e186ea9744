"""What vouches for a registry or a mirror: the files that are used, and the certificate it shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imgsign.doctor.finding import Finding, State, bad
from imgsign.errors import RegistryError
from imgsign.wire import format_time, printable

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.places import Place

EXPIRES_SOON = 14  # days before its end at which a certificate is pointed at
_NAME_LIMIT = 100  # characters shown of an issuer
_PATH_LIMIT = 1024  # characters shown of a path


def tls_files(label: str, place: Place, there: Transport, environ: Mapping[str, str]) -> list[Finding]:
    """Name the files that vouch for a place and those it is shown; nothing for plain http."""
    try:
        if there.origin(place.repository).scheme == "http":
            return []
        files = there.tls_files(place.repository)
    except RegistryError as e:
        return [bad(label, e)]
    own = environ.get("SSL_CERT_FILE")
    listed = ["the usual roots" if not own else f"SSL_CERT_FILE {_path(own)}", *map(_path, files.ca)]
    listed += [f"client certificate {_path(certificate)}" for certificate, _ in files.client]
    return [Finding(label=label, text=", ".join(listed))]


def _path(path: str) -> str:
    """Quote a path whole: here it is the answer, not a detail of it."""
    return f"'{printable(path, limit=_PATH_LIMIT)}'"


def tls(version: str, certificate: Mapping[str, object], *, now: datetime) -> Finding:
    """Say which TLS is spoken, who vouches for the registry and until when."""
    pairs = certificate.get("issuer", ())
    names = dict(p for part in pairs for p in part) if isinstance(pairs, tuple) else {}
    issuer = names.get("organizationName") or names.get("commonName") or "(unnamed)"
    text = f"{version}, issued by {printable(str(issuer), limit=_NAME_LIMIT)}"
    try:
        ends = datetime.strptime(str(certificate.get("notAfter")), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    except ValueError:
        return Finding(label="tls", text=text)
    text += f", until {format_time(ends)}"
    if (ends - now).days < EXPIRES_SOON:
        return Finding(label="tls", text=text, state=State.NOTE, hint="its certificate ends soon: tell its operator")
    return Finding(label="tls", text=text)
