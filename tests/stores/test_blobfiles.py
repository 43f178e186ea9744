"""Blobs on disk: a name only for what is whole and true, whatever is found or arrives; nothing through links."""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgsign.errors import ContentMismatch, DestinationError, NotFound, RegistryError, TooLarge, Unavailable
from imgsign.oci import Descriptor
from imgsign.reference import Digest
from imgsign.stores import Piece, Room
from imgsign.stores.appending import PIECE
from imgsign.stores.blobfiles import BlobFiles
from imgsign.transport import Transient

RAW = random.Random(1).randbytes(10_000)
WANTED = Descriptor(media_type="application/octet-stream", digest=Digest.of(RAW), size=len(RAW))


class Source:
    """Streams bytes in pieces of 1000 and notes each offset asked for; ``spoil`` answers instead, once each."""

    def __init__(self, raw: bytes = RAW) -> None:
        self.raw = raw
        self.starts: list[int] = []
        self.spoil: list[Callable[[int], Iterator[bytes]]] = []

    def __call__(self, start: int, room: Room) -> Iterator[Piece]:
        self.starts.append(start)
        if self.spoil:
            yield from self.spoil.pop(0)(start)
            return
        for at in range(start, len(self.raw), 1000):
            yield self.raw[at : at + 1000]


def broken(after: int, error: RegistryError | None = None) -> Callable[[int], Iterator[bytes]]:
    """Bytes of ``RAW``, then an error."""

    def stream(start: int) -> Iterator[bytes]:
        if after:
            yield RAW[start : start + after]
        raise error or Unavailable("the connection broke")

    return stream


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "blobs")


def part_of(files: BlobFiles, number: int = 0) -> Path:
    final = files.path(WANTED.digest)
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.with_name(f".{final.name}.{number}.part" if number else f".{final.name}.part")


def listing(files: BlobFiles) -> list[str]:
    return sorted(p.name for p in files.path(WANTED.digest).parent.iterdir())


def only_the_blob(files: BlobFiles) -> bool:
    return listing(files) == [WANTED.digest.hex] and files.read(WANTED.digest, limit=len(RAW)) == RAW


def test_a_blob_is_written_and_stands(files: BlobFiles) -> None:
    source = Source()
    seen: list[int] = []
    files.fill(WANTED, source, seen.append)
    assert only_the_blob(files)
    assert files.stands(WANTED)
    assert source.starts == [0]
    assert sum(seen) == len(RAW)
    assert files.path(WANTED.digest).stat().st_mode & 0o777 == 0o644


def test_an_empty_blob(files: BlobFiles) -> None:
    empty = Descriptor(media_type="application/octet-stream", digest=Digest.of(b""), size=0)
    source = Source(b"")
    files.fill(empty, source)
    assert files.read(empty.digest, limit=0) == b""
    assert source.starts == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_every_algorithm(files: BlobFiles, algorithm: str) -> None:
    wanted = Descriptor(media_type="application/octet-stream", digest=Digest.of(RAW, algorithm), size=len(RAW))
    files.fill(wanted, Source())
    assert files.stands(wanted)
    assert files.path(wanted.digest).parent.name == algorithm


# Going on where an earlier run ended


@pytest.mark.parametrize("here", [1, 5000, len(RAW) - 1])
def test_a_part_is_continued_with_its_hash(files: BlobFiles, here: int) -> None:
    part_of(files).write_bytes(RAW[:here])
    source = Source()
    seen: list[int] = []
    files.fill(WANTED, source, seen.append)
    assert only_the_blob(files)
    assert source.starts == [here]
    assert seen[0] == here
    assert sum(seen) == len(RAW)


def test_a_part_that_is_complete_is_not_fetched_again(files: BlobFiles) -> None:
    part_of(files).write_bytes(RAW)
    source = Source()
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == []


def test_a_part_larger_than_one_piece_is_hashed_whole(files: BlobFiles) -> None:
    raw = random.Random(2).randbytes(2 * PIECE + 5)
    wanted = Descriptor(media_type="application/octet-stream", digest=Digest.of(raw), size=len(raw))
    final = files.path(wanted.digest)
    final.parent.mkdir(parents=True)
    final.with_name(f".{final.name}.part").write_bytes(raw[: PIECE + 7])
    source = Source(raw)
    files.fill(wanted, source)
    assert source.starts == [PIECE + 7]
    assert files.stands(wanted)


@pytest.mark.parametrize("here", [b"x" * 4000, RAW[:3999] + b"x", b"x" * len(RAW)])
def test_a_bad_part_is_thrown_away_and_all_is_fetched(files: BlobFiles, here: bytes) -> None:
    part_of(files).write_bytes(here)
    source = Source()
    seen: list[int] = []
    files.fill(WANTED, source, seen.append)
    assert only_the_blob(files)
    assert source.starts[-1] == 0
    assert sum(seen) == len(RAW)


def test_a_part_that_is_too_long_is_not_even_hashed(files: BlobFiles) -> None:
    with part_of(files).open("wb") as file:
        file.truncate(2**40)  # hashing a tebibyte of nothing would take minutes
    source = Source()
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == [0]


def test_a_broken_connection_goes_on_with_the_hash_carried_on(files: BlobFiles) -> None:
    source = Source()
    source.spoil = [broken(2500), broken(2500), broken(1)]
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == [0, 2500, 5000, 5001]


def test_a_connection_that_brings_nothing_is_not_tried_for_ever_and_the_part_is_kept(files: BlobFiles) -> None:
    source = Source()
    source.spoil = [broken(2500), broken(0)]
    with pytest.raises(Unavailable, match=r"^the connection broke$"):
        files.fill(WANTED, source)
    assert source.starts == [0, 2500]
    assert part_of(files).read_bytes() == RAW[:2500]


def test_a_connection_that_always_breaks_is_given_up(files: BlobFiles) -> None:
    source = Source()
    source.spoil = [broken(10)] * 100
    with pytest.raises(Unavailable):
        files.fill(WANTED, source)
    assert source.starts == [0, 10, 20, 30, 40]


def test_a_part_of_nothing_is_not_left_behind(files: BlobFiles) -> None:
    source = Source()
    source.spoil = [broken(0)]
    with pytest.raises(Unavailable):
        files.fill(WANTED, source)
    assert listing(files) == []


# Sources that lie


def test_other_bytes_are_refused_and_nothing_is_kept(files: BlobFiles) -> None:
    source = Source(bytes(len(RAW)))
    seen: list[int] = []
    with pytest.raises(ContentMismatch, match="is not what its digest says: got 10000 bytes"):
        files.fill(WANTED, source, seen.append)
    assert source.starts == [0]  # asking again would bring the same
    assert listing(files) == []
    assert sum(seen) == 0


def test_fewer_bytes_are_refused_and_nothing_is_kept(files: BlobFiles) -> None:
    with pytest.raises(ContentMismatch, match="got 9999 bytes"):
        files.fill(WANTED, Source(RAW[:-1]))
    assert listing(files) == []


def test_bytes_without_end_are_refused_at_once(files: BlobFiles) -> None:
    source = Source(RAW + bytes(10_000_000))
    with pytest.raises(ContentMismatch, match="has more bytes than the 10000 expected"):
        files.fill(WANTED, source)
    assert listing(files) == []


def test_other_bytes_for_a_range_are_noticed_and_all_is_fetched(files: BlobFiles) -> None:
    part_of(files).write_bytes(RAW[:4000])
    source = Source()
    source.spoil = [lambda start: iter([bytes(len(RAW) - start)])]
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == [4000, 0]


def test_other_bytes_after_a_broken_connection_are_noticed_and_all_is_fetched(files: BlobFiles) -> None:
    source = Source()
    source.spoil = [broken(2500), lambda start: iter([bytes(len(RAW) - start)])]
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == [0, 2500, 0]


def test_a_refused_range_does_not_end_a_pull_for_ever(files: BlobFiles) -> None:
    part_of(files).write_bytes(RAW[:4000])
    source = Source()
    source.spoil = [broken(0, Unavailable("answers bytes 4000- with 'bytes 0-9999/10000'", status=206))]
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == [4000, 0]


def test_a_size_that_contradicts_a_range_does_not_end_a_pull_for_ever(files: BlobFiles) -> None:
    part_of(files).write_bytes(RAW[:4000])
    source = Source()
    source.spoil = [broken(0, ContentMismatch("has fewer bytes"))]
    files.fill(WANTED, source)
    assert only_the_blob(files)
    assert source.starts == [4000, 0]


def test_a_connection_that_breaks_in_a_range_keeps_the_part(files: BlobFiles) -> None:
    part_of(files).write_bytes(RAW[:4000])
    source = Source()
    source.spoil = [broken(0, Transient("ended its answer early", status=206))]
    with pytest.raises(Unavailable):
        files.fill(WANTED, source)
    assert source.starts == [4000]
    assert part_of(files).read_bytes() == RAW[:4000]


def test_a_source_that_always_lies_is_given_up_after_one_more_try(files: BlobFiles) -> None:
    part_of(files).write_bytes(RAW[:4000])
    source = Source(bytes(len(RAW)))
    with pytest.raises(ContentMismatch):
        files.fill(WANTED, source)
    assert source.starts == [4000, 0]
    assert listing(files) == []


# What stands already


def test_a_blob_that_was_changed_does_not_stand(files: BlobFiles) -> None:
    files.put(WANTED, RAW)
    files.path(WANTED.digest).write_bytes(RAW[:-1] + b"x")
    assert not files.stands(WANTED)
    files.put(WANTED, RAW)
    assert files.stands(WANTED)


def test_what_stands_is_synced_too(files: BlobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier run that was killed may have left it in the page cache only."""
    files.put(WANTED, RAW)
    again = BlobFiles(files.path(WANTED.digest).parent.parent)
    assert again.stands(WANTED)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    again.sync()
    final = str(again.path(WANTED.digest))
    assert synced == [final, os.path.dirname(final), os.path.dirname(os.path.dirname(final))]
    again.sync()
    assert len(synced) == 3


def test_reading_is_bounded(files: BlobFiles) -> None:
    files.put(WANTED, RAW)
    with pytest.raises(TooLarge, match=f"is over the limit of {len(RAW) - 1} bytes$"):
        files.read(WANTED.digest, limit=len(RAW) - 1)


def test_a_blob_that_is_not_there(files: BlobFiles) -> None:
    with pytest.raises(NotFound, match=f"^blob {WANTED.digest} is not in the layout$"):
        files.open(WANTED.digest)


# Hostile files


def plant(path: Path, kind: str, elsewhere: Path) -> None:
    """Put something else than a file of its own at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "link":
            path.symlink_to(elsewhere)
        case "hard link":
            path.hardlink_to(elsewhere)
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_blob_that_is_no_file_is_not_read(files: BlobFiles, tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(RAW)
    plant(files.path(WANTED.digest), kind, elsewhere)
    with pytest.raises(DestinationError, match="is a symbolic link$" if kind == "link" else "is not a regular file$"):
        files.read(WANTED.digest, limit=len(RAW))
    assert not files.stands(WANTED)


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "directory"])
def test_a_part_that_is_no_file_of_its_own_is_not_written(files: BlobFiles, tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(RAW[:10])
    plant(part_of(files), kind, elsewhere)
    with pytest.raises((DestinationError, IsADirectoryError)):
        files.fill(WANTED, Source())
    assert elsewhere.read_bytes() == RAW[:10]


def test_nothing_is_written_through_a_linked_blob(files: BlobFiles, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    plant(files.path(WANTED.digest), "link", elsewhere)
    with pytest.raises(DestinationError, match=r"is a symbolic link$"):
        files.put(WANTED, RAW)
    assert elsewhere.read_bytes() == b"precious"


@pytest.mark.parametrize("place", ["blobs", "blobs/sha256"])
def test_nothing_is_read_or_written_through_a_linked_directory(files: BlobFiles, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "sha256").mkdir()
    for directory in (elsewhere, elsewhere / "sha256"):
        (directory / WANTED.digest.hex).write_bytes(RAW)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(elsewhere)
    assert not files.stands(WANTED)
    for attempt in (lambda: files.read(WANTED.digest, limit=len(RAW)), lambda: files.put(WANTED, RAW)):
        with pytest.raises(DestinationError, match=r"is a symbolic link; nothing is read or written through it$"):
            attempt()


# Several at once


def test_a_part_that_another_writes_is_left_alone(files: BlobFiles) -> None:
    theirs = part_of(files)
    theirs.write_bytes(RAW[:10])
    with theirs.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        source = Source()
        files.fill(WANTED, source)
        assert source.starts == [0]
        assert theirs.read_bytes() == RAW[:10]
    assert files.stands(WANTED)


def test_two_that_fill_one_blob_at_once_both_succeed(files: BlobFiles) -> None:
    """Also in one process, whose threads share a process id."""
    inner = Source()

    def outer(start: int, room: Room) -> Iterator[Piece]:
        for at in range(start, len(RAW), 1000):
            if at == 5000:
                files.fill(WANTED, inner)
            yield RAW[at : at + 1000]

    files.fill(WANTED, outer)
    assert inner.starts == [0]
    assert only_the_blob(files)


def test_what_a_killed_second_writer_left_is_continued(files: BlobFiles) -> None:
    part_of(files, 1).write_bytes(RAW[:10])
    source, held = Source(), part_of(files)
    held.touch()
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        files.fill(WANTED, source)
    assert source.starts == [10]
    assert files.stands(WANTED)
