"""Blobs on disk under ``blobs/<algorithm>/<hex>``: written whole and true, or not at all.

A blob streams into a part file beside its final name, is hashed on the way, and takes its name only when
size and digest agree. A part file that was left behind by a killed run is hashed again and continued
where it ends. Nothing is opened through a symbolic link: a layout that somebody else made must not be
able to point reads or writes elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imgsign.errors import ContentMismatch, DestinationError, NotFound, TooLarge, Unavailable
from imgsign.oci import Descriptor
from imgsign.reference import Digest

PIECE = 1024 * 1024  # bytes read or hashed at once: hashing releases the interpreter lock for pieces this large
ATTEMPTS = 5  # times one blob is continued after its connection broke

Progress = Callable[[int], None]
"""Told how many more bytes of a blob are here (negative where a bad part was thrown away)."""

Fetch = Callable[[int], Iterator[bytes]]
"""Streams a blob's bytes from an offset."""


def quiet(count: int) -> None:
    """A ``Progress`` that tells nobody."""


class BlobFiles:
    """The ``blobs`` directory of one layout."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.written: list[Path] = []

    def path(self, digest: Digest) -> Path:
        """Where a blob lies; built from a parsed digest, so it cannot lead elsewhere."""
        return self._directory / digest.algorithm / digest.hex

    def open(self, digest: Digest) -> int:
        """Open a blob for reading; returns a file descriptor.

        Raises:
            NotFound: it is not there.
            DestinationError: it is not a regular file, or a link.
        """
        try:
            handle = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
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
            return _hash_file(file.fileno(), descriptor.digest.algorithm).hexdigest() == descriptor.digest.hex

    def put(self, descriptor: Descriptor, raw: bytes) -> None:
        """Write bytes that were checked already; nothing happens if they stand."""
        if not self.stands(descriptor):
            self.fill(descriptor, lambda start: iter((raw[start:],)))

    def fill(self, descriptor: Descriptor, fetch: Fetch, progress: Progress = quiet) -> None:
        """Stream a blob into place, continuing a part file if one was left behind.

        Raises:
            ContentMismatch: the bytes are not what the descriptor says; nothing is kept.
            RegistryError: the source failed; the part file is kept for the next run.
        """
        final = self.path(descriptor.digest)
        self._make_parent(final)
        with _part_file(final) as (handle, part):
            hasher = _hash_file(handle, descriptor.digest.algorithm)
            size = os.fstat(handle).st_size
            resumed = size > 0
            progress(size)
            size = self._stream(handle, hasher, size, descriptor, fetch, progress)
            if size != descriptor.size or hasher.hexdigest() != descriptor.digest.hex:
                os.unlink(part)
                progress(-size)
                if not resumed:
                    raise ContentMismatch(
                        f"blob {descriptor.digest} is not what its digest says: got {size} bytes with the digest "
                        f"{descriptor.digest.algorithm}:{hasher.hexdigest()}, expected {descriptor.size} bytes"
                    )
            else:
                os.fchmod(handle, 0o644)
                os.replace(part, final)
                self.written.append(final)
                return
        # What an earlier run left was bad, or the source changed under it: once more from the start.
        self.fill(descriptor, fetch, progress)

    def sync(self) -> None:
        """Put everything written so far on disk: one pass, files first, then their directories."""
        for path in self.written:
            sync_path(path)
        for parent in sorted({p.parent for p in self.written}):
            sync_path(parent)
        self.written.clear()

    def _make_parent(self, final: Path) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        for place in (final.parent, self._directory):
            if place.is_symlink():
                raise DestinationError(f"{str(place)!r} is a symbolic link; nothing is written through it")

    def _stream(
        self,
        handle: int,
        hasher: hashlib._Hash,
        size: int,
        descriptor: Descriptor,
        fetch: Fetch,
        progress: Progress,
    ) -> int:
        """Append what is missing; after a broken connection go on where it ended, the hash carried on."""
        for attempt in range(ATTEMPTS):
            begun = size
            try:
                if size < descriptor.size:
                    for piece in fetch(size):
                        size += len(piece)
                        if size > descriptor.size:
                            return size
                        hasher.update(piece)
                        _write_all(handle, piece)
                        progress(len(piece))
                return size
            except Unavailable:
                if attempt == ATTEMPTS - 1 or size == begun:
                    raise  # the transport has retried already; without progress it will not get better
        return size


@contextmanager
def _part_file(final: Path) -> Iterator[tuple[int, Path]]:
    """Open the part file of a blob for this process alone; another running pull gets one of its own."""
    part = final.with_name(f".{final.name}.part")
    handle = _open_part(part)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = os.stat(part).st_ino != os.fstat(handle).st_ino  # finished and renamed by another just now
    except (BlockingIOError, FileNotFoundError):
        taken = True
    if taken:
        os.close(handle)
        part = final.with_name(f".{final.name}.{os.getpid()}.part")
        handle = _open_part(part)
    try:
        yield handle, part
    finally:
        if os.fstat(handle).st_size == 0:
            with suppress(OSError):
                os.unlink(part)
        os.close(handle)


def _open_part(part: Path) -> int:
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DestinationError(f"{str(part)!r} is not a regular file")
    return handle


def _hash_file(handle: int, algorithm: str) -> hashlib._Hash:
    hasher = hashlib.new(algorithm)
    offset = 0
    while piece := os.pread(handle, PIECE, offset):
        hasher.update(piece)
        offset += len(piece)
    return hasher


def _write_all(handle: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(handle, view) :]


def sync_path(path: Path) -> None:
    """fsync a file or directory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
