"""``imgsign copy`` between real registries: fifty multi-arch images with all that can be attached to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgsign.fleet.copy import copy
from imgsign.oci import OCI_INDEX, OCI_MANIFEST
from imgsign.reference import Digest, Repository
from imgsign.resolve import Target, target_of
from imgsign.stores.copying import RegistryWriter
from imgsign.stores.locate import Registries
from imgsign.stores.oci_archive import ArchiveStore, ArchiveWriter
from imgsign.stores.remote import RemoteStore
from imgsign.workflow import key_policy, verify
from tests.e2e import parts, shop
from tests.signing_keys import public, signer

COUNT = 50
ACCEPT = f"{OCI_MANIFEST}, {OCI_INDEX}"


@dataclass(frozen=True, slots=True)
class World:
    """Two registries after the source was deleted, and the archives that were made of it."""

    images: list[shop.Made]
    there: parts.Registry
    witness: parts.Registry
    archives: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Copy everything three ways: by imgsign to a registry and into archives, by skopeo to another registry."""
    parts.need("docker-registry", "skopeo")
    base = tmp_path_factory.mktemp("copies")
    for name in ("source", "there", "witness", "archives"):
        (base / name).mkdir()
    with parts.registry(base / "there") as there, parts.registry(base / "witness") as witness:
        with parts.registry(base / "source") as source:
            images = shop.fill(source, COUNT)
            locate, judge = Registries({}), key_policy([public("release")])

            def work(image: shop.Made) -> None:
                target = target_of(image.name, locate)
                path = image.name.repository.path
                store = RemoteStore(Repository(there.host, path), locate.transport)
                with ThreadPoolExecutor(4) as inner:
                    copy(target, RegistryWriter(store), "1", inner, judge=judge)
                    copy(target, ArchiveWriter(base / "archives" / f"{path.replace('/', '-')}.tar"), "1", inner)
                parts.run(
                    "skopeo", "copy", "--all", "--preserve-digests",
                    "--src-tls-verify=false", "--dest-tls-verify=false",
                    f"docker://{image.name}", f"docker://{witness.host}/{path}:1",
                )  # fmt: skip

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(work, images))
        shutil.rmtree(base / "source")
        yield World(images, there, witness, base / "archives")


def manifests_at(registry: parts.Registry, image: shop.Made, digests: list[str]) -> dict[str, bytes]:
    path = image.name.repository.path
    return {d: registry.get(f"/v2/{path}/manifests/{d}", ACCEPT)[1] for d in digests}


def test_every_manifest_is_at_the_destination_byte_for_byte(world: World) -> None:
    for image in world.images:
        # An index of two platforms, a bundle and a .sig for each of the three, .att, .sbom and an SBOM.
        assert len(image.manifests) == 12
        assert manifests_at(world.there, image, list(image.manifests)) == image.manifests
        for tag, digest in image.tags.items():
            _, raw = world.there.get(f"/v2/{image.name.repository.path}/manifests/{tag}", ACCEPT)
            assert str(Digest.of(raw)) == digest, tag


def test_skopeo_copied_the_same_image(world: World) -> None:
    for image in world.images:
        path = image.name.repository.path
        _, ours = world.there.get(f"/v2/{path}/manifests/1", ACCEPT)
        _, theirs = world.witness.get(f"/v2/{path}/manifests/1", ACCEPT)
        assert ours == theirs == image.manifests[image.index]
        children = [m["digest"] for m in json.loads(ours)["manifests"]]
        assert manifests_at(world.there, image, children) == manifests_at(world.witness, image, children)
        for child in children:
            described = json.loads(image.manifests[child])
            for blob in (described["config"], *described["layers"]):
                status, raw = world.there.get(f"/v2/{path}/blobs/{blob['digest']}")
                assert (status, raw) == world.witness.get(f"/v2/{path}/blobs/{blob['digest']}")


def test_all_is_verified_at_the_destination_after_the_source_is_gone(world: World) -> None:
    policy, trust = key_policy([public("release")])
    locate = Registries({})
    for image in world.images:
        store = RemoteStore(Repository(world.there.host, image.name.repository.path), locate.transport)
        for what in ("1", Digest.parse(json.loads(image.manifests[image.index])["manifests"][1]["digest"])):
            decision = verify(Target(name=image.name, store=store, what=what, place="there"), policy, trust)
            assert decision.allowed
        listed = {str(d.digest) for d in store.referrers(Digest.parse(image.index))}
        assert len(listed) == 2
        assert listed <= set(image.manifests)


def test_all_is_verified_from_the_archives(world: World) -> None:
    policy, trust = key_policy([public("release")])
    for image in world.images:
        store = ArchiveStore(world.archives / f"{image.name.repository.path.replace('/', '-')}.tar")
        target = Target(name=image.name, store=store, what="1", place="an archive")
        assert verify(target, policy, trust).allowed
        for digest, raw in image.manifests.items():
            assert store.fetch(Digest.parse(digest)).raw == raw


def test_skopeo_reads_the_archive(world: World, tmp_path: Path) -> None:
    archive = world.archives / "shop-app0.tar"
    parts.run("skopeo", "copy", "--all", f"oci-archive:{archive}:1", f"oci:{tmp_path}/layout:1")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == world.images[0].index


def test_the_command_carries_an_archive_into_a_third_registry(world: World, tmp_path: Path) -> None:
    image = world.images[0]
    key = tmp_path / "release.pub"
    key.write_bytes(signer("release").public_key.to_pem())
    with parts.registry(tmp_path / "third") as third:
        line = ("copy", f"oci-archive:{world.archives / 'shop-app0.tar'}:1", f"{third.host}/mirror/app0")
        done = parts.imgsign(*line, "--identity", str(image.name), "-k", key)
        assert done.stdout == f"copied {image.name} to {third.host}/mirror/app0:1@{image.index}\n"
        assert "3 manifests, 9 attached; blobs: " in done.stderr
        assert "allowed at both ends" in done.stderr
        again = parts.imgsign(*line, "--identity", str(image.name), "-k", key)
        assert " sent (0.0 MB" not in again.stderr
        within = parts.imgsign("copy", f"{third.host}/mirror/app0:1", f"{third.host}/promoted/app0:2")
        assert "mounted" in within.stderr
        assert "not judged" in within.stderr
        denied = parts.imgsign("copy", f"{third.host}/mirror/app0:1", f"{third.host}/denied:1", "-k", key, check=False)
        assert denied.returncode == 1
        assert third.get("/v2/denied/tags/list")[0] == 404


def test_layers_of_256_mib_pass_through_little_memory(tmp_path: Path) -> None:
    from tests.bench.measure import IMGSIGN, peak_memory
    from tests.e2e import large

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with parts.registry(tmp_path / "a") as a, parts.registry(tmp_path / "b") as b:
        large.push_random(a.host, "large", "1", layers=4, size=64 * 1024 * 1024, base=tmp_path)
        assert peak_memory(*IMGSIGN, "copy", f"{a.host}/large:1", f"{b.host}/large:1") < 100
        assert b.get("/v2/large/manifests/1", ACCEPT)[1] == a.get("/v2/large/manifests/1", ACCEPT)[1]
