"""OCI layouts: hostile ones are refused, writers at once lose nothing, and there is never half an image."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from imgsign.errors import (
    ContentMismatch,
    DestinationError,
    InvalidManifest,
    NotFound,
    TooLarge,
    Unavailable,
    UsageError,
)
from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, Artifact, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores.layout import LayoutStore, disk, parse_location
from imgsign.stores.layout_index import INDEX_LIMIT, REF_NAME
from tests.stores.memory_store import MemoryStore, breaking, layer, sending

NOBODY = Digest.parse("sha256:" + "f" * 64)


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    found = LayoutStore(tmp_path / "layout")
    found.make()
    return found


def manifest(salt: str = "", subject: Descriptor | None = None, **members: object) -> Manifest:
    """A small manifest without layers."""
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": EMPTY_CONFIG.descriptor.to_json(),
        "layers": [],
        "annotations": {"salt": salt},
    }
    if subject is not None:
        body["subject"] = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size}
    return Manifest.parse(json.dumps({**body, **members}).encode(), OCI_MANIFEST)


def artifact(found: Manifest) -> Artifact:
    return Artifact(manifest=found, blobs=(EMPTY_CONFIG,))


def index_of(store: LayoutStore) -> dict[str, object]:
    found: dict[str, object] = json.loads((store.directory / "index.json").read_bytes())
    return found


def entries(store: LayoutStore) -> list[dict[str, object]]:
    found = index_of(store)["manifests"]
    assert isinstance(found, list)
    return found


def tags(store: LayoutStore) -> list[object]:
    return [dict(e.get("annotations", {})).get(REF_NAME) for e in entries(store)]  # type: ignore[call-overload]  # JSON


def write_index(store: LayoutStore, *listed: object, **members: object) -> None:
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed, **members}
    (store.directory / "index.json").write_text(json.dumps(body))


def listed_as(found: Manifest, tag: str | None = None) -> dict[str, object]:
    entry = found.descriptor.to_json()
    return entry if tag is None else {**entry, "annotations": {REF_NAME: tag}}


# Naming a layout


@pytest.mark.parametrize(
    ("text", "directory", "tag"),
    [
        ("oci:app", "app", None),
        ("oci:app:1.0", "app", "1.0"),
        ("oci:/a/b:c", "/a/b", "c"),
        ("oci:a:b/c", "a:b/c", None),
        ("oci:a:b:c", "a:b", "c"),
        ("oci:./a:registry.example/app@x", "./a:registry.example/app@x", None),
        ("oci:a:v1+build_2--x", "a", "v1+build_2--x"),
    ],
)
def test_location(text: str, directory: str, tag: str | None) -> None:
    assert parse_location(text) == (Path(directory), tag)


@pytest.mark.parametrize("text", ["app", "oci:", "oci::1", "oci:a:", "oci:a:..", "oci:a: ", "oci:a:" + "x" * 256])
def test_no_location(text: str) -> None:
    with pytest.raises(UsageError):
        parse_location(text)


# Making one


def test_an_empty_layout(store: LayoutStore) -> None:
    assert index_of(store) == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert json.loads((store.directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert sorted(p.name for p in store.directory.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_making_one_again_changes_nothing(store: LayoutStore) -> None:
    store.push(artifact(manifest()), tag="1")
    before = index_of(store)
    store.make()
    assert index_of(store) == before


@pytest.mark.parametrize(
    "left", [(), ("blobs",), ("blobs", ".index.json.part"), ("blobs", "index.json"), ("index.json", ".oci-layout.part")]
)
def test_a_layout_that_was_only_begun_is_completed(tmp_path: Path, left: tuple[str, ...]) -> None:
    directory = tmp_path / "begun"
    directory.mkdir()
    for name in left:
        if name == "blobs":
            (directory / name).mkdir()
        else:
            text = '{"schemaVersion":2,"manifests":[]}' if name == "index.json" else "{"
            (directory / name).write_text(text)
    store = LayoutStore(directory)
    store.make()
    store.push(artifact(manifest()), tag="1")
    assert store.fetch("1") == manifest()
    assert sorted(p.name for p in directory.iterdir() if p.suffix != ".part") == ["blobs", "index.json", "oci-layout"]


def test_the_entries_of_a_layout_without_its_marker_are_kept(store: LayoutStore) -> None:
    store.push(artifact(manifest()), tag="1")
    (store.directory / "oci-layout").unlink()
    store.make()
    assert tags(store) == ["1"]


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DestinationError, match="is not empty and not an OCI layout"):
        LayoutStore(tmp_path).make()
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DestinationError, match=r"cannot use '.*file': file exists"):
        LayoutStore(tmp_path / "file").make()


# Tags


def test_an_image_is_found_by_tag_and_by_digest(store: LayoutStore) -> None:
    image = manifest()
    store.push(artifact(image), tag="1")
    assert store.fetch("1") == image
    assert store.fetch(image.digest) == image


def test_a_tag_moves_and_others_stay(store: LayoutStore) -> None:
    old, new = manifest("old"), manifest("new")
    store.push(artifact(old), tag="1")
    store.push(artifact(old), tag="kept")
    store.push(artifact(new), tag="1")
    assert (store.fetch("1"), store.fetch("kept")) == (new, old)
    assert tags(store) == ["kept", "1"]


def test_an_unknown_tag_is_not_found_and_the_hint_says_which_there_are(store: LayoutStore) -> None:
    store.push(artifact(manifest()), tag="1")
    store.push(artifact(manifest("s")), tag=f"{manifest().digest.tag}.sig")
    with pytest.raises(NotFound, match=r"has no tag '2'$") as e:
        store.fetch("2")
    assert e.value.hint == "it has: '1'"


def test_what_others_wrote_into_the_index_is_kept(store: LayoutStore) -> None:
    odd = {"mediaType": "application/x", "digest": "md5:0", "size": -1, "odd": [1]}
    write_index(store, odd, "ä", 17, annotations={"a": "b"}, vendor={"x": 1})
    store.push(artifact(manifest()), tag="1")
    found = index_of(store)
    assert entries(store)[:3] == [odd, "ä", 17]
    assert (found["annotations"], found["vendor"]) == ({"a": "b"}, {"x": 1})
    assert store.fetch("1") == manifest()


def test_the_media_type_of_the_listing_counts(store: LayoutStore) -> None:
    image = manifest()
    store.push(artifact(image), tag="1")
    write_index(store, {**listed_as(image, "1"), "mediaType": OCI_INDEX})
    with pytest.raises(InvalidManifest):
        store.fetch("1")


def test_a_manifest_that_was_changed_is_refused(store: LayoutStore) -> None:
    image = manifest("a")
    store.push(artifact(image), tag="1")
    path = store.directory / "blobs/sha256" / image.digest.hex
    path.write_bytes(manifest("b").raw)
    with pytest.raises(ContentMismatch, match=r"is not what its digest says$"):
        store.fetch("1")


# The only image


def test_the_only_image_is_found_among_its_signatures(store: LayoutStore) -> None:
    image = manifest()
    store.push(artifact(image), tag="1")
    store.push(artifact(manifest("referrer", subject=image.descriptor)))
    for ending in (".sig", ".att", ".sbom"):
        store.push(artifact(manifest(ending)), tag=image.digest.tag + ending)
    store.push(artifact(_index(store, manifest("referrer"))), tag=image.digest.tag)
    assert store.only_image() == "1"


def test_the_only_image_without_a_tag_is_its_digest(store: LayoutStore) -> None:
    image = manifest()
    store.push(artifact(image))
    assert store.only_image() == image.digest


def test_one_image_under_two_tags_is_one(store: LayoutStore) -> None:
    store.push(artifact(manifest()))
    store.push(artifact(manifest()), tag="1")
    store.push(artifact(manifest()), tag="2")
    assert store.only_image() == "1"


def test_several_images_need_a_tag(store: LayoutStore) -> None:
    store.push(artifact(manifest("a")), tag="1")
    store.push(artifact(manifest("b")), tag="2")
    with pytest.raises(UsageError, match=r"holds 2 images, and no tag was given$") as e:
        store.only_image()
    assert e.value.hint == "it has: '1', '2'"


def test_an_empty_layout_has_no_image(store: LayoutStore) -> None:
    with pytest.raises(UsageError, match="holds no image"):
        store.only_image()


def test_an_image_that_is_broken_is_not_nothing(store: LayoutStore) -> None:
    """Else the next best one would be taken for it."""
    store.push(artifact(manifest("a")), tag="1")
    write_index(store, *entries(store), listed_as(manifest("gone"), "2"))
    with pytest.raises(UsageError, match="holds 2 images"):
        store.only_image()


# Referrers


def _index(store: LayoutStore, *children: Manifest) -> Manifest:
    """An index of manifests, which are written but not listed."""
    for child in children:
        store.put_artifact(artifact(child))
    return _index_of(*[c.descriptor.to_json() for c in children])


def _index_of(*listed: object) -> Manifest:
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
    return Manifest.parse(raw, OCI_INDEX)


def test_referrers_are_found_by_their_subject_with_and_without_a_tag(store: LayoutStore) -> None:
    image, other = manifest("image"), manifest("other")
    mine = [manifest(salt, subject=image.descriptor, artifactType="application/x") for salt in "ab"]
    for pushed, tag in ((image, "1"), (other, "2"), (mine[0], None), (mine[1], "signature")):
        store.push(artifact(pushed), tag=tag)
    store.push(artifact(manifest("theirs", subject=other.descriptor)))
    found = list(store.referrers(image.digest))
    assert [d.digest for d in found] == [m.digest for m in mine]
    assert found[0].artifact_type == "application/x"
    assert found[0].annotations == {"salt": "a"}
    assert list(store.referrers(NOBODY)) == []


def test_a_subject_need_not_be_there(store: LayoutStore) -> None:
    mine = manifest("a", subject=manifest("elsewhere").descriptor)
    store.push(artifact(mine))
    assert [d.digest for d in store.referrers(manifest("elsewhere").digest)] == [mine.digest]


def test_the_fallback_tag_is_merged_with_the_listing(store: LayoutStore) -> None:
    image = manifest("image")
    mine = [manifest(salt, subject=image.descriptor) for salt in "abc"]
    store.push(artifact(image), tag="1")
    store.push(artifact(mine[0]))
    store.push(Artifact(manifest=_index(store, *mine)), tag=image.digest.tag)
    assert sorted(str(d.digest) for d in store.referrers(image.digest)) == sorted(str(m.digest) for m in mine)


def test_what_the_fallback_tag_lists_and_is_not_there_is_for_the_caller_to_judge(store: LayoutStore) -> None:
    image, gone = manifest("image"), manifest("gone", subject=manifest("image").descriptor)
    store.push(artifact(image), tag="1")
    store.push(Artifact(manifest=_index_of(gone.descriptor.to_json())), tag=image.digest.tag)
    assert [d.digest for d in store.referrers(image.digest)] == [gone.digest]
    with pytest.raises(NotFound):
        store.fetch(gone.digest)


def test_the_fallback_tag_cannot_claim_what_names_another_subject(store: LayoutStore) -> None:
    image = manifest("image")
    others = (manifest("no subject"), manifest("theirs", subject=manifest("other").descriptor))
    store.push(artifact(image), tag="1")
    store.push(Artifact(manifest=_index(store, *others)), tag=image.digest.tag)
    assert list(store.referrers(image.digest)) == []


def test_a_fallback_tag_that_is_no_index_lists_nothing(store: LayoutStore) -> None:
    image = manifest("image")
    store.push(artifact(image), tag="1")
    store.push(artifact(image), tag=image.digest.tag)
    assert list(store.referrers(image.digest)) == []


def test_a_broken_entry_does_not_hide_a_referrer(store: LayoutStore) -> None:
    image, mine = manifest("image"), manifest("a", subject=manifest("image").descriptor)
    store.push(artifact(image), tag="1")
    store.push(artifact(mine))
    broken = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'0' * 63}/", "size": 1}
    write_index(store, broken, listed_as(manifest("gone")), *entries(store))
    assert [d.digest for d in store.referrers(image.digest)] == [mine.digest]


def test_a_sig_tag_is_a_tag_like_any_other(store: LayoutStore) -> None:
    image, signature = manifest("image"), manifest("signature")
    tag = f"{image.digest.tag}.sig"
    store.push(artifact(image), tag="1")
    store.rewrite(tag, lambda current: artifact(signature) if current is None else None)
    assert store.fetch(tag) == signature


# Hostile layouts


def test_a_huge_index_is_not_read(store: LayoutStore) -> None:
    with (store.directory / "index.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DestinationError, match=f"index.json' cannot be read: {INDEX_LIMIT + 1} bytes are more than"):
        store.fetch("1")


def test_an_index_grown_to_its_limit_takes_no_more(store: LayoutStore) -> None:
    write_index(store, annotations={"a": "x" * (INDEX_LIMIT - 200)})
    before = (store.directory / "index.json").read_bytes()
    with pytest.raises(DestinationError, match="is full: it would be over the limit"):
        store.push(artifact(manifest()), tag="1")
    assert (store.directory / "index.json").read_bytes() == before


def test_an_index_that_lists_one_manifest_often_does_not_multiply_the_work(store: LayoutStore) -> None:
    image = manifest("image", annotations={str(n): "x" * 1000 for n in range(1000)})  # a megabyte to hash and parse
    store.push(artifact(image))
    write_index(store, *entries(store) * 10_000)
    began = time.monotonic()
    assert store.only_image() == image.digest
    assert list(store.referrers(NOBODY)) == []
    assert time.monotonic() - began < 10  # a minute and more if each entry were read


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../etc/passwd",
        "sha256:" + "../" * 21 + "a",
        "../x:" + "0" * 64,
        "sha256:" + "A" * 64,
        "sha256:",
        7,
    ],
)
def test_a_digest_that_is_none_leads_nowhere(store: LayoutStore, digest: object) -> None:
    write_index(store, {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "annotations": {REF_NAME: "1"}})
    with pytest.raises(NotFound, match=r"has no tag '1'$"):
        store.fetch("1")
    with pytest.raises(UsageError, match="holds no image"):
        store.only_image()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"manifests":{}}', '{"manifests":[],"manifests":[]}', "\ufeff{}", '{"manifests":[' + "[" * 9999],
)
def test_an_index_that_is_none_is_refused(store: LayoutStore, text: str) -> None:
    (store.directory / "index.json").write_text(text)
    for attempt in (lambda: store.fetch("1"), store.make, lambda: store.push(artifact(manifest()))):
        with pytest.raises(DestinationError, match=r"index\.json' cannot be read: "):
            attempt()
    assert (store.directory / "index.json").read_text() == text


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_an_index_that_is_no_file_is_refused_at_once(store: LayoutStore, tmp_path: Path, kind: str) -> None:
    path, elsewhere = store.directory / "index.json", tmp_path / "elsewhere"
    path.rename(elsewhere)
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = elsewhere.read_bytes()
    for attempt in (lambda: store.fetch("1"), store.make, lambda: store.push(artifact(manifest()))):
        with pytest.raises(
            DestinationError, match=r"is a symbolic link$" if kind == "link" else r"not a regular file$"
        ):
            attempt()
    assert elsewhere.read_bytes() == before


def test_a_fifo_as_marker_does_not_hang_a_writer(store: LayoutStore) -> None:
    (store.directory / "oci-layout").unlink()
    os.mkfifo(store.directory / "oci-layout")
    store.push(artifact(manifest()), tag="1")
    assert store.fetch("1") == manifest()


def test_linked_blobs_are_refused(store: LayoutStore, tmp_path: Path) -> None:
    image = manifest()
    store.push(artifact(image), tag="1")
    (store.directory / "blobs").rename(tmp_path / "elsewhere")
    (store.directory / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match=r"is a symbolic link; nothing is read or written through it$"):
        store.fetch("1")
    with pytest.raises(DestinationError, match=r"is a symbolic link; nothing is read or written through it$"):
        store.push(artifact(manifest("new")), tag="2")
    assert len(list((tmp_path / "elsewhere/sha256").iterdir())) == 2


# Blobs


def test_a_blob_is_bounded_and_checked(store: LayoutStore) -> None:
    store.put_artifact(artifact(manifest()))
    assert store.blob(EMPTY_CONFIG.descriptor, limit=2) == EMPTY_CONFIG
    with pytest.raises(TooLarge):
        store.blob(EMPTY_CONFIG.descriptor, limit=1)
    (store.directory / "blobs/sha256" / EMPTY_CONFIG.descriptor.digest.hex).write_bytes(b"[]")
    with pytest.raises(ContentMismatch):
        store.blob(EMPTY_CONFIG.descriptor, limit=2)
    assert not store.has(EMPTY_CONFIG.descriptor)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_blob_is_streamed_from_an_offset(store: LayoutStore, start: int) -> None:
    store.put_artifact(artifact(manifest()))
    assert b"".join(store.stream(EMPTY_CONFIG.descriptor, start=start)) == b"{}"[start:]


def test_a_blob_of_another_size_is_not_streamed(store: LayoutStore) -> None:
    store.put_artifact(artifact(manifest()))
    (store.directory / "blobs/sha256" / EMPTY_CONFIG.descriptor.digest.hex).write_bytes(b"{}\n")
    with pytest.raises(ContentMismatch, match=r"has 3 bytes, not 2$"):
        list(store.stream(EMPTY_CONFIG.descriptor))


# Pulling into one


def _pull(store: LayoutStore, source: MemoryStore, image: Manifest, threads: int, progress: list[int]) -> None:
    if not threads:
        store.put(source, image, None, progress.append)
        return
    with ThreadPoolExecutor(threads) as pool:
        store.put(source, image, pool, progress.append)


@pytest.mark.parametrize("threads", [0, 3])
def test_what_is_put_is_listed_only_when_it_is_finished(store: LayoutStore, threads: int) -> None:
    source = MemoryStore()
    image = source.add_image(layer("a", b"a" * 5000), layer("b", b"b"))
    progress: list[int] = []
    _pull(store, source, image, threads, progress)
    assert entries(store) == []
    store.finish([(image, "1")])
    assert store.fetch("1") == image
    assert all(store.has(d) for d in image.layers)
    assert image.config is not None
    assert sum(progress) == image.config.size + sum(d.size for d in image.layers)


def test_what_is_there_and_right_is_not_fetched_again(store: LayoutStore) -> None:
    source = MemoryStore()
    image = source.add_image(layer("a", b"a" * 5000), layer("b", b"b"))
    _pull(store, source, image, 0, [])
    bad = store.directory / "blobs/sha256" / image.layers[0].digest.hex
    bad.write_bytes(bad.read_bytes()[:-1] + b"x")
    source.streamed.clear()
    progress: list[int] = []
    _pull(store, source, image, 2, progress)
    assert source.streamed == [(str(image.layers[0].digest), 0)]
    assert all(store.has(d) for d in image.layers)


def test_a_layer_that_is_named_twice_is_fetched_once(store: LayoutStore) -> None:
    source = MemoryStore()
    image = source.add_image(layer("a", b"a"), layer("a", b"a"))
    _pull(store, source, image, 2, [])
    assert len(source.streamed) == 2


@pytest.mark.parametrize("threads", [0, 2])
def test_a_layer_that_lies_is_refused_and_nothing_is_listed(store: LayoutStore, threads: int) -> None:
    source = MemoryStore()
    image = source.add_image(layer("a", b"a"), layer("b", b"b"))
    source.spoil[str(image.layers[1].digest)] = sending(lambda raw: raw[:-1] + b"x")
    with pytest.raises(ContentMismatch, match=f"blob {image.layers[1].digest} is not what its digest says"):
        _pull(store, source, image, threads, [])
    assert entries(store) == []
    assert not (store.directory / "blobs/sha256" / image.layers[1].digest.hex).exists()


def test_the_first_failure_ends_the_other_copies_and_is_the_one_reported(store: LayoutStore) -> None:
    source = MemoryStore()
    image = source.add_image(layer("a", b"a" * 5000), layer("b", b"b"), layer("c", b"c"), compress=False)
    under_way, failed, sent = threading.Event(), threading.Event(), []

    def slow(raw: bytes, start: int) -> Iterator[bytes]:
        yield raw[:1000]
        under_way.set()
        failed.wait(10)
        for at in range(1000, len(raw)):
            threading.Event().wait(0.01)
            sent.append(at)
            yield raw[at : at + 1]

    def fails(raw: bytes, start: int) -> Iterator[bytes]:
        under_way.wait(10)
        failed.set()
        yield from ()
        raise Unavailable("gone")

    source.spoil[str(image.layers[0].digest)] = slow
    source.spoil[str(image.layers[1].digest)] = fails
    with pytest.raises(Unavailable, match=r"^gone$"):
        _pull(store, source, image, 2, [])
    assert 0 < len(sent) < 100
    (part,) = (store.directory / "blobs/sha256").glob(f".{image.layers[0].digest.hex}*")
    assert part.stat().st_size >= 1000  # what came is kept for the next run


def test_a_pull_that_failed_is_finished_by_the_next(store: LayoutStore) -> None:
    source = MemoryStore()
    image = source.add_image(layer("a", os.urandom(50_000)), layer("b", b"b"), compress=False)
    first = str(image.layers[0].digest)
    source.spoil[first] = breaking(after=10_000)
    with pytest.raises(Unavailable):
        _pull(store, source, image, 0, [])
    got = max(start for digest, start in source.streamed if digest == first) + 10_000
    del source.spoil[first]
    source.streamed.clear()
    _pull(store, source, image, 0, [])
    assert (first, got) in source.streamed
    store.finish([(image, "1")])
    assert all(store.has(d) for d in image.layers)


def test_a_disk_error_names_the_place_and_a_full_disk_says_what_to_do() -> None:
    with pytest.raises(DestinationError) as e, disk(Path("there")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert e.value.message == "cannot use 'there': no space left on device"
    assert e.value.hint == "free some space and run the same command again"
    with pytest.raises(DestinationError) as e, disk(Path("there")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    assert (e.value.message, e.value.hint) == ("cannot use 'there': read-only file system", None)


# Several writers at once

WRITERS, WRITES = 4, 15


def _in_processes(work: Callable[[Path, int], None], directory: Path) -> None:
    """Run work in processes of their own, so that nothing but the file system is shared."""
    with ProcessPoolExecutor(WRITERS, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(work, directory, n) for n in range(WRITERS)]:
            future.result(timeout=60)


def _push_referrers(directory: Path, writer: int) -> None:
    store = LayoutStore(directory)
    for n in range(WRITES):
        store.push(artifact(manifest(f"{writer} {n}", subject=manifest("image").descriptor)))


def test_processes_that_add_referrers_at_once_lose_none(store: LayoutStore) -> None:
    _in_processes(_push_referrers, store.directory)
    assert len(list(store.referrers(manifest("image").digest))) == WRITERS * WRITES


def _append(directory: Path, writer: int) -> None:
    store = LayoutStore(directory)
    for n in range(WRITES):
        mine = f"w{writer}n{n}"

        def edit(current: Artifact | None, mine: str = mine) -> Artifact | None:
            there = {} if current is None else current.manifest.annotations
            return None if mine in there else artifact(manifest(annotations={**there, mine: "x"}))

        store.rewrite("shared.sig", edit)


def test_processes_that_extend_one_tag_at_once_lose_nothing(store: LayoutStore) -> None:
    _in_processes(_append, store.directory)
    found = store.fetch("shared.sig").annotations
    assert set(found) == {f"w{w}n{n}" for w in range(WRITERS) for n in range(WRITES)}
    assert tags(store) == ["shared.sig"]


def _make_and_push(directory: Path, writer: int) -> None:
    for n in range(WRITES):
        store = LayoutStore(directory / str(n))
        store.make()
        store.push(artifact(manifest(f"{writer}")), tag=f"w{writer}")


def test_processes_that_make_one_layout_at_once_lose_nothing(tmp_path: Path) -> None:
    _in_processes(_make_and_push, tmp_path)
    for n in range(WRITES):
        assert set(tags(LayoutStore(tmp_path / str(n)))) == {f"w{w}" for w in range(WRITERS)}
