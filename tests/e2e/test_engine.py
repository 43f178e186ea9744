"""``docker-archive:`` and ``docker:`` with a real engine, a real registry, and skopeo."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgsign.errors import Denied
from imgsign.load import load_policy
from imgsign.oci import Artifact, Blob, Manifest, platform_of
from imgsign.reference import Reference, Repository
from imgsign.resolve import Target, target_of
from imgsign.stores import Store
from imgsign.stores.archive import ArchiveDestination
from imgsign.stores.engine import Engine
from imgsign.stores.engine_pull import EngineDestination, FindLogin
from imgsign.stores.layout import LayoutStore
from imgsign.stores.locate import Registries
from imgsign.transport.credentials import Credential
from imgsign.workflow import pull
from tests.e2e import images, parts
from tests.stores.memory_store import MemoryStore, layer

SAYS = "built in a stage: one\n"


def login(user: str, secret: str) -> Credential:
    return Credential(user=user, secret=secret, source="the test")


@dataclass(frozen=True, slots=True)
class Docker:
    """A docker client for one engine."""

    host: str

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        return parts.run("docker", *arguments, env={"DOCKER_HOST": self.host}, check=check).stdout

    def inspect(self, name: str) -> dict[str, object]:
        (found,) = json.loads(self("image", "inspect", name))
        assert isinstance(found, dict)
        return found

    def images(self) -> list[str]:
        """Everything it has, intermediate images too."""
        return sorted(self("images", "-a", "--no-trunc", "--digests").splitlines())

    @property
    def engine(self) -> Engine:
        return Engine.from_environ({"DOCKER_HOST": self.host})


@pytest.fixture(scope="module")
def source(
    registry: parts.Registry, docker_host: str, release_key: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A multi-stage image that docker built and pushed and imgsign signed; its name."""
    name = f"{registry.host}/engine/app:1.0"
    images.build_and_push(tmp_path_factory.mktemp("build"), docker_host, name)
    parts.imgsign("sign", name, "-k", release_key, env={"IMGSIGN_PASSWORD": "test"})
    return name


@pytest.fixture(scope="module")
def other_host() -> Iterator[str]:
    """A second engine: another machine than the one that built the image."""
    with tempfile.TemporaryDirectory(prefix="imgsign-") as base, parts.dockerd(Path(base)) as host:
        yield host


@pytest.fixture
def docker(other_host: str) -> Docker:
    """The second engine, without any image: whatever it has later came through imgsign."""
    found = Docker(other_host)
    if there := found("images", "-aq").split():
        found("rmi", "-f", *sorted(set(there)))
    assert len(found.images()) == 1  # the heading
    return found


@pytest.fixture
def policy(registry: parts.Registry, release_key: Path, tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(
        f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{release_key.with_suffix(".pub")}"]\n'
        f'[scopes."{registry.host}"]\nrequire = [{{ signed-by = "release" }}]\n'
    )
    return path


def put(destination: ArchiveDestination | EngineDestination, store: Store, judged: Manifest) -> None:
    """Give a destination content that was judged, as ``workflow.pull`` does."""
    image = judged
    while image.is_index:
        image = store.fetch(destination.choose(image).digest)
    with ThreadPoolExecutor(4) as pool:
        destination.open()
        destination.put(store, image, pool)
        destination.finish(judged)


def at(name: str) -> Target:
    return target_of(Reference.parse(name), Registries({}))


def into_engine(
    docker: Docker,
    name: str | None,
    store: Store,
    judged: Manifest,
    *,
    platform: str | None = None,
    find_login: FindLogin = lambda repository: None,
    scratch: Path | None = None,
) -> EngineDestination:
    destination = EngineDestination(
        docker.engine,
        None if name is None else Reference.parse(name),
        platform=None if platform is None else platform_of(platform),
        find_login=find_login,
        scratch=scratch,
    )
    put(destination, store, judged)
    return destination


# docker-archive:


def test_docker_loads_and_runs_an_archive(docker: Docker, source: str, policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "app.tar"
    rules, trust = load_policy(policy, environ={})
    decision = pull(Reference.parse(source), rules, trust, ArchiveDestination(file, Reference.parse(source)))
    assert decision.allowed
    assert docker("load", "-i", file) == f"Loaded image: {source}\n"
    assert docker("run", "--rm", "--network", "none", source) == SAYS
    manifest = at(source).store.fetch("1.0")
    assert manifest.config is not None
    assert docker.inspect(source)["Id"] == str(manifest.config.digest)


def test_skopeo_reads_an_archive_both_ways(source: str, tmp_path: Path) -> None:
    file = tmp_path / "app.tar"
    target = at(source)
    manifest = target.store.fetch(target.what)
    put(ArchiveDestination(file, target.name), target.store, manifest)
    found = json.loads(parts.run("skopeo", "inspect", f"docker-archive:{file}").stdout)
    assert len(found["Layers"]) == len(manifest.layers)
    assert json.loads(parts.run("skopeo", "list-tags", f"docker-archive:{file}").stdout) == {"Tags": [source]}
    # As an OCI layout it has the manifest that was judged, under its own digest.
    inside = json.loads(parts.run("skopeo", "inspect", f"oci-archive:{file}").stdout)
    assert inside["Digest"] == str(manifest.digest)
    # All content: skopeo hashes every blob and layer that it copies.
    parts.run("skopeo", "copy", f"docker-archive:{file}:{source}", f"dir:{tmp_path}/copied")


def test_an_archive_of_plain_layers_and_one_without_a_name(docker: Docker, tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(layer("one", b"1"), layer("two", b"2"), layer("one", b"1"), compress=False)
    put(ArchiveDestination(tmp_path / "a.tar"), store, image)
    assert image.config is not None
    assert docker("load", "-i", tmp_path / "a.tar") == f"Loaded image ID: {image.config.digest}\n"


def test_an_unsigned_image_gives_no_archive(
    registry: parts.Registry, policy: Path, docker: Docker, tmp_path: Path
) -> None:
    name = f"{registry.host}/engine/unsigned:1"
    images.push_small(tmp_path, name)
    rules, trust = load_policy(policy, environ={})
    (tmp_path / "out").mkdir()
    with pytest.raises(Denied):
        pull(Reference.parse(name), rules, trust, ArchiveDestination(tmp_path / "out/a.tar", Reference.parse(name)))
    assert list((tmp_path / "out").iterdir()) == []


# docker:


def test_the_engine_pulls_what_was_judged_and_runs_it(docker: Docker, source: str, policy: Path) -> None:
    rules, trust = load_policy(policy, environ={})
    destination = EngineDestination(docker.engine, Reference.parse(source))
    decision = pull(Reference.parse(source), rules, trust, destination)
    assert decision.allowed
    digest = decision.image.digest
    assert digest is not None
    pinned = f"{source.rpartition(':')[0]}@{digest}"
    found = docker.inspect(source)
    assert found["RepoDigests"] == [pinned]
    assert found["RepoTags"] == [source]
    assert destination.notes == ()
    assert destination.outcome is not None
    assert str(destination.outcome.pinned) == pinned
    assert str(destination.outcome.identifier) == found["Id"]
    assert docker("run", "--rm", "--network", "none", source) == SAYS


def test_an_unsigned_image_leaves_the_engine_as_it_was(
    registry: parts.Registry, docker: Docker, policy: Path, tmp_path: Path
) -> None:
    name = f"{registry.host}/engine/unsigned:2"
    images.push_small(tmp_path, name)
    rules, trust = load_policy(policy, environ={})
    before = docker.images()
    with pytest.raises(Denied):
        pull(Reference.parse(name), rules, trust, EngineDestination(docker.engine, Reference.parse(name)))
    assert docker.images() == before


def test_a_tag_moves_to_the_judged_image(docker: Docker, source: str) -> None:
    target = at(source)
    store = MemoryStore()
    into_engine(docker, source, store, store.add_image(layer("old", b"old")))
    old = docker.inspect(source)["Id"]
    into_engine(docker, source, target.store, target.store.fetch("1.0"))
    assert docker.inspect(source)["Id"] != old
    assert docker("run", "--rm", "--network", "none", source) == SAYS


@pytest.fixture
def multi(registry: parts.Registry) -> tuple[str, Manifest, dict[str, Manifest], MemoryStore]:
    """An index of two platforms in the registry, and the same in memory."""
    store = MemoryStore()
    children = {
        p: store.add_image(layer("which", p.encode()), config={"architecture": p.partition("/")[2]})
        for p in ("linux/arm64", "linux/amd64", "linux/s390x")
    }
    index = store.add_index(*((m, p) for p, m in children.items()))
    target = at(f"{registry.host}/engine/multi:1")
    for child in children.values():
        wanted = [d for d in (child.config, *child.layers) if d is not None]
        blobs = tuple(Blob.checked(d, store.blobs[str(d.digest)]) for d in wanted)
        target.store.push(Artifact(manifest=child, blobs=blobs))
    target.store.push(Artifact(manifest=index), tag="1")
    return f"{registry.host}/engine/multi:1", index, children, store


def test_the_engine_gets_its_own_platform_of_an_index(
    docker: Docker, multi: tuple[str, Manifest, dict[str, Manifest], MemoryStore]
) -> None:
    name, index, children, _ = multi
    target = at(name)
    destination = into_engine(docker, name, target.store, target.store.fetch("1"))
    mine = children[str(docker.engine.platform())]
    assert mine.config is not None
    found = docker.inspect(name)
    assert found["Id"] == str(mine.config.digest)
    assert found["RepoDigests"] == [f"{name.rpartition(':')[0]}@{index.digest}"]  # the judged digest: the index's
    assert destination.notes == ()


def test_another_platform_of_an_index_that_the_engine_has_already(
    docker: Docker, multi: tuple[str, Manifest, dict[str, Manifest], MemoryStore]
) -> None:
    # An engine that keeps images by config knows only one image by the digest of an index.
    name, index, children, _ = multi
    target = at(name)
    into_engine(docker, name, target.store, index)
    other = f"{name}-s390x"
    destination = into_engine(docker, other, target.store, index, platform="linux/s390x")
    config = children["linux/s390x"].config
    assert config is not None
    assert docker.inspect(other)["Id"] == str(config.digest)
    assert docker.inspect(other)["Architecture"] == "s390x"
    assert destination.notes[0].startswith("the engine did not pull, and had the image already: Cannot overwrite")
    assert destination.outcome is not None
    assert destination.outcome.pinned is None


@pytest.mark.parametrize("name", ["nowhere.invalid/app:1.0", "127.0.0.1:1/app:1.0"])
def test_an_engine_without_a_way_to_the_registry_gets_an_archive(
    docker: Docker, source: str, tmp_path: Path, name: str
) -> None:
    # The registry is known to imgsign only, here: the content lies in an OCI layout that has the name.
    target = at(source)
    manifest = target.store.fetch("1.0")
    layout = LayoutStore(tmp_path / "layout")
    layout.make()
    layout.put(target.store, manifest, None)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    destination = into_engine(docker, name, layout, manifest, scratch=scratch)
    found = docker.inspect(name)
    assert manifest.config is not None
    assert (found["Id"], found["RepoDigests"]) == (str(manifest.config.digest), [])
    assert destination.notes[0].startswith("the engine did not pull, and was given an archive: Get ")
    assert destination.notes[1].endswith("not by the digest that was judged (no RepoDigests)")
    assert docker("run", "--rm", "--network", "none", name) == SAYS
    assert list(scratch.iterdir()) == []


def test_an_image_without_a_name_is_loaded_without_one(docker: Docker, tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(layer("one", b"1"))
    destination = into_engine(docker, None, store, image)
    assert image.config is not None
    assert docker.inspect(str(image.config.digest))["RepoTags"] == []
    assert destination.notes[0].endswith("the image has no name")


@pytest.fixture
def private(tmp_path: Path) -> Iterator[parts.Registry]:
    """A registry that asks for a password."""
    passwords = tmp_path / "htpasswd"
    # bcrypt of "secret", as htpasswd -nbB user secret writes it
    passwords.write_text("user:$2b$05$hEG3uunBdoMnTzu7X3OsNuOx0zAAV0tVaZCEIifoROxatw7pntFPy\n")
    with parts.registry(tmp_path, htpasswd=passwords) as found:
        yield found


def push_private(private: parts.Registry, tmp_path: Path) -> tuple[str, Store, Manifest]:
    """Push an image to the private registry with credentials of our own."""
    (tmp_path / "config.json").write_text(json.dumps({"auths": {private.host: {"auth": "dXNlcjpzZWNyZXQ="}}}))
    name = f"{private.host}/app:1"
    small = tmp_path / "small"
    parts.run("umoci", "init", "--layout", small)
    parts.run("umoci", "new", "--image", f"{small}:a")
    (tmp_path / "content").write_text("private")
    parts.run("umoci", "insert", "--rootless", "--image", f"{small}:a", tmp_path / "content", "/content")
    parts.run(
        "skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", "user:secret", f"oci:{small}:a", f"docker://{name}"
    )
    target = target_of(Reference.parse(name), Registries({"DOCKER_CONFIG": str(tmp_path)}))
    return name, target.store, target.store.fetch("1")


def test_the_engine_pulls_with_the_credentials_it_is_given(
    docker: Docker, private: parts.Registry, tmp_path: Path
) -> None:
    name, store, manifest = push_private(private, tmp_path)
    asked: list[str] = []

    def find(repository: Repository) -> Credential:
        asked.append(str(repository))
        return login("user", "secret")

    destination = into_engine(docker, name, store, manifest, find_login=find)
    assert asked == [f"{private.host}/app"]
    assert destination.notes == ()
    assert docker.inspect(name)["RepoDigests"] == [f"{private.host}/app@{manifest.digest}"]


@pytest.mark.parametrize("find", [lambda repository: None, lambda repository: login("user", "wrong-pw")])
def test_an_engine_that_may_not_pull_gets_an_archive(
    docker: Docker, private: parts.Registry, tmp_path: Path, find: FindLogin
) -> None:
    name, store, manifest = push_private(private, tmp_path)
    destination = into_engine(docker, name, store, manifest, find_login=find)
    assert "no basic auth credentials" in destination.notes[0] or "unauthorized" in destination.notes[0]
    assert "wrong-pw" not in destination.notes[0]
    assert docker.inspect(name)["RepoDigests"] == []
    assert manifest.config is not None
    assert docker.inspect(name)["Id"] == str(manifest.config.digest)
