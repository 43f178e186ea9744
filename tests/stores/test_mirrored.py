"""A registry and its mirrors, in the simulator: a mirror that lies, lags or lacks is passed over and reported."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imgsign.errors import ContentMismatch, NotFound, Unavailable
from imgsign.oci import EMPTY_CONFIG, OCI_MANIFEST, Artifact, Descriptor, Manifest
from imgsign.reference import Digest, Reference, Repository
from imgsign.signing import SignOptions, sign
from imgsign.stores import Several, Store, attached, doubt, newest, registry_of, sources
from imgsign.stores.destination import LayoutDestination
from imgsign.stores.layout import LayoutStore
from imgsign.stores.locate import store_at
from imgsign.stores.mirrored import LISTED_LIMIT
from imgsign.transport.places import Place, Places
from imgsign.workflow import key_policy, pull
from tests.answers import Answer, Seen, error_answer
from tests.signing_keys import signer
from tests.simulator import Simulator, manifest_bytes

APP = Repository("registry.test", "app")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass
class World:
    """A registry, a mirror, and a store over both."""

    registry: Simulator = field(default_factory=Simulator)
    mirror: Simulator = field(default_factory=lambda: Simulator("mirror.test"))
    notes: list[str] = field(default_factory=list)
    place: Place = field(default_factory=lambda: Place(repository=Repository("mirror.test", "app"), source="--mirror"))
    environ: dict[str, str] = field(default_factory=dict)

    def store(self) -> Store:
        self.registry.site("mirror.test", self._answer)
        own = Place(repository=APP)
        places = Places(registry=own, primary=own, mirrors=(self.place,))
        return store_at(places, self.registry.transport(environ=self.environ), self.notes.append)

    def _answer(self, seen: Seen) -> Answer:
        return self.mirror._with_faults(seen, len(self.mirror._faults))

    def both(self, act: Callable[[Simulator], Manifest]) -> Manifest:
        act(self.mirror)
        return act(self.registry)

    def asked(self, host: str) -> list[str]:
        return [f"{s.method} {s.path}" for s in self.registry.requests_seen if s.host == host]


def _passed_over(what: str) -> str:
    return f"mirror mirror.test/app was passed over: {what}"


def _layer(image: Manifest) -> Descriptor:
    (layer,) = image.layers
    return layer


def test_bytes_come_from_the_mirror_and_the_registry_is_left_alone() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app", tag="1"))
    store = world.store()
    assert isinstance(store, Several)
    assert store.fetch(image.digest) == image
    assert store.blob(_layer(image), limit=100).raw == b"layer "
    assert b"".join(store.stream(_layer(image))) == b"layer "
    assert world.asked("registry.test") == []
    assert world.notes == []


def test_without_a_mirror_there_is_nothing_between_us_and_the_registry() -> None:
    own = Place(repository=APP)
    store = store_at(Places(registry=own, primary=own), Simulator().transport(), lambda text: None)
    assert not isinstance(store, Several)
    assert sources(store) == (store,)
    assert registry_of(store) is store
    assert not doubt(store, EMPTY_CONFIG.descriptor)


def test_a_tag_of_a_mirror_that_may_not_resolve_is_never_trusted() -> None:
    world = World(place=Place(repository=Repository("mirror.test", "app"), by_tag=False))
    world.mirror.put_image("app", tag="1", salt="old")
    image = world.registry.put_image("app", tag="1", salt="new")
    assert world.store().fetch("1") == image
    assert world.asked("mirror.test") == []


def test_a_mirror_that_may_resolve_says_what_a_tag_means() -> None:
    world = World()
    image = world.mirror.put_image("app", tag="1")
    assert world.store().fetch("1") == image
    assert world.asked("registry.test") == []


def test_a_tag_only_mirror_gives_content_only_of_what_it_has_named() -> None:
    world = World(place=Place(repository=Repository("mirror.test", "app"), by_digest=False))
    image = world.both(lambda sim: sim.put_image("app", tag="1"))
    store = world.store()
    store.fetch(image.digest)
    assert world.asked("mirror.test") == []
    store.fetch("1")
    store.blob(_layer(image), limit=100)
    assert world.asked("mirror.test") == ["GET /v2/app/manifests/1", f"GET /v2/app/blobs/{_layer(image).digest}"]


def test_a_mirror_that_lies_about_a_manifest_is_passed_over_and_not_asked_again() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    evil = manifest_bytes(annotations={"evil": "yes"})
    world.mirror.serve_instead("/manifests/", evil)
    store = world.store()
    assert store.fetch(image.digest) == image
    assert store.blob(_layer(image), limit=100).raw == b"layer "
    assert len(world.asked("mirror.test")) == 1
    said = f"manifest {image.digest} of mirror.test/app has the digest {Digest.of(evil)}"
    assert world.notes == [_passed_over(said)]


def test_a_mirror_that_lies_about_a_blob_in_memory_is_passed_over() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.mirror.serve_instead("/blobs/", b"LAYER ")
    assert world.store().blob(_layer(image), limit=100).raw == b"layer "
    assert len(world.notes) == 1
    assert world.notes[0].startswith(_passed_over(f"blob {_layer(image).digest} "))


def test_a_mirror_that_lies_in_a_stream_is_found_out_by_the_hash_and_the_registry_asked(tmp_path: Path) -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.mirror.serve_instead("/blobs/", b"LAYER ")
    store = world.store()
    assert b"".join(store.stream(_layer(image))) == b"LAYER "  # not hashed here, as the protocol says
    assert doubt(store, _layer(image))
    assert b"".join(store.stream(_layer(image))) == b"layer "
    assert world.notes == [_passed_over(f"blob {_layer(image).digest} is not what its digest says")]


def test_a_stream_that_breaks_at_the_mirror_goes_on_at_the_registry() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.mirror.truncate("/blobs/", 2)
    assert b"".join(world.store().stream(_layer(image))) == b"layer "
    assert world.registry.seen(r"registry\.test.*/blobs/")[0].headers["range"] == "bytes=2-"


def test_a_registry_that_lies_in_a_stream_is_not_asked_twice() -> None:
    world = World()
    image = world.registry.put_image("app")
    store = world.store()
    list(store.stream(_layer(image)))
    assert not doubt(store, _layer(image))  # the mirror gave nothing


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "mirror.test answered 500 to GET manifest {} of app, tried 4 times"),
        (403, "mirror.test answered 403 to GET manifest {} of app, asked "),
    ],
)
def test_a_failing_mirror_is_passed_over_once(status: int, said: str) -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.mirror.fail("GET", status)
    store = world.store()
    assert store.fetch(image.digest) == image
    before = len(world.asked("mirror.test"))
    assert store.blob(_layer(image), limit=100)
    assert len(world.asked("mirror.test")) == before
    assert len(world.notes) == 1
    assert world.notes[0].startswith(_passed_over(said.format(image.digest)))


def test_a_mirror_that_lags_is_asked_for_the_next_thing() -> None:
    world = World()
    world.mirror.put_image("app", salt="old")
    image = world.registry.put_image("app")
    store = world.store()
    assert store.fetch(image.digest) == image
    store.blob(EMPTY_CONFIG.descriptor, limit=100)
    assert len(world.asked("mirror.test")) == 2
    said = f"mirror.test has no manifest {image.digest} of app (MANIFEST_UNKNOWN: manifest unknown)"
    assert world.notes == [_passed_over(said)]


def test_the_registrys_failure_counts() -> None:
    world = World()
    world.registry.fail(r"registry\.test", 503)
    with pytest.raises(Unavailable, match=r"^registry\.test answered 503 to GET manifest 1 of app"):
        world.store().fetch("1")


def test_what_is_nowhere_is_not_found_at_the_registry() -> None:
    world = World()
    world.registry.put_image("app")
    with pytest.raises(NotFound, match=r"^registry\.test has no manifest 1 of app"):
        world.store().fetch("1")


# Signatures


def test_absence_of_referrers_at_a_mirror_is_not_absence() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    signature = world.registry.put_referrer("app", image.descriptor)
    store = world.store()
    assert [d.digest for d in store.referrers(image.digest)] == [signature.digest]
    assert world.notes == [_passed_over("it lacks signatures that the registry has")]


def test_referrers_of_all_places_are_merged() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.both(lambda sim: sim.put_referrer("app", image.descriptor, salt="both"))
    world.mirror.put_referrer("app", image.descriptor, salt="mirror")
    world.registry.put_referrer("app", image.descriptor, salt="registry")
    assert len(list(world.store().referrers(image.digest))) == 3


def test_junk_listed_at_a_mirror_does_not_crowd_out_the_registry() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    junk = [Digest.of(str(i).encode()) for i in range(LISTED_LIMIT + 5)]
    world.mirror.list_for(
        "app", image.digest, *({"mediaType": OCI_MANIFEST, "digest": str(d), "size": 2} for d in junk)
    )
    signature = world.registry.put_referrer("app", image.descriptor)
    listed = [d.digest for d in world.store().referrers(image.digest)]
    assert len(listed) == LISTED_LIMIT + 1
    assert listed[-1] == signature.digest


def test_a_signature_tag_is_looked_for_at_each_place_mirrors_first() -> None:
    world = World(place=Place(repository=Repository("mirror.test", "app"), by_tag=False))
    old = world.mirror.put_image("app", tag="sha256-x.sig", salt="old")
    new = world.registry.put_image("app", tag="sha256-x.sig", salt="new")
    assert [s.fetch("sha256-x.sig") for s in sources(world.store())] == [old, new]


def test_a_mirror_without_signature_tags_is_reported_only_if_the_registry_has_them() -> None:
    world = World()
    world.both(lambda sim: sim.put_image("app"))
    first, last = sources(world.store())
    for source in (first, last):
        with pytest.raises(NotFound):
            source.fetch("sha256-x.sig")
    assert world.notes == []
    world.registry.put_image("app", tag="sha256-x.sig")
    with pytest.raises(NotFound):
        first.fetch("sha256-x.sig")
    last.fetch("sha256-x.sig")
    assert world.notes == [_passed_over("it lacks signatures that the registry has")]


def test_a_mirrors_failure_to_list_is_a_note_and_the_registrys_an_error() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.mirror.fail("/referrers/", 500)
    assert list(world.store().referrers(image.digest)) == []
    assert len(world.notes) == 1
    world.registry.fail(r"registry\.test.*/referrers/", 500)
    with pytest.raises(Unavailable):
        list(world.store().referrers(image.digest))


# Writing, credentials, addresses


def test_everything_is_written_to_the_registry() -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    store = world.store()
    made = Manifest.parse(manifest_bytes(subject=image.descriptor), OCI_MANIFEST)
    store.push(Artifact(manifest=made, blobs=(EMPTY_CONFIG,)))
    assert store.has(EMPTY_CONFIG.descriptor)
    assert world.asked("mirror.test") == []
    assert str(made.digest) in world.registry.repository("app").manifests


def test_what_is_to_be_signed_is_read_at_the_registry() -> None:
    world = World()
    world.mirror.put_image("app", tag="1", salt="old")
    image = world.registry.put_image("app", tag="1", salt="new")
    assert registry_of(world.store()).fetch("1") == image


def test_credentials_of_the_registry_never_reach_a_mirror(tmp_path: Path) -> None:
    auth = base64.b64encode(b"user:the-registrys-secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.test": {"auth": auth}}}))
    world = World(environ={"DOCKER_CONFIG": str(tmp_path)})
    image = world.both(lambda sim: sim.put_image("app"))
    world.registry.require_basic("user", "the-registrys-secret")
    basic = (("WWW-Authenticate", 'Basic realm="give me"'),)
    world.mirror.respond("GET", lambda seen: Answer(status=401, headers=basic))
    assert world.store().fetch(image.digest) == image
    sent = [s for s in world.registry.requests_seen if s.host == "mirror.test"]
    assert sent
    assert all(s.authorization is None for s in sent)
    assert any(s.authorization == f"Basic {auth}" for s in world.registry.requests_seen)


SECRET = "the-headers-secret"


def _with_header(**more: object) -> World:
    header = (("x-api-key", SECRET), ("authorization", f"Bearer {SECRET}"))
    place = Place(repository=Repository("mirror.test", "app"), source="hosts.toml", header=header, **more)  # type: ignore[arg-type]  # fields of Place
    return World(place=place)


def _sent(world: World) -> dict[str, set[tuple[str | None, str | None]]]:
    """What each host has seen of the two headers."""
    found: dict[str, set[tuple[str | None, str | None]]] = {}
    for seen in world.registry.requests_seen:
        found.setdefault(seen.host, set()).add((seen.headers.get("x-api-key"), seen.authorization))
    return found


def test_headers_of_a_mirror_are_sent_to_its_origin_only() -> None:
    world = _with_header()
    image = world.both(lambda sim: sim.put_image("app", tag="1"))
    world.registry.site("cdn.test", lambda seen: Answer(status=307, headers=(("Location", "https://mirror.test/x"),)))
    world.mirror.redirect(f"/blobs/{_layer(image).digest}", "https://cdn.test/blob")
    back: list[tuple[str | None, str | None]] = []

    def returned(seen: Seen) -> Answer:
        back.append((seen.headers.get("x-api-key"), seen.authorization))
        return Answer(body=b"layer ")

    world.mirror.respond("mirror.test/x$", returned)
    store = world.store()
    store.fetch("1")
    assert store.blob(_layer(image), limit=100).raw == b"layer "
    world.mirror.fail("/manifests/", 404)
    store.fetch(image.digest)
    sent = _sent(world)
    assert sent["registry.test"] == sent["cdn.test"] == {(None, None)}
    assert sent["mirror.test"] == {(SECRET, f"Bearer {SECRET}"), (None, None)}
    assert back == [(None, None)]  # also not on the way back from somewhere else


def test_headers_of_a_mirror_do_not_reach_its_token_server() -> None:
    world = _with_header()
    world.both(lambda sim: sim.put_image("app", tag="1"))
    world.mirror.require_token(realm="https://auth.mirror.test/token")
    world.registry.site("auth.mirror.test", lambda seen: world.mirror._give_token(seen, None))
    world.store().fetch("1")
    assert _sent(world)["auth.mirror.test"] == {(None, None)}
    assert (SECRET, "Bearer token-1") in _sent(world)["mirror.test"]
    assert world.asked("registry.test") == []


def test_headers_of_a_mirror_are_not_shown_even_if_it_repeats_them() -> None:
    world = _with_header()
    world.both(lambda sim: sim.put_image("app", tag="1"))

    def echo(seen: Seen) -> Answer:
        return error_answer(403, "DENIED", f"you sent {seen.headers['x-api-key']}")

    world.mirror.respond("GET", echo)
    world.store().fetch("1")
    (note,) = world.notes
    assert "you sent …" in note
    assert SECRET not in note


def test_the_time_for_a_connection_is_that_of_the_mirror_only() -> None:
    world = _with_header(dial_timeout=1.5)
    image = world.both(lambda sim: sim.put_image("app", tag="1"))
    world.registry.site("cdn.test", lambda seen: Answer(body=b"layer "))
    world.mirror.redirect("/blobs/", "https://cdn.test/blob")
    store = world.store()
    store.fetch("1")
    store.blob(_layer(image), limit=100)
    registry_of(store).fetch("1")
    hosts = [s.host for s in world.registry.requests_seen]
    assert list(zip(hosts, world.registry.timeouts, strict=True)) == [
        ("mirror.test", (1.5, 60.0)),
        ("mirror.test", (1.5, 60.0)),
        ("cdn.test", (10.0, 60.0)),
        ("registry.test", (10.0, 60.0)),
    ]


def test_a_moved_and_named_place_is_asked_by_its_own_address() -> None:
    world = World(
        place=Place(repository=Repository("mirror.test", "hub/app"), root="/cache/v2", namespace="registry.test")
    )
    world.mirror.respond("GET", lambda seen: Answer(status=404))
    world.registry.put_image("app", tag="1")
    world.store().fetch("1")
    asked = [s.url for s in world.registry.requests_seen if s.host == "mirror.test"]
    assert asked == ["https://mirror.test/cache/v2/hub/app/manifests/1?ns=registry.test"]


def test_plain_http_is_spoken_only_to_the_place_that_is_configured_so() -> None:
    world = World(place=Place(repository=Repository("mirror.test", "app"), insecure=True))
    world.both(lambda sim: sim.put_image("app", tag="1"))
    store = world.store()
    store.fetch("1")
    registry_of(store).fetch("1")
    assert [s.url.partition("/v2")[0] for s in world.registry.requests_seen] == [
        "http://mirror.test",
        "https://registry.test",
    ]


def test_pulling_into_a_layout_survives_a_lying_mirror(tmp_path: Path) -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    world.mirror.serve_instead("/blobs/", b"LAYER ")
    place = LayoutDestination(tmp_path / "layout", "1", None)
    place.open()
    place.put(world.store(), image, None)
    place.finish(image)
    assert LayoutStore(tmp_path / "layout").blob(_layer(image), limit=100).raw == b"layer "


def test_pulling_fails_if_the_registry_lies_too(tmp_path: Path) -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app"))
    wrong = f"/blobs/{_layer(image).digest}"
    world.mirror.serve_instead(wrong, b"LAYER ")
    world.registry.serve_instead(rf"registry\.test.*{wrong}", b"LAYER ")
    place = LayoutDestination(tmp_path / "layout", "1", None)
    place.open()
    with pytest.raises(ContentMismatch, match=r"is not what its digest says"):
        place.put(world.store(), image, None)


# Signatures that a pull takes along


def _signed_at(world: World, **which: str) -> tuple[Manifest, str]:
    """Both have the image; each has the ``.sig`` tag as one key left it, the registry last. Returns that tag."""
    image = world.both(lambda sim: sim.put_image("app", tag="1"))
    for where, by in which.items():
        sim = world.mirror if where == "mirror" else world.registry
        store = sim.store("app")
        options = SignOptions(formats=("simple",))
        sign([Reference.parse("registry.test/app:1")], signer(by), options, locate=lambda r: store, now=NOW)  # noqa: B023  # called before it changes
    return image, f"{image.digest.tag}.sig"


def _pull(world: World, base: Path, *keys: str) -> LayoutStore:
    policy, trust = key_policy([signer(k).public_key for k in keys])
    place = LayoutDestination(base / "layout", "1", None)
    store = world.store()
    name = Reference.parse("registry.test/app:1")
    assert pull(name, policy, trust, place, locate=lambda r: store, now=NOW).allowed
    return LayoutStore(base / "layout")


def _held(sim: Simulator, tag: str) -> str:
    return sim.repository("app").tags[tag]


def test_the_registrys_signatures_are_taken_along_not_what_a_mirror_has_kept_of_them(tmp_path: Path) -> None:
    world = World()
    _, tag = _signed_at(world, mirror="release", registry="ci")
    # The mirror's signature suffices for the verdict, and yet it is not the last word about the tag.
    layout = _pull(world, tmp_path, "release", "ci")
    assert _held(world.mirror, tag) != _held(world.registry, tag)
    assert str(layout.fetch(tag).digest) == _held(world.registry, tag)
    assert world.notes == []


@pytest.mark.parametrize("fault", ["503", "404"])
def test_a_mirrors_signatures_are_taken_along_with_a_note_if_the_registry_gives_none(
    tmp_path: Path, fault: str
) -> None:
    world = World()
    _, tag = _signed_at(world, mirror="release", registry="ci")
    world.registry.fail(rf"registry\.test.*{tag}", int(fault))
    layout = _pull(world, tmp_path, "release")
    assert str(layout.fetch(tag).digest) == _held(world.mirror, tag)
    why = {"404": "the registry has none", "503": "the registry fails"}[fault]
    assert f"signatures of {tag} are those of a mirror, since {why}" in world.notes


def test_without_the_registry_a_pull_takes_along_what_the_mirror_lists(tmp_path: Path) -> None:
    world = World()
    image = world.both(lambda sim: sim.put_image("app", tag="1"))
    mirror = world.mirror.store("app")
    sign([Reference.parse("registry.test/app:1")], signer("release"), SignOptions(), locate=lambda r: mirror, now=NOW)
    world.registry.fail(r"//registry\.test", 503)
    layout = _pull(world, tmp_path, "release")
    assert [d.digest for d in layout.referrers(image.digest)] == [
        Digest.parse(d) for d in world.mirror.repository("app").manifests if d != str(image.digest)
    ]
    (note,) = world.notes
    assert note.startswith("signatures were taken along from mirrors only: registry.test answered 503 to GET ")


def test_a_failing_registry_is_an_error_if_no_mirror_answers() -> None:
    world = World()
    image, tag = _signed_at(world)
    world.mirror.fail("GET", 503)
    world.registry.fail(r"//registry\.test", 503)
    store = world.store()
    for ask in (lambda: newest(store, tag), lambda: list(attached(store, image.digest))):
        with pytest.raises(Unavailable, match=r"registry\.test answered 503"):
            ask()


def test_a_failing_registry_is_never_an_empty_list_for_who_shows_it() -> None:
    world = World()
    image, _ = _signed_at(world)
    world.registry.fail(r"//registry\.test.*/referrers/", 503)
    with pytest.raises(Unavailable):
        list(world.store().referrers(image.digest))
