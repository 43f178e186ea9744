"""Key files on disk: bounded reads, and writes that are whole or absent.

Refused when reading: everything that is not a regular file (a directory, a terminal, ``/dev/zero``, a pipe
nobody writes to: each would fail oddly, or never end), and files longer than the caller's limit.

When writing, every file is first complete and synced under a temporary name of mode 0600 in the same
directory. Then either all take their names or none does. Without ``force`` the name is taken by ``link(2)``,
which never replaces anything, even if the name appears at the last moment.

Not done here: judging what is in the files, and the permissions of files that are read (mounted
secrets are often readable to a group).
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import field
from pathlib import Path

from imgsign.errors import DestinationError
from imgsign.record import record
from imgsign.wire import quote

KEY_LIMIT = 64 * 1024
"""Bytes of one key file; an encrypted 4096 bit RSA key takes under 6 KiB."""


@record(kw_only=False)
class Source:
    """Untrusted bytes and how to call the place they are from in a message."""

    name: str
    raw: bytes = field(repr=False)


@record(kw_only=False)
class NewFile:
    """A file to write: ``mode`` is set exactly, whatever the umask."""

    path: Path
    raw: bytes = field(repr=False)
    mode: int


def read_file(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes; symbolic links are followed.

    Raises:
        DestinationError: naming the file, if it is missing, unreadable, too long or not a regular file.
    """
    try:
        # O_NONBLOCK: opening a pipe without a writer must not wait for one.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DestinationError(f"{quote(str(path))} is not a regular file")
            raw = file.read(limit + 1)
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        raise DestinationError(f"cannot read {quote(str(path))}: {_reason(e)}") from e
    if len(raw) > limit:
        raise DestinationError(f"{quote(str(path))} is longer than {limit} bytes")
    return raw


def read_path(path: str | Path, *, suffix: str | None = None) -> Source:
    """Read a key file; when it is missing, the hint names the file with ``suffix`` if there is one.

    Raises:
        DestinationError: see :func:`read_file`.
    """
    try:
        return Source(quote(str(path)), read_file(Path(path), KEY_LIMIT))
    except DestinationError as e:
        with suppress(OSError, ValueError):  # text that cannot be a path
            if suffix is not None and not Path(path).exists() and Path(f"{path}{suffix}").is_file():
                e.hint = f"did you mean {quote(f'{path}{suffix}')}?"
        raise


def read_variable(name: str, environ: Mapping[str, str]) -> Source:
    """Read a key from an environment variable that holds its PEM text.

    Raises:
        DestinationError: if it is not set, empty or too long; its value is never repeated.
    """
    shown = f"environment variable {quote(name)}"
    raw = environ.get(name, "").encode("utf-8", "surrogateescape")
    if not raw:
        raise DestinationError(f"{shown} is not set" if name not in environ else f"{shown} is empty")
    if len(raw) > KEY_LIMIT:
        raise DestinationError(f"{shown} is longer than {KEY_LIMIT} bytes")
    return Source(shown, raw)


def check_free(*paths: Path, force: bool) -> None:
    """Refuse early, before a password is typed, what :func:`write_files` would refuse anyway.

    Raises:
        DestinationError: if a name is taken and ``force`` is not given, or its directory is missing.
    """
    for path in paths:
        if not path.parent.is_dir():
            raise _unwritable(path, NotADirectoryError(errno.ENOTDIR, "no such directory"))
        if not force and os.path.lexists(path):
            raise _taken(path)


def write_files(*files: NewFile, force: bool) -> None:
    """Write all files or none; existing ones are replaced only with ``force``.

    Raises:
        DestinationError: if a name is taken or cannot be written; then everything is as before.
    """
    with ExitStack() as cleanup, ExitStack() as rollback:
        staged = [(_stage(file, cleanup), file) for file in files]
        for temp, file in staged:
            try:
                if force:
                    _replace(temp, file.path, cleanup, rollback)
                else:
                    _create(temp, file, rollback)
            except OSError as e:
                raise _unwritable(file.path, e) from e
        rollback.pop_all()


def _stage(file: NewFile, cleanup: ExitStack) -> Path:
    try:
        fd, name = tempfile.mkstemp(dir=file.path.parent, prefix=f".{file.path.name}.")
        temp = Path(name)
        cleanup.callback(temp.unlink, missing_ok=True)
        with open(fd, "wb") as out:
            _fill(out.fileno(), file)
    except (OSError, ValueError) as e:
        raise _unwritable(file.path, e) from e
    return temp


def _fill(fd: int, file: NewFile) -> None:
    view = memoryview(file.raw)
    while view:
        view = view[os.write(fd, view) :]
    os.fchmod(fd, file.mode)
    os.fsync(fd)


def _create(temp: Path, file: NewFile, rollback: ExitStack) -> None:
    try:
        try:
            os.link(temp, file.path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: O_EXCL keeps the promise not to overwrite
            fd = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            rollback.callback(file.path.unlink, missing_ok=True)
            with open(fd, "wb") as out:
                _fill(out.fileno(), file)
            return
    except FileExistsError as e:
        raise _taken(file.path) from e
    rollback.callback(file.path.unlink, missing_ok=True)


def _replace(temp: Path, path: Path, cleanup: ExitStack, rollback: ExitStack) -> None:
    if not os.path.lexists(path):
        os.replace(temp, path)
        rollback.callback(path.unlink, missing_ok=True)
        return
    backup = temp.with_name(temp.name + ".old")
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    try:
        os.link(path, backup, follow_symlinks=False)
    except OSError:  # no hard links here: for an instant the name is free
        os.replace(path, backup)
    # Whatever fails from here on, the old file gets its name back; else the backup goes.
    cleanup.callback(backup.unlink, missing_ok=True)
    rollback.callback(os.replace, backup, path)
    os.replace(temp, path)


def _taken(path: Path) -> DestinationError:
    return DestinationError(
        f"{quote(str(path))} already exists", hint="choose another name, or overwrite it with --force"
    )


def _unwritable(path: Path, error: OSError | ValueError) -> DestinationError:
    parent = path.parent
    hint = None
    with suppress(OSError, ValueError):
        if not parent.exists():
            hint = f"mkdir -p {shlex.quote(str(parent))}"
    return DestinationError(f"cannot write {quote(str(path))}: {_reason(error)}", hint=hint)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return "not a possible file name"
