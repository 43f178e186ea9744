"""A part file that grows at its end, hashed on the way, and put on disk without a detour.

Writing past the system's cache (``O_DIRECT``, open(2) of Linux) saves a copy of every byte and leaves nothing
for fsync to wait for; what is pulled is larger than what anybody reads again at once. It takes memory and
offsets that are multiples of :data:`BLOCK`. Where the file system does not do it (tmpfs, some network file
systems) bytes are written as usual and the system is told to begin early to put them on disk.

The file ends at a multiple of :data:`BLOCK` while it grows past the cache; what a killed run left beyond one
is cut off and fetched again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from types import TracebackType

from imgsign.stores import Piece

PIECE = 1024 * 1024  # bytes read, hashed or written at once: hashing releases the interpreter lock for so many
BLOCK = 4096  # the alignment that every common file system and device is content with
_BEHIND = 8 * 1024 * 1024  # bytes after which the system is told to begin to put them on disk
_DIRECT = getattr(os, "O_DIRECT", 0)  # macOS has none


class Appending:
    """The end of one open file. Use it in a ``with`` statement: it writes what it holds back when that ends.

    ``handle`` is open for reading and appending, and stays open.
    """

    def __init__(self, handle: int, algorithm: str, *, past_cache: bool) -> None:
        self._handle = handle
        self._algorithm = algorithm
        self._direct = past_cache and _set_direct(handle, on=True)
        self._view = memoryview(mmap.mmap(-1, PIECE))  # begins at a page
        self._held = 0  # bytes in the buffer
        size = os.fstat(handle).st_size
        if self._direct and size % BLOCK:
            size -= size % BLOCK
            os.ftruncate(handle, size)
        self._written = self._begun = size
        self._hasher = hash_file(handle, algorithm)

    def __enter__(self) -> Appending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._direct = self._direct and _set_direct(self._handle, on=False)

    @property
    def size(self) -> int:
        """Bytes that are here, written or not."""
        return self._written + self._held

    def room(self) -> memoryview:
        """Where the next bytes may be put, to be passed to :meth:`append` as a slice from its beginning."""
        return self._view[self._held :]

    def append(self, piece: Piece) -> None:
        """Take more bytes: the beginning of the last :meth:`room`, or bytes from elsewhere."""
        if isinstance(piece, memoryview):
            self._take(len(piece))
            return
        rest = memoryview(piece)
        while rest:
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self._take(count)
            rest = rest[count:]

    def hexdigest(self) -> str:
        """The digest of all bytes, which are written now."""
        self.flush()
        return self._hasher.hexdigest()

    def empty(self) -> None:
        """Throw everything away."""
        os.ftruncate(self._handle, 0)
        self._hasher = hashlib.new(self._algorithm)
        self._held = self._written = self._begun = 0

    def flush(self) -> None:
        """Write what is held back."""
        whole = self._held - self._held % BLOCK
        if self._direct and whole < self._held:
            self._write(self._view[:whole])
            self._direct = _set_direct(self._handle, on=False)
            self._write(self._view[whole : self._held])
        else:
            self._write(self._view[: self._held])
        self._held = 0

    def _take(self, count: int) -> None:
        self._held += count
        if self._held == PIECE:
            self._write(self._view)
            self._held = 0

    def _write(self, view: memoryview) -> None:
        self._hasher.update(view)
        self._written += len(view)
        while view:
            try:
                view = view[os.write(self._handle, view) :]
            except OSError as e:
                if not (self._direct and e.errno == errno.EINVAL):
                    raise
                self._direct = _set_direct(self._handle, on=False)
        if not self._direct and self._written - self._begun >= _BEHIND:
            _begin_writing(self._handle, self._begun, self._written - self._begun)
            self._begun = self._written


def hash_file(handle: int, algorithm: str) -> hashlib._Hash:
    """Hash all of an open file; its offset is left alone."""
    hasher = hashlib.new(algorithm)
    with (
        mmap.mmap(-1, PIECE) as buffer,
        memoryview(buffer) as view,
    ):  # aligned, since the file may be open for direct reads
        offset = 0
        while count := os.preadv(handle, [view], offset):
            hasher.update(view[:count])
            offset += count
    return hasher


def _set_direct(handle: int, *, on: bool) -> bool:
    """Let a file's writes go past the cache, or no longer; returns whether they do now."""
    if not _DIRECT:
        return False
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
    except OSError:
        return False  # the file system does not do it
    return on


def _begin_writing(handle: int, offset: int, count: int) -> None:
    """Let the system begin to put bytes on disk while more are fetched, so that fsync will have little left to do."""
    if hasattr(os, "posix_fadvise"):  # what macOS lacks is only advice
        os.posix_fadvise(handle, offset, count, os.POSIX_FADV_DONTNEED)
