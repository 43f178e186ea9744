"""TLS: which authorities vouch for a host, and which client certificate is shown to it.

Sources: docker ``docs/…/certificates``, containers/image ``docs/containers-certs.d.5.md``, containerd
``docs/hosts.md``.

    certs.d/<host[:port]>/*.crt           authorities, in addition to the roots
    certs.d/<host[:port]>/*.cert, *.key   pairs of the same stem: client certificate and its key

The first of these directories that exists for a host counts, alone: ``~/.config/containers/certs.d``,
``/etc/containers/certs.d``, ``~/.config/docker/certs.d`` (rootless docker), ``/etc/docker/certs.d``,
``/etc/containerd/certs.d`` (where ``host_port_`` is written too). A port is part of the name: ``host``
is port 443. Each host one is led to, a token server's or storage's too, has its own directory.

The roots are certifi's, or only ``SSL_CERT_FILE`` where that is set (as OpenSSL and Go understand it);
``--ca`` adds to them for every host. TLS is 1.2 or newer and there is no way to skip the check.
Refused: half a pair, a key with a password (nobody is there to type it).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from imgsign.errors import Unavailable
from imgsign.transport.config.host_files import user_config
from imgsign.transport.hosts import Origin
from imgsign.transport.pool import Files
from imgsign.wire import quote

FILES_LIMIT = 1000
"""Files of one directory; docker's own have three."""


class Certs:
    """Finds what is configured for each origin, and makes contexts of it."""

    def __init__(self, environ: Mapping[str, str], *, ca: tuple[str, ...] = (), root: Path = Path("/")) -> None:
        """Look below ``root`` for what belongs to the machine; ``ca`` are further authorities for all hosts."""
        home = user_config(environ)
        self._roots = environ.get("SSL_CERT_FILE") or None
        self._ca = ca
        users = [] if home is None else [home / "containers/certs.d", home / "docker/certs.d"]
        system = [root / "etc/containers/certs.d", root / "etc/docker/certs.d", root / "etc/containerd/certs.d"]
        self._bases = [*users[:1], *system[:1], *users[1:], *system[1:]]

    def find(self, origin: Origin) -> Files:
        """Return what ``certs.d`` has for an origin.

        Raises:
            Unavailable: half a pair, or a directory that cannot be read.
        """
        directory = self.directory(origin)
        return Files() if directory is None else _read_directory(directory)

    def directory(self, origin: Origin) -> Path | None:
        """The directory that counts for an origin."""
        if not origin.host.strip("."):  # "..", which a redirect may name, would leave certs.d
            return None
        names = [origin.authority]
        if origin.port == 443:
            names.append(f"{origin.host}:443")
        else:
            names.append(f"{origin.host}_{origin.port}_")
        candidates = (base / name for base in self._bases for name in names)
        return next((c for c in candidates if c.is_dir()), None)

    def context(self, files: Files) -> ssl.SSLContext:
        """Make the context for a host.

        Raises:
            Unavailable: naming the file that cannot be used.
        """
        import certifi

        what = "the roots" if self._roots is None else "SSL_CERT_FILE"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load_authorities(context, self._roots or certifi.where(), what)
        for path in self._ca:
            _load_authorities(context, path, "--ca")
        for path in files.ca:
            _load_authorities(context, path, "certificate authority")
        for certificate, key in files.client:
            _load_pair(context, certificate, key)
        return context


def certs_d(origin: Origin) -> str:
    """Where docker and imgsign look for the authorities of an origin, for a hint."""
    return f"/etc/docker/certs.d/{origin.authority}"


def _load_authorities(context: ssl.SSLContext, path: str, what: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except OSError as e:
        raise Unavailable(f"cannot use {what} {quote(path)}: {_reason(e, 'not a PEM file of certificates')}") from e


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def refuse() -> str:
        raise ValueError("a key with a password")

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ValueError as e:
        raise Unavailable(f"cannot use client key {quote(key)}: it has a password") from e
    except OSError as e:
        reason = _reason(e, "they are not a PEM certificate and its key")
        raise Unavailable(f"cannot use client certificate {quote(certificate)} with key {quote(key)}: {reason}") from e


def _reason(error: OSError, malformed: str) -> str:
    return malformed if isinstance(error, ssl.SSLError) else (error.strerror or "unknown error")


def _read_directory(directory: Path) -> Files:
    try:
        names = sorted(p.name for p in directory.iterdir())
    except OSError as e:
        raise Unavailable(f"cannot read {quote(str(directory))}: {e.strerror}") from e
    if len(names) > FILES_LIMIT:
        raise Unavailable(f"{quote(str(directory))} holds more than {FILES_LIMIT} files")
    stems = {suffix: {n.removesuffix(suffix) for n in names if n.endswith(suffix)} for suffix in (".cert", ".key")}
    for here, other in ((".cert", ".key"), (".key", ".cert")):
        for stem in sorted(stems[here] - stems[other]):
            raise Unavailable(
                f"cannot use {quote(str(directory / (stem + here)))}: {quote(stem + other)} is not beside it",
                hint="a client certificate is a pair: NAME.cert and NAME.key",
            )
    return Files(
        ca=tuple(str(directory / n) for n in names if n.endswith(".crt")),
        client=tuple((str(directory / f"{s}.cert"), str(directory / f"{s}.key")) for s in sorted(stems[".cert"])),
    )
