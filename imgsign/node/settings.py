"""What containerd's own configuration says about verifiers, read without containerd.

Source: containerd 2.4 ``cmd/containerd/server/config/config.go`` (files, imports, versions 1 to 4),
``pkg/imageverifier/bindir`` and ``internal/cri/config`` (``CheckLocalImagePullConfigs``). There is no
specification.

containerd merges a file and its ``imports``, and has merged them differently from one release to the next
(whole plug-in sections, then single keys, of which empty ones do not count). So nothing is merged here: a
:class:`Settings` gives *every* value that was set for a key, with its file. Who asks whether something is
switched off takes the worst of them.

Refused: files that are not TOML, over :data:`FILE_LIMIT` bytes each, over :data:`FILES_LIMIT` together, or
of a version above 4. Not read: what flags and drop-ins of the service say.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from imgsign.errors import DestinationError, InvalidPolicy, Malformed
from imgsign.record import record
from imgsign.signers.disk import read_file
from imgsign.wire import Node, load_toml, quote

CONFIG = "/etc/containerd/config.toml"
FILE_LIMIT = 1024 * 1024  # bytes of one file; `containerd config default` prints 15 KiB
FILES_LIMIT = 64  # files imported in all
NEWEST = 4  # version of the configuration format

BINDIR = "io.containerd.image-verifier.v1.bindir"
IMAGES = "io.containerd.cri.v1.images"
CRI = "io.containerd.grpc.v1.cri"

_OLD_NAMES = {"cri": CRI}  # what version 1 called plug-ins; the others do not matter here
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"[+]?(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)


class InvalidSettings(Malformed):
    """A containerd configuration that cannot be understood; the message names the file."""


@record(kw_only=False)
class Setting:
    """One value, and the file it was set in."""

    node: Node
    file: Path


@record(kw_only=False)
class Settings:
    """The files that were read, the first being containerd's own."""

    files: tuple[tuple[Path, Node], ...] = ()

    def of(self, plugin: str, *keys: str) -> tuple[Setting, ...]:
        """Every value that is set below a plug-in's section, in the order of the files."""
        found = []
        for file, top in self.files:
            sections = _get(top, "plugins")
            for name, section in sections.entries().items() if sections is not None else ():
                if _OLD_NAMES.get(name, name) == plugin and (node := _below(section, keys)) is not None:
                    found.append(Setting(node, file))
        return tuple(found)

    def disabled(self) -> Iterator[Setting]:
        """The plug-ins that are switched off; ``node`` holds the full name."""
        for file, top in self.files:
            listed = _get(top, "disabled_plugins")
            for item in listed.items() if listed is not None else ():
                name = item.text()
                yield Setting(Node(_OLD_NAMES.get(name, name), item.path, item.error), file)


def load_settings(path: Path) -> Settings:
    """Read a configuration and all it imports; a missing first file is containerd with its defaults.

    Raises:
        DestinationError: a file cannot be read.
        InvalidSettings: a file cannot be understood.
    """
    if not path.exists():
        return Settings()
    found: dict[Path, Node] = {}
    pending = [path]
    while pending:
        file = pending.pop(0)
        if file in found:
            continue
        if len(found) >= FILES_LIMIT:
            raise InvalidSettings(f"{quote(str(path))} imports more than {FILES_LIMIT} files")
        raw = read_file(file, FILE_LIMIT)
        try:
            top = load_toml(raw, limit=FILE_LIMIT)
            found[file] = top = Node(top.value, "", InvalidSettings)
            _check_version(top)
            pending += _imports(top, file)
        except (InvalidPolicy, InvalidSettings) as e:  # the first is what the TOML reader raises
            raise InvalidSettings(f"{quote(str(file))}: {e.message}") from e
    return Settings(tuple(found.items()))


def parse_go_duration(text: str) -> float:
    """Seconds of Go's ``time.ParseDuration`` without a minus: ``10s``, ``1m30s``, ``1.5s``, ``0``.

    Raises:
        InvalidSettings: it is none.
    """
    if text == "0":
        return 0.0
    if len(text) > 64 or _DURATION.fullmatch(text) is None:
        raise InvalidSettings(f"not a duration: {quote(text)}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _check_version(top: Node) -> None:
    version = _get(top, "version")
    if version is not None and version.integer(low=0) > NEWEST:
        version.refuse(f"configuration version {version.integer()} is not known, only up to {NEWEST}")


def _imports(top: Node, file: Path) -> list[Path]:
    """As containerd: below the importing file's directory, and with patterns only where there is a ``*``."""
    listed = _get(top, "imports")
    found: list[Path] = []
    for item in listed.items(limit=FILES_LIMIT) if listed is not None else ():
        wanted = file.parent / item.text()
        if "*" not in item.text():
            found.append(wanted)
            continue
        for number, name in enumerate(glob.iglob(str(wanted))):
            if number > FILES_LIMIT:
                raise DestinationError(f"{quote(str(wanted))} matches more than {FILES_LIMIT} files")
            found.append(Path(name))
    return found


def _get(node: Node, key: str) -> Node | None:
    members = node.entries()
    return None if key not in members else Node(members[key].value, key, node.error)


def _below(node: Node, keys: tuple[str, ...]) -> Node | None:
    for key in keys:
        members = node.entries()
        if key not in members:
            return None
        node = members[key]
    return node
