"""podman's, skopeo's and buildah's ``auth.json``.

Source: containers-auth.json(5) and containers/image ``pkg/docker/config``.

The files, in their order; where ``$REGISTRY_AUTH_FILE`` is set it is the only one (skopeo #1909), and must
exist::

    $XDG_RUNTIME_DIR/containers/auth.json     without that variable /run/containers/<uid>/auth.json
    $XDG_CONFIG_HOME/containers/auth.json     without that variable $HOME/.config/containers/auth.json

    credHelpers.<host>    suffix of the credential helper for a registry; wins over
    auths.<key>           see entry.py; key := host[:port] *("/" component)   the longest that fits counts

Keys of old clients are read as in docker's file. ``credsStore`` does not exist here (containers/image #111).
Mirrors and helpers of registries.conf are not read here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from math import inf
from pathlib import Path

from imgsign.errors import AuthenticationFailed, Malformed
from imgsign.record import record
from imgsign.transport.config.docker import find_entry, names_of, read_entry
from imgsign.transport.config.entry import Credential, is_present, read_config, unusable
from imgsign.transport.config.program import Program
from imgsign.wire import Node, quote

VARIABLE = "REGISTRY_AUTH_FILE"

_PER_USER = "/run/containers/{uid}/auth.json"  # containers/image defaultPerUIDPathFormat


@record
class AuthFile:
    """One auth.json. Entries are parsed when they are asked for."""

    source: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    auths: Mapping[str, Node] = field(default_factory=dict, repr=False)
    helpers: Mapping[str, str] = field(default_factory=dict)

    def find(self, registry: str, path: str, *, end: float = inf) -> Credential | None:
        """Return the credential for a repository; ``None``: the file has none.

        Raises:
            AuthenticationFailed, Unavailable: see :meth:`DockerConfig.find`.
        """
        name = next((n for n in names_of(registry) if n in self.helpers), None)
        if name is not None:
            program = Program(suffix=self.helpers[name], server=registry, named_in=self.source, environ=self.environ)
            return program.get(end=end)
        for key in _namespaces(registry, path):
            if key in self.auths:
                return read_entry(self.auths[key], registry, self.source)
        return find_entry(self.auths, registry, self.source)


def auth_paths(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """List where the files are looked for, whether they exist or not."""
    if explicit := environ.get(VARIABLE):
        return (Path(explicit),)
    runtime = environ.get("XDG_RUNTIME_DIR")
    found = [Path(runtime) / "containers/auth.json" if runtime else Path(_PER_USER.format(uid=os.getuid()))]
    config, home = environ.get("XDG_CONFIG_HOME"), environ.get("HOME")
    if config or home:
        found.append(Path(config or f"{home}/.config") / "containers/auth.json")
    return tuple(found)


def load_auth_file(path: Path, environ: Mapping[str, str]) -> AuthFile | None:
    """Read one file; ``None`` if it does not exist.

    Raises:
        AuthenticationFailed: naming the file, if it cannot be read, is malformed, or was named by
            REGISTRY_AUTH_FILE and does not exist.
    """
    source = quote(str(path))
    node = read_config(path)
    if node is None:
        if environ.get(VARIABLE):
            raise AuthenticationFailed(f"{VARIABLE} names {source}, which does not exist", hint=f"unset {VARIABLE}")
        return None
    try:
        members = node.fields((), ("auths", "credHelpers"), closed=False)
        return AuthFile(
            source=source,
            environ=environ,
            auths=members["auths"].entries() if is_present(members, "auths") else {},
            helpers=members["credHelpers"].text_map() if is_present(members, "credHelpers") else {},
        )
    except Malformed as e:
        raise unusable(source, e) from e


def _namespaces(registry: str, path: str) -> Iterator[str]:
    """Yield ``host/ns/repo``, ``host/ns``, ``host``."""
    parts = [registry, *path.split("/")] if path else [registry]
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
