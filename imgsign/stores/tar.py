"""Writing blobs into their places of a tar file, several at once.

Source: POSIX.1-1988 ustar with GNU's extensions for long names and large files. Gaps are zero, as tar
wants them; no times and no owners, so that equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import threading
from concurrent.futures import Executor, wait

from imgsign.errors import ContentMismatch, Unavailable
from imgsign.oci import Descriptor
from imgsign.reference import Digest
from imgsign.stores import Piece, Store, doubt
from imgsign.stores.blobfiles import ATTEMPTS, Progress


def head_of(path: str, size: int) -> bytes:
    """The header of a regular file."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o444
    return info.tobuf(tarfile.GNU_FORMAT)


def path_of(digest: Digest) -> str:
    """Where a layout keeps a blob."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def rounded(size: int, unit: int) -> int:
    """The next multiple of a unit."""
    return -(-size // unit) * unit


class Copy:
    """One blob on its way into its place in the file."""

    def __init__(self, handle: int, offset: int, blob: Descriptor, source: Store, progress: Progress) -> None:
        self._handle = handle
        self._offset = offset
        self._blob = blob
        self._source = source
        self._progress = progress

    def run(self, stop: threading.Event) -> None:
        """Stream, hash and write; after a broken connection go on where it ended, the hash carried on.

        Raises:
            ContentMismatch: the bytes are not what the descriptor says.
        """
        digest, expected = self._blob.digest, self._blob.size
        hasher, size = hashlib.new(digest.algorithm), 0
        for attempt in range(ATTEMPTS):
            begun = size
            try:
                for piece in self._source.stream(self._blob, start=size) if size < expected else ():
                    offset, size = self._offset + size, size + len(piece)
                    if stop.is_set() or size > expected:
                        break
                    hasher.update(piece)
                    write_at(self._handle, piece, offset)
                    self._progress(len(piece))
                break
            except Unavailable:
                if attempt == ATTEMPTS - 1 or size == begun:
                    raise  # the transport has retried already; without progress it will not get better
        if not stop.is_set() and (size != expected or hasher.hexdigest() != digest.hex):
            if not doubt(self._source, self._blob):
                raise ContentMismatch(f"blob {digest} is not what its digest and size of {expected} bytes say")
            self._progress(-size)
            self.run(stop)


def run_copies(copies: list[Copy], pool: Executor | None) -> None:
    """Do all copies, several at a time with a pool; returns or raises only when none is under way."""
    stop = threading.Event()
    if pool is None:
        for copy in copies:
            copy.run(stop)
        return
    futures = [pool.submit(copy.run, stop) for copy in copies]
    try:
        for future in futures:
            future.result()
    finally:
        # The file is closed next: nobody may go on writing to what its number stands for then.
        stop.set()
        for future in futures:
            future.cancel()
        wait(futures)


def write_at(handle: int, piece: Piece, offset: int) -> None:
    """Write all of a piece at an offset of an open file."""
    view = memoryview(piece)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count
