"""Credentials as ``docker login`` leaves them: the ``auths`` of ``config.json``.

Sources: docker/cli ``cli/config/configfile`` and ``cli/config/types`` (there is no specification).

The file is ``$DOCKER_CONFIG/config.json``, else ``$HOME/.docker/config.json``; without it one is
anonymous. It is read once, and only when a registry asks for credentials.

    auths.<key>          key := host[:port] | "http(s)://" host[:port] [path]      (old clients wrote URLs)
    auths.<key>.auth     base64 of user ":" password; the first colon splits, trailing NULs are padding

Docker Hub is ``https://index.docker.io/v1/``, and also docker.io, index.docker.io and
registry-1.docker.io. ``host`` and ``host:443`` are two registries, as in references.

Refused with an error, never by going on anonymously (CVE-2021-41092): a malformed file, a credential
helper or store for the host, identity and registry tokens. These are not supported yet, except that an
entry with user and password wins where both exist.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imgsign.errors import AuthenticationFailed, Malformed
from imgsign.reference import DOCKER_HUB
from imgsign.wire import Node, b64decode, load_json, quote

CONFIG_LIMIT = 1024 * 1024
"""Bytes of config.json; real ones stay under 100 KiB (containers/image reads at most 4 MiB)."""

_HUB_KEYS = ("https://index.docker.io/v1/", DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_KEY = re.compile(r"(?:(?P<scheme>https?://))?(?P<host>[^/]+)(?P<path>/.*)?", re.IGNORECASE | re.ASCII)
_API_PATHS = (None, "/", "/v1", "/v1/", "/v2", "/v2/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user and a password for one registry, and the file they come from."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    source: str

    @property
    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header (RFC 7617 §2, UTF-8)."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any text."""
        return (self.password, self.basic.partition(" ")[2])


class Credentials:
    """The credentials an environment leads to; thread-safe."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        directory = environ.get("DOCKER_CONFIG")
        home = environ.get("HOME")
        if not directory and home:
            directory = f"{home}/.docker"
        self._path = Path(directory) / "config.json" if directory else None
        self._lock = threading.Lock()
        self._config: _Config | None = None

    @property
    def source(self) -> str | None:
        """The file that is read, if there is any."""
        return None if self._path is None else str(self._path)

    def find(self, registry: str) -> Credential | None:
        """Return the credential for a registry as references name it; ``None``: anonymous.

        Raises:
            AuthenticationFailed: if the file or the entry cannot be used; the message names the file.
        """
        with self._lock:
            if self._config is None:
                self._config = _load(self._path)
        return self._config.find(registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    """The parts of config.json that say who one is. Entries are parsed when they are asked for."""

    source: str = ""
    auths: Mapping[str, Node] = field(default_factory=dict, repr=False)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""

    def find(self, registry: str) -> Credential | None:
        entry = next((self.auths[k] for k in self._keys(registry)), None)
        refused = None
        if entry is not None:
            try:
                members = entry.fields(
                    (), ("auth", "username", "password", "identitytoken", "registrytoken"), closed=False
                )
                if found := self._credential(registry, members):
                    return found
            except Malformed as e:
                raise self._unusable(registry, e.message) from e
            refused = next((k for k in ("identitytoken", "registrytoken") if _text(members, k)), None)
        if refused is not None:
            raise self._unusable(registry, f"its {refused!r} is not supported yet")
        helper = next((self.helpers[k] for k in _names(registry) if k in self.helpers), self.store)
        if helper:
            raise self._unusable(registry, f"credential helper {quote(helper)} is not supported yet")
        return None

    def _keys(self, registry: str) -> list[str]:
        """List the keys of ``auths`` that mean a registry, the best one first."""
        names = _names(registry)
        exact = [n for n in names if n in self.auths]
        return exact + [k for k in self.auths if k not in exact and _host(k) in names]

    def _credential(self, registry: str, members: Mapping[str, Node]) -> Credential | None:
        encoded = _text(members, "auth")
        if not encoded:
            user, password = _text(members, "username"), _text(members, "password")
            return Credential(user=user, password=password, source=self.source) if user and password else None
        raw = b64decode(encoded)
        try:
            user, colon, password = raw.decode("utf-8").partition(":")
        except UnicodeDecodeError as e:
            raise Malformed("'auth' is not base64 of UTF-8 text") from e
        password = password.rstrip("\0")
        if not colon or not user:
            raise Malformed("'auth' is not base64 of user:password")
        if password:
            return Credential(user=user, password=password, source=self.source)
        if not _text(members, "identitytoken"):  # with one, docker writes the user alone
            raise Malformed("'auth' has no password")
        return None

    def _unusable(self, registry: str, reason: str) -> AuthenticationFailed:
        return AuthenticationFailed(
            f"cannot use the credentials for {quote(registry)} in {quote(self.source)}: {reason}",
            hint=f"set DOCKER_CONFIG to a directory without a credential helper, then: docker login {registry}",
        )


def _load(path: Path | None) -> _Config:
    """Read the file; absent means empty, anything else that fails is an error that names it."""
    if path is None:
        return _Config()
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return _Config()
    except OSError as e:
        raise AuthenticationFailed(f"cannot read credentials from {quote(str(path))}: {e.strerror}") from e
    try:
        members = load_json(raw, limit=CONFIG_LIMIT).fields((), ("auths", "credHelpers", "credsStore"), closed=False)
        return _Config(
            source=str(path),
            auths=members["auths"].entries() if _present(members, "auths") else {},
            helpers=members["credHelpers"].text_map() if _present(members, "credHelpers") else {},
            store=_text(members, "credsStore"),
        )
    except Malformed as e:
        raise AuthenticationFailed(
            f"cannot use {quote(str(path))}: {e.message}", hint="repair the file, or move it away and docker login"
        ) from e


def _names(registry: str) -> tuple[str, ...]:
    return _HUB_KEYS if registry == DOCKER_HUB else (registry,)


def _host(key: str) -> str | None:
    """Reduce a key to its host as docker does, but not podman's ``host/namespace``: that means less."""
    match = _KEY.fullmatch(key)
    if match is None or (match["scheme"] is None and match["path"] not in _API_PATHS):
        return None
    return match["host"]


def _present(members: Mapping[str, Node], key: str) -> bool:
    return key in members and members[key].value is not None


def _text(members: Mapping[str, Node], key: str) -> str:
    return members[key].text() if _present(members, key) else ""
