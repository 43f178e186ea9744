"""``docker:`` with engines that fail, lie or talk nonsense: no tag for what was not checked."""

from __future__ import annotations

import base64
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed, ContentMismatch, Denied, DestinationError, UsageError
from imgsign.oci import Manifest, platform_of
from imgsign.policy.model import Policy, Reject, Rule
from imgsign.reference import Reference, Repository
from imgsign.resolve import Target
from imgsign.stores.engine import Engine, inspect
from imgsign.stores.engine_pull import EngineDestination, FindLogin
from imgsign.transport.credentials import Credential
from imgsign.trust import TrustStore
from imgsign.workflow import pull
from tests.e2e.fake_engine import Answer, FakeEngine, fake_engine
from tests.stores.memory_store import MemoryStore, layer, sending

NAME = Reference.parse("registry.example/app:1")
OTHER = "sha256:" + "e" * 64
PASSWORD = "pass word/+secret"


def login(user: str, secret: str) -> Credential:
    return Credential(user=user, secret=secret, source="the test")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory(prefix="imgsign-") as base, fake_engine(Path(base)) as found:
        yield found


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def image(store: MemoryStore) -> Manifest:
    return store.add_image(layer("one", b"1" * 3000), layer("two", b"2"))


def config_of(image: Manifest) -> str:
    assert image.config is not None
    return str(image.config.digest)


def pinned(image: Manifest) -> str:
    return f"{NAME.repository}@{image.digest}"


def pull_into(
    engine: FakeEngine,
    store: MemoryStore,
    judged: Manifest,
    name: Reference | None = NAME,
    *,
    platform: str | None = None,
    find_login: FindLogin = lambda repository: None,
    idle_timeout: float = 5.0,
    scratch: Path | None = None,
    seen: list[int] | None = None,
) -> EngineDestination:
    """Put an allowed image into the engine, as ``workflow.pull`` does."""
    destination = EngineDestination(
        Engine(str(engine.socket), timeout=5.0, idle_timeout=idle_timeout),
        name,
        platform=platform_of(platform) if platform else None,
        find_login=find_login,
        progress=(lambda count: None) if seen is None else seen.append,
        scratch=scratch,
    )
    found = judged
    while found.is_index:
        found = store.fetch(destination.choose(found).digest)
    destination.open()
    destination.put(store, found, None)
    destination.finish(judged)
    return destination


# The good way


def test_the_engine_pulls_the_digest_is_checked_then_tagged_then_checked(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    engine.registry[pinned(image)] = config_of(image)
    seen: list[int] = []
    done = pull_into(engine, store, image, seen=seen)
    assert engine.requests == [
        "GET /version",
        f"GET /images/{pinned(image)}/json",
        f"POST /images/create?fromImage=registry.example/app&tag={image.digest}",
        f"GET /images/{pinned(image)}/json",
        f"GET /images/{NAME}/json",
        f"POST /images/{config_of(image)}/tag?repo=registry.example/app&tag=1",
        f"GET /images/{NAME}/json",
    ]
    assert engine.tags == {str(NAME): config_of(image)}
    assert done.outcome is not None
    assert str(done.outcome.pinned) == pinned(image)
    assert (done.outcome.tagged, done.outcome.not_pulled, done.notes) == (NAME, None, ())
    assert str(done.outcome.identifier) == config_of(image)
    assert sum(seen) == sum(len(raw) for raw in store.blobs.values())
    assert not any("X-Registry-Auth" in h for h in engine.headers)


def test_an_engine_may_keep_images_by_the_digest_of_the_manifest(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    engine.registry[pinned(image)] = str(image.digest)
    assert pull_into(engine, store, image).notes == ()
    assert engine.tags == {str(NAME): str(image.digest)}


def test_credentials_go_to_the_engine_and_nowhere_else(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.registry[pinned(image)] = config_of(image)
    asked: list[str] = []

    def find(repository: Repository) -> Credential:
        asked.append(str(repository))
        return login("us:er", PASSWORD)

    done = pull_into(engine, store, image, find_login=find)
    assert asked == ["registry.example/app"]
    sent = [h["X-Registry-Auth"] for h in engine.headers if "X-Registry-Auth" in h]
    assert [json.loads(base64.urlsafe_b64decode(s)) for s in sent] == [
        {"username": "us:er", "password": PASSWORD, "serveraddress": "registry.example"}
    ]
    assert PASSWORD not in repr(done.outcome) + repr(done) + str(done)


def test_the_engines_platform_chooses_from_an_index_and_is_told(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    arm = store.add_image(layer("arm", b"arm"), config={"architecture": "arm64"})
    index = store.add_index((image, "linux/amd64"), (arm, "linux/arm64"))
    engine.registry[pinned(index)] = config_of(arm)  # the fake engine runs on aarch64
    assert pull_into(engine, store, index).notes == ()
    (request,) = [r for r in engine.requests if "create" in r]
    assert request.endswith(f"&tag={index.digest}&platform=linux/arm64")


def test_a_platform_that_was_named_wins(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    arm = store.add_image(layer("arm", b"arm"), config={"architecture": "arm64"})
    index = store.add_index((image, "linux/amd64"), (arm, "linux/arm64"))
    engine.registry[pinned(index)] = config_of(image)
    pull_into(engine, store, index, platform="linux/amd64")
    assert engine.tags == {str(NAME): config_of(image)}
    assert "GET /info" not in engine.requests


def test_a_reference_without_a_tag_gets_none(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.registry[pinned(image)] = config_of(image)
    done = pull_into(engine, store, image, Reference.parse(pinned(image)))
    assert engine.tags == {}
    assert done.outcome is not None
    assert str(done.outcome.pinned) == pinned(image)


# An engine that cannot pull


def test_an_engine_that_cannot_pull_gets_an_archive_without_names(
    engine: FakeEngine, store: MemoryStore, image: Manifest, tmp_path: Path
) -> None:
    done = pull_into(engine, store, image, scratch=tmp_path)
    assert engine.tags == {str(NAME): config_of(image)}
    assert done.notes == (
        'the engine did not pull, and was given an archive: Get "https://registry.example/v2/": dial tcp: no such host',
        f"the engine knows the image as {NAME}, not by the digest that was judged (no RepoDigests)",
    )
    (archive,) = engine.archives
    (tmp_path / "sent.tar").write_bytes(archive)
    with tarfile.open(tmp_path / "sent.tar") as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        assert json.loads(file.read())[0]["RepoTags"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["sent.tar"]  # the scratch directory is as it was


def test_an_image_that_is_there_already_is_not_loaded_again(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    pull_into(engine, store, image)
    seen: list[int] = []
    again = pull_into(engine, store, image, seen=seen)
    assert len(engine.archives) == 1
    assert again.notes[0].startswith("the engine did not pull, and had the image already: Get")
    assert sum(seen) == sum(len(raw) for raw in store.blobs.values())


def test_an_image_without_a_name_is_loaded_and_called_by_its_id(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    done = pull_into(engine, store, image, None)
    assert engine.tags == {}
    assert not any("create" in r for r in engine.requests)
    assert done.notes == (
        "the engine did not pull, and was given an archive: the image has no name",
        f"the engine knows the image as {config_of(image)}, not by the digest that was judged (no RepoDigests)",
    )


def test_unusable_credentials_are_no_reason_to_pull_as_somebody_else(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    engine.registry[pinned(image)] = config_of(image)

    def find(repository: Repository) -> Credential:
        raise AuthenticationFailed("cannot use the credentials for 'registry.example'")

    done = pull_into(engine, store, image, find_login=find)
    assert not any("create" in r for r in engine.requests)
    assert "cannot use the credentials" in done.notes[0]


def test_content_is_checked_before_the_engine_gets_an_archive(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    store.spoil[str(image.layers[0].digest)] = sending(lambda raw: raw[:-1] + b"x")
    with pytest.raises(ContentMismatch):
        pull_into(engine, store, image)
    assert (engine.archives, engine.names) == ([], {})


def test_an_error_in_the_stream_of_a_pull(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.instead["POST /images/create"] = (
        200,
        [
            {"status": "Downloading", "id": image.layers[0].digest.hex[:12], "progressDetail": {"current": 9}},
            {"errorDetail": {"message": "x"}, "error": "toomanyrequests: slow\n\x1b[2Jdown"},
        ],
    )
    seen: list[int] = []
    done = pull_into(engine, store, image, seen=seen)
    assert done.notes[0].endswith("given an archive: toomanyrequests: slow\\x0a\\x1b[2Jdown")
    assert seen[:2] == [9, -9]


@pytest.mark.parametrize("status", [200, 500])
def test_no_secret_comes_back_in_what_the_engine_says(
    engine: FakeEngine, store: MemoryStore, image: Manifest, status: int
) -> None:
    header = base64.urlsafe_b64encode(
        json.dumps(
            {"username": "user", "password": PASSWORD, "serveraddress": "registry.example"}, separators=(",", ":")
        ).encode()
    ).decode()
    said = f'no {header} {PASSWORD} Get "https://u:pw1234@cdn.example/x?X-Amz-Signature=s3cr3t": refused'
    message: object = [{"error": said}] if status == 200 else {"message": said}
    engine.instead["POST /images/create"] = status, message
    done = pull_into(engine, store, image, find_login=lambda repository: login("user", PASSWORD))
    assert done.notes[0].endswith('archive: no … … Get "https://cdn.example/x": refused')


# An engine that has something else


def test_an_engine_that_reports_another_digest(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.registry[pinned(image)] = config_of(image)
    engine.digests = lambda names: [f"{NAME.repository}@{OTHER}"]
    with pytest.raises(DestinationError, match="but not under the digest that was judged"):
        pull_into(engine, store, image)
    assert engine.tags == {}
    assert pinned(image) not in engine.names
    assert not any("/tag" in r for r in engine.requests)


@pytest.mark.parametrize("digests", [None, [], ["garbage"], [f"registry.example/other@{OTHER}"]])
def test_an_engine_that_does_not_list_the_judged_digest(
    engine: FakeEngine, store: MemoryStore, image: Manifest, digests: object
) -> None:
    engine.registry[pinned(image)] = config_of(image)
    engine.digests = lambda names: digests
    with pytest.raises(DestinationError, match="but not under the digest that was judged"):
        pull_into(engine, store, image)
    assert engine.tags == {}


def test_an_engine_that_lists_the_digest_for_another_repository(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    engine.registry[pinned(image)] = config_of(image)
    engine.digests = lambda names: [f"evil.example/app@{image.digest}"]
    with pytest.raises(DestinationError, match="but not under the digest that was judged"):
        pull_into(engine, store, image)
    assert engine.tags == {}


@pytest.mark.parametrize("identifier", [OTHER, "garbage", ""])
def test_an_engine_that_pulled_another_image(
    engine: FakeEngine, store: MemoryStore, image: Manifest, identifier: str
) -> None:
    engine.registry[pinned(image)] = identifier
    with pytest.raises(DestinationError, match=r"has another image as registry\.example/app@sha256"):
        pull_into(engine, store, image)
    assert engine.names == {identifier: identifier}


def test_what_the_engine_had_under_the_digest_before_stays(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    engine.names[pinned(image)] = OTHER
    engine.registry[pinned(image)] = OTHER
    with pytest.raises(DestinationError, match="has another image"):
        pull_into(engine, store, image)
    assert engine.changes() == [f"POST /images/create?fromImage=registry.example/app&tag={image.digest}"]


def test_an_engine_that_says_it_pulled_and_has_nothing(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.instead["POST /images/create"] = 200, [{"status": "Pull complete"}]
    with pytest.raises(DestinationError, match=r"says it has taken the image, but has no registry\.example/app@"):
        pull_into(engine, store, image)
    assert engine.tags == {}


def test_an_engine_that_loaded_another_image(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.instead["POST /images/load"] = 200, [{"stream": f"Loaded image ID: {OTHER}"}]
    with pytest.raises(DestinationError, match=f"but has no {config_of(image)}"):
        pull_into(engine, store, image)
    assert engine.tags == {}


def test_an_engine_that_reports_another_id_for_a_loaded_image(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    engine.names[config_of(image)] = OTHER
    engine.instead["POST /images/load"] = 200, [{"stream": "Loaded"}]
    with pytest.raises(DestinationError, match=f"but has no {config_of(image)}"):
        pull_into(engine, store, image)
    assert engine.tags == {}


@pytest.mark.parametrize("can_pull", [True, False])
def test_a_tag_that_leads_elsewhere_is_taken_back(
    engine: FakeEngine, store: MemoryStore, image: Manifest, can_pull: bool
) -> None:
    if can_pull:
        engine.registry[pinned(image)] = config_of(image)
    engine.tagged_as = OTHER
    with pytest.raises(DestinationError, match=f"has another image as {NAME}: {OTHER}"):
        pull_into(engine, store, image)
    assert engine.tags == {}


def test_a_tag_that_named_another_image_names_it_again(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    old = "sha256:" + "d" * 64
    engine.names |= {old: old, str(NAME): old}
    engine.registry[pinned(image)] = config_of(image)
    calls: list[list[str]] = []

    def digests(names: list[str]) -> list[str]:
        calls.append(names)
        return names if len(calls) != 3 else []  # pulled, the old image, then under the tag

    engine.digests = digests
    with pytest.raises(DestinationError, match="but not under the digest that was judged"):
        pull_into(engine, store, image)
    assert engine.tags == {str(NAME): old}


def test_a_tag_that_cannot_be_taken_back_is_said(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.registry[pinned(image)] = config_of(image)
    engine.tagged_as = OTHER
    engine.instead["DELETE "] = 500, {"message": "no"}
    with pytest.raises(DestinationError, match=f"may still have the tag {NAME} on an image that failed") as caught:
        pull_into(engine, store, image)
    assert caught.value.hint == f"docker rmi {NAME}"


# An engine that talks nonsense, or not at all


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(b"{}"), r"missing key 'Id' at \$"),
        (http(b'{"Id": 1}'), "expected string, got integer"),
        (http(b'{"Id": "x", "RepoDigests": "y"}'), "expected list, got string"),
        (http(b'{"Id": "x", "Id": "y"}'), "duplicate key 'Id'"),
        (http(b'{"Id": "x", "ID": "y"}'), "differs from 'Id' only by case"),
        (http(b"<html>"), "cannot be read: not JSON"),
        (http(b" " * (4 * 1024 * 1024 + 1) + b"{}"), "are more than the limit"),
        (http(b'{"Id"', length=100), "cannot be read: not JSON"),
        (http(b""), "expected object, got null"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "remote end closed connection without response"),
        (http(b'{"message": "on fire"}', "500 X"), "answers 500: on fire"),
        (http(b"on fire", "500 X"), "answers 500: it does not say why"),
    ],
)
def test_an_answer_that_makes_no_sense(
    engine: FakeEngine, store: MemoryStore, image: Manifest, answer: bytes, message: str
) -> None:
    engine.registry[pinned(image)] = config_of(image)
    engine.instead[f"GET /images/{NAME}/json"] = answer
    with pytest.raises(DestinationError, match=message) as caught:
        pull_into(engine, store, image)
    assert str(engine.socket) in caught.value.message
    assert engine.tags == {}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(b'{"status": "' + b"x" * 70_000 + b'"}\n'), "are more than the limit of 65536"),
        (http(b"not json\n"), "not JSON"),
        (http(b'["status"]\n'), "expected object, got list"),
        (http(b'{"status": "x"}\n{"Error": "y"}\n'), "differs from 'error' only by case"),
        (http(b'{"status": "x"}\n', length=1000), "broke off: IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broke off: IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}", "broke off: IncompleteRead"),
    ],
)
def test_a_stream_that_makes_no_sense(
    engine: FakeEngine, store: MemoryStore, image: Manifest, answer: bytes, message: str
) -> None:
    engine.instead["POST /images/create"] = answer
    with pytest.raises(DestinationError, match=message):
        pull_into(engine, store, image)
    assert engine.tags == {}


@pytest.mark.parametrize("wrong", [{"error": 1}, {"errorDetail": {}}, {"error": ""}, {"error": None}])
def test_an_error_that_is_not_explained_is_one(
    engine: FakeEngine, store: MemoryStore, image: Manifest, wrong: dict[str, object]
) -> None:
    engine.instead["POST /images/create"] = 200, [wrong]
    assert pull_into(engine, store, image).notes[0].endswith("given an archive: it does not say why")


@pytest.mark.parametrize("answer", [(500, {"message": "no space left on device"}), (200, [{"error": "no space left"}])])
def test_an_engine_that_can_neither_pull_nor_load(
    engine: FakeEngine, store: MemoryStore, image: Manifest, answer: Answer
) -> None:
    engine.instead["POST /images/load"] = answer
    with pytest.raises(DestinationError, match=r"can neither pull sha256:.* \(Get .*\) nor load it: no space left"):
        pull_into(engine, store, image)
    assert engine.tags == {}


def test_an_engine_that_refuses_an_archive_before_it_has_read_it(engine: FakeEngine, store: MemoryStore) -> None:
    image = store.add_image(layer("big", bytes(4 * 1024 * 1024)), compress=False)
    engine.instead["POST /images/create"] = 500, {"message": "no"}
    engine.instead["unread"] = http(b'{"message": "too big for me"}', "413 X")
    with pytest.raises(DestinationError, match="nor load it: too big for me"):
        pull_into(engine, store, image)


def test_an_engine_that_falls_silent(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.instead["POST /images/create"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}\n"
    engine.silent = True
    with pytest.raises(DestinationError, match="has said nothing for 0 s"):
        pull_into(engine, store, image, idle_timeout=0.2)
    assert engine.tags == {}


def test_a_line_without_end_is_given_up(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    engine.instead["POST /images/create"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b" " * 200_000 + b"x"
    )
    engine.silent = True
    with pytest.raises(DestinationError, match="bytes are more than the limit of 65536"):
        pull_into(engine, store, image)


def test_an_engine_that_is_not_there(store: MemoryStore, image: Manifest, tmp_path: Path) -> None:
    destination = EngineDestination(Engine("/nowhere/docker.sock"), NAME)
    with pytest.raises(DestinationError, match=r"cannot use the engine at '/nowhere/docker\.sock': no such file") as e:
        destination.open()
    assert e.value.hint == "start it, or set DOCKER_HOST to its unix:// socket"


# What never reaches the engine


def test_an_image_that_is_denied_never_touches_the_engine(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    rule = Rule(scope="*", require=(Reject(),))
    target = Target(name=NAME, store=store, what="1", place="memory")
    destination = EngineDestination(Engine(str(engine.socket)), NAME)
    with pytest.raises(Denied):
        pull(target, Policy(default=rule, scopes={"*": rule}), TrustStore(anchors={}), destination)
    assert engine.requests == []


def test_an_image_of_another_platform_than_was_asked_for(
    engine: FakeEngine, store: MemoryStore, image: Manifest
) -> None:
    with pytest.raises(UsageError, match="is for linux/amd64, not for linux/s390x"):
        pull_into(engine, store, image, platform="linux/s390x")
    assert engine.changes() == []


def test_an_index_without_an_image_for_the_engine(engine: FakeEngine, store: MemoryStore, image: Manifest) -> None:
    with pytest.raises(UsageError, match="has no image for linux/arm64; it has linux/amd64"):
        pull_into(engine, store, store.add_index((image, "linux/amd64")))
    assert engine.requests == ["GET /info"]


# Hints


def test_inspect_reads_what_was_pushed(engine: FakeEngine) -> None:
    engine.names |= {"app:1": OTHER, f"registry.example/app@{OTHER}": OTHER}
    found = inspect("app:1", {"DOCKER_HOST": engine.host})
    assert found is not None
    assert [str(p) for p in found.pushed] == [f"registry.example/app@{OTHER}"]
    assert inspect("app:2", {"DOCKER_HOST": engine.host}) is None


@pytest.mark.parametrize("answer", [http(b"<html>"), http(b"{}"), b"", http(b"{}", "500 X")])
def test_a_hint_is_not_worth_an_error(engine: FakeEngine, answer: bytes) -> None:
    engine.instead["GET "] = answer
    assert inspect("app:1", {"DOCKER_HOST": engine.host}) is None
    assert inspect("app:1", {"DOCKER_HOST": "tcp://127.0.0.1:1"}) is None
    assert inspect("app:1", {"DOCKER_HOST": "unix:///nowhere/docker.sock"}) is None
