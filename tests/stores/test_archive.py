"""Archives: what is in them is what was hashed, and there is a whole one or none."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import random
import resource
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from imgsign.errors import ContentMismatch, DestinationError, ImgsignError, InvalidManifest, Unavailable, UsageError
from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, Artifact, Manifest, platform_of
from imgsign.reference import Reference
from imgsign.stores.archive import ArchiveDestination, parse_location
from tests.stores.memory_store import MemoryStore, breaking, layer, sending, sha256

NAME = Reference.parse("registry.example/shop/app:1.0")
ONE, TWO = layer("one", b"1" * 5000), layer("two", random.Random(2).randbytes(20_000))


def write(
    store: MemoryStore,
    manifest: Manifest,
    file: Path,
    name: Reference | None = NAME,
    *,
    platform: str | None = None,
    threads: int = 0,
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Pull one image into an archive, as ``workflow.pull`` does."""
    destination = ArchiveDestination(file, name, platform_of(platform) if platform else None, progress)
    image = manifest
    while image.is_index:
        image = store.fetch(destination.choose(image).digest)
    destination.open()
    if not threads:
        destination.put(store, image, None)
        destination.finish(manifest)
        return
    with ThreadPoolExecutor(threads) as pool:
        destination.put(store, image, pool)
        destination.finish(manifest)


def read(file: Path) -> dict[str, bytes]:
    """The members of a tar, read by another program's rules."""
    with tarfile.open(file) as tar:
        found = {}
        for member in tar:
            assert member.isreg()
            opened = tar.extractfile(member)
            assert opened is not None
            assert member.name not in found
            found[member.name] = opened.read()
        return found


def only(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("compress", [True, False])
def test_an_archive_holds_what_docker_and_oci_readers_look_for(tmp_path: Path, threads: int, compress: bool) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO, compress=compress)
    write(store, image, tmp_path / "a.tar", threads=threads)

    found = read(tmp_path / "a.tar")
    (entry,) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == ["registry.example/shop/app:1.0"]
    assert image.config is not None
    assert entry["Config"] == f"blobs/sha256/{image.config.digest.hex}"
    assert entry["Layers"] == [f"blobs/sha256/{d.digest.hex}" for d in image.layers]

    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found["index.json"])
    assert (index["schemaVersion"], index["mediaType"]) == (2, OCI_INDEX)
    (listed,) = index["manifests"]
    assert listed == {
        "mediaType": OCI_MANIFEST,
        "digest": sha256(image.raw),
        "size": len(image.raw),
        "annotations": {
            "io.containerd.image.name": "registry.example/shop/app:1.0",
            "org.opencontainers.image.ref.name": "1.0",
        },
    }

    blobs = {name: raw for name, raw in found.items() if name.startswith("blobs/")}
    assert set(blobs) == {f"blobs/sha256/{d[7:]}" for d in (*store.blobs, sha256(image.raw))}
    assert all(name == f"blobs/sha256/{hashlib.sha256(raw).hexdigest()}" for name, raw in blobs.items())
    assert only(tmp_path) == ["a.tar"]


def test_equal_images_give_equal_archives(tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO)
    write(store, image, tmp_path / "a.tar")
    write(store, image, tmp_path / "b.tar", threads=4)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("name", [None, Reference.parse(f"registry.example/app@sha256:{'a' * 64}")])
def test_without_a_tag_the_archive_names_nothing(tmp_path: Path, name: Reference | None) -> None:
    store = MemoryStore()
    write(store, store.add_image(ONE), tmp_path / "a.tar", name)
    found = read(tmp_path / "a.tar")
    assert json.loads(found["manifest.json"])[0]["RepoTags"] == []
    assert "annotations" not in json.loads(found["index.json"])["manifests"][0]


def test_the_digest_of_a_reference_is_no_part_of_its_name(tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE)
    write(store, image, tmp_path / "a.tar", NAME.at(image.digest))
    assert json.loads(read(tmp_path / "a.tar")["manifest.json"])[0]["RepoTags"] == ["registry.example/shop/app:1.0"]


def test_a_layer_that_is_there_twice_is_stored_once(tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO, ONE)
    write(store, image, tmp_path / "a.tar")
    (entry,) = json.loads(read(tmp_path / "a.tar")["manifest.json"])
    assert entry["Layers"][0] == entry["Layers"][2] != entry["Layers"][1]
    assert len(store.streamed) == 3  # two layers and the config


@hypothesis_settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 3000), max_size=5), threads=st.sampled_from([0, 2]))
def test_sizes_around_the_blocks_of_a_tar(sizes: list[int], threads: int) -> None:
    store = MemoryStore()
    image = store.add_image(*(bytes([i]) * size for i, size in enumerate(sizes)), compress=False)
    with tempfile.TemporaryDirectory() as base:
        write(store, image, Path(base) / "a.tar", threads=threads)
        found = read(Path(base) / "a.tar")
        assert [len(found[f"blobs/sha256/{d.digest.hex}"]) for d in image.layers] == sizes
        assert (Path(base) / "a.tar").stat().st_size % 10240 == 0


def test_progress_counts_config_and_layers(tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO)
    seen: list[int] = []
    write(store, image, tmp_path / "a.tar", progress=seen.append)
    assert sum(seen) == sum(len(raw) for raw in store.blobs.values())


# Platforms


def test_one_image_of_an_index_goes_into_the_archive(tmp_path: Path) -> None:
    store = MemoryStore()
    amd, arm = store.add_image(ONE), store.add_image(TWO, config={"architecture": "arm64"})
    index = store.add_index((amd, "linux/amd64"), (arm, "linux/arm64"))
    write(store, index, tmp_path / "a.tar", platform="linux/arm64")
    (listed,) = json.loads(read(tmp_path / "a.tar")["index.json"])["manifests"]
    assert listed["digest"] == str(arm.digest)
    write(store, index, tmp_path / "b.tar", platform="linux/amd64")
    (listed,) = json.loads(read(tmp_path / "b.tar")["index.json"])["manifests"]
    assert listed["digest"] == str(amd.digest)


def test_without_a_platform_this_machine_decides(tmp_path: Path) -> None:
    store = MemoryStore()
    here = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(os.uname().machine)
    if here is None:
        pytest.skip("a machine this test does not know")
    image = store.add_image(ONE, config={"architecture": here.partition("/")[2]})
    other = store.add_image(TWO, config={"architecture": "s390x"})
    write(store, store.add_index((other, "linux/s390x"), (image, here)), tmp_path / "a.tar")
    (listed,) = json.loads(read(tmp_path / "a.tar")["index.json"])["manifests"]
    assert listed["digest"] == str(image.digest)


@pytest.mark.parametrize("architecture", ["arm", "amd64"])
def test_the_index_says_what_an_image_is_for(tmp_path: Path, architecture: str) -> None:
    # Configs of arm images often leave the variant out, and some builders write amd64 into all.
    store = MemoryStore()
    image = store.add_image(ONE, config={"architecture": architecture})
    entry = {**image.descriptor.to_json(), "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    write(store, store.add_manifest(raw, OCI_INDEX, "i"), tmp_path / "a.tar", platform="linux/arm/v6")
    assert (tmp_path / "a.tar").exists()


def test_an_image_of_another_platform_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE)
    with pytest.raises(UsageError, match="is for linux/amd64, not for linux/arm64"):
        write(store, image, tmp_path / "a.tar", platform="linux/arm64")
    write(store, image, tmp_path / "a.tar", platform="linux/amd64/v3")


def test_without_a_platform_an_image_is_taken_whatever_it_is_for(tmp_path: Path) -> None:
    store = MemoryStore()
    write(store, store.add_image(ONE, config={"architecture": "s390x"}), tmp_path / "a.tar")
    assert (tmp_path / "a.tar").exists()


def test_an_archive_keeps_no_signatures(tmp_path: Path) -> None:
    destination = ArchiveDestination(tmp_path / "a.tar")
    assert not destination.keeps_signatures
    with pytest.raises(UsageError, match="keeps no signatures"):
        destination.keep(Artifact(manifest=MemoryStore().add_image()), None)


# Refusals: in each case nothing is left, and what was there stays


@pytest.fixture(params=[False, True], ids=["new", "over an old file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where an archive is to go; at the end it must be as it was."""
    file = tmp_path / "a.tar"
    if request.param:
        file.write_bytes(b"old")
    before = only(tmp_path)
    yield file
    assert only(tmp_path) == before
    if request.param:
        assert file.read_bytes() == b"old"


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: bytes([raw[0] ^ 0x80]) + raw[1:],
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: b"",
    ],
    ids=["last bit", "first bit", "cut", "longer", "nothing"],
)
def test_a_layer_with_other_bytes_is_refused(place: Path, threads: int, change: Callable[[bytes], bytes]) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO)
    store.spoil[str(image.layers[1].digest)] = sending(change)
    with pytest.raises(ContentMismatch, match=f"blob {image.layers[1].digest} is not what its digest"):
        write(store, image, place, threads=threads)


def test_a_config_with_other_bytes_is_refused(place: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE)
    assert image.config is not None
    store.spoil[str(image.config.digest)] = sending(lambda raw: raw.replace(b"amd64", b"arm64"))
    with pytest.raises(ContentMismatch, match="has the digest"):
        write(store, image, place)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_registry_that_stops_answering(place: Path, threads: int) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO)
    store.spoil[str(image.layers[0].digest)] = breaking(after=0)
    with pytest.raises(Unavailable, match="the connection broke"):
        write(store, image, place, threads=threads)


def test_a_layer_that_fails_stops_the_others(place: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE, TWO, compress=False)
    under_way, failed, ended, pieces = threading.Event(), threading.Event(), threading.Event(), []

    def slow(raw: bytes, start: int) -> Iterator[bytes]:
        try:
            under_way.set()
            failed.wait(10)
            for at in range(len(raw)):
                threading.Event().wait(0.01)
                pieces.append(at)
                yield raw[at : at + 1]
        finally:
            ended.set()

    def fails(raw: bytes, start: int) -> Iterator[bytes]:
        under_way.wait(10)
        failed.set()
        yield from ()
        raise Unavailable("gone")

    store.spoil[str(image.layers[0].digest)] = fails
    store.spoil[str(image.layers[1].digest)] = slow
    destination = ArchiveDestination(place, NAME)
    with ThreadPoolExecutor(2) as pool:
        destination.put(store, image, pool)
        with pytest.raises(Unavailable, match="gone"):
            destination.finish(image)
        assert ended.is_set()  # before the file was closed: nobody writes to its number any more
    assert 0 < len(pieces) < 100


def test_a_layer_without_end_is_given_up(place: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE)
    sent: list[int] = []

    def endless(raw: bytes, start: int) -> Iterator[bytes]:
        while len(sent) < 10_000:
            sent.append(1)
            yield raw

    store.spoil[str(image.layers[0].digest)] = endless
    with pytest.raises(ContentMismatch):
        write(store, image, place)
    assert len(sent) == 2


def test_a_broken_connection_is_continued_where_it_ended(tmp_path: Path) -> None:
    store = MemoryStore()
    image = store.add_image(TWO, compress=False)
    store.spoil[str(image.layers[0].digest)] = breaking(after=10_000)
    write(store, image, tmp_path / "a.tar")
    assert [start for digest, start in store.streamed if digest == str(image.layers[0].digest)] == [
        0,
        10_000,
        20_000,
        30_000,
    ]
    assert read(tmp_path / "a.tar")[f"blobs/sha256/{image.layers[0].digest.hex}"] == TWO


def test_an_index_is_refused(place: Path) -> None:
    store = MemoryStore()
    index = store.add_index((store.add_image(ONE), "linux/amd64"))
    destination = ArchiveDestination(place, NAME)
    destination.put(store, index, None)
    with pytest.raises(UsageError, match="is an index"):
        destination.finish(index)


def test_a_second_image_is_refused(place: Path) -> None:
    store = MemoryStore()
    destination = ArchiveDestination(place, NAME)
    destination.put(store, store.add_image(ONE), None)
    with pytest.raises(UsageError, match="takes one image only"):
        destination.put(store, store.add_image(TWO), None)


def test_another_image_than_was_put_is_not_finished(place: Path) -> None:
    store = MemoryStore()
    destination = ArchiveDestination(place, NAME)
    destination.put(store, store.add_image(ONE), None)
    with pytest.raises(RuntimeError):
        destination.finish(store.add_image(TWO))


def test_an_artifact_is_no_image(place: Path) -> None:
    store = MemoryStore()
    config = store.add_blob(EMPTY_CONFIG.raw, EMPTY_CONFIG.descriptor.media_type)
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    artifact = store.add_manifest(json.dumps(body).encode(), OCI_MANIFEST, "a")
    with pytest.raises(UsageError, match="is not an image"):
        write(store, artifact, place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "has 1 layers, its config lists 0"),
        ({"rootfs": {"type": "layers"}}, "has 1 layers, its config lists 0"),
        ({"rootfs": {"type": "layers", "diff_ids": None}}, "has 1 layers, its config lists 0"),
        ({"rootfs": None}, "missing key 'rootfs'"),
        ({"os": 1}, "expected string, got integer at $.os"),
        ({"Rootfs": {}}, "differs from 'rootfs' only by case"),
    ],
)
def test_a_config_that_contradicts_its_manifest(place: Path, change: dict[str, object], message: str) -> None:
    store = MemoryStore()
    with pytest.raises(InvalidManifest) as caught:
        write(store, store.add_image(ONE, config=change), place)
    assert message in caught.value.message


def test_an_image_without_layers_is_one(tmp_path: Path) -> None:
    store = MemoryStore()
    write(store, store.add_image(config={"rootfs": {"type": "layers"}}), tmp_path / "a.tar")
    assert json.loads(read(tmp_path / "a.tar")["manifest.json"])[0]["Layers"] == []


def test_sizes_that_no_file_can_have(place: Path) -> None:
    store = MemoryStore()
    image = store.add_image(ONE)
    body = json.loads(image.raw)
    body["layers"][0]["size"] = 2**63 - 1
    with pytest.raises(ImgsignError, match="larger than a file can be"):
        write(store, store.add_manifest(json.dumps(body).encode(), OCI_MANIFEST, "x"), place)


def test_a_file_that_becomes_too_large(place: Path) -> None:
    store = MemoryStore()
    image = store.add_image(layer("big", bytes(3 * 1024 * 1024)), compress=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024 * 1024, hard))
    try:
        with pytest.raises(DestinationError, match=r"cannot use '.*a\.tar': file too large"):
            write(store, image, place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The file and its name


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "a.tar").write_bytes(b"old")
    write(store, store.add_image(ONE), tmp_path / "a.tar")
    assert "manifest.json" in read(tmp_path / "a.tar")
    assert only(tmp_path) == ["a.tar"]


def test_nothing_is_fetched_or_written_before_finish(tmp_path: Path) -> None:
    store = MemoryStore()
    destination = ArchiveDestination(tmp_path / "a.tar", NAME)
    destination.open()
    destination.put(store, store.add_image(ONE), None)
    assert (store.streamed, only(tmp_path)) == ([], [])


def test_what_a_killed_run_left_is_thrown_away(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / ".a.tar.part").write_bytes(b"x" * 100_000)
    write(store, store.add_image(ONE), tmp_path / "a.tar")
    assert "manifest.json" in read(tmp_path / "a.tar")
    assert only(tmp_path) == ["a.tar"]


def test_bytes_are_not_written_into_a_file_that_somebody_else_holds(tmp_path: Path) -> None:
    store = MemoryStore()
    with (tmp_path / ".a.tar.part").open("wb") as theirs:
        write(store, store.add_image(ONE), tmp_path / "a.tar")
        theirs.write(b"changed after it was hashed")
    assert "manifest.json" in read(tmp_path / "a.tar")


def test_two_pulls_into_one_file(tmp_path: Path) -> None:
    store = MemoryStore()
    with (tmp_path / ".a.tar.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DestinationError, match="is being written by another process"):
            write(store, store.add_image(ONE), tmp_path / "a.tar")
    assert only(tmp_path) == [".a.tar.part"]


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    file = tmp_path / "a.tar"
    match kind:
        case "link":
            file.symlink_to("precious")
        case "dangling":
            file.symlink_to("absent")
        case "fifo":
            os.mkfifo(file)
        case _:
            file.mkdir()
    store = MemoryStore()
    with pytest.raises(DestinationError, match="is not a regular file"):
        write(store, store.add_image(ONE), file)
    assert (tmp_path / "precious").read_bytes() == b"x"


def test_a_part_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    (tmp_path / ".a.tar.part").symlink_to("precious")
    store = MemoryStore()
    with pytest.raises(DestinationError, match="cannot use"):
        write(store, store.add_image(ONE), tmp_path / "a.tar")
    assert (tmp_path / "precious").read_bytes() == b"x"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    store = MemoryStore()
    with pytest.raises(DestinationError, match="none' is not a directory"):
        write(store, store.add_image(ONE), tmp_path / "none" / "a.tar")


def test_a_layer_of_many_gigabytes_has_a_header_that_tar_reads(tmp_path: Path) -> None:
    # 20 GiB do not fit the octal field of a tar header. The file is sparse, and looked at while it is made.
    store = MemoryStore()
    body = json.loads(store.add_image(ONE).raw)
    body["layers"][0]["size"] = 20 * 2**30
    big = store.add_manifest(json.dumps(body).encode(), OCI_MANIFEST, "x")
    seen: list[int] = []

    def look(raw: bytes, start: int) -> Iterator[bytes]:
        with tarfile.open(tmp_path / ".a.tar.part") as tar:
            seen.extend(m.size for m in tar.getmembers() if m.name.endswith(big.layers[0].digest.hex))
        yield b"not all of it"

    store.spoil[str(big.layers[0].digest)] = look
    with pytest.raises(ContentMismatch):
        write(store, big, tmp_path / "a.tar")
    assert seen == [20 * 2**30]
    assert only(tmp_path) == []


@pytest.mark.parametrize("text", ["docker-archive:a.tar", "docker-archive:/tmp/x/a.tar", "docker-archive:./a"])
def test_locations(text: str) -> None:
    assert parse_location(text) == Path(text.removeprefix("docker-archive:"))


@pytest.mark.parametrize(
    "text",
    ["docker-archive:", "docker-archive:dir/", "a.tar", "oci:a", "docker-archive:a.tar:name:1", "DOCKER-ARCHIVE:a"],
)
def test_locations_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_location(text)


def test_members_are_read_in_one_pass_too(tmp_path: Path) -> None:
    # containerd imports from a stream, without seeking.
    store = MemoryStore()
    write(store, store.add_image(ONE, TWO), tmp_path / "a.tar")
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "a.tar").read_bytes()), mode="r|") as tar:
        assert [m.name for m in tar][:3] == ["oci-layout", "index.json", "manifest.json"]
