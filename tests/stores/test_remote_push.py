"""Pushing: blobs, manifest, and that a later reader will find it by its subject."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed, ContentMismatch, RegistryError, TooLarge, Unavailable
from imgsign.oci import EMPTY_CONFIG, MANIFEST_LIMIT, OCI_INDEX, OCI_MANIFEST, Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores.referrers import LISTED_LIMIT
from tests.answers import Answer, error_answer
from tests.simulator import PUSHED, Simulator, manifest_bytes

HELLO = Blob.of(b"hello", PUSHED)


def _signature(subject: Descriptor | None, salt: str = "", **members: object) -> Artifact:
    """A signature object with one layer; of a subject, if there is one."""
    if subject is not None:
        members["subject"] = subject
    members.setdefault("artifactType", "application/vnd.test.signature")
    raw = manifest_bytes(layers=[HELLO.descriptor.to_json()], annotations={"salt": salt, "b": "c"}, **members)
    return Artifact(manifest=Manifest.parse(raw, OCI_MANIFEST), blobs=(EMPTY_CONFIG, HELLO))


def _sim(*, referrers_api: bool = True) -> tuple[Simulator, Manifest]:
    sim = Simulator(referrers_api=referrers_api)
    return sim, sim.put_image("app", tag="1")


def _index(sim: Simulator, subject: Digest) -> dict[str, object]:
    content = sim.repository("app")
    index: dict[str, object] = json.loads(content.manifests[content.tags[subject.tag]][1])
    return index


def _steps(sim: Simulator) -> list[str]:
    """Requests as METHOD and the part of the path that tells them apart."""
    return [f"{s.method} {s.path.removeprefix('/v2/app/').partition('/sha256')[0]}" for s in sim.requests_seen]


# Blobs


def test_blobs_come_before_the_manifest_and_only_those_that_are_missing() -> None:
    sim = Simulator()
    sim.put_blob("app", EMPTY_CONFIG.raw)
    artifact = _signature(None)
    assert sim.store("app").push(artifact, tag="sig") == artifact.manifest.descriptor
    assert _steps(sim) == [
        "HEAD blobs",
        "HEAD blobs",
        "POST blobs/uploads/",
        "PUT blobs/uploads/1",
        "PUT manifests/sig",
    ]
    (put,) = sim.seen("PUT .*/uploads/")
    assert put.url == (
        f"https://registry.test/v2/app/blobs/uploads/1?_state=a%2Fb%3D&digest=sha256%3A{HELLO.descriptor.digest.hex}"
    )
    assert (put.body, put.headers["content-type"], put.headers["content-length"]) == (b"hello", PUSHED, "5")
    assert sim.seen("POST")[0].headers["content-length"] == "0"
    assert sim.seen("PUT .*/manifests/")[0].headers["content-type"] == OCI_MANIFEST


def test_an_empty_blob_can_be_stored() -> None:
    sim = Simulator()
    empty = Blob.of(b"", PUSHED)
    image = Manifest.parse(manifest_bytes(layers=[empty.descriptor.to_json()]), OCI_MANIFEST)
    sim.store("app").push(Artifact(manifest=image, blobs=(EMPTY_CONFIG, empty)), tag="1")
    assert sim.repository("app").blobs[str(empty.descriptor.digest)] == b""


@pytest.mark.parametrize(
    "location",
    ["https://storage.example/up?sig=1&x=a%2Fb", "https://registry.test:8443/up?sig=1&x=a%2Fb"],
)
def test_an_upload_at_another_origin_gets_no_authorization(location: str) -> None:
    sim = Simulator()
    sim.require_token()
    sim.alter("POST", lambda a: a.with_header("Location", location))

    def store(seen: object) -> Answer:
        sim.put_blob("app", HELLO.raw)
        return Answer(status=201)

    sim.site(location.split("/")[2], store)
    sim.put_blob("app", EMPTY_CONFIG.raw)
    sim.store("app").push(_signature(None), tag="sig")
    (put,) = sim.seen("PUT .*/up")
    assert put.authorization is None
    assert put.url == f"{location}&digest=sha256%3A{HELLO.descriptor.digest.hex}"
    assert sim.seen("PUT .*/manifests/")[0].authorization == "Bearer token-1"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://registry.test/up?sig=secret", "upload from https to plain http refused: https://registry.test to "),
        ("https://127.0.0.1/up?sig=secret", "upload into a private network refused: https://registry.test to "),
    ],
)
def test_an_upload_to_a_place_we_must_not_go_is_refused(location: str, message: str) -> None:
    sim = Simulator()
    sim.alter("POST", lambda a: a.with_header("Location", location))
    with pytest.raises(RegistryError) as e:
        sim.store("app").push(_signature(None), tag="sig")
    assert str(e.value).startswith(message)
    assert "secret" not in "".join(traceback.format_exception(e.value))
    assert sim.seen("/up") == sim.seen("POST")


def test_an_upload_without_a_location_is_an_error() -> None:
    sim = Simulator()
    sim.alter("POST", lambda a: a.with_header("Location", None))
    with pytest.raises(Unavailable, match=r"^registry\.test begins an upload without saying where$"):
        sim.store("app").push(_signature(None), tag="sig")


@pytest.mark.parametrize("broken", ["HEAD .*/blobs/", "POST", "PUT .*/uploads/"])
def test_an_upload_that_fails_begins_again_from_the_start(broken: str) -> None:
    sim = Simulator()
    sim.fail(broken, 503, times=1)
    sim.disconnect(broken, times=1)
    sim.store("app").push(_signature(None), tag="sig")
    posts = len(sim.seen("POST"))
    assert posts == (2 if broken.startswith("HEAD") else 4)
    assert {str(HELLO.descriptor.digest), str(EMPTY_CONFIG.descriptor.digest)} == set(sim.repository("app").blobs)


def test_an_upload_whose_answer_was_lost_is_found_stored() -> None:
    sim = Simulator()
    sim.put_blob("app", EMPTY_CONFIG.raw)
    sim.alter("PUT .*/uploads/", lambda a: Answer(status=502), times=1)
    sim.store("app").push(_signature(None), tag="sig")
    assert len(sim.seen("POST")) == 1


def test_an_upload_is_not_tried_for_ever() -> None:
    sim = Simulator()
    sim.fail("PUT .*/uploads/", 503)
    with pytest.raises(Unavailable) as e:
        sim.store("app").push(_signature(None), tag="sig")
    assert str(e.value) == (
        f"registry.test answered 503 to PUT blob {EMPTY_CONFIG.descriptor.digest} of app, tried 4 times"
    )
    assert len(sim.seen("PUT")) == 4
    assert sim.seen("/manifests/") == []


def test_an_upload_that_is_denied_is_not_tried_again(tmp_path: Path) -> None:
    sim = Simulator()
    sim.fail("POST", 403)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").push(_signature(None), tag="sig")
    assert str(e.value) == "registry.test answered 403 to POST an upload to app, asked without credentials"
    assert len(sim.seen("POST")) == 1


# The manifest


def test_the_put_of_a_manifest_is_tried_again() -> None:
    sim = Simulator()
    sim.fail("PUT .*/manifests/", 503, times=3)
    sim.store("app").push(_signature(None), tag="sig")
    assert len(sim.seen("PUT .*/manifests/")) == 4


def test_a_blob_that_is_unknown_for_a_moment_is_looked_for_again() -> None:
    # docker-registry 2.8.2, while others store the same blob.
    sim = Simulator()
    sim.respond("PUT .*/manifests/", lambda seen: error_answer(400, "MANIFEST_BLOB_UNKNOWN"), times=2)
    sim.store("app").push(_signature(None), tag="sig")
    assert len(sim.seen("PUT .*/manifests/")) == 3
    assert len(sim.seen("HEAD")) == 6


def test_a_blob_that_stays_unknown_is_an_error_with_its_code() -> None:
    sim = Simulator()
    with pytest.raises(Unavailable) as e:
        sim.store("app").push(replace(_signature(None), blobs=(EMPTY_CONFIG,)), tag="sig")
    assert str(e.value) == (
        "registry.test answered 400 to PUT manifest sig of app "
        f"(MANIFEST_BLOB_UNKNOWN: blob unknown: {HELLO.descriptor.digest}), tried 4 times"
    )
    assert e.value.codes == ("MANIFEST_BLOB_UNKNOWN",)


def test_a_registry_that_stores_something_else_is_noticed() -> None:
    sim = Simulator()
    other = Digest.of(b"other")
    sim.swap_digest_header("PUT .*/manifests/", other)
    artifact = _signature(None)
    with pytest.raises(ContentMismatch) as e:
        sim.store("app").push(artifact)
    assert str(e.value).endswith(f"has the digest {artifact.manifest.digest}, but the registry says {other}")


def test_a_manifest_under_a_tag_is_not_listed_by_us() -> None:
    sim, image = _sim(referrers_api=False)
    sim.store("app").push(_signature(image.descriptor), tag="sig")
    assert sim.seen("GET") == []


# Listed by the API


def test_what_the_api_lists_needs_nothing_else() -> None:
    sim, image = _sim()
    artifact = _signature(image.descriptor)
    store = sim.store("app")
    assert store.push(artifact) == artifact.manifest.descriptor
    assert [d.digest for d in store.referrers(image.digest)] == [artifact.manifest.digest]
    assert image.digest.tag not in sim.repository("app").tags
    assert sim.clock.slept == []


def test_an_api_that_lags_is_waited_for() -> None:
    sim, image = _sim()
    sim.lag = 3
    sim.store("app").push(_signature(image.descriptor))
    assert sim.clock.slept == [0.1, 0.2, 0.4]
    assert image.digest.tag not in sim.repository("app").tags


def test_an_api_that_never_lists_what_it_promised_gets_the_fallback_tag() -> None:
    sim, image = _sim()
    sim.lag = 1000
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    assert sim.fallback_entries("app", image.digest) == [str(artifact.manifest.digest)]


def test_an_api_that_promises_nothing_is_asked_all_the_same() -> None:
    sim, image = _sim()
    sim.oci_subject = False
    sim.store("app").push(_signature(image.descriptor))
    assert image.digest.tag not in sim.repository("app").tags


def test_oci_subject_without_an_api_is_not_believed() -> None:
    sim, image = _sim(referrers_api=False)
    sim.oci_subject = True
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    assert sim.fallback_entries("app", image.digest) == [str(artifact.manifest.digest)]


def test_a_list_too_long_to_be_read_gets_the_fallback_tag() -> None:
    sim, image = _sim()
    sim.endless_pages = True
    sim.page_size = 1
    sim.list_for("app", image.digest, *({"mediaType": "a/b", "digest": str(Digest.of(b"x")), "size": 1},) * 60)
    sim.alter("/referrers/", lambda a: Answer(headers=a.headers, body=b'{"manifests": []}'))
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    assert sim.fallback_entries("app", image.digest) == [str(artifact.manifest.digest)]


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (403, AuthenticationFailed)])
def test_a_list_that_cannot_be_read_says_what_was_stored(status: int, kind: type[RegistryError]) -> None:
    sim, image = _sim()
    sim.fail("/referrers/", status)
    artifact = _signature(image.descriptor)
    with pytest.raises(RegistryError) as e:
        sim.store("app").push(artifact)
    assert type(e.value) is kind
    assert str(e.value).startswith(
        f"stored as {artifact.manifest.digest} but perhaps not listed: registry.test answered"
    )
    assert str(e.value).endswith("; run the same command again")


# Listed by the fallback tag


def test_the_fallback_entry_has_the_type_and_all_annotations() -> None:
    sim, image = _sim(referrers_api=False)
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    assert _index(sim, image.digest) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(artifact.manifest.digest),
                "size": len(artifact.manifest.raw),
                "annotations": {"b": "c", "salt": ""},
                "artifactType": "application/vnd.test.signature",
            }
        ],
    }


def test_without_an_artifact_type_the_config_says_it() -> None:
    sim, image = _sim(referrers_api=False)
    sim.store("app").push(_signature(image.descriptor, artifactType=""))
    (entry,) = sim.store("app").referrers(image.digest)
    assert entry.artifact_type == "application/vnd.oci.empty.v1+json"


def test_entries_of_others_are_kept_as_they_are() -> None:
    sim, image = _sim(referrers_api=False)
    theirs = sim.put_referrer("app", image.descriptor)
    entry = {
        **theirs.descriptor.to_json(),
        "annotations": {"z": "1", "a": "ü"},
        "data": "eA==",
        "urls": ["https://x.test"],
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1"},
        "org.example.future": {"n": 10**25, "f": 1.50, "l": [None, True]},
    }
    raw = json.dumps(
        {"manifests": [entry], "schemaVersion": 2, "mediaType": OCI_INDEX, "annotations": {"k": "v"}, "x": 1}
    )
    sim.put_manifest("app", raw.encode(), OCI_INDEX, tag=image.digest.tag)
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    index = _index(sim, image.digest)
    manifests = index.pop("manifests")
    assert isinstance(manifests, list)
    assert manifests[0] == entry
    assert manifests[1]["digest"] == str(artifact.manifest.digest)
    assert index == {"schemaVersion": 2, "mediaType": OCI_INDEX, "annotations": {"k": "v"}, "x": 1}


def test_pushing_again_changes_nothing() -> None:
    sim, image = _sim(referrers_api=False)
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    sim.requests_seen.clear()
    sim.store("app").push(artifact)
    assert sim.seen(f"PUT .*/{image.digest.tag}") == []


def test_pushing_again_lists_what_was_stored_but_lost_from_the_list() -> None:
    sim, image = _sim(referrers_api=False)
    artifact = _signature(image.descriptor)
    sim.store("app").push(artifact)
    sim.put_fallback("app", image.digest, [])
    sim.store("app").push(artifact)
    assert sim.fallback_entries("app", image.digest) == [str(artifact.manifest.digest)]


@pytest.mark.parametrize(
    ("raw", "media_type", "reason"),
    [
        (manifest_bytes(), OCI_MANIFEST, f"holds {OCI_MANIFEST}, not an index of referrers; it is not overwritten"),
        (
            b'{"schemaVersion": 2, "manifests": []}',
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "holds application/vnd.docker.distribution.manifest.list.v2+json, "
            "not an index of referrers; it is not overwritten",
        ),
        (b"{", OCI_INDEX, "not JSON"),
        (b'{"schemaVersion": 2, "manifests": [{}]}', OCI_INDEX, "missing key"),
        (b'{"schemaVersion": 2, "manifests": [], "x": 1e999}', OCI_INDEX, "holds a number that is too large"),
        (b'{"schemaVersion": 2, "manifests": [], "x": "\\ud800"}', OCI_INDEX, "holds a lone surrogate"),
    ],
)
def test_what_is_no_list_is_never_overwritten(raw: bytes, media_type: str, reason: str) -> None:
    sim, image = _sim(referrers_api=False)
    standing = sim.put_manifest("app", raw, media_type, tag=image.digest.tag)
    artifact = _signature(image.descriptor)
    with pytest.raises(RegistryError) as e:
        sim.store("app").push(artifact)
    assert type(e.value) is RegistryError
    assert str(e.value).startswith(
        f"stored as {artifact.manifest.digest} but not listed under tag '{image.digest.tag}' in registry.test/app: "
    )
    assert reason in str(e.value)
    assert sim.repository("app").tags[image.digest.tag] == str(standing)


def test_a_registry_that_reads_the_fallback_tag_as_the_digest_is_refused() -> None:
    sim = Simulator(referrers_api=False)
    sim.tag_is_digest = True
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    subject = Descriptor(media_type=OCI_INDEX, digest=sim.put_manifest("app", raw, OCI_INDEX), size=len(raw))
    with pytest.raises(RegistryError) as e:
        sim.store("app").push(_signature(subject))
    assert "answers tag" in str(e.value)
    assert "with the subject itself, so it cannot list referrers" in str(e.value)
    assert sim.seen(f"PUT .*/{subject.digest.tag}") == []


def test_a_full_list_is_too_large() -> None:
    sim, image = _sim(referrers_api=False)
    filling = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "x": ""}
    filling["x"] = "x" * (MANIFEST_LIMIT - len(json.dumps(filling)))
    sim.put_manifest("app", json.dumps(filling).encode(), OCI_INDEX, tag=image.digest.tag)
    with pytest.raises(TooLarge) as e:
        sim.store("app").push(_signature(image.descriptor))
    assert f"the list of referrers under tag '{image.digest.tag}' in registry.test/app is full" in str(e.value)


def test_a_list_longer_than_is_read_is_too_large() -> None:
    sim, image = _sim(referrers_api=False)
    entries = [{"mediaType": "a/b", "digest": f"sha256:{n:064x}", "size": 1} for n in range(LISTED_LIMIT)]
    sim.put_fallback("app", image.digest, list[object](entries))
    with pytest.raises(TooLarge, match="is full"):
        sim.store("app").push(_signature(image.descriptor))


def test_a_list_with_an_entry_that_is_gone_ends_with_the_code_of_the_registry() -> None:
    # docker-registry stores an index only with all its children; entries of others are not ours to drop.
    sim, image = _sim(referrers_api=False)
    sim.put_fallback("app", image.digest, [{"mediaType": "a/b", "digest": str(Digest.of(b"gone")), "size": 1}])
    artifact = _signature(image.descriptor)
    with pytest.raises(Unavailable) as e:
        sim.store("app").push(artifact)
    assert str(e.value).startswith(f"stored as {artifact.manifest.digest} but not listed under tag ")
    assert f"(MANIFEST_BLOB_UNKNOWN: manifest unknown: {Digest.of(b'gone')})" in str(e.value)
    assert len(sim.seen(f"PUT .*/{image.digest.tag}")) == 5


def test_a_tag_that_must_not_be_moved_says_what_was_stored() -> None:
    sim, image = _sim(referrers_api=False)
    sim.fail(f"PUT .*/{image.digest.tag}", 403)
    artifact = _signature(image.descriptor)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").push(artifact)
    assert str(e.value).startswith(f"stored as {artifact.manifest.digest} but not listed under tag ")
    assert e.value.hint == "imgsign login registry.test"
