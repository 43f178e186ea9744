"""Pulls that are killed, run out of disk, or meet a registry that breaks off, stalls or lies: the layout stays valid.

What is checked of a layout is read here without imgsign: nothing has a name in it but what is whole and
true, and nothing is listed whose content is not all there.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imgsign import LayoutDestination, PublicKey, Reference, key_policy, pull
from imgsign.errors import Unavailable
from imgsign.policy.model import NameRule
from imgsign.resolve import Target
from imgsign.stores.appending import BLOCK
from imgsign.stores.blobfiles import LARGE
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Transport
from tests.e2e import large, parts, simulated

KILLS = 50
SEED = 20261124
LAYERS, LAYER_SIZE = 6, 34_000_000  # together a little more than 200 MB
RATE = 150e6  # bytes a second while pulls are killed, so that one takes longer than a kill waits
LONGEST = 0.6  # seconds from the first byte asked for to a kill
SMALL = 6_000_000  # bytes of the one layer that lies are told about


@dataclass(frozen=True, slots=True)
class Place:
    """A registry with a large and a small signed image, and something in front of it."""

    registry: parts.Registry
    public: Path

    def pull(self, front: simulated.Front, image: str, directory: Path) -> list[str]:
        """The command line of a pull through the front, whose name nobody signed."""
        command = ["pull", f"{front.host}/{image}:1", f"oci:{directory}", "--key", str(self.public)]
        return [sys.executable, "-m", "imgsign", *command, "--name", "unsafe-any"]

    def blobs(self, image: str) -> dict[str, int]:
        """The config and layers of an image by digest, with their sizes."""
        raw = json.loads(self.registry.get(f"/v2/{image}/manifests/1", large.MANIFEST)[1])
        return {d["digest"]: d["size"] for d in (raw["config"], *raw["layers"])}

    def layer(self) -> str:
        """The layer of the small image."""
        return list(self.blobs("small/app"))[1]


@pytest.fixture(scope="module")
def place(release_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("faults")
    with parts.registry(base / "registry") as registry:
        large.push_random(registry.host, "large/app", "1", layers=LAYERS, size=LAYER_SIZE, base=base)
        large.push_random(registry.host, "small/app", "1", layers=1, size=SMALL, base=base)
        for image in ("large/app", "small/app"):
            name = f"{registry.host}/{image}:1"
            parts.imgsign("sign", name, "-k", release_key, env={"IMGSIGN_PASSWORD": "test"})
        yield Place(registry, release_key.with_suffix(".pub"))


@pytest.fixture
def front(place: Place) -> Iterator[simulated.Front]:
    with simulated.front(place.registry.host) as found:
        yield found


def check_layout(directory: Path) -> tuple[set[str], list[str]]:
    """Check a layout, read byte by byte; returns the digests that are there and the tags that are listed."""
    blobs = directory / "blobs" / "sha256"
    there = set()
    for path in blobs.iterdir() if blobs.is_dir() else ():
        if path.name.startswith("."):
            continue
        with path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == path.name, f"{path} is not what its name says"
        there.add(f"sha256:{path.name}")
    if not (directory / "oci-layout").exists():
        assert not there
        return there, []
    assert json.loads((directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    listed = json.loads((directory / "index.json").read_bytes())["manifests"]
    for entry in listed:
        assert entry["digest"] in there
        raw = (blobs / entry["digest"].removeprefix("sha256:")).read_bytes()
        assert len(raw) == entry["size"]
        manifest = json.loads(raw)
        for named in (manifest["config"], *manifest["layers"]):
            assert named["digest"] in there
            assert (blobs / named["digest"].removeprefix("sha256:")).stat().st_size == named["size"]
    return there, [e.get("annotations", {}).get("org.opencontainers.image.ref.name") for e in listed]


def part_sizes(directory: Path) -> dict[str, int]:
    """The blobs that are begun, with the bytes there are of them."""
    found = (directory / "blobs" / "sha256").glob(".*.part")
    return {f"sha256:{p.name.split('.')[1]}": p.stat().st_size for p in found}


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line of a command that could not do what it should; never a traceback."""
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    return errors[0]


def test_kill_at_any_moment_leaves_a_valid_layout_and_fetches_nothing_twice(place: Place, tmp_path: Path) -> None:
    moments = random.Random(SEED)
    wanted = place.blobs("large/app")  # configs and layers: signatures are read anew for each verdict
    kills = midway = finished = 0
    directory = tmp_path / "0"
    complete: set[str] = set()
    begun: dict[str, int] = {}
    while kills < KILLS:
        # Each run has a front of its own: what a killed one had asked for may arrive late.
        with simulated.front(place.registry.host) as front:
            front.rate = RATE
            killed = _kill_after(place.pull(front, "large/app", directory), directory, moments.uniform(0, LONGEST))
            _check_fetched(front, wanted, complete, begun)
        complete, tags = check_layout(directory)
        begun = part_sizes(directory)
        kills += killed
        midway += killed and bool(begun)
        if not killed or "1" in tags:
            assert tags.count("1") == 1
            assert set(wanted) <= complete
            finished += 1
            shutil.rmtree(directory)
            directory, complete, begun = tmp_path / str(finished), set(), {}
    with simulated.front(place.registry.host) as front:
        last = parts.run(*place.pull(front, "large/app", directory))
        assert last.stdout.startswith(f"{front.host}/large/app@sha256:")
        _check_fetched(front, wanted, complete, begun)
    assert "1" in check_layout(directory)[1]
    print(f"{kills} kills, {midway} with a blob begun, {finished} pulls finished in between")
    assert midway >= KILLS // 2  # else the kills came too early or too late to prove anything
    assert finished


def _check_fetched(front: simulated.Front, wanted: dict[str, int], complete: set[str], begun: dict[str, int]) -> None:
    """Check that a run fetched no blob that was complete, and continued each that was begun where it ended.

    A large one is continued at the last whole block of what is there.
    """
    for digest, size in wanted.items():
        at = begun.get(digest, 0)
        if size >= LARGE:
            at -= at % BLOCK
        if digest in complete:
            assert front.starts(digest) == [], "a complete blob was fetched again"
        elif front.starts(digest):
            assert front.starts(digest) == [at], "a blob was not continued where it ended"


def _kill_after(command: list[str], directory: Path, seconds: float) -> bool:
    """Run a command and kill it so long after it began to write; whether it was still running."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    before = _state(directory)
    while process.poll() is None and _state(directory) == before:
        time.sleep(0.005)
    try:
        return process.wait(seconds) != 0
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait() != 0


def _state(directory: Path) -> object:
    """Changes when something is written below a directory."""
    return {(p.name, s.st_size, s.st_mtime_ns) for p in directory.rglob("*") if (s := _stat(p)) is not None}


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


# Places that cannot be written


def _need_root() -> None:
    """Skip, or under tests/run fail, unless file systems can be mounted."""
    parts.need("mount", "umount")
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("IMGSIGN_E2E") else pytest.skip)("mounting a small disk needs root")


@contextmanager
def _disk(where: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs."""
    where.mkdir()
    parts.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", where)
    try:
        yield where
    finally:
        parts.run("umount", where)


def test_full_disk_is_said_in_one_line_and_the_next_run_goes_on(
    place: Place, front: simulated.Front, tmp_path: Path
) -> None:
    _need_root()
    with _disk(tmp_path / "disk", "size=80m") as disk:
        command = place.pull(front, "large/app", disk / "app")
        done = parts.run(*command, check=False)
        assert one_error(done) == f"error: cannot use '{disk}/app': no space left on device"
        assert done.stderr.splitlines()[-1] == "hint: free some space and run the same command again"
        there, tags = check_layout(disk / "app")
        assert tags == []
        begun = part_sizes(disk / "app")
        front.served.clear()
        parts.run("mount", "-o", "remount,size=400m", disk)
        parts.run(*command)
        assert not [d for d in place.blobs("large/app") if d in there and front.starts(d)]
        assert all(front.starts(d) == [size] for d, size in begun.items())
        assert "1" in check_layout(disk / "app")[1]
    elsewhere = tmp_path / "elsewhere"
    parts.run(*place.pull(front, "large/app", elsewhere))
    assert "1" in check_layout(elsewhere)[1]


def test_disk_without_any_space_is_said_in_one_line(place: Place, front: simulated.Front, tmp_path: Path) -> None:
    _need_root()
    with _disk(tmp_path / "disk", "size=64k") as disk:
        (disk / "app").mkdir()
        (disk / "other").write_bytes(bytes(64 * 1024))
        command = place.pull(front, "small/app", disk / "app")
        assert one_error(parts.run(*command, check=False)).endswith(": no space left on device")
        assert check_layout(disk / "app") == (set(), [])
        (disk / "other").unlink()
        parts.run("mount", "-o", "remount,size=20m", disk)
        parts.run(*command)
        assert "1" in check_layout(disk / "app")[1]


@pytest.mark.parametrize("exists", [True, False])
def test_read_only_destination_is_said_in_one_line(
    place: Place, front: simulated.Front, tmp_path: Path, exists: bool
) -> None:
    _need_root()
    with _disk(tmp_path / "disk", "size=20m") as disk:
        if exists:
            parts.run(*place.pull(front, "small/app", disk / "app"))
            image = "large/app"
        else:
            image = "small/app"
        parts.run("mount", "-o", "remount,ro", disk)
        before = check_layout(disk / "app")
        front.served.clear()
        done = parts.run(*place.pull(front, image, disk / "app"), check=False)
        assert one_error(done) == f"error: cannot use '{disk}/app': read-only file system"
        assert check_layout(disk / "app") == before
        assert not [d for d in place.blobs(image) if front.starts(d)]  # nothing was fetched for nothing


def test_destination_below_a_file_is_said_in_one_line(place: Place, front: simulated.Front, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = parts.run(*place.pull(front, "small/app", tmp_path / "file" / "app"), check=False)
    assert one_error(done) == f"error: cannot use '{tmp_path}/file/app': not a directory"


# Registries that lie


def _cut_then(lie: Callable[[simulated.Answer], None]) -> Callable[[simulated.Answer], None]:
    """Break off the first answer in the middle; lie to whoever then asks for the rest."""
    answers = [0]

    def act(answer: simulated.Answer) -> None:
        answers[0] += 1
        if answers[0] == 1:
            answer.cut = SMALL // 2
        elif answer.start:
            lie(answer)

    return act


def _other_offset(answer: simulated.Answer) -> None:
    answer.headers["Content-Range"] = answer.headers["Content-Range"].replace(
        str(answer.start), str(answer.start - 1), 1
    )


def _shifted_bytes(answer: simulated.Answer) -> None:
    answer.body = b"x" + answer.body[:-1]


def _more_bytes(answer: simulated.Answer) -> None:
    answer.body += b"more"
    answer.headers["Content-Length"] = str(len(answer.body))


def _fewer_bytes(answer: simulated.Answer) -> None:
    answer.body = answer.body[:-4]
    answer.headers["Content-Length"] = str(len(answer.body))


def _other_total(answer: simulated.Answer) -> None:
    answer.headers["Content-Range"] = answer.headers["Content-Range"].rpartition("/")[0] + "/7"


def _no_content_range(answer: simulated.Answer) -> None:
    del answer.headers["Content-Range"]


def _not_satisfiable(answer: simulated.Answer) -> None:
    answer.status, answer.body = 416, b""
    answer.headers = {"Content-Length": "0"}


@pytest.mark.parametrize(
    "lie",
    [
        _other_offset,
        _shifted_bytes,
        _more_bytes,
        _fewer_bytes,
        _other_total,
        _no_content_range,
        _not_satisfiable,
    ],
)
def test_lies_about_ranges_cost_a_second_fetch_and_nothing_else(
    place: Place, front: simulated.Front, tmp_path: Path, lie: Callable[[simulated.Answer], None]
) -> None:
    front.lie = _cut_then(lie)
    parts.run(*place.pull(front, "small/app", tmp_path / "app"))
    assert "1" in check_layout(tmp_path / "app")[1]
    first, second, third = front.starts(place.layer())
    assert first == third == 0
    assert 0 < second <= SMALL // 2


def test_a_server_without_ranges_sends_all_again(place: Place, front: simulated.Front, tmp_path: Path) -> None:
    whole = place.registry.get(f"/v2/small/app/blobs/{place.layer()}")[1]

    def ignores_range(answer: simulated.Answer) -> None:
        answer.status, answer.body = 200, whole
        answer.headers = {"Content-Length": str(len(whole))}

    front.lie = _cut_then(ignores_range)
    parts.run(*place.pull(front, "small/app", tmp_path / "app"))
    assert "1" in check_layout(tmp_path / "app")[1]
    assert len(front.starts(place.layer())) == 2


def test_answers_that_break_off_are_continued(place: Place, front: simulated.Front, tmp_path: Path) -> None:
    def short(answer: simulated.Answer) -> None:
        answer.cut = 2_500_000

    front.lie = short
    parts.run(*place.pull(front, "small/app", tmp_path / "app"))
    assert "1" in check_layout(tmp_path / "app")[1]
    starts = front.starts(place.layer())
    assert starts == sorted(set(starts))
    assert len(starts) > 2


def test_answers_that_always_break_off_early_are_given_up_and_continued_by_the_next_run(
    place: Place, front: simulated.Front, tmp_path: Path
) -> None:
    def shorter(answer: simulated.Answer) -> None:
        answer.cut = 1_100_000

    front.lie = shorter
    command = place.pull(front, "small/app", tmp_path / "app")
    assert "ended its answer early" in one_error(parts.run(*command, check=False))
    assert check_layout(tmp_path / "app")[1] == []
    (got,) = part_sizes(tmp_path / "app").values()
    front.lie = None
    front.served.clear()
    parts.run(*command)
    assert front.starts(place.layer()) == [got]
    assert "1" in check_layout(tmp_path / "app")[1]


@pytest.mark.parametrize("without_length", [False, True])
def test_other_content_is_refused_and_nothing_of_it_is_kept(
    place: Place, front: simulated.Front, tmp_path: Path, without_length: bool
) -> None:
    def other(answer: simulated.Answer) -> None:
        if without_length:  # then a body that breaks off cannot be told from a short one
            del answer.headers["Content-Length"]
            answer.body = answer.body[:-1]
        else:
            answer.body = bytes(len(answer.body))

    front.lie = other
    command = place.pull(front, "small/app", tmp_path / "app")
    error = one_error(parts.run(*command, check=False))
    assert place.layer() in error
    assert ("fewer bytes than" if without_length else "is not what its digest says") in error
    assert place.layer() not in check_layout(tmp_path / "app")[0]
    assert check_layout(tmp_path / "app")[1] == []
    assert part_sizes(tmp_path / "app") == {}
    front.lie = None
    parts.run(*command)
    assert "1" in check_layout(tmp_path / "app")[1]


def test_a_registry_that_stalls_is_left_at_the_deadline(place: Place, front: simulated.Front, tmp_path: Path) -> None:
    def stall(answer: simulated.Answer) -> None:
        answer.stall = SMALL // 2

    policy, trust = key_policy([PublicKey.from_pem(place.public.read_bytes())], NameRule.UNSAFE_ANY)
    name = Reference.parse(f"{front.host}/small/app:1")

    def run(deadline: float) -> None:
        transport = Transport(environ={}, deadline=time.monotonic() + deadline)
        target = Target(name=name, store=RemoteStore(name.repository, transport), what="1", place=front.host)
        pull(target, policy, trust, LayoutDestination(tmp_path / "app", "1"), now=datetime.now(UTC))

    front.lie = stall
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"stopped sending|the deadline has passed"):
        run(1.5)
    assert time.monotonic() - began < 10
    assert check_layout(tmp_path / "app")[1] == []
    (got,) = part_sizes(tmp_path / "app").values()
    front.lie = None
    run(60)
    assert front.starts(place.layer()) == [0, got]
    assert "1" in check_layout(tmp_path / "app")[1]


def test_one_blob_that_is_missing_does_not_wait_for_the_others(
    place: Place, front: simulated.Front, tmp_path: Path
) -> None:
    missing = list(place.blobs("large/app"))[1]

    def not_there(answer: simulated.Answer) -> None:
        if answer.digest == missing:
            answer.status, answer.body, answer.headers = 404, b"", {"Content-Length": "0"}

    front.lie = not_there
    front.rate = 10e6  # all of it would take twenty seconds
    began = time.monotonic()
    done = parts.run(*place.pull(front, "large/app", tmp_path / "app"), check=False)
    assert missing in one_error(done)
    assert time.monotonic() - began < 10
    assert check_layout(tmp_path / "app")[1] == []
