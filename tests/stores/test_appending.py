"""A part file's end: what is appended is what lies there, and its hash, past the cache or not."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsign.stores.appending import BLOCK, PIECE, Appending

RAW = random.Random(7).randbytes(2 * PIECE + 3 * BLOCK + 77)


@pytest.fixture(params=[True, False], ids=["past the cache", "through the cache"])
def past_cache(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    yield opened
    os.close(opened)


def content(handle: int) -> bytes:
    return os.pread(handle, len(RAW) + 1, 0)


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("size", [1, 1000, BLOCK, BLOCK + 1, PIECE - 1, PIECE, PIECE + 1, len(RAW)])
def test_bytes_of_any_length_end_up_in_the_file_and_in_the_hash(handle: int, past_cache: bool, size: int) -> None:
    with Appending(handle, "sha256", past_cache=past_cache) as file:
        for at in range(0, size, 77_777):
            file.append(RAW[at : min(at + 77_777, size)])
        assert file.size == size
        assert file.hexdigest() == sha256(RAW[:size])
    assert content(handle) == RAW[:size]


def test_what_is_put_into_the_room_is_appended(handle: int, past_cache: bool) -> None:
    with Appending(handle, "sha256", past_cache=past_cache) as file:
        at = 0
        while at < len(RAW):
            room = file.room()[: min(50_001, len(RAW) - at)]
            room[:] = RAW[at : at + len(room)]
            file.append(room)
            at += len(room)
        assert file.hexdigest() == sha256(RAW)
    assert content(handle) == RAW


def test_a_file_is_continued_where_it_ends_or_at_the_last_block(handle: int, past_cache: bool) -> None:
    begun = PIECE + BLOCK + 5
    os.write(handle, RAW[:begun])
    with Appending(handle, "sha256", past_cache=past_cache) as file:
        # Past the cache an odd end is cut off; where that cannot be done, all is kept.
        assert file.size in (begun, begun - 5)
        file.append(RAW[file.size :])
        assert file.hexdigest() == sha256(RAW)
    assert content(handle) == RAW


def test_what_is_held_back_is_written_when_the_source_fails(handle: int, past_cache: bool) -> None:
    with pytest.raises(OSError, match="gone"), Appending(handle, "sha256", past_cache=past_cache) as file:  # noqa: PT012
        file.append(RAW[: BLOCK + 5])
        raise OSError("gone")
    assert content(handle) == RAW[: BLOCK + 5]


def test_emptied_it_begins_anew(handle: int, past_cache: bool) -> None:
    with Appending(handle, "sha256", past_cache=past_cache) as file:
        file.append(RAW[: PIECE + 9])
        file.empty()
        assert (file.size, content(handle)) == (0, b"")
        file.append(RAW[:9])
        assert file.hexdigest() == sha256(RAW[:9])
    assert content(handle) == RAW[:9]


def test_a_file_system_that_refuses_direct_writes_late_gets_ordinary_ones(
    handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], os.write

    def refuse_once(fd: int, data: memoryview) -> int:
        written.append(len(data))
        if len(written) == 1:
            raise OSError(errno.EINVAL, "invalid argument")
        return write(fd, data)

    with Appending(handle, "sha256", past_cache=True) as file:
        if not file._direct:
            pytest.skip("this file system writes through its cache only")
        monkeypatch.setattr(os, "write", refuse_once)
        file.append(RAW)
        assert file.hexdigest() == sha256(RAW)
    assert content(handle) == RAW
