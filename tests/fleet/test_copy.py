"""Copying between simulated registries, layouts and archives."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from imgsign.errors import ContentMismatch, Denied, DestinationError, NotFound, RegistryError, UsageError
from imgsign.fleet.copy import Copied, copy
from imgsign.load import load_policy
from imgsign.oci import OCI_MANIFEST, Descriptor, Manifest, Platform
from imgsign.reference import Digest, Reference, Repository
from imgsign.resolve import Target
from imgsign.signers import load_signer
from imgsign.signing import SignOptions, sign
from imgsign.stores import Store
from imgsign.stores.copying import LayoutWriter, RegistryWriter, Writer
from imgsign.stores.layout import LayoutStore
from imgsign.stores.oci_archive import ArchiveStore, ArchiveWriter
from imgsign.stores.uploads import Way
from imgsign.workflow import key_policy, verify
from tests.answers import Answer
from tests.conftest import ROOT
from tests.fleet.worlds import NOW, attach_all, contents, cosign_tags, pooled, put_index, put_tagged
from tests.signing_keys import public, signer
from tests.simulator import Simulator, manifest_bytes

JUDGE = key_policy([public("release")])


@pytest.fixture
def sim() -> Simulator:
    """A registry with the referrers API, holding app:1 for two platforms and all that can be attached."""
    found = Simulator()
    attach_all(found, "app", "1", put_index(found, "app", "1"))
    return found


def target(store: Store, tag: str | Digest = "1", name: str = "registry.test/app:1") -> Target:
    return Target(name=Reference.parse(name), store=store, what=tag, place="a test")


def run(source: Store, writer: Writer, tag: str | None = "1", **more: object) -> Copied:
    with pooled() as pool:
        return copy(target(source), writer, tag, pool, now=NOW, **more)  # type: ignore[arg-type]  # copy's own


def check_same(sim: Simulator, there: Simulator, path: str = "app") -> None:
    """Everything of app:1 is at the destination, byte for byte, under the same tags."""
    wanted = contents(sim, "app")
    assert {d: raw for d, raw in contents(there, path).items() if d in wanted} == wanted
    assert cosign_tags(there, path) == cosign_tags(sim, "app")
    assert there.repository(path).tags["1"] == sim.repository("app").tags["1"]


@pytest.mark.parametrize("has_api", [True, False])
def test_everything_reaches_another_registry_byte_for_byte(sim: Simulator, has_api: bool) -> None:
    there = Simulator("mirror.test", referrers_api=has_api)
    copied = run(sim.store("app"), RegistryWriter(there.store("hub/app")), judge=JUDGE)
    check_same(sim, there, "hub/app")
    assert copied.result.left == []
    # Two platforms and the index, each with a bundle, and the SBOM with what hangs on it.
    assert (len(copied.cargo.images), len(copied.cargo.referrers), len(copied.cargo.tagged)) == (3, 5, 5)
    listed = {d.digest for d in there.store("hub/app").referrers(copied.digest)}
    assert listed == {d.digest for d in sim.store("app").referrers(copied.digest)}
    assert len(listed) == 2


def test_fallback_tag_is_rebuilt_with_annotations_where_the_destination_has_no_api(sim: Simulator) -> None:
    there = Simulator("mirror.test", referrers_api=False)
    copied = run(sim.store("app"), RegistryWriter(there.store("app")))
    _, raw = there.repository("app").manifests[there.repository("app").tags[copied.digest.tag]]
    entries = {e["artifactType"]: e["annotations"] for e in json.loads(raw)["manifests"]}
    assert entries["application/spdx+json"] == {"salt": "an sbom"}
    bundle = entries["application/vnd.dev.sigstore.bundle.v0.3+json"]
    assert bundle["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1"


def test_fallback_tags_of_the_source_are_read(tmp_path: Path) -> None:
    sim = Simulator(referrers_api=False)
    attach_all(sim, "app", "1", put_index(sim, "app", "1"))
    there = Simulator("mirror.test")
    assert len(run(sim.store("app"), RegistryWriter(there.store("app")), judge=JUDGE).cargo.referrers) == 5
    check_same(sim, there)


def test_blobs_are_mounted_within_a_registry_and_not_sent(sim: Simulator) -> None:
    writer = RegistryWriter(sim.store("promoted"), Repository("registry.test", "app"))
    result = run(sim.store("app"), writer, judge=JUDGE).result
    assert (result.ways[Way.SENT], result.sent_bytes) == (0, 0)
    assert result.ways[Way.MOUNTED] > 5
    assert sim.seen(r"PUT .*/promoted/blobs/") == []
    check_same(sim, sim, "promoted")


def test_a_refused_mount_becomes_an_upload(sim: Simulator) -> None:
    sim.fail(r"POST .*mount=", 403)
    writer = RegistryWriter(sim.store("promoted"), Repository("registry.test", "app"))
    assert run(sim.store("app"), writer).result.ways[Way.MOUNTED] == 0
    check_same(sim, sim, "promoted")


def test_a_second_copy_sends_nothing_and_changes_nothing(sim: Simulator) -> None:
    there = Simulator("mirror.test", referrers_api=False)
    run(sim.store("app"), RegistryWriter(there.store("app")))
    before = dict(there.repository("app").tags)
    again = run(sim.store("app"), RegistryWriter(there.store("app"))).result
    assert (again.ways[Way.SENT], again.moved, again.joined) == (0, [], [])
    assert there.repository("app").tags == before


def test_an_image_that_is_not_allowed_is_not_copied(sim: Simulator) -> None:
    there = Simulator("mirror.test")
    with pytest.raises(Denied):
        run(sim.store("app"), RegistryWriter(there.store("app")), judge=key_policy([public("somebody else")]))
    assert there.requests_seen == []


def test_a_destination_that_loses_the_signatures_is_noticed(sim: Simulator) -> None:
    there = Simulator("mirror.test")
    there.respond(r"GET .*/referrers/", lambda seen: Answer(body=b'{"schemaVersion":2,"manifests":[]}',
                  headers=(("Content-Type", "application/vnd.oci.image.index.v1+json"),)))  # fmt: skip
    there.respond(r"GET .*/manifests/sha256-", lambda seen: Answer(status=404))
    with pytest.raises(RegistryError, match=r"stored as sha256:.* but not listed under tag"):
        run(sim.store("app"), RegistryWriter(there.store("app")), judge=JUDGE)


def test_what_stands_at_the_destination_is_judged_again(sim: Simulator) -> None:
    put_index(sim, "bare", "1")
    name = Reference.parse("registry.test/bare:1")
    sign([name], signer("release"), SignOptions(formats=("simple",)), locate=lambda r: sim.store("bare"), now=NOW)
    there = Simulator("mirror.test")
    there.respond(r"GET .*/manifests/sha256-.*sig$", lambda seen: Answer(status=404))
    source = Target(name=name, store=sim.store("bare"), what="1", place="a test")
    with pooled() as pool, pytest.raises(Denied, match=r"denied registry\.test/bare:1@sha256:"):
        copy(source, RegistryWriter(there.store("bare")), "1", pool, judge=JUDGE, now=NOW)


def test_a_wrong_blob_of_the_image_stops_the_copy_before_its_tag(sim: Simulator) -> None:
    layer = sim.store("app").fetch(sim.store("app").fetch("1").manifests[0].digest).layers[0]
    sim.serve_instead(rf"GET .*/app/blobs/{layer.digest}", b"another!! one amd64"[: layer.size].ljust(layer.size))
    there = Simulator("mirror.test")
    with pytest.raises(ContentMismatch, match=f"blob {layer.digest} is not what its digest"):
        run(sim.store("app"), RegistryWriter(there.store("app")))
    assert there.repository("app").tags == {}
    assert str(layer.digest) not in there.repository("app").blobs


@pytest.mark.parametrize("place", ["registry", "layout", "archive"])
def test_a_junk_attachment_is_left_behind_and_the_rest_copied(sim: Simulator, place: str, tmp_path: Path) -> None:
    root = sim.store("app").fetch("1")
    absent = Descriptor(media_type="text/plain", digest=Digest.of(b"never pushed"), size=12)
    junk = sim.put_referrer("app", root.descriptor, salt="junk", layers=[absent.to_json()])
    sim.list_for("app", root.digest, Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"x"), size=1).to_json())
    there = Simulator("mirror.test")
    writers: dict[str, Writer] = {
        "registry": RegistryWriter(there.store("app")),
        "layout": LayoutWriter(LayoutStore(tmp_path / "layout")),
        "archive": ArchiveWriter(tmp_path / "app.tar"),
    }
    result = run(sim.store("app"), writers[place], judge=JUDGE).result
    assert len(result.left) == 2
    assert any(f"referrer {junk.digest} is left behind: " in text for text in result.left)
    listed = {d.digest for d in writers[place].store.referrers(root.digest)}
    assert junk.digest not in listed
    assert len(listed) == 2


def test_a_registry_that_cannot_say_what_is_attached_stops_the_copy(sim: Simulator) -> None:
    sim.fail(r"GET .*/referrers/", 403)
    there = Simulator("mirror.test")
    with pytest.raises(RegistryError, match="answered 403"):
        run(sim.store("app"), RegistryWriter(there.store("app")))
    assert there.repository("app").tags == {}


# Tags


def test_a_tag_that_pointed_elsewhere_moves_and_that_is_said(sim: Simulator) -> None:
    there = Simulator("mirror.test")
    old = there.put_image("app", tag="1", salt="old")
    assert run(sim.store("app"), RegistryWriter(there.store("app"))).result.moved == [("1", old.digest)]
    check_same(sim, there)


def test_signatures_that_only_the_destination_has_are_kept(sim: Simulator) -> None:
    there = Simulator("mirror.test")
    run(sim.store("app"), RegistryWriter(there.store("app")))
    name = Reference.parse("mirror.test/app:1")
    options = SignOptions(formats=("simple",), index_only=True)
    sign([name], signer("mirror"), options, locate=lambda r: there.store("app"), now=NOW)
    sign([Reference.parse("registry.test/app:1")], signer("second"), options,
         locate=lambda r: sim.store("app"), now=NOW)  # fmt: skip
    result = run(sim.store("app"), RegistryWriter(there.store("app"))).result
    root = there.store("app").fetch("1")
    assert result.joined == [f"{root.digest.tag}.sig"]
    assert len(there.store("app").fetch(f"{root.digest.tag}.sig").layers) == 3
    for key, asked in (("mirror", "mirror.test/app:1"), ("second", "registry.test/app:1")):
        assert verify(target(there.store("app"), name=asked), *key_policy([public(key)]), now=NOW).allowed


@pytest.mark.parametrize("has_api", [True, False])
def test_killed_before_any_request_no_tag_points_at_a_missing_thing(sim: Simulator, has_api: bool) -> None:
    class Killed(BaseException):
        pass

    whole = Simulator("mirror.test", referrers_api=has_api)
    run(sim.store("app"), RegistryWriter(whole.store("app")))
    count = len(whole.requests_seen)
    for stop in range(0, count, 7):
        there = Simulator("mirror.test", referrers_api=has_api)
        left = [stop]

        def kill(seen: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        there.before(kill)
        try:
            run(sim.store("app"), RegistryWriter(there.store("app")))
        except Killed:
            pass
        check_reachable(there)
        if "1" in there.repository("app").tags:  # the tag is last: whoever sees it finds all the rest
            check_same(sim, there)


def check_reachable(there: Simulator) -> None:
    content = there.repository("app")
    waiting = list(content.tags.values())
    while waiting:
        kind, raw = content.manifests[waiting.pop()]
        manifest = Manifest.parse(raw, kind)
        waiting.extend(str(d.digest) for d in manifest.manifests)
        for blob in (*manifest.layers, *((manifest.config,) if manifest.config else ())):
            assert str(blob.digest) in content.blobs


# One platform


def test_one_platform_is_judged_and_copied_with_its_own_signatures(sim: Simulator) -> None:
    there = Simulator("mirror.test")
    arm = Platform(os="linux", architecture="arm64")
    copied = run(sim.store("app"), RegistryWriter(there.store("app")), judge=JUDGE, platform=arm)
    child = sim.store("app").fetch("1").manifests[1].digest
    assert copied.digest == child
    assert there.repository("app").tags["1"] == str(child)
    assert copied.notes == (
        f"linux/arm64 of index {sim.store('app').fetch('1').digest} is image {child}: 2 things attached to it "
        "go along and stay meaningful, 5 attached to the index stay behind, since they are about the index",
    )


def test_a_platform_that_is_not_signed_itself_is_denied(sim: Simulator) -> None:
    put_index(sim, "bare", "1")
    name = Reference.parse("registry.test/bare:1")
    sign([name], signer("release"), SignOptions(index_only=True), locate=lambda r: sim.store("bare"), now=NOW)
    there = Simulator("mirror.test")
    source = Target(name=name, store=sim.store("bare"), what="1", place="a test")
    with pooled() as pool, pytest.raises(Denied):
        copy(source, RegistryWriter(there.store("bare")), "1", pool, judge=JUDGE, now=NOW,
             platform=Platform(os="linux", architecture="amd64"))  # fmt: skip
    assert there.requests_seen == []


def test_a_platform_of_a_single_image_is_a_usage_error(sim: Simulator) -> None:
    sim.put_image("app", tag="1", salt="single")
    with pytest.raises(UsageError, match="a single image, not an index"):
        run(sim.store("app"), RegistryWriter(sim.store("x")), platform=Platform(os="linux", architecture="amd64"))


# Layouts and archives


def test_the_way_over_an_air_gap_keeps_every_digest(sim: Simulator, tmp_path: Path) -> None:
    run(sim.store("app"), ArchiveWriter(tmp_path / "app.tar"), judge=JUDGE)
    inside = Simulator("mirror.test", referrers_api=False)
    run(ArchiveStore(tmp_path / "app.tar"), RegistryWriter(inside.store("app")), judge=JUDGE)
    check_same(sim, inside)


def test_a_layout_is_a_stop_on_the_way(sim: Simulator, tmp_path: Path) -> None:
    layout = LayoutStore(tmp_path / "layout")
    run(sim.store("app"), LayoutWriter(layout), judge=JUDGE)
    run(layout, ArchiveWriter(tmp_path / "app.tar"), judge=JUDGE)
    run(ArchiveStore(tmp_path / "app.tar"), LayoutWriter(LayoutStore(tmp_path / "second")), judge=JUDGE)
    inside = Simulator("mirror.test")
    run(LayoutStore(tmp_path / "second"), RegistryWriter(inside.store("app")), judge=JUDGE)
    check_same(sim, inside)


def test_equal_content_gives_an_equal_archive(sim: Simulator, tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        run(sim.store("app"), ArchiveWriter(tmp_path / name))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert {m.name for m in tar} >= {"oci-layout", "index.json"}


def test_an_archive_that_cannot_be_completed_leaves_nothing(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "app.tar").write_bytes(b"the old one")
    layer = sim.store("app").fetch(sim.store("app").fetch("1").manifests[0].digest).layers[0]
    sim.fail(rf"/blobs/{layer.digest}", 404)
    with pytest.raises(NotFound):
        run(sim.store("app"), ArchiveWriter(tmp_path / "app.tar"))
    assert [p.name for p in tmp_path.iterdir()] == ["app.tar"]
    assert (tmp_path / "app.tar").read_bytes() == b"the old one"


def test_a_changed_byte_in_an_archive_is_refused(sim: Simulator, tmp_path: Path) -> None:
    run(sim.store("app"), ArchiveWriter(tmp_path / "app.tar"))
    raw = (tmp_path / "app.tar").read_bytes()
    (tmp_path / "bad.tar").write_bytes(raw.replace(b"layer 1 amd64", b"layer 1 evil!"))
    inside = Simulator("mirror.test")
    with pytest.raises(ContentMismatch):
        run(ArchiveStore(tmp_path / "bad.tar"), RegistryWriter(inside.store("app")))
    assert inside.repository("app").tags == {}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x1f\x8b\x08\x00" + b"x" * 600, "is not a tar file that can be read in place"),
        (b"", "is not a tar file that can be read in place"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "x.tar").write_bytes(raw)
    with pytest.raises(DestinationError, match=message):
        ArchiveStore(tmp_path / "x.tar").fetch("1")


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, raw in members:
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))


def test_an_archive_with_two_indexes_is_refused(tmp_path: Path) -> None:
    make_tar(tmp_path / "x.tar", *[(tarfile.TarInfo("index.json"), b'{"manifests":[]}')] * 2)
    with pytest.raises(DestinationError, match=r"it has two index\.json"):
        ArchiveStore(tmp_path / "x.tar")


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    link = tarfile.TarInfo("index.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    make_tar(tmp_path / "x.tar", (link, b""))
    with pytest.raises(DestinationError, match=r"has no index\.json"):
        ArchiveStore(tmp_path / "x.tar").fetch("1")


def test_a_huge_header_in_an_archive_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("index.json")
    info.pax_headers = {"comment": "x" * 2_000_000}
    make_tar(tmp_path / "x.tar", (info, b'{"manifests":[]}'))
    with pytest.raises(DestinationError, match="a header is over its limit"):
        ArchiveStore(tmp_path / "x.tar")


def test_an_archive_is_not_written_through_a_store(sim: Simulator, tmp_path: Path) -> None:
    run(sim.store("app"), ArchiveWriter(tmp_path / "app.tar"))
    with pytest.raises(DestinationError, match="is only read"):
        ArchiveStore(tmp_path / "app.tar").rewrite("1", lambda current: None)


# Names


def test_the_example_policy_accepts_the_copy_under_its_new_name_and_nothing_else() -> None:
    outside = Simulator("registry.example.com")
    outside.put_image("shop/app", tag="1.4")
    name = Reference.parse("registry.example.com/shop/app:1.4")
    key = (ROOT / "keys-test/release-a.key").read_text()
    own = load_signer("env:KEY", environ={"KEY": key}, password=lambda what: b"test")
    sign([name], own, locate=lambda r: outside.store("shop/app"), now=NOW)
    judge = load_policy(ROOT / "policies/air-gap.toml", environ={})
    inside = Simulator("mirror.corp:5000")
    with pooled() as pool:
        source = Target(name=name, store=outside.store("shop/app"), what="1.4", place="outside")
        copy(source, RegistryWriter(inside.store("example/shop/app")), "1.4", pool, judge=judge, now=NOW)
    for asked, allowed in (
        ("mirror.corp:5000/example/shop/app:1.4", True),
        ("mirror.corp:5000/example/shop/app:1.5", False),
        ("mirror.corp:5000/example/shop/other:1.4", False),
        ("mirror.corp:5000/shop/app:1.4", False),
    ):
        image = Target(name=Reference.parse(asked), store=inside.store("example/shop/app"), what="1.4", place="inside")
        assert verify(image, *judge, now=NOW).allowed is allowed, asked


def test_a_tag_of_the_source_that_moves_meanwhile_does_not_matter(sim: Simulator) -> None:
    digest = sim.store("app").fetch("1").digest
    there = Simulator("mirror.test")
    there.before(lambda seen: sim.repository("app").tags.update({"1": "sha256:" + "0" * 64}))
    assert run(sim.store("app"), RegistryWriter(there.store("app"))).digest == digest


def test_an_sbom_tag_that_differs_moves_and_that_is_said(sim: Simulator) -> None:
    there = Simulator("mirror.test")
    tag = f"{sim.store('app').fetch('1').digest.tag}.sbom"
    old = put_tagged(there, "app", tag, "text/spdx+json", b"another")
    assert run(sim.store("app"), RegistryWriter(there.store("app"))).result.moved == [(tag, old)]


def test_an_empty_layer_is_copied() -> None:
    sim, there = Simulator(), Simulator("mirror.test")
    empty = sim.put_blob("app", b"")
    sim.put_blob("app", b"{}")
    layers = [{"mediaType": "text/plain", "digest": str(empty), "size": 0}]
    sim.put_manifest("app", manifest_bytes(layers=layers), OCI_MANIFEST, tag="1")
    run(sim.store("app"), RegistryWriter(there.store("app")))
    assert there.repository("app").blobs[str(empty)] == b""
