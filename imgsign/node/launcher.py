"""The one file that lies in containerd's ``bin_dir``: a script that starts the plug-in of this installation.

containerd executes *every* entry of that directory, in the order of their names, for every pull on the
node: a file that is half written, or is no program, fails all pulls. So the launcher is written beside the
directory and renamed into it, and nothing is installed into a directory that holds something else than
programs.

The script names the interpreter by its absolute path and starts it isolated (``-I``): neither the
directory it is run from nor a ``PYTHON*`` variable of containerd's chooses what code judges.
"""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from imgsign.errors import DestinationError, Malformed
from imgsign.record import record
from imgsign.signers.disk import read_file
from imgsign.wire import quote

NAME = "imgsign"
"""The entry's name in ``bin_dir``."""

ENTRIES_LIMIT = 1000
"""Entries of a ``bin_dir`` that are looked at; real ones hold one or two."""

_LIMIT = 4096  # bytes of a launcher
_MARK = "# imgsign-containerd: "
_START = "from imgsign.containerd import run; run()"


@record
class Launcher:
    """What a launcher starts: the interpreter, and the configuration it is given."""

    python: str
    config: str

    def __str__(self) -> str:
        command = shlex.join([self.python, "-I", "-c", _START, "--config", self.config])
        return (
            "#!/bin/sh\n"
            f"{_MARK}asks imgsign about every image that containerd pulls.\n"
            "# Put nothing but such programs into this directory: containerd runs every entry for every pull.\n"
            f'exec {command} "$@"\n'
        )

    @classmethod
    def parse(cls, text: str) -> Launcher | None:
        """Read back what ``str`` wrote; ``None`` for any other file."""
        lines = text.splitlines()
        if len(lines) != 4 or not lines[1].startswith(_MARK):
            return None
        with suppress(ValueError):
            match shlex.split(lines[3]):
                case ["exec", python, "-I", "-c", start, "--config", config, "$@"] if start == _START:
                    return cls(python=python, config=config)
        return None


@record
class Entry:
    """One entry of a ``bin_dir``; ``problem`` says why containerd cannot run it."""

    name: str
    problem: str | None = None
    launcher: Launcher | None = None
    writable: bool = False


def list_entries(directory: Path) -> tuple[Entry, ...]:
    """Look at every entry in the order in which containerd runs them; an absent directory has none.

    Raises:
        DestinationError: the directory cannot be read, or holds more than :data:`ENTRIES_LIMIT`.
    """
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)  # as Go's os.ReadDir: by bytes
    except FileNotFoundError:
        return ()
    except OSError as e:
        raise DestinationError(f"cannot list {quote(str(directory))}: {(e.strerror or str(e)).lower()}") from e
    if len(names) > ENTRIES_LIMIT:
        raise DestinationError(f"{quote(str(directory))} holds more than {ENTRIES_LIMIT} entries")
    return tuple(_entry(directory, name) for name in names)


def _entry(directory: Path, name: str) -> Entry:
    path = directory / name
    try:
        found = path.stat()
    except OSError as e:
        return Entry(name=name, problem=(e.strerror or str(e)).lower())
    if not stat.S_ISREG(found.st_mode):
        return Entry(name=name, problem="a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file")
    if not found.st_mode & 0o111:
        return Entry(name=name, problem="not executable")
    return Entry(name=name, launcher=read_launcher(path), writable=is_open_to_others(found))


def read_launcher(path: Path) -> Launcher | None:
    """Read a launcher; ``None`` for a file that is none."""
    try:
        return Launcher.parse(read_file(path, _LIMIT).decode("utf-8"))
    except (DestinationError, Malformed, UnicodeDecodeError):
        return None


def is_open_to_others(found: os.stat_result) -> bool:
    """Whether somebody besides root and the own user may write there."""
    return bool(found.st_mode & 0o022) or found.st_uid not in (0, os.geteuid())


def install(directory: Path, launcher: Launcher) -> Path:
    """Write the launcher into a ``bin_dir``, in one step; one that lies there already is replaced.

    Raises:
        DestinationError: the directory holds something that is no program, or cannot be written.
    """
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory = directory.resolve()  # what is written beside it must be on its file system
    except OSError as e:
        raise DestinationError(f"cannot make {quote(str(directory))}: {(e.strerror or str(e)).lower()}") from e
    for entry in list_entries(directory):
        if entry.problem is not None:
            raise DestinationError(
                f"{quote(str(directory / entry.name))} is no program ({entry.problem}): every pull on this node fails",
                hint="containerd runs every entry of this directory: move it elsewhere",
            )
    path = directory / NAME
    if path.exists() and read_launcher(path) is None:
        raise DestinationError(f"{quote(str(path))} is there and was not written by imgsign")
    try:
        _replace(path, str(launcher).encode())
    except OSError as e:
        raise DestinationError(f"cannot write {quote(str(path))}: {(e.strerror or str(e)).lower()}") from e
    return path


def _replace(path: Path, raw: bytes) -> None:
    """Write beside the directory, not in it: containerd would execute the half-written file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent.parent, prefix=".imgsign-")
    try:
        with open(handle, "wb") as file:
            file.write(raw)
            os.fchmod(file.fileno(), 0o755)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
