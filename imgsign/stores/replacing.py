"""One large file that is written whole or not at all: under another name until it is complete and on disk.

The other name is ``.NAME.part`` in the same directory, so what a killed run leaves behind is found again
and thrown away by the next. It is always a new file, since into an old one somebody else may still write
after its content was hashed. Whoever holds the lock of the part file owns its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imgsign.errors import DestinationError
from imgsign.stores.blobfiles import owns, sync_path

_NOT_A_LINK = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@contextmanager
def replacing(file: Path) -> Iterator[int]:
    """Open a new file beside ``file``; at the end sync it and give it that name, on failure remove it.

    Yields a file descriptor, open for writing.

    Raises:
        DestinationError: another process is writing it.
    """
    part = file.with_name(f".{file.name}.part")
    handle = _claim(part)
    try:
        try:
            yield handle
            os.fsync(handle)
            os.replace(part, file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_path(file.parent)
    finally:
        os.close(handle)


def _claim(part: Path) -> int:
    """Make the part file, for this process alone."""
    busy = DestinationError(f"{str(part)!r} is being written by another process")
    with suppress(FileNotFoundError):
        left = os.open(part, os.O_RDWR | _NOT_A_LINK)
        try:
            if not owns(left, part):
                raise busy
            part.unlink()
        finally:
            os.close(left)
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOT_A_LINK, 0o666)
    except FileExistsError as e:
        raise busy from e
    if not owns(handle, part):
        os.close(handle)
        raise busy
    return handle
