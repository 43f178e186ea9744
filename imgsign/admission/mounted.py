"""Files of a mounted ConfigMap or Secret, all read from one moment.

The kubelet writes a new directory ``..<time>`` and renames the link ``..data`` to it; every file is a link
``name -> ..data/name``. Two files that are read by their names may be of two moments. So ``..data`` is
resolved once, and every file is read below what it was then. ``subPath`` mounts have no ``..data`` and never
change; plain directories have none either, and are read as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

DATA = "..data"

_FILES = 4096  # of one directory that are watched

Signature = tuple[tuple[str, int, int, int, int], ...]


def moment(directory: Path) -> Path:
    """Return the directory to read below: what ``..data`` is now, or the directory itself."""
    data = directory / DATA
    return Path(os.path.realpath(data)) if data.is_symlink() else directory


def signature(directories: Iterable[Path], files: Iterable[Path] = ()) -> Signature:
    """Say which files there are, in which version: any change of one changes this. Nothing is read.

    Inode and change time are part of it, so a file replaced by one of the same size and time is seen too.
    """
    paths = set(files)
    for directory in directories:
        try:
            with os.scandir(moment(directory)) as found:
                paths.update(Path(entry.path) for entry in islice(found, _FILES))
        except OSError:
            paths.add(directory)
    signed = []
    for path in sorted(paths):
        try:
            about = os.stat(path)
            signed.append((str(path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
        except (OSError, ValueError):
            signed.append((str(path), 0, -1, 0, 0))
    return tuple(signed)
