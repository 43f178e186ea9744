"""One blob on its way from one store into another, never whole in memory, hashed while it passes.

The last piece is held back until size and digest agree: what is wrong never becomes a complete upload,
whatever the other side checks by itself. A source that breaks in between is asked for the rest, the hash
carried on; a destination that breaks is begun anew by whoever sends (:meth:`Passing.__iter__`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from imgsign.errors import ContentMismatch, Unavailable
from imgsign.oci import Descriptor
from imgsign.stores import Store, doubt
from imgsign.stores.blobfiles import ATTEMPTS, Progress
from imgsign.stores.together import Stop
from imgsign.transport import Transient


class Passing:
    """The bytes of a blob as a request's body (``transport.request.Streamed``)."""

    def __init__(self, source: Store, blob: Descriptor, progress: Progress, stop: Stop) -> None:
        self._source = source
        self._blob = blob
        self._progress = progress
        self._stop = stop
        self._told = 0

    def __len__(self) -> int:
        return self._blob.size

    def __iter__(self) -> Iterator[bytes]:
        """Stream the blob from its first byte.

        Raises:
            ContentMismatch: the bytes are not what the descriptor says; the last of them were not yielded.
            Transient: the same, where another place may have the right ones; or the source broke.
        """
        digest, expected = self._blob.digest, self._blob.size
        self._tell(-self._told)
        hasher, size, held = hashlib.new(digest.algorithm), 0, b""
        for attempt in range(ATTEMPTS):
            begun = size
            try:
                for piece in self._source.stream(self._blob, start=size) if size < expected else ():
                    self._stop.check()
                    if held:
                        yield held
                    hasher.update(piece)
                    size, held = size + len(piece), bytes(piece)
                    self._tell(len(piece))
                break
            except Unavailable:
                if attempt == ATTEMPTS - 1 or size == begun:
                    raise  # the transport has retried already; without progress it will not get better
        if size != expected or hasher.hexdigest() != digest.hex:
            kind = Transient if doubt(self._source, self._blob) else ContentMismatch
            raise kind(f"blob {digest} is not what its digest and size of {expected} bytes say")
        if held:
            yield held

    def _tell(self, count: int) -> None:
        self._told += count
        self._progress(count)
