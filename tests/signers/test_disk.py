"""Reading key files with bounds, and writing them whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imgsign.errors import DestinationError
from imgsign.signers.disk import NewFile, check_free, read_file, write_files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pair(base: Path, text: bytes = b"new") -> tuple[NewFile, NewFile]:
    return NewFile(base / "r.key", text + b" private", 0o600), NewFile(base / "r.pub", text + b" public", 0o644)


def listing(base: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in base.iterdir() if p.is_file()}


def test_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_bytes(b"x" * 100)
    assert read_file(path, 100) == b"x" * 100
    with pytest.raises(DestinationError) as caught:
        read_file(path, 99)
    assert caught.value.message == f"{str(path)!r} is longer than 99 bytes"


def test_symbolic_link_to_a_file_is_read(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links."""
    (tmp_path / "k").write_bytes(b"x")
    (tmp_path / "link").symlink_to("k")
    assert read_file(tmp_path / "link", 100) == b"x"


def test_pipe_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DestinationError) as caught:
        read_file(tmp_path / "pipe", 100)
    assert caught.value.message == f"{str(tmp_path / 'pipe')!r} is not a regular file"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/zero", "'/dev/zero' is not a regular file"),
        ("/", "cannot read '/': is a directory"),
        ("/nowhere/k", "cannot read '/nowhere/k': no such file or directory"),
        ("a\0b", "cannot read 'a\\x00b': not a possible file name"),
        ("\x1b[2Jk", "cannot read '\\x1b[2Jk': no such file or directory"),
    ],
)
def test_unreadable_file_is_named(path: str, message: str) -> None:
    with pytest.raises(DestinationError) as caught:
        read_file(Path(path), 100)
    assert caught.value.message == message


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], indirect=True)
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.usefixtures("umask")
def test_private_is_0600_and_public_0644_whatever_the_umask(tmp_path: Path, force: bool) -> None:
    write_files(*pair(tmp_path), force=force)
    assert (mode(tmp_path / "r.key"), mode(tmp_path / "r.pub")) == (0o600, 0o644)
    assert listing(tmp_path) == {"r.key": b"new private", "r.pub": b"new public"}


def test_force_replaces_both_and_narrows_the_mode(tmp_path: Path) -> None:
    for file in pair(tmp_path, b"old"):
        file.path.write_bytes(file.raw)
        file.path.chmod(0o666)
    write_files(*pair(tmp_path), force=True)
    assert listing(tmp_path) == {"r.key": b"new private", "r.pub": b"new public"}
    assert (mode(tmp_path / "r.key"), mode(tmp_path / "r.pub")) == (0o600, 0o644)


@pytest.mark.parametrize("taken", ["r.key", "r.pub"])
def test_name_that_appears_at_the_last_moment_is_not_overwritten(tmp_path: Path, taken: str) -> None:
    check_free(*(f.path for f in pair(tmp_path)), force=False)
    (tmp_path / taken).write_bytes(b"somebody else's")  # between the check and the writing
    with pytest.raises(DestinationError) as caught:
        write_files(*pair(tmp_path), force=False)
    assert caught.value.message == f"{str(tmp_path / taken)!r} already exists"
    assert caught.value.hint == "choose another name, or overwrite it with --force"
    assert listing(tmp_path) == {taken: b"somebody else's"}


@pytest.mark.parametrize("taken", ["r.key", "r.pub"])
def test_dangling_link_is_not_written_through(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match=r"already exists$"):
        write_files(*pair(tmp_path), force=False)
    assert not (tmp_path / "elsewhere").exists()
    write_files(*pair(tmp_path), force=True)
    assert not (tmp_path / "elsewhere").exists()
    assert listing(tmp_path) == {"r.key": b"new private", "r.pub": b"new public"}


def test_of_many_writers_one_wins_and_the_pair_belongs_together(tmp_path: Path) -> None:
    def write(number: int) -> bool:
        try:
            write_files(*pair(tmp_path, b"%d" % number), force=False)
        except DestinationError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, wrote in enumerate(pool.map(write, range(40))) if wrote]
    assert len(won) == 1
    assert listing(tmp_path) == {"r.key": b"%d private" % won[0], "r.pub": b"%d public" % won[0]}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("links", [True, False], ids=["hard-links", "no-hard-links"])
def test_failure_of_the_second_file_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    before = {}
    if force:
        before = {"r.key": b"old private"}
        (tmp_path / "r.key").write_bytes(before["r.key"])
    (tmp_path / "r.pub").mkdir()
    with pytest.raises(DestinationError) as caught:
        write_files(*pair(tmp_path), force=force)
    reason = f"cannot write {str(tmp_path / 'r.pub')!r}: is a directory"
    assert caught.value.message == (reason if force else f"{str(tmp_path / 'r.pub')!r} already exists")
    assert listing(tmp_path) == before


def no_links(*args: object, **kwargs: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_file_system_without_hard_links_still_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    write_files(*pair(tmp_path, b"old"), force=False)
    assert (mode(tmp_path / "r.key"), mode(tmp_path / "r.pub")) == (0o600, 0o644)
    with pytest.raises(DestinationError, match=r"already exists$"):
        write_files(*pair(tmp_path), force=False)
    assert listing(tmp_path) == {"r.key": b"old private", "r.pub": b"old public"}
    write_files(*pair(tmp_path), force=True)
    assert listing(tmp_path) == {"r.key": b"new private", "r.pub": b"new public"}


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "r.key").write_bytes(b"old private")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DestinationError, match=r"no space left on device$"):
        write_files(*pair(tmp_path), force=True)
    assert listing(tmp_path) == {"r.key": b"old private"}


def test_missing_directory_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "r.key"
    with pytest.raises(DestinationError) as early:
        check_free(path, force=True)
    with pytest.raises(DestinationError) as late:
        write_files(NewFile(path, b"", 0o600), force=True)
    assert early.value.message == f"cannot write {str(path)!r}: no such directory"
    assert late.value.message == f"cannot write {str(path)!r}: no such file or directory"
    assert early.value.hint == late.value.hint == f"mkdir -p '{tmp_path / 'a b'}'"


def test_content_is_not_in_repr(tmp_path: Path) -> None:
    assert "private" not in repr(pair(tmp_path)[0])
