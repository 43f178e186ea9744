"""Several writers of one tag, on a registry where the last one wins: nothing that was reported may be lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import pytest

from imgsign.errors import NotFound, RegistryError, Unavailable
from imgsign.oci import EMPTY_CONFIG, OCI_MANIFEST, Artifact, Blob, Manifest
from imgsign.stores import Edit
from imgsign.stores.rewrite import BUDGET, SECOND_LOOK
from imgsign.transport.memory import Memory
from tests.answers import Seen
from tests.simulator import PUSHED, Simulator, manifest_bytes


def _signature(image: Manifest, salt: str) -> Artifact:
    raw = manifest_bytes(subject=image.descriptor, annotations={"salt": salt})
    return Artifact(manifest=Manifest.parse(raw, OCI_MANIFEST), blobs=(EMPTY_CONFIG,))


class Scene:
    """A registry without referrers API, an image, our signature, and another writer's, stored already."""

    def __init__(self) -> None:
        self.sim = Simulator(referrers_api=False)
        self.image = self.sim.put_image("app", tag="1")
        self.ours = _signature(self.image, "ours")
        self.theirs = self.sim.put_referrer("app", self.image.descriptor, salt="theirs")
        self.tag = self.image.digest.tag
        self.own = str(self.ours.manifest.digest)
        self.other = str(self.theirs.digest)

    def push(self) -> None:
        self.sim.store("app").push(self.ours)

    def write(self, *manifests: Manifest) -> None:
        """Be a writer that knows of no others."""
        self.sim.put_fallback("app", self.image.digest, [m.descriptor.to_json() for m in manifests])

    def when(self, method: str, number: int, act: Callable[[], None]) -> None:
        """Act before the n-th request (from 1) of that method for the tag; 0: before each."""
        count = 0

        def check(seen: Seen) -> None:
            nonlocal count
            if seen.method == method and seen.path.endswith(self.tag):
                count += 1
                if number in (0, count):
                    act()

        self.sim.before(check)

    @property
    def listed(self) -> list[str]:
        return self.sim.fallback_entries("app", self.image.digest)

    @property
    def steps(self) -> str:
        """The requests for the tag: G for GET, P for PUT."""
        return "".join(s.method[0] for s in self.sim.requests_seen if s.path.endswith(self.tag))


def test_alone_it_is_read_written_and_read_twice() -> None:
    scene = Scene()
    scene.push()
    assert (scene.listed, scene.steps) == ([scene.own], "GPGG")
    first, second = scene.sim.clock.slept
    assert 0.05 <= first <= 0.2
    assert second >= SECOND_LOOK


def test_what_another_wrote_before_is_kept() -> None:
    scene = Scene()
    scene.write(scene.theirs)
    scene.push()
    assert scene.listed == [scene.other, scene.own]


@pytest.mark.parametrize("look", [2, 3])
def test_a_stale_writer_after_our_put_is_noticed_at_either_look(look: int) -> None:
    scene = Scene()
    # The other one has read before our PUT, and writes what it made of that: our entry is gone.
    scene.when("GET", look, lambda: scene.write(scene.theirs))
    scene.push()
    assert scene.listed == [scene.other, scene.own]
    assert scene.steps == "GP" + "G" * (look - 1) + "GPGG"


def test_a_writer_that_follows_ours_correctly_disturbs_nothing() -> None:
    scene = Scene()
    scene.when("GET", 3, lambda: scene.write(scene.ours.manifest, scene.theirs))
    scene.push()
    assert scene.listed == [scene.own, scene.other]
    assert scene.steps == "GPGG"


def test_an_entry_seen_once_and_lost_by_a_race_of_others_is_put_back() -> None:
    scene = Scene()
    third = scene.sim.put_referrer("app", scene.image.descriptor, salt="third")
    scene.write(scene.theirs)
    # A stale writer drops both our entry and the one that stood there before.
    scene.when("GET", 2, lambda: scene.write(third))
    scene.push()
    assert sorted(scene.listed) == sorted([str(third.digest), scene.other, scene.own])


def test_waits_after_losses_are_random_and_bounded() -> None:
    scene = Scene()
    for look in (2, 4, 6, 8):
        scene.when("GET", look, lambda: scene.write(scene.theirs))
    scene.push()
    assert scene.listed == [scene.other, scene.own]
    assert max(scene.sim.clock.slept) <= 3.0


def test_an_entry_that_never_stands_is_unavailable_and_names_what_was_stored() -> None:
    scene = Scene()
    scene.when("GET", 0, lambda: scene.write(scene.theirs))
    began = scene.sim.clock.now
    with pytest.raises(Unavailable) as e:
        scene.push()
    assert type(e.value) is Unavailable
    assert str(e.value) == (
        f"stored as {scene.own} but not listed under tag '{scene.tag}' in registry.test/app: "
        "gave up after 60 s, it was overwritten every time; run the same command again"
    )
    assert BUDGET <= scene.sim.clock.now - began <= BUDGET + 5
    assert scene.own in scene.sim.repository("app").manifests


def test_the_deadline_ends_it_sooner_and_names_what_was_stored() -> None:
    scene = Scene()
    scene.when("GET", 0, lambda: scene.write(scene.theirs))
    transport = scene.sim.transport(deadline=scene.sim.clock.now + 3)
    with pytest.raises(Unavailable) as e:
        scene.sim.store("app", transport).push(scene.ours)
    assert str(e.value).startswith(f"stored as {scene.own} but not listed under tag ")
    assert "the deadline " in str(e.value)


# Staleness


@pytest.mark.parametrize(("seconds_a_read", "reads_before_the_put"), [(0.0, 2), (0.1, 1)])
def test_the_put_leaves_only_shortly_after_the_read(seconds_a_read: float, reads_before_the_put: int) -> None:
    sim = Simulator()
    layer = Blob.of(b"slow", PUSHED)
    artifact = Artifact(
        manifest=Manifest.parse(manifest_bytes(layers=[layer.descriptor.to_json()]), OCI_MANIFEST),
        blobs=(EMPTY_CONFIG, layer),
    )
    sim.put_blob("app", EMPTY_CONFIG.raw)

    def slow(seen: Seen) -> None:
        if "/blobs/uploads/" in seen.path:
            sim.clock.now += 0.06
        elif seen.method == "GET":
            sim.clock.now += seconds_a_read

    sim.before(slow)
    sim.store("app").rewrite("sig", lambda current: None if current else artifact)
    # The upload takes 120 ms: more than the least window, less than 1.5 times a slow read.
    steps = [f"{s.method} {s.path.split('/')[3]}" for s in sim.requests_seen]
    assert steps == [
        "GET manifests",
        "HEAD blobs",
        "HEAD blobs",
        "POST blobs",
        "PUT blobs",
        *["GET manifests"] * (reads_before_the_put - 1),
        "PUT manifests",
        "GET manifests",
        "GET manifests",
    ]


def test_a_writer_that_came_while_a_token_was_renewed_is_seen() -> None:
    scene = Scene()
    sim = scene.sim
    sim.require_token()
    sim.token_lifetime = 60  # renewed after 50
    began = sim.clock.now
    renewals = 0

    def pass_time(seen: Seen) -> None:
        nonlocal renewals
        if "/referrers/" in seen.path:
            sim.clock.now = began + 49.95
        elif seen.path.endswith(scene.tag) and seen.method == "GET":
            sim.clock.now += 0.06
        elif seen.host.startswith("auth.") and (renewals := renewals + 1) == 2:
            # Between our read and our PUT, the token ends; renewing it takes long, and another writer comes.
            sim.clock.now += 0.5
            scene.write(scene.theirs)

    sim.before(pass_time)
    scene.push()
    assert scene.listed == [scene.other, scene.own]
    assert scene.steps == "GGPGG"


def test_a_slow_registry_gets_a_longer_window_and_a_later_second_look() -> None:
    scene = Scene()
    scene.sim.latency = 1.0
    scene.push()
    assert (scene.listed, scene.steps) == ([scene.own], "GPGG")
    assert scene.sim.clock.slept[1] >= 4 * 2.0


def test_a_put_that_fails_is_not_repeated_without_reading() -> None:
    scene = Scene()
    scene.sim.fail(f"PUT .*/{scene.tag}", 503, times=2)
    scene.when("PUT", 2, lambda: scene.write(scene.theirs))
    scene.push()
    assert scene.listed == [scene.other, scene.own]
    assert "PP" not in scene.steps


def test_a_read_that_fails_while_the_tag_is_being_rewritten_is_read_again() -> None:
    scene = Scene()
    for _ in range(3):
        scene.sim.fail(f"GET .*/{scene.tag}", 500, times=1)
    scene.push()
    assert scene.listed == [scene.own]


def test_a_blob_that_is_unknown_for_a_moment_is_stored_again() -> None:
    sim = Simulator()

    def forget(seen: Seen) -> None:
        if seen.method == "PUT" and seen.path.endswith("/sig") and len(sim.seen("PUT .*/sig$")) < 2:
            sim.repository("app").blobs.clear()

    sim.before(forget)
    sim.store("app").rewrite("sig", _append("a"))
    assert len(sim.seen("PUT .*/sig$")) == 3
    assert len(sim.seen("POST")) == 3


def test_a_registry_that_asks_to_wait_for_long_ends_it() -> None:
    scene = Scene()
    scene.sim.fail(f"PUT .*/{scene.tag}", 429, Retry_After="600")
    with pytest.raises(Unavailable) as e:
        scene.push()
    assert "answered 429 to PUT manifest" in str(e.value)
    assert str(e.value).startswith(f"stored as {scene.own} but not listed")
    assert scene.sim.clock.slept == []


def test_a_registry_that_fails_for_ever_says_so() -> None:
    scene = Scene()
    scene.sim.fail(f"GET .*/{scene.tag}", 500)
    with pytest.raises(Unavailable) as e:
        scene.push()
    assert "gave up after 60 s, registry.test answered 500 to GET manifest" in str(e.value)


# rewrite() itself


@pytest.fixture
def switching() -> Iterator[None]:
    """Let threads alternate as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _append(salt: str) -> Edit:
    """Add a layer annotation-wise: keeps what stands, adds one key."""

    def edit(current: Artifact | None) -> Artifact | None:
        annotations = dict(current.manifest.annotations) if current else {}
        if salt in annotations:
            return None
        raw = manifest_bytes(annotations={**annotations, salt: "1"})
        return Artifact(manifest=Manifest.parse(raw, OCI_MANIFEST), blobs=(EMPTY_CONFIG,))

    return edit


def test_rewrite_returns_what_stands() -> None:
    sim = Simulator()
    store = sim.store("app")
    store.rewrite("sig", _append("a"))
    descriptor = store.rewrite("sig", _append("b"))
    standing = store.fetch("sig")
    assert standing.descriptor == descriptor
    assert set(standing.annotations) == {"a", "b"}


def test_what_is_as_wanted_is_read_twice_and_not_written() -> None:
    sim = Simulator()
    image = sim.put_image("app", tag="sig")
    assert sim.store("app").rewrite("sig", lambda current: None) == image.descriptor
    assert [s.method for s in sim.requests_seen] == ["GET", "GET"]
    assert sim.clock.slept[0] >= SECOND_LOOK


def test_wanting_nothing_where_nothing_is_is_not_found() -> None:
    sim = Simulator()
    with pytest.raises(NotFound, match=r"^tag 'sig' in registry\.test/app is not there, nor wanted$"):
        sim.store("app").rewrite("sig", lambda current: None)


def test_junk_at_the_tag_is_not_overwritten() -> None:
    sim = Simulator()
    sim.put_manifest("app", b"junk", OCI_MANIFEST, tag="sig")
    with pytest.raises(RegistryError) as e:
        sim.store("app").rewrite("sig", _append("a"))
    assert str(e.value).startswith("what tag 'sig' in registry.test/app holds is not overwritten: not JSON")
    assert sim.seen("PUT") == []


@pytest.mark.parametrize("status", [401, 403, 500, 302])
def test_only_a_definite_404_means_that_nothing_is_there(status: int) -> None:
    sim = Simulator()
    sim.put_image("app", tag="sig")
    sim.fail("GET .*/sig", status)
    with pytest.raises(RegistryError):
        sim.store("app").rewrite("sig", _append("a"))
    assert sim.seen("PUT") == []


def test_threads_of_one_process_take_turns(switching: None) -> None:
    sim = Simulator()
    transport = sim.transport()
    start = threading.Barrier(8)
    calls: list[int] = []

    def add(number: int) -> None:
        append = _append(f"n{number}")

        def edit(current: Artifact | None) -> Artifact | None:
            calls.append(number)
            return append(current)

        start.wait()
        sim.store("app", transport).rewrite("sig", edit)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert len(sim.store("app").fetch("sig").annotations) == 8
    # Nobody's edits are interleaved with another's: change, first look, second look.
    assert [number for number, _ in groupby(calls)] == calls[::3]
    assert len(calls) == 24


def test_a_thread_waits_for_its_turn_until_its_deadline() -> None:
    memory = Memory(lambda: 0.0)
    with memory.turn("tag", left=1), pytest.raises(Unavailable, match="while waiting for another thread"):  # noqa: SIM117
        with memory.turn("tag", left=0.0):
            pass


def test_an_error_of_the_edit_is_not_explained_away() -> None:
    sim = Simulator()

    def broken(current: Artifact | None) -> Artifact | None:
        raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        sim.store("app").rewrite("sig", broken)
