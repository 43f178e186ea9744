"""docker's ``config.json`` and ``DOCKER_AUTH_CONFIG``: the credentials ``docker login`` left.

Sources: docker/cli ``cli/config/configfile``, ``cli/config/credentials`` (there is no specification).

The file is ``$DOCKER_CONFIG/config.json``, else ``$HOME/.docker/config.json``::

    credHelpers.<server>   suffix of the credential helper for one server; wins over
    credsStore             suffix of the helper for all others; wins over
    auths.<key>            see entry.py; key := host[:port] | "http(s)://" host[:port] [path]   (old clients)

A server is a registry's ``host[:port]``; Docker Hub is ``https://index.docker.io/v1/``, and when reading
also docker.io, index.docker.io and registry-1.docker.io. ``host`` and ``host:443`` are two registries, as
in references. As in docker, the plain entries of a file do not count where it names a helper.

``DOCKER_AUTH_CONFIG`` holds ``{"auths": {<key>: {"auth": …}}}`` and nothing else; it comes before the file.

``HttpHeaders`` is for the engine, not for registries, and is not sent to them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import field
from math import inf
from pathlib import Path

from imgsign.errors import AuthenticationFailed, Malformed
from imgsign.record import record
from imgsign.reference import DOCKER_HUB
from imgsign.transport.config.entry import (
    CONFIG_LIMIT,
    Credential,
    is_present,
    parse_entry,
    read_config,
    text_of,
    unusable,
)
from imgsign.transport.config.program import Program
from imgsign.wire import Node, load_json, quote

VARIABLE = "DOCKER_AUTH_CONFIG"

HUB_SERVER = "https://index.docker.io/v1/"
"""What docker calls Docker Hub in credentials (moby ``registry.IndexServer``)."""

_HUB_KEYS = (HUB_SERVER, DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_KEY = re.compile(r"(?:(?P<scheme>https?://))?(?P<host>[^/]+)(?P<path>/.*)?", re.IGNORECASE | re.ASCII)
_API_PATHS = (None, "/", "/v1", "/v1/", "/v2", "/v2/")


@record
class DockerConfig:
    """The parts of config.json that say who one is. Entries are parsed when they are asked for."""

    source: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    auths: Mapping[str, Node] = field(default_factory=dict, repr=False)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""

    def find(self, registry: str, *, end: float = inf) -> Credential | None:
        """Return the credential for a registry; ``None``: the file has none.

        ``end``: the time of ``time.monotonic`` at which a helper is given up.

        Raises:
            AuthenticationFailed: if the entry or the helper cannot be used.
            Unavailable: a helper did not answer before ``end``.
        """
        program = self.program(registry)
        return find_entry(self.auths, registry, self.source) if program is None else program.get(end=end)

    def program(self, registry: str) -> Program | None:
        """Return the helper that keeps the credential of a registry; ``None``: the file does."""
        suffix = next((self.helpers[k] for k in names_of(registry) if k in self.helpers), self.store)
        if not suffix:
            return None
        return Program(suffix=suffix, server=server_of(registry), named_in=self.source, environ=self.environ)


def config_path(environ: Mapping[str, str]) -> Path | None:
    """Return where the file is, or would be; ``None`` without DOCKER_CONFIG and HOME."""
    directory = environ.get("DOCKER_CONFIG")
    if not directory and (home := environ.get("HOME")):
        directory = f"{home}/.docker"
    return Path(directory) / "config.json" if directory else None


def load_docker(environ: Mapping[str, str]) -> DockerConfig:
    """Read config.json; without one it is empty.

    Raises:
        AuthenticationFailed: naming the file, if it cannot be read or is malformed.
    """
    path = config_path(environ)
    node = None if path is None else read_config(path)
    if node is None:
        return DockerConfig(source=quote(str(path)), environ=environ)
    try:
        members = node.fields((), ("auths", "credHelpers", "credsStore"), closed=False)
        return DockerConfig(
            source=quote(str(path)),
            environ=environ,
            auths=members["auths"].entries() if is_present(members, "auths") else {},
            helpers=members["credHelpers"].text_map() if is_present(members, "credHelpers") else {},
            store=text_of(members, "credsStore"),
        )
    except Malformed as e:
        raise unusable(quote(str(path)), e) from e


def load_variable(environ: Mapping[str, str]) -> Mapping[str, Node]:
    """Read the entries of DOCKER_AUTH_CONFIG.

    Raises:
        AuthenticationFailed: if it is malformed or holds anything but ``auths`` with ``auth``.
    """
    text = environ.get(VARIABLE, "")
    if not text.strip():
        return {}
    try:
        raw = text.encode("utf-8", "surrogateescape")
        members = load_json(raw, limit=CONFIG_LIMIT).fields((), ("auths",))
        auths = members["auths"].entries() if is_present(members, "auths") else {}
        for entry in auths.values():
            entry.fields(("auth",), ())
    except Malformed as e:
        raise unusable(VARIABLE, e) from e
    return auths


def find_entry(auths: Mapping[str, Node], registry: str, source: str) -> Credential | None:
    """Return what the best entry for a registry says.

    Raises:
        AuthenticationFailed: if that entry cannot be used.
    """
    key = next(iter(keys_of(auths, registry)), None)
    return None if key is None else read_entry(auths[key], registry, source)


def read_entry(entry: Node, registry: str, source: str) -> Credential | None:
    """Parse one entry.

    Raises:
        AuthenticationFailed: naming registry and source.
    """
    try:
        return parse_entry(entry, source)
    except Malformed as e:
        message = f"cannot use the credentials for {quote(registry)} from {source}: {e.message}"
        raise AuthenticationFailed(message, hint=f"imgsign login {registry}") from e


def server_of(registry: str) -> str:
    """Return what docker calls a registry in credentials."""
    return HUB_SERVER if registry == DOCKER_HUB else registry


def names_of(registry: str) -> tuple[str, ...]:
    """Return the names of a registry, the proper one first."""
    return _HUB_KEYS if registry == DOCKER_HUB else (registry,)


def keys_of(auths: Collection[str], registry: str) -> list[str]:
    """List the keys of ``auths`` that mean a registry, the best one first."""
    names = names_of(registry)
    exact = [n for n in names if n in auths]
    return exact + [k for k in auths if k not in exact and host_of(k) in names]


def host_of(key: str) -> str | None:
    """Reduce a key to its host as docker does, but not podman's ``host/namespace``: that means less."""
    match = _KEY.fullmatch(key)
    if match is None or (match["scheme"] is None and match["path"] not in _API_PATHS):
        return None
    return match["host"]
