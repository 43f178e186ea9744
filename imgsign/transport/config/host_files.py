"""Reading what a machine says about registries' hosts: which files, in which order, and which of them decides.

Parsing is in :mod:`~imgsign.transport.config.registries`, ``certs_d`` and ``daemon``. For one repository:

1. ``--mirror`` options, if any is about it, name its mirrors, in order. They are asked for content by
   digest and for signatures, never what a tag means: whoever edits a pipeline does not choose that.
2. Else the first of these that says something about it:
   - ``registries.conf``: ``$CONTAINERS_REGISTRIES_CONF``, else the user's
     (``~/.config/containers/registries.conf``), else ``/etc/containers/registries.conf``; and the drop-ins
     ``registries.conf.d/*.conf`` beside, in order of their names: /etc first, then the user's; /etc's are
     left out where the user's own file is used (containers/image ``sysregistriesv2``);
   - ``/etc/containerd/certs.d/<host>/hosts.toml``;
   - docker's ``daemon.json``, the user's (rootless) or ``/etc/docker/daemon.json``.
3. Whatever names its mirrors, ``registries.conf`` can block a repository and move it, and daemon.json can
   allow plain http.

A file that is not there says nothing. One that cannot be read or understood is an error: mirrors, blocks
and insecurity that somebody wrote down are not guessed at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from imgsign.errors import Malformed
from imgsign.reference import Repository
from imgsign.transport.config.certs_d import directories, parse_hosts
from imgsign.transport.config.daemon import Daemon, parse_daemon
from imgsign.transport.config.registries import CONFIG_LIMIT, Entry, find_entry, parse_registries
from imgsign.transport.places import OPTION, MirrorOption, Place, Places, is_below, rewrite
from imgsign.wire import quote

T = TypeVar("T")

DROP_INS_LIMIT = 1000
"""Files of one ``registries.conf.d``."""


_NONE: tuple[Entry, ...] = ()


class HostFiles:
    """Knows the places of repositories; reads each file once, when it is first needed; thread-safe."""

    def __init__(
        self, environ: Mapping[str, str], *, mirrors: Sequence[MirrorOption] = (), root: Path = Path("/")
    ) -> None:
        """Look below ``root`` for what belongs to the machine, and where ``environ`` says for the user's."""
        self._environ = environ
        self._mirrors = tuple(mirrors)
        self._root = root
        self._lock = threading.Lock()
        self._entries: tuple[Entry, ...] | None = None
        self._daemon: Daemon | None = None
        self.read: list[str] = []
        """The files that were there, in the order of reading."""

    def places(self, repository: Repository) -> Places:
        """Where a repository is to be had.

        Raises:
            RegistryError: it is blocked.
            Malformed: a file cannot be used; the message names it and the key.
        """
        with self._lock:
            found = self._configured(repository)
        given = tuple(
            Place(
                repository=rewrite(repository, m.prefix or repository.registry, m.location, OPTION),
                source=OPTION,
                by_tag=False,
            )
            for m in self._mirrors
            if is_below(repository, m.prefix)
        )
        return replace(found, mirrors=given) if given else found

    def _configured(self, repository: Repository) -> Places:
        if self._entries is None:
            self._entries = tuple(self._load_registries())
        if self._daemon is None:
            self._daemon = self._load_daemon()
        entry = find_entry(self._entries, repository)
        found = None if entry is None else entry.places(repository)
        if found is None:
            found = self._containerd(repository)
        docker = self._daemon.places(repository)
        if found is None:
            found = docker
        if found is None:
            registry = Place(repository=repository)
            return Places(registry=registry, primary=registry)
        return found if docker is None else _allow_http(found, self._daemon)

    def _load_registries(self) -> Iterator[Entry]:
        home = user_config(self._environ)
        own = None if home is None else home / "containers"
        system = self._root / "etc/containers"
        named = self._environ.get("CONTAINERS_REGISTRIES_CONF")
        drop_ins = [system] if own is None else [system, own]
        if named:
            # What is named has to be there; a missing file would lift what it blocks.
            yield from self._parse(Path(named), parse_registries, _NONE, required=True)
        elif own is not None and (own / "registries.conf").exists():
            yield from self._parse(own / "registries.conf", parse_registries, _NONE)
            drop_ins = [own]
        else:
            yield from self._parse(system / "registries.conf", parse_registries, _NONE)
        for directory in drop_ins:
            for path in _listed(directory / "registries.conf.d"):
                yield from self._parse(path, parse_registries, _NONE)

    def _load_daemon(self) -> Daemon:
        home = user_config(self._environ)
        if home is not None and (home / "docker/daemon.json").exists():
            return self._parse(home / "docker/daemon.json", parse_daemon, Daemon())
        return self._parse(self._root / "etc/docker/daemon.json", parse_daemon, Daemon())

    def _containerd(self, repository: Repository) -> Places | None:
        base = self._root / "etc/containerd/certs.d"
        for name in directories(repository.registry):
            if (base / name).is_dir():

                def parse(raw: bytes, source: str) -> Places:
                    return parse_hosts(raw, source, repository)

                return self._parse(base / name / "hosts.toml", parse, None)
        return None

    def _parse(self, path: Path, parse: Callable[[bytes, str], T], absent: T, *, required: bool = False) -> T:
        raw = read_config(path, required=required)
        if raw is None:
            return absent
        if str(path) not in self.read:
            self.read.append(str(path))
        return parse(raw, str(path))


def user_config(environ: Mapping[str, str]) -> Path | None:
    """The directory of a user's configuration (XDG Base Directory): ``$XDG_CONFIG_HOME``, else ``~/.config``."""
    named, home = environ.get("XDG_CONFIG_HOME"), environ.get("HOME")
    if named:
        return Path(named)
    return Path(home) / ".config" if home else None


def read_config(path: Path, *, required: bool = False) -> bytes | None:
    """Read one file of at most ``CONFIG_LIMIT`` bytes and one more; ``None``: it is not there.

    Raises:
        Malformed: it cannot be read, or is not there although it is ``required``.
    """
    try:
        with path.open("rb") as file:
            return file.read(CONFIG_LIMIT + 1)
    except OSError as e:
        if isinstance(e, (FileNotFoundError, NotADirectoryError)) and not required:
            return None
        raise Malformed(f"cannot read {quote(str(path))}: {(e.strerror or 'unknown error').lower()}") from e


def _listed(directory: Path) -> list[Path]:
    try:
        found = sorted(p for p in directory.iterdir() if p.name.endswith(".conf"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise Malformed(f"cannot read {quote(str(directory))}: {(e.strerror or 'unknown error').lower()}") from e
    if len(found) > DROP_INS_LIMIT:
        raise Malformed(f"{quote(str(directory))} holds more than {DROP_INS_LIMIT} files")
    return found


def _allow_http(places: Places, daemon: Daemon) -> Places:
    """Let daemon.json allow plain http to the registry itself, wherever its mirrors are named."""
    if not daemon.is_insecure(places.registry.repository.registry):
        return places
    registry = replace(places.registry, insecure=True)
    return replace(places, registry=registry, primary=registry if places.primary == places.registry else places.primary)
