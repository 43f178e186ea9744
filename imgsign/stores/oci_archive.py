"""``oci-archive:FILE[:TAG]``: an OCI layout in one tar file, for the way over an air gap.

Sources: image-spec v1.1.1 image-layout.md; containers/image ``oci/archive`` (which unpacks it first). The
same content as :mod:`imgsign.stores.layout`, signatures included; ``skopeo`` and ``podman`` read it.

Writing streams: no temporary copy. What is attached comes first, one blob after the other, so that one
that turns out wrong can be left out; then the image's blobs side by side at places known from their
sizes; ``index.json`` last. The file gets its name only when it is complete, hashed and on disk.

Reading opens nothing but regular members by their exact paths, at their places in the file; nothing is
unpacked. Refused: compressed files, sparse members, headers over a limit, two ``index.json``.
"""

from __future__ import annotations

import os
import tarfile
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from imgsign.errors import ContentMismatch, DestinationError, InvalidDigest, InvalidManifest, NotFound, TooLarge
from imgsign.oci import OCI_INDEX, Artifact, Descriptor
from imgsign.reference import Digest
from imgsign.stores import Edit, Piece, Room, Store
from imgsign.stores.appending import PIECE
from imgsign.stores.blobfiles import BlobFiles, Progress
from imgsign.stores.copying import UNUSABLE, Cargo, Result, blobs_of, may_be_absent, without_bad
from imgsign.stores.layout import LayoutStore, disk
from imgsign.stores.layout_index import INDEX_LIMIT, LAYOUT_FILE, LayoutIndex, entry_of
from imgsign.stores.replacing import replacing
from imgsign.stores.tar import Copy, head_of, path_of, rounded, run_copies, write_at
from imgsign.stores.uploads import Way
from imgsign.wire import Node, dump_json, load_json

SCHEME = "oci-archive:"
MEMBERS_LIMIT = 100_000
HEADER_LIMIT = 1024 * 1024  # bytes of one extended header; real ones take a few hundred


class ArchiveStore(LayoutStore):
    """A tar of a layout, to read from: fills :class:`imgsign.stores.Store`; writing is refused."""

    def __init__(self, file: Path) -> None:
        """Read where everything lies in the file.

        Raises:
            DestinationError: it is not there, or no tar that can be read in place.
        """
        super().__init__(file)
        with disk(file):
            self._handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            weakref.finalize(self, os.close, self._handle)
            with os.fdopen(self._handle, "rb", closefd=False) as opened:
                self._places = _places(opened, file)
        self._blobs = _TarBlobs(file, self)
        self._index = _TarIndex(file, self)

    def __str__(self) -> str:
        return f"{SCHEME}{self.directory}"

    def pread(self, path: str, limit: int) -> bytes:
        """Read one member of at most ``limit`` bytes.

        Raises:
            NotFound, TooLarge: as they say.
        """
        start, size = self._place(path)
        if size > limit:
            raise TooLarge(f"{path} in {self} is over the limit of {limit} bytes")
        return os.pread(self._handle, size, start)

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        """See :class:`imgsign.stores.Store`."""
        begin, size = self._place(path_of(descriptor.digest))
        if size != descriptor.size:
            raise ContentMismatch(f"blob {descriptor.digest} in {self} has {size} bytes, not {descriptor.size}")
        with disk(self.directory):
            while start < size and (piece := os.pread(self._handle, min(PIECE, size - start), begin + start)):
                start += len(piece)
                yield piece

    def has(self, descriptor: Descriptor) -> bool:
        """See :class:`imgsign.stores.Store`."""
        return self._places.get(path_of(descriptor.digest), (0, -1))[1] == descriptor.size

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """Refuse."""
        raise self._read_only()

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """Refuse."""
        raise self._read_only()

    def _read_only(self) -> DestinationError:
        return DestinationError(f"{self} is only read", hint="copy it into oci:DIR, change that, and copy it back")

    def _place(self, path: str) -> tuple[int, int]:
        if path not in self._places:
            raise NotFound(f"{self} has no {path}")
        return self._places[path]


class _TarBlobs(BlobFiles):
    """The blobs of an archive, for reading."""

    def __init__(self, file: Path, store: ArchiveStore) -> None:
        super().__init__(file)
        self._store = store

    def read(self, digest: Digest, *, limit: int) -> bytes:
        return self._store.pread(path_of(digest), limit)


class _TarIndex(LayoutIndex):
    """The index of an archive, for reading."""

    def __init__(self, file: Path, store: ArchiveStore) -> None:
        super().__init__(file)
        self._store = store

    def _read(self) -> tuple[dict[str, object], list[Node]]:
        try:
            node = load_json(self._store.pread("index.json", INDEX_LIMIT), limit=INDEX_LIMIT, error=InvalidManifest)
            return {}, list(node.fields(("manifests",), closed=False)["manifests"].items())
        except (InvalidManifest, NotFound, TooLarge) as e:
            raise DestinationError(f"{self._store} is not an archive of an OCI layout: {e.message}") from e


class ArchiveWriter:
    """Writes a cargo into a new tar file: fills :class:`imgsign.stores.copying.Writer`."""

    def __init__(self, file: Path) -> None:
        self._path = file

    @property
    def store(self) -> Store:
        """What was written."""
        return ArchiveStore(self._path)

    def write(self, source: Store, cargo: Cargo, tag: str | None, pool: Executor, progress: Progress) -> Result:
        """See :class:`imgsign.stores.copying.Writer`; the tag becomes the image's name in ``index.json``."""
        result = Result()
        with disk(self._path):
            if self._path.is_dir() or not self._path.parent.is_dir():
                raise DestinationError(f"{str(self._path)!r} cannot be a file")
            with replacing(self._path) as handle:
                out = _Out(handle, source, progress)
                out.add("oci-layout", LAYOUT_FILE)
                cargo = out.add_attached(cargo, result)
                out.add_blobs(cargo, pool, result)
                for manifest in (*cargo.images, *cargo.attached):
                    out.add(path_of(manifest.digest), manifest.raw)
                listed = [(m, None) for m in cargo.referrers if m.subject is not None]
                named = [(m, t) for t, m in cargo.tagged]
                entries = [entry_of(m, t) for m, t in (*listed, *named, (cargo.root, tag))]
                out.add("index.json", dump_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
                out.end()
        return result


class _Out:
    """A tar file as it grows; each path once."""

    def __init__(self, handle: int, source: Store, progress: Progress) -> None:
        self._handle = handle
        self._source = source
        self._progress = progress
        self._end = 0
        self._paths: set[str] = set()

    def add(self, path: str, raw: bytes) -> None:
        """Write a small member."""
        if path not in self._paths:
            write_at(self._handle, head_of(path, len(raw)) + raw, self._reserve(path, len(raw)))

    def add_attached(self, cargo: Cargo, result: Result) -> Cargo:
        """Write the blobs of what is attached, in turn; returns the cargo without what cannot be had."""
        bad: dict[Digest, str] = {}
        own = {d.digest for d in blobs_of(cargo.images)}
        for blob in blobs_of(cargo.attached):
            if blob.digest in own:
                continue
            end = self._end
            try:
                run_copies([self._copy(blob)], None)
            except UNUSABLE as e:
                bad[blob.digest] = e.message
                self._end = end  # the next member is written over it
                self._paths.discard(path_of(blob.digest))
                os.ftruncate(self._handle, end)
            else:
                result.ways[Way.SENT] += 1
                result.sent_bytes += blob.size
        return without_bad(cargo, bad, result)

    def add_blobs(self, cargo: Cargo, pool: Executor, result: Result) -> None:
        """Write the blobs of the image, side by side."""
        wanted = [d for d in blobs_of(cargo.images) if not may_be_absent(d) or self._source.has(d)]
        run_copies([self._copy(d) for d in wanted if path_of(d.digest) not in self._paths], pool)
        result.ways[Way.SENT] += len(wanted)
        result.sent_bytes += sum(d.size for d in wanted)

    def end(self) -> None:
        """Close the archive: two empty blocks, filled up to a record."""
        os.ftruncate(self._handle, rounded(self._end + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE))

    def _copy(self, blob: Descriptor) -> Copy:
        path = path_of(blob.digest)
        head = head_of(path, blob.size)
        start = self._reserve(path, blob.size)
        write_at(self._handle, head, start)
        return Copy(self._handle, start + len(head), blob, self._source, self._progress)

    def _reserve(self, path: str, size: int) -> int:
        start = self._end
        self._end += len(head_of(path, size)) + rounded(size, tarfile.BLOCKSIZE)
        self._paths.add(path)
        return start


class _Bounded:
    """A file as ``tarfile`` reads headers of it: no extended header of any size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_LIMIT:
            raise tarfile.ReadError("a header is over its limit")
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def _places(opened: BinaryIO, file: Path) -> dict[str, tuple[int, int]]:
    """Find offset and size of each blob and of ``index.json``."""
    found: dict[str, tuple[int, int]] = {}
    with _understood(file), tarfile.open(fileobj=_Bounded(opened), mode="r:") as tar:  # type: ignore[call-overload]  # what it needs of a file
        end = opened.seek(0, os.SEEK_END)
        opened.seek(0)
        for number, member in enumerate(tar):
            if number >= MEMBERS_LIMIT:
                raise tarfile.ReadError(f"it has more than {MEMBERS_LIMIT} members")
            tar.members.clear()  # which would keep all
            path = member.name.removeprefix("./")
            if not member.isreg() or member.issparse() or not _is_ours(path):
                continue
            if member.offset_data + member.size > end:
                raise tarfile.ReadError("it ends too early")
            if path == "index.json" and path in found:
                raise tarfile.ReadError("it has two index.json")
            found.setdefault(path, (member.offset_data, member.size))
    return found


def _is_ours(path: str) -> bool:
    if path == "index.json":
        return True
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return False
    try:
        Digest(parts[1], parts[2])
    except InvalidDigest:
        return False
    return True


@contextmanager
def _understood(file: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, ValueError, EOFError) as e:
        raise DestinationError(
            f"{str(file)!r} is not a tar file that can be read in place: {str(e) or type(e).__name__}",
            hint="if it is compressed, unpack it first: gunzip",
        ) from e
