"""``docker:`` without an engine: what is sent as credentials, what is said, what is counted."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from imgsign.errors import DestinationError, Malformed, UsageError
from imgsign.oci import Artifact
from imgsign.reference import Digest, Reference, Repository
from imgsign.stores.engine import Engine, RegistryAuth
from imgsign.stores.engine_progress import LayerProgress
from imgsign.stores.engine_pull import EngineDestination, Outcome, registry_auth
from imgsign.stores.locate import Registries
from imgsign.transport.credentials import Credential, Credentials, Kind
from imgsign.wire import Node
from tests.stores.memory_store import MemoryStore, layer

NAME = Reference.parse("registry.example/app:1")
DIGEST = Digest("sha256", "a" * 64)
IDENTIFIER = Digest("sha256", "c" * 64)


def login(user: str, secret: str) -> Credential:
    return Credential(user=user, secret=secret, source="the test")


@pytest.mark.parametrize(
    ("registry", "server"),
    [
        ("registry.example:5000", "registry.example:5000"),
        ("docker.io", "https://index.docker.io/v1/"),
    ],
)
def test_credentials_are_written_as_docker_does(registry: str, server: str) -> None:
    auth = registry_auth(registry, login("user", "pä?>~"))
    # '?>~' gives '-' and '_' in base64url, which plain base64 does not have.
    assert json.loads(base64.b64decode(auth.header, altchars=b"-_", validate=True)) == {
        "username": "user",
        "password": "pä?>~",
        "serveraddress": server,
    }


def test_what_docker_login_left_is_a_login(tmp_path: Path) -> None:
    pair = base64.b64encode(b"user:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example": {"auth": pair}}}))
    found = Credentials({"DOCKER_CONFIG": str(tmp_path)}).find("registry.example")
    assert found is not None
    assert b'"password":"secret"' in base64.urlsafe_b64decode(registry_auth("registry.example", found).header)


@pytest.mark.parametrize(
    ("entry", "sent"),
    [
        ({"auth": "dXNlcjo=", "identitytoken": "t0ken"}, {"username": "user", "identitytoken": "t0ken"}),
        ({"identitytoken": "t0ken"}, {"identitytoken": "t0ken"}),
        ({"auth": "dXNlcjpwYXNz", "registrytoken": "t0ken"}, {"username": "user", "registrytoken": "t0ken"}),
    ],
)
def test_tokens_are_sent_as_what_they_are_and_never_as_an_empty_password(
    tmp_path: Path, entry: dict[str, str], sent: dict[str, str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example": entry}}))
    found = Registries({"DOCKER_CONFIG": str(tmp_path)}).login(NAME.repository)
    assert found is not None
    auth = registry_auth("registry.example", found)
    assert json.loads(base64.urlsafe_b64decode(auth.header)) == {**sent, "serveraddress": "registry.example"}
    assert "t0ken" in auth.secrets


def test_the_token_of_a_credential_helper_has_no_user() -> None:
    found = Credential(user="<token>", secret="t0ken", source="", kind=Kind.IDENTITY_TOKEN)
    assert json.loads(base64.urlsafe_b64decode(registry_auth("docker.io", found).header)) == {
        "identitytoken": "t0ken",
        "serveraddress": "https://index.docker.io/v1/",
    }


def test_a_namespace_of_podmans_file_is_a_login_for_its_repositories_only(tmp_path: Path) -> None:
    pair = {"auth": base64.b64encode(b"user:secret").decode()}
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"registry.example/team": pair}}))
    find = Registries({"REGISTRY_AUTH_FILE": str(path)}).login
    found = find(Repository("registry.example", "team/app"))
    assert found is not None
    assert (found.user, found.secret) == ("user", "secret")
    assert find(Repository("registry.example", "other/app")) is None


def test_secrets_have_no_repr() -> None:
    assert repr(registry_auth("registry.example", login("user", "secret"))) == "RegistryAuth()"
    assert repr(RegistryAuth(header="secret", secrets=("secret",))) == "RegistryAuth()"


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://build@host", "npipe:////./pipe/docker_engine", "x"])
def test_only_unix_sockets_are_spoken_to(host: str) -> None:
    with pytest.raises(DestinationError, match="DOCKER_HOST does not name a Unix socket") as caught:
        Engine.from_environ({"DOCKER_HOST": host})
    assert caught.value.hint is not None
    assert "docker load" in caught.value.hint


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/var/run/docker.sock"),
        ({"DOCKER_HOST": ""}, "/var/run/docker.sock"),
        ({"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, "/run/user/1000/docker.sock"),
    ],
)
def test_where_the_engine_is(environ: dict[str, str], path: str) -> None:
    assert str(Engine.from_environ(environ)) == f"the engine at {path!r}"


def test_nothing_is_asked_of_the_engine_until_the_image_is_allowed() -> None:
    # A unit test may not connect: making and asking for notes does not.
    destination = EngineDestination(Engine("/nowhere"), NAME)
    assert (destination.notes, destination.outcome) == ((), None)


def test_a_second_image_is_refused() -> None:
    store = MemoryStore()
    destination = EngineDestination(Engine("/nowhere"), NAME)
    destination.put(store, store.add_image(layer("one", b"1")), None)
    with pytest.raises(UsageError, match="takes one image at a time"):
        destination.put(store, store.add_image(layer("two", b"2")), None)


def test_an_index_must_have_been_chosen_from() -> None:
    store = MemoryStore()
    index = store.add_index((store.add_image(layer("one", b"1")), "linux/amd64"))
    with pytest.raises(UsageError, match="is an index: one of its images must be chosen"):
        EngineDestination(Engine("/nowhere"), NAME).put(store, index, None)


def test_another_image_than_was_put_is_not_finished() -> None:
    store = MemoryStore()
    destination = EngineDestination(Engine("/nowhere"), NAME)
    with pytest.raises(RuntimeError):
        destination.finish(store.add_image(layer("one", b"1")))
    destination.put(store, store.add_image(layer("one", b"1")), None)
    with pytest.raises(RuntimeError):
        destination.finish(store.add_image(layer("two", b"2")))


def test_an_engine_keeps_no_signatures() -> None:
    destination = EngineDestination(Engine("/nowhere"), NAME)
    assert not destination.keeps_signatures
    with pytest.raises(UsageError, match="keeps no signatures"):
        destination.keep(Artifact(manifest=MemoryStore().add_image()), None)


PINNED = Reference(repository=NAME.repository, digest=DIGEST)


@pytest.mark.parametrize(
    ("tagged", "pinned", "not_pulled", "archived", "notes"),
    [
        (NAME, PINNED, None, False, ()),
        (NAME, PINNED, "gone", False, ("the engine did not pull, and had the image already: gone",)),
        (
            NAME,
            None,
            "gone",
            True,
            (
                "the engine did not pull, and was given an archive: gone",
                f"the engine knows the image as {NAME}, not by the digest that was judged (no RepoDigests)",
            ),
        ),
        (
            None,
            None,
            "gone",
            True,
            (
                "the engine did not pull, and was given an archive: gone",
                f"the engine knows the image as {IDENTIFIER}, not by the digest that was judged (no RepoDigests)",
            ),
        ),
    ],
)
def test_what_a_person_is_told(
    tagged: Reference | None, pinned: Reference | None, not_pulled: str | None, archived: bool, notes: tuple[str, ...]
) -> None:
    outcome = Outcome(identifier=IDENTIFIER, tagged=tagged, pinned=pinned, not_pulled=not_pulled, archived=archived)
    assert outcome.notes == notes


# Progress


def test_progress_of_a_pull_adds_up_to_the_image() -> None:
    store = MemoryStore()
    image = store.add_image(layer("one", b"1" * 15_000), layer("two", b"2"), compress=False)
    first, second = (d.digest.hex[:12] for d in image.layers)
    seen: list[int] = []
    progress = LayerProgress(image, seen.append)
    for line in (
        {"status": "Pulling from app", "id": "registry.example/app@sha256:aaa"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": first},
        {"status": "Downloading", "progressDetail": {"current": 100, "total": 20480}, "id": first},
        {"status": "Downloading", "progressDetail": {"current": 4000, "total": 20480}, "id": first},
        {"status": "Already exists", "progressDetail": {}, "id": second},
        {"status": "Download complete", "id": first},
        {"status": "Extracting", "progressDetail": {"current": 7}, "id": first},
        {"status": "Pull complete", "id": first},
    ):
        progress.seen(Node(line))
    progress.complete()
    assert image.config is not None
    assert seen == [100, 3900, 10_240, 16_480, image.config.size]


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"id": 5, "status": "Downloading"},
        {"id": "ffffffffffff", "status": "Download complete"},
        {"status": "Downloading", "progressDetail": {"current": "9"}},
        {"status": "Downloading", "progressDetail": {}},
        {"status": "Downloading"},
        {"status": None},
    ],
)
def test_progress_that_says_nothing_counts_nothing(line: dict[str, object]) -> None:
    store = MemoryStore()
    image = store.add_image(layer("one", b"1"))
    seen: list[int] = []
    LayerProgress(image, seen.append).seen(Node({"id": image.layers[0].digest.hex[:12], **line}))
    assert seen == []


def test_progress_is_never_more_than_the_layer_and_can_be_taken_back() -> None:
    store = MemoryStore()
    image = store.add_image(layer("one", b"1"), compress=False)
    seen: list[int] = []
    progress = LayerProgress(image, seen.append)
    for current in (10**18, -5, 7):
        detail = {
            "id": image.layers[0].digest.hex[:12],
            "status": "Downloading",
            "progressDetail": {"current": current},
        }
        progress.seen(Node(detail))
    progress.forget()
    assert seen == [10240, -10240, 7, -7]


def test_progress_of_the_wrong_type_is_nonsense() -> None:
    store = MemoryStore()
    image = store.add_image(layer("one", b"1"))
    line = {"id": image.layers[0].digest.hex[:12], "status": "Downloading", "progressDetail": []}
    with pytest.raises(Malformed, match="expected object, got list"):
        LayerProgress(image, lambda count: None).seen(Node(line))
