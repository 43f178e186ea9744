"""Blobs on disk under ``blobs/<algorithm>/<hex>``: written whole and true, or not at all.

A blob streams into a part file beside its final name, is hashed on the way, and takes its name only when
size and digest agree. A part file that was left behind by a killed run is hashed again and continued
where it ends; if that turns out wrong, all is fetched once more, from the first byte. Nothing is opened
through a symbolic link: a layout that somebody else made must not be able to point reads or writes
elsewhere.

Named is not yet on disk: :meth:`BlobFiles.sync` sees to that for all that was written or found standing,
since what stands may be what a killed run wrote and never synced. Large blobs are put on disk as they come
(:mod:`imgsign.stores.appending`), by the thread that brings them, so that the last pass finds little to do.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imgsign.errors import ContentMismatch, DestinationError, NotFound, RegistryError, TooLarge, Unavailable
from imgsign.oci import Descriptor
from imgsign.reference import Digest
from imgsign.stores import Piece, Room
from imgsign.stores.appending import Appending, hash_file

ATTEMPTS = 5  # times one blob is continued after its connection broke
LARGE = 8 * 1024 * 1024  # bytes from which a blob is put on disk by itself; for smaller ones one pass is cheaper

Progress = Callable[[int], None]
"""Told how many more bytes of a blob are here (negative where a bad part was thrown away)."""

Fetch = Callable[[int, Room], Iterator[Piece]]
"""Streams a blob's bytes from an offset, into the room given if it can: see :meth:`imgsign.stores.Store.stream`."""

_WRITERS = 64  # processes and threads that may fetch one blob at the same time
_NOT_A_LINK = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: a FIFO must not hang us


def quiet(count: int) -> None:
    """A ``Progress`` that tells nobody."""


class BlobFiles:
    """The ``blobs`` directory of one layout; several threads may fill different blobs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._unsynced: dict[Path, bool] = {}  # named since the last sync; whether its bytes are not on disk yet

    def path(self, digest: Digest) -> Path:
        """Where a blob lies; built from a parsed digest, so it cannot lead elsewhere."""
        return self._directory / digest.algorithm / digest.hex

    def open(self, digest: Digest) -> int:
        """Open a blob for reading; returns a file descriptor.

        Raises:
            NotFound: it is not there.
            DestinationError: it is not a regular file, or a link leads to it.
        """
        final = self.path(digest)
        self._refuse_links(final)
        try:
            handle = os.open(final, os.O_RDONLY | _NOT_A_LINK)
        except FileNotFoundError as e:
            raise NotFound(f"blob {digest} is not in the layout") from e
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise DestinationError(f"blob {digest} in the layout is not a regular file")
        return handle

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read a blob of at most ``limit`` bytes, unchecked.

        Raises:
            TooLarge: it is longer.
        """
        with os.fdopen(self.open(digest), "rb") as file:
            raw = file.read(limit + 1)
        if len(raw) > limit:
            raise TooLarge(f"blob {digest} in the layout is over the limit of {limit} bytes")
        return raw

    def stands(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here and, hashed again, what it should be."""
        try:
            handle = self.open(descriptor.digest)
        except (NotFound, DestinationError, OSError):
            return False
        with os.fdopen(handle, "rb") as file:
            if os.fstat(file.fileno()).st_size != descriptor.size:
                return False
            if hash_file(file.fileno(), descriptor.digest.algorithm).hexdigest() != descriptor.digest.hex:
                return False
        self._unsynced[self.path(descriptor.digest)] = True
        return True

    def put(self, descriptor: Descriptor, raw: bytes) -> None:
        """Write bytes that were checked already; nothing happens if they stand."""
        if not self.stands(descriptor):
            self.fill(descriptor, lambda start, room: iter((raw[start:],)))

    def fill(self, descriptor: Descriptor, fetch: Fetch, progress: Progress = quiet) -> None:
        """Stream a blob into place, continuing a part file if one was left behind.

        Raises:
            ContentMismatch: the bytes are not what the descriptor says; nothing is kept.
            RegistryError: the source failed; the part file is kept for the next run.
        """
        final = self.path(descriptor.digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_links(final)
        large = descriptor.size >= LARGE
        with _part_file(final) as (handle, part):
            _Filling(handle, descriptor, progress, past_cache=large).run(fetch)
            os.fchmod(handle, 0o644)
            if large:
                os.fsync(handle)
            os.replace(part, final)
        self._unsynced[final] = not large

    def sync(self) -> None:
        """Put on disk all that was written or found standing: one pass, files first, then directories."""
        paths = dict(self._unsynced)
        for path, written in paths.items():
            if written:
                sync_path(path)
        if paths:
            for directory in (*sorted({p.parent for p in paths}), self._directory):
                sync_path(directory)
        for path in paths:
            self._unsynced.pop(path, None)

    def _refuse_links(self, final: Path) -> None:
        for place in (final.parent, self._directory):
            if place.is_symlink():
                raise DestinationError(f"{str(place)!r} is a symbolic link; nothing is read or written through it")
        if final.is_symlink():
            raise DestinationError(f"{str(final)!r} is a symbolic link")


class _Filling:
    """One blob on its way into its part file: what is there of it, hashed, and how it goes on.

    ``pieced``: it did not come in one answer from its first byte. Only then can a wrong digest be the fault
    of something else than the content: of what a killed run left, of a source that changed in between, of
    a server that answers Range with other bytes.
    """

    def __init__(self, handle: int, descriptor: Descriptor, progress: Progress, *, past_cache: bool) -> None:
        self._wanted = descriptor
        self._progress = progress
        if os.fstat(handle).st_size > descriptor.size:  # no part of this blob, so not worth hashing
            os.ftruncate(handle, 0)
        self._file = Appending(handle, descriptor.digest.algorithm, past_cache=past_cache)
        self._pieced = self._file.size > 0
        progress(self._file.size)

    def run(self, fetch: Fetch) -> None:
        """Bring all of the blob; what was pieced together wrongly is fetched once more.

        Raises:
            ContentMismatch: what came in one answer is not what the descriptor says; nothing of it is left.
            RegistryError: the source failed.
        """
        with self._file:
            for last in (False, True):
                try:
                    self._stream(fetch)
                    self._check()
                    return
                except ContentMismatch:
                    pieced = self._pieced
                    self._empty()
                    if last or not pieced:
                        raise
                except Unavailable as e:
                    if last or not self._pieced or not _is_wrong_range(e):
                        raise
                    self._empty()

    def _empty(self) -> None:
        """Throw away all that is here."""
        self._progress(-self._file.size)
        self._file.empty()
        self._pieced = False

    def _stream(self, fetch: Fetch) -> None:
        """Append what is missing; after a broken connection go on where it ended, the hash carried on."""
        file, wanted = self._file, self._wanted
        for attempt in range(ATTEMPTS):
            if file.size == wanted.size:
                return
            begun = file.size
            try:
                for piece in fetch(begun, file.room):
                    if file.size + len(piece) > wanted.size:
                        raise ContentMismatch(f"blob {wanted.digest} has more bytes than the {wanted.size} expected")
                    file.append(piece)
                    self._progress(len(piece))
                return
            except Unavailable:
                if attempt == ATTEMPTS - 1 or file.size == begun:
                    raise  # the transport has retried already; without progress it will not get better
                self._pieced = True

    def _check(self) -> None:
        wanted, found = self._wanted.digest, self._file.hexdigest()
        if self._file.size != self._wanted.size or found != wanted.hex:
            raise ContentMismatch(
                f"blob {wanted} is not what its digest says: got {self._file.size} bytes with the digest "
                f"{wanted.algorithm}:{found}, expected {self._wanted.size} bytes"
            )


def _is_wrong_range(error: RegistryError) -> bool:
    """Whether a server answered another range than asked for; a broken connection (``Transient``) is not that."""
    from imgsign.transport import Transient

    return error.status == 206 and not isinstance(error, Transient)


@contextmanager
def _part_file(final: Path) -> Iterator[tuple[int, Path]]:
    """Open and lock a part file of a blob; where another pull is writing one, this gets one of its own."""
    for number in range(_WRITERS):
        part = final.with_name(f".{final.name}.{number}.part" if number else f".{final.name}.part")
        handle = _open_part(part)
        if owns(handle, part):
            break
        os.close(handle)
    else:
        raise DestinationError(f"{_WRITERS} others are writing {str(final)!r} at this time")
    try:
        yield handle, part
    finally:
        if os.fstat(handle).st_size == 0 and owns(handle, part):
            with suppress(OSError):
                os.unlink(part)
        os.close(handle)


def _open_part(part: Path) -> int:
    if part.is_symlink():
        raise DestinationError(f"{str(part)!r} is a symbolic link", hint="remove it")
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_APPEND | _NOT_A_LINK, 0o600)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # a hard link is a way out of the layout, too
        os.close(handle)
        raise DestinationError(f"{str(part)!r} is not a regular file of its own", hint="remove it")
    return handle


def sync_path(path: Path) -> None:
    """fsync a file or directory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def owns(handle: int, part: Path) -> bool:
    """Take the lock of an open part file; return whether that worked and the file still has its name.

    Who has the lock of the file with that name may write, rename and remove it; nobody else.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), os.stat(part, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False
