"""Manifests, descriptors and blobs: one body has one reading, and every address is of bytes hashed here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import ContentMismatch, InvalidManifest
from imgsign.oci import (
    DESCRIPTOR_LIMIT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    MANIFEST_LIMIT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Artifact,
    Blob,
    Descriptor,
    Image,
    Manifest,
    Platform,
    platform_of,
)
from imgsign.reference import Digest, Reference
from imgsign.wire import Node

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

Json = dict[str, object]


def descriptor(media_type: str = LAYER, fill: str = "a", **more: object) -> Json:
    return {"mediaType": media_type, "digest": "sha256:" + fill * 64, "size": 3, **more}


def image(**changed: object) -> Json:
    body: Json = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, "c"),
        "layers": [descriptor()],
    }
    return {k: v for k, v in {**body, **changed}.items() if v is not ABSENT}


def index(**changed: object) -> Json:
    body: Json = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST)]}
    return {k: v for k, v in {**body, **changed}.items() if v is not ABSENT}


ABSENT = object()


def raw(body: object) -> bytes:
    return json.dumps(body).encode()


def refusal(body: object, media_type: str | None = None) -> str:
    """The message with which a body is refused."""
    with pytest.raises(InvalidManifest) as caught:
        Manifest.parse(body if isinstance(body, bytes) else raw(body), media_type)
    return caught.value.message


# What is read.


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_image_manifest_is_read(media_type: str) -> None:
    found = Manifest.parse(raw(image(mediaType=media_type)), media_type)
    assert not found.is_index
    assert found.descriptor.media_type == media_type
    assert str(found.config.digest if found.config else None) == "sha256:" + "c" * 64
    assert [str(d.digest) for d in found.layers] == ["sha256:" + "a" * 64]


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_index_is_read(media_type: str) -> None:
    platform = {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "", "features": []}
    listed = descriptor(OCI_MANIFEST, platform=platform)
    found = Manifest.parse(raw(index(mediaType=media_type, manifests=[listed])), media_type)
    assert found.is_index
    assert found.config is None
    assert [str(d.platform) for d in found.manifests] == ["linux/arm64/v8"]


def test_digest_and_size_are_of_the_bytes_received_not_of_what_they_mean() -> None:
    body = b'{ "schemaVersion" : 2,\n"layers":[], "config":' + raw(descriptor(OCI_CONFIG)) + b"}\n"
    found = Manifest.parse(body, OCI_MANIFEST)
    assert found.raw == body
    assert str(found.digest) == "sha256:" + hashlib.sha256(body).hexdigest()
    assert found.descriptor.size == len(body)


def test_manifest_can_be_addressed_by_sha512() -> None:
    body = raw(image())
    found = Manifest.parse(body, algorithm="sha512")
    assert str(found.digest) == "sha512:" + hashlib.sha512(body).hexdigest()


def test_subject_artifact_type_and_annotations_are_read() -> None:
    body = image(subject=descriptor(OCI_MANIFEST, "b"), artifactType="application/x", annotations={"k": "v"})
    found = Manifest.parse(raw(body))
    assert found.subject is not None
    assert str(found.subject.digest) == "sha256:" + "b" * 64
    assert found.artifact_type == "application/x"
    assert found.annotations == {"k": "v"}


@pytest.mark.parametrize("key", ["layers", "subject", "annotations", "artifactType"])
def test_null_means_absent_as_go_writes_it(key: str) -> None:
    found = Manifest.parse(raw(image(**{key: None})))
    assert (found.subject, found.annotations, found.artifact_type) == (None, {}, None)
    assert len(found.layers) == (0 if key == "layers" else 1)


def test_null_list_of_an_index_is_an_empty_list() -> None:
    assert Manifest.parse(raw(index(manifests=None))).manifests == ()


def test_unknown_members_are_kept_in_the_bytes_and_otherwise_ignored() -> None:
    body = raw(image(future={"a": [1]}))
    assert Manifest.parse(body).raw == body


@pytest.mark.parametrize(
    "declared",
    [
        OCI_MANIFEST,
        f"{OCI_MANIFEST}; charset=utf-8",
        f" {OCI_MANIFEST} ;x=y",
        "application/json",
        "application/json; charset=utf-8",
        "application/octet-stream",
        "",
        None,
    ],
)
def test_declared_type_may_have_parameters_or_say_nothing(declared: str | None) -> None:
    assert Manifest.parse(raw(image()), declared).descriptor.media_type == OCI_MANIFEST


def test_body_without_media_type_takes_the_declared_one() -> None:
    assert Manifest.parse(raw(image(mediaType=ABSENT)), OCI_MANIFEST).descriptor.media_type == OCI_MANIFEST


# What is refused: two readings of one body (CVE-2021-41190).


@pytest.mark.parametrize("declared", [OCI_INDEX, DOCKER_MANIFEST, "text/html", "Application/" + OCI_MANIFEST[12:]])
def test_media_type_other_than_the_declared_one_is_refused(declared: str) -> None:
    expected = f"ambiguous: declared as '{declared}' but its mediaType is '{OCI_MANIFEST}' at $"
    assert refusal(image(), declared) == expected


@pytest.mark.parametrize("key", ["config", "layers", "fsLayers", "history", "signatures"])
def test_index_with_a_key_of_images_is_refused(key: str) -> None:
    value = descriptor(OCI_CONFIG) if key == "config" else []
    assert refusal(index(**{key: value})) == f"ambiguous: {OCI_INDEX} with key '{key}' at $"


@pytest.mark.parametrize("key", ["manifests", "fsLayers", "history", "signatures"])
def test_image_with_a_key_of_indexes_or_of_schema_1_is_refused(key: str) -> None:
    assert refusal(image(**{key: []})) == f"ambiguous: {OCI_MANIFEST} with key '{key}' at $"


@pytest.mark.parametrize("value", [None, [], {}])
def test_image_with_even_an_empty_list_of_manifests_is_refused(value: object) -> None:
    assert refusal(image(manifests=value)) == f"ambiguous: {OCI_MANIFEST} with key 'manifests' at $"


def test_image_declared_as_an_index_by_a_body_without_type_is_refused() -> None:
    assert refusal(image(mediaType=ABSENT), OCI_INDEX) == f"ambiguous: {OCI_INDEX} with key 'config' at $"


@pytest.mark.parametrize(
    ("twin", "known"),
    [
        ("Layers", "layers"),
        ("LAYERS", "layers"),
        ("Config", "config"),
        ("MediaType", "mediaType"),
        ("mediatype", "mediaType"),
        ("Manifests", "manifests"),
        ("Subject", "subject"),
        ("layer\u017f", "layers"),  # long s: an s to Go
        ("\u017fubject", "subject"),
    ],
)
def test_key_that_differs_only_by_case_is_refused(twin: str, known: str) -> None:
    # Go reads it as the known key, the last one wins: another image than the one judged.
    assert refusal(image(**{twin: []})) == f"key '{twin}' differs from '{known}' only by case at $"


@pytest.mark.parametrize(
    ("twin", "known"),
    [
        ("Digest", "digest"),
        ("SIZE", "size"),
        ("mediatype", "mediaType"),
        ("dige\u017ft", "digest"),
        ("\u017fize", "size"),
    ],
)
def test_descriptor_key_that_differs_only_by_case_is_refused(twin: str, known: str) -> None:
    body = image(layers=[{**descriptor(), twin: 1}])
    assert refusal(body) == f"key '{twin}' differs from '{known}' only by case at $.layers[0]"


def test_duplicate_key_is_refused() -> None:
    body = raw(image())[:-1] + b', "layers": []}'
    assert refusal(body) == "duplicate key 'layers'"


def test_duplicate_key_in_a_descriptor_is_refused() -> None:
    body = raw(image()).replace(b'"size": 3', b'"size": 3, "size": 4', 1)
    assert refusal(body) == "duplicate key 'size'"


# What is refused: schema 1.

SCHEMA1_REFUSED = "image manifest schema 1 is not supported: its digest is not the digest of its bytes"


@pytest.mark.parametrize("declared", [None, SCHEMA1, SCHEMA1_SIGNED, OCI_MANIFEST, "application/json"])
def test_schema_1_is_refused_with_the_reason(declared: str | None) -> None:
    body = {"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": [], "signatures": []}
    assert refusal(body, declared) == SCHEMA1_REFUSED


@pytest.mark.parametrize("declared", [SCHEMA1, SCHEMA1_SIGNED, f"{SCHEMA1_SIGNED}; charset=utf-8"])
def test_body_declared_as_schema_1_is_refused_whatever_it_says(declared: str) -> None:
    assert refusal(image(), declared) == SCHEMA1_REFUSED


# What is refused: the rest.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "expected object, got list at $"),
        ({}, "missing key 'schemaVersion' at $"),
        (image(schemaVersion=3), "unknown schema version 3 at $.schemaVersion"),
        (image(schemaVersion=0), "unknown schema version 0 at $.schemaVersion"),
        (image(schemaVersion="2"), "expected integer, got string at $.schemaVersion"),
        (image(schemaVersion=2.0), "expected integer, got number at $.schemaVersion"),
        (image(schemaVersion=True), "expected integer, got boolean at $.schemaVersion"),
        (image(mediaType=ABSENT), "no media type, neither declared nor in the body at $"),
        (image(mediaType=""), "no media type, neither declared nor in the body at $"),
        (image(mediaType=7), "expected string, got integer at $.mediaType"),
        (
            image(mediaType="application/vnd.oci.artifact.manifest.v1+json"),
            "unsupported manifest media type 'application/vnd.oci.artifact.manifest.v1+json' at $",
        ),
        (image(config=ABSENT), "missing key 'config' at $"),
        (image(config=None), "expected object, got null at $.config"),
        (image(config=[]), "expected object, got list at $.config"),
        (image(config={}), "missing key 'mediaType' at $.config"),
        (image(layers=ABSENT), "missing key 'layers' at $"),
        (image(layers={}), "expected list, got object at $.layers"),
        (image(layers=[None]), "expected object, got null at $.layers[0]"),
        (index(manifests=ABSENT), "missing key 'manifests' at $"),
        (index(manifests={}), "expected list, got object at $.manifests"),
        (image(subject=[]), "expected object, got list at $.subject"),
        (image(annotations=[]), "expected object, got list at $.annotations"),
        (image(annotations={"k": 1}), "expected string, got integer at $.annotations.k"),
        (image(annotations={"k": None}), "expected string, got null at $.annotations.k"),
        (image(artifactType=1), "expected string, got integer at $.artifactType"),
    ],
)
def test_body_that_is_no_manifest_is_refused(body: object, message: str) -> None:
    assert refusal(body) == message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": -1}, "integer -1 is out of range at $.layers[0].size"),
        ({"size": 3.0}, "expected integer, got number at $.layers[0].size"),
        ({"size": "3"}, "expected integer, got string at $.layers[0].size"),
        ({"size": True}, "expected integer, got boolean at $.layers[0].size"),
        ({"size": 2**63}, "integer 9223372036854775808 is out of range at $.layers[0].size"),
        ({"size": None}, "expected integer, got null at $.layers[0].size"),
        ({"size": ABSENT}, "missing key 'size' at $.layers[0]"),
        ({"mediaType": ABSENT}, "missing key 'mediaType' at $.layers[0]"),
        ({"mediaType": None}, "expected string, got null at $.layers[0].mediaType"),
        ({"digest": ABSENT}, "missing key 'digest' at $.layers[0]"),
        ({"digest": None}, "expected string, got null at $.layers[0].digest"),
        (
            {"digest": "sha256:" + "A" * 64},
            "expected 64 lower-case hex digits after 'sha256:' at $.layers[0].digest",
        ),
        ({"digest": "sha256:" + "a" * 63}, "expected 64 lower-case hex digits after 'sha256:' at $.layers[0].digest"),
        ({"digest": "md5:" + "a" * 32}, "unsupported digest algorithm 'md5' at $.layers[0].digest"),
        ({"digest": "sha256:../../etc"}, "expected 64 lower-case hex digits after 'sha256:' at $.layers[0].digest"),
        ({"digest": "a" * 64}, "not a digest: '" + "a" * 64 + "' at $.layers[0].digest"),
        ({"annotations": {"k": ["v"]}}, "expected string, got list at $.layers[0].annotations.k"),
        ({"platform": "linux"}, "expected object, got string at $.layers[0].platform"),
        ({"platform": {"os": 1}}, "expected string, got integer at $.layers[0].platform.os"),
        ({"artifactType": 1}, "expected string, got integer at $.layers[0].artifactType"),
    ],
)
def test_descriptor_with_one_fault_is_refused(changed: Mapping[str, object], message: str) -> None:
    body = {k: v for k, v in {**descriptor(), **changed}.items() if v is not ABSENT}
    assert refusal(image(layers=[body])) == message


def test_manifest_of_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    body = raw(image())
    padded = body + b" " * (MANIFEST_LIMIT - len(body))
    assert Manifest.parse(padded).descriptor.size == 4 * 1024 * 1024
    assert refusal(padded + b" ") == "4194305 bytes are more than the limit of 4194304"


def test_more_descriptors_than_the_limit_are_refused() -> None:
    # CVE-2024-29903: a list costs memory long before it costs bytes.
    body = index(manifests=[{"digest": "x"}] * (DESCRIPTOR_LIMIT + 1))
    assert refusal(body) == "expected at most 10000 elements, got 10001 at $.manifests"


@given(st.binary(max_size=100), st.sampled_from([None, OCI_MANIFEST, OCI_INDEX, "application/json"]))
def test_any_bytes_are_a_manifest_or_refused_as_invalid(body: bytes, declared: str | None) -> None:
    with pytest.raises(InvalidManifest):
        Manifest.parse(body, declared)


@given(st.data())
def test_every_single_changed_byte_is_refused_or_has_its_own_digest(data: st.DataObject) -> None:
    original = raw(image())
    at = data.draw(st.integers(0, len(original) - 1))
    changed = original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
    try:
        found = Manifest.parse(changed)
    except InvalidManifest:
        return
    assert found.digest != Digest.of(original)


# Descriptors.


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"annotations": {"b": "2", "a": "1"}},
        {"artifactType": "application/x"},
        {"platform": {"architecture": "arm", "os": "linux", "variant": "v7"}},
        {"platform": {"architecture": "amd64", "os": "linux"}, "annotations": {"a": "1"}},
    ],
)
def test_descriptor_parse_after_to_json_is_the_identity(more: Mapping[str, object]) -> None:
    written = {**descriptor(), **more}
    found = Descriptor.parse(Node(written))
    assert Descriptor.parse(Node(found.to_json())) == found
    assert found.to_json() == written


def test_embedded_data_and_urls_are_never_used() -> None:
    found = Descriptor.parse(Node(descriptor(data="e30=", urls=["https://attacker.example/"])))
    assert found == Descriptor.parse(Node(descriptor()))


def test_empty_artifact_type_is_none() -> None:
    assert Descriptor.parse(Node(descriptor(artifactType=""))).artifact_type is None


# Blobs.


def test_blob_of_its_descriptor_is_accepted() -> None:
    wanted = Descriptor(media_type=LAYER, digest=Digest.of(b"abc"), size=3)
    assert Blob.checked(wanted, b"abc").raw == b"abc"


@pytest.mark.parametrize("body", [b"", b"ab", b"abcd"])
def test_blob_of_another_size_is_refused(body: bytes) -> None:
    wanted = Descriptor(media_type=LAYER, digest=Digest.of(body), size=3)
    with pytest.raises(ContentMismatch) as caught:
        Blob.checked(wanted, body)
    assert caught.value.message == f"blob {wanted.digest} has {len(body)} bytes, its descriptor says 3"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_blob_of_another_digest_is_refused(algorithm: str) -> None:
    wanted = Descriptor(media_type=LAYER, digest=Digest.of(b"abc", algorithm), size=3)
    with pytest.raises(ContentMismatch) as caught:
        Blob.checked(wanted, b"abd")
    assert caught.value.message == f"blob {wanted.digest} has the digest {Digest.of(b'abd', algorithm)}"


def test_empty_config_is_the_one_of_the_specification() -> None:
    # image-spec v1.1.1 manifest.md "Guidance for an Empty Descriptor"
    assert (
        str(EMPTY_CONFIG.descriptor.digest) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert EMPTY_CONFIG.descriptor.size == 2


def test_bytes_are_not_shown_in_repr() -> None:
    blob = Blob.of(b"pa55word", LAYER)
    assert "pa55" not in repr(blob)
    assert "schemaVersion" not in repr(Manifest.parse(raw(image())))


# Artifacts, images, platforms.


def test_artifact_finds_a_blob_and_says_why_one_is_missing() -> None:
    blob, gone, unknown = Blob.of(b"1", LAYER), Digest.of(b"2"), Digest.of(b"3")
    artifact = Artifact(manifest=Manifest.parse(raw(image())), blobs=(blob,), missing=((gone, "404"),))
    assert artifact.blob(blob.descriptor.digest) is blob
    assert artifact.blob(gone) is None
    assert artifact.why_missing(gone) == "404"
    assert artifact.why_missing(unknown) == "was not gathered"


def test_image_shows_its_name_with_the_digest_that_was_computed() -> None:
    manifest = Manifest.parse(raw(image()))
    name = Reference.parse("example.com/app:1@sha256:" + "0" * 64)
    assert str(Image(name=name, manifest=manifest)) == f"example.com/app:1@{manifest.digest}"
    assert str(Image(name=name, manifest=None)) == str(name)
    assert str(Image(name=None, manifest=manifest)) == str(manifest.digest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform(os="linux", architecture="amd64")),
        ("linux/arm/v7", Platform(os="linux", architecture="arm", variant="v7")),
    ],
)
def test_platform_is_read_and_written(text: str, expected: Platform) -> None:
    assert platform_of(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux//v7", "linux/arm/v7/x", "linux/arm/"])
def test_text_that_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        platform_of(text)
    assert caught.value.message == f"not a platform: '{text}'"
