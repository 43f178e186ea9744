"""Simple signing under the ``.sig`` tag: what is drafted and attached, byte for byte, and that it reads back."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imgsign import __version__
from imgsign.claim import Claim, Defect, Draft, Signer, Subject, Tag, Unsigned
from imgsign.errors import InvalidEnvelope, InvalidKey, InvalidManifest, UsageError
from imgsign.formats.simple import (
    FORMAT,
    LAYER_TYPE,
    SimpleCandidate,
)
from imgsign.keys import PublicKey
from imgsign.oci import OCI_INDEX, OCI_MANIFEST, Artifact, Descriptor, Manifest
from imgsign.reference import Digest, Reference
from imgsign.tagged import LAYERS_LIMIT
from imgsign.trust import TrustedKey
from tests.artifacts import (
    compact,
    ed25519,
    opened,
    public,
    sha256,
    sign,
    stored,
)
from tests.shared import ROOT

KEY = ed25519(1)
DIGEST = Digest("sha256", "5e" * 32)
SIGNED_IMAGE = Descriptor(media_type=OCI_INDEX, digest=DIGEST, size=1234)
AT = Tag(f"sha256-{'5e' * 32}.sig")
NAME = Reference.parse("registry.example.com/shop/app:1.4")
SIGNED_AT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DRAFT = Draft(
    names=(NAME,),
    annotations={"stage": "prod", "build": "7 <&> ü"},
    signed_at=SIGNED_AT,
    expires_at=SIGNED_AT + timedelta(days=90),
    sequence=42,
)

# Written by hand.

PAYLOAD = (
    '{"critical":{"identity":{"docker-reference":"registry.example.com/shop/app:1.4"},'
    '"image":{"docker-manifest-digest":"sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"},'
    '"type":"cosign container image signature"},'
    f'"optional":{{"build":"7 <&> ü","creator":"imgsign/{__version__}",'
    '"imgsign.expires-at":"2027-02-21T12:00:00Z","imgsign.sequence":"42",'
    '"imgsign.signed-at":"2026-11-23T12:00:00Z","stage":"prod","timestamp":1795435200}}'
).encode()
SIGNATURE = base64.b64encode(KEY.sign(PAYLOAD)).decode()
LAYER = (
    '{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json",'
    f'"digest":"{sha256(PAYLOAD)}","size":{len(PAYLOAD)},'
    f'"annotations":{{"dev.cosignproject.cosign/signature":"{SIGNATURE}"}}}}'
)
CONFIG = (
    '{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}],"os":"",'
    f'"rootfs":{{"type":"layers","diff_ids":["{sha256(PAYLOAD)}"]}},"config":{{}}}}'
).encode()
MANIFEST = (
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    '"config":{"mediaType":"application/vnd.oci.image.config.v1+json",'
    f'"digest":"{sha256(CONFIG)}","size":233}},"layers":[{LAYER}]}}'
).encode()


# Written


def drafted(draft: Draft = DRAFT) -> Unsigned:
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, draft, public(KEY))
    return unsigned


def attached(draft: Draft = DRAFT, previous: Artifact | None = None) -> Artifact:
    unsigned = drafted(draft)
    return FORMAT.attach(unsigned, sign(KEY, unsigned.message), previous=previous)


def test_message_to_sign_is_the_payload() -> None:
    unsigned = drafted()
    assert (unsigned.message, unsigned.content) == (PAYLOAD, PAYLOAD)
    assert (unsigned.format, unsigned.scheme, unsigned.image) == ("simple", "pure", SIGNED_IMAGE)


def test_manifest_config_and_payload_are_written_byte_for_byte() -> None:
    made = attached()
    assert made.manifest.raw == MANIFEST
    assert [b.raw for b in made.blobs] == [CONFIG, PAYLOAD]


def test_several_names_become_a_payload_each() -> None:
    other = Reference.parse("mirror.example.com/shop/app:1.4")
    both = FORMAT.draft(SIGNED_IMAGE, replace(DRAFT, names=(NAME, other)), public(KEY))
    assert [u.message for u in both] == [PAYLOAD, PAYLOAD.replace(b"registry.example.com", b"mirror.example.com")]


def test_several_names_become_a_layer_each() -> None:
    other = Reference.parse("mirror.example.com/shop/app:1.4")
    made: Artifact | None = None
    for unsigned in FORMAT.draft(SIGNED_IMAGE, replace(DRAFT, names=(NAME, other)), public(KEY)):
        made = FORMAT.attach(unsigned, sign(KEY, unsigned.message), previous=made)
    assert made is not None
    found = FORMAT.read(opened(FORMAT, made.manifest, stored(*(b.raw for b in made.blobs)), AT), AT, DIGEST)
    assert [f.place for f in found] == [Tag(AT.name, 0), Tag(AT.name, 1)]
    names = [f.verify(TrustedKey(key=public(KEY))).subjects[0].name for f in found if not isinstance(f, Defect)]
    assert names == [str(NAME), str(other)]


def test_least_draft_says_who_and_when() -> None:
    optional = json.loads(drafted(Draft(names=(NAME,), signed_at=SIGNED_AT)).message)["optional"]
    assert optional == {
        "creator": f"imgsign/{__version__}",
        "imgsign.signed-at": "2026-11-23T12:00:00Z",
        "timestamp": 1795435200,
    }


@pytest.mark.parametrize(
    ("name", "scheme"), [("release-a", "sha256"), ("ed25519", "pure"), ("rsa-3072", "sha256"), ("rsa-4096", "sha256")]
)
def test_keys_that_others_read_may_sign(name: str, scheme: str) -> None:
    key = PublicKey.from_pem((ROOT / "keys-test" / f"{name}.pub").read_bytes())
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, DRAFT, key)
    assert unsigned.scheme == scheme


@pytest.mark.parametrize(
    ("name", "title"),
    [("ecdsa-p384", "ECDSA P-384"), ("ecdsa-p521", "ECDSA P-521"), ("ml-dsa-65", "ML-DSA-65")],
)
def test_keys_that_nobody_else_reads_are_refused(name: str, title: str) -> None:
    key = PublicKey.from_pem((ROOT / "keys-test" / f"{name}.pub").read_bytes())
    with pytest.raises(InvalidKey) as e:
        FORMAT.draft(SIGNED_IMAGE, DRAFT, key)
    assert e.value.message == f"{title} keys cannot make simple signatures: no other tool reads them"
    assert e.value.hint == "use --format bundle, or a P-256, Ed25519 or RSA key"


@pytest.mark.parametrize("taken", ["creator", "timestamp"])
def test_annotation_with_a_name_of_the_format_is_refused(taken: str) -> None:
    with pytest.raises(UsageError, match=f"^annotation '{taken}' is taken by the simple signing format$"):
        drafted(replace(DRAFT, annotations={taken: "x"}))


def test_digest_that_skopeo_would_not_compare_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^simple signing knows sha256 digests only$"):
        FORMAT.draft(replace(SIGNED_IMAGE, digest=Digest("sha512", "5e" * 64)), DRAFT, public(KEY))


# Written by two: the message signed elsewhere


def test_message_signed_elsewhere_becomes_the_same_layer() -> None:
    unsigned = FORMAT.resume(PAYLOAD, SIGNED_IMAGE, public(KEY))
    assert unsigned == drafted()
    assert FORMAT.attach(unsigned, base64.b64decode(SIGNATURE), previous=None).manifest.raw == MANIFEST


NOT_RESUMED = {
    "not a payload": (b"{}", "missing key 'critical' at $"),
    "another image": (
        PAYLOAD.replace(b"5e5e", b"5f5f"),
        f"is about sha256:{'5f' * 32}, the image is sha256:{'5e' * 32}",
    ),
    "no name": (PAYLOAD.replace(b"registry.example.com/shop/app:1.4", b""), "names '', which is not an image name"),
    "no time": (
        PAYLOAD.replace(b'"imgsign.signed-at":"2026-11-23T12:00:00Z",', b"").replace(b',"timestamp":1795435200', b""),
        "does not say when it was drafted",
    ),
}


@pytest.mark.parametrize("fault", NOT_RESUMED)
def test_message_that_would_not_verify_is_not_attached(fault: str) -> None:
    message, said = NOT_RESUMED[fault]
    with pytest.raises(InvalidEnvelope) as e:
        FORMAT.resume(message, SIGNED_IMAGE, public(KEY))
    assert e.value.message == said


# Attached to what stands there


FOREIGN_LAYER = (
    b'{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":2,"digest":"'
    + sha256(b"{}").encode()
    # cosign's certificate annotations hold line breaks; the rest is what a later version might add.
    + b'","annotations":{"dev.sigstore.cosign/certificate":"-----BEGIN CERTIFICATE-----\\nMII\\n","z":"\xc3\xbc",'
    + b'"dev.cosignproject.cosign/signature":"c2ln","a":""},"urls":["https://example.com/x"],"data":"e30=",'
    + b'"new":[1,{"b":null}]}'
)
FOREIGN = (
    b'{"new":{"z":[1,2.5,true,null],"a":"\xc3\xbc"},"schemaVersion":2,'
    b'"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
    b'{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"' + sha256(b"{}").encode() + b'"},'
    b'"layers":[' + FOREIGN_LAYER + b'],"annotations":{"org.example/note":"kept","a":"b"}}'
)


def standing(raw: bytes, media_type: str = OCI_MANIFEST) -> Artifact:
    """What stands at the tag, with its only blob."""
    manifest = Manifest.parse(raw, media_type)
    return opened(FORMAT, manifest, stored(b"{}"), AT)


def test_what_others_wrote_is_kept_byte_for_byte() -> None:
    made = attached(previous=standing(FOREIGN))
    config = (
        '{"architecture":"","created":"0001-01-01T00:00:00Z",'
        '"history":[{"created":"0001-01-01T00:00:00Z"},{"created":"0001-01-01T00:00:00Z"}],"os":"",'
        f'"rootfs":{{"type":"layers","diff_ids":["{sha256(b"{}")}","{sha256(PAYLOAD)}"]}},"config":{{}}}}'
    ).encode()
    old = b'"size":2,"digest":"' + sha256(b"{}").encode() + b'"},"layers":[' + FOREIGN_LAYER + b"]"
    new = f'"digest":"{sha256(config)}","size":{len(config)}}},"layers":['.encode() + FOREIGN_LAYER
    assert FOREIGN.count(old) == 1
    assert made.manifest.raw == FOREIGN.replace(old, new + b"," + LAYER.encode() + b"]")
    assert [b.raw for b in made.blobs] == [b"{}", config, PAYLOAD]


def test_same_signature_again_changes_nothing() -> None:
    previous = standing(FOREIGN)
    once = attached(previous=previous)
    assert attached(previous=once) is once


def test_another_signature_over_the_same_payload_is_added() -> None:
    once = attached()
    unsigned = drafted()
    twice = FORMAT.attach(unsigned, sign(ed25519(2), unsigned.message), previous=once)
    assert [d.digest for d in twice.manifest.layers] == [Digest.of(PAYLOAD)] * 2
    assert twice.manifest.layers[0] == once.manifest.layers[0]


def test_attaching_to_an_index_is_refused() -> None:
    raw = compact({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    with pytest.raises(InvalidManifest) as e:
        attached(previous=standing(raw, OCI_INDEX))
    assert e.value.message == (
        "the signature tag holds something that is not a list of signatures; nothing was changed"
    )


@pytest.mark.parametrize("media_type", ["application/vnd.oci.image.layer.v1.tar+gzip", LAYER_TYPE.upper(), ""])
def test_attaching_to_somebody_elses_image_is_refused(media_type: str) -> None:
    """A tag may look like a signature's and be an image: pushing over it would destroy it."""
    foreign = FOREIGN.replace(LAYER_TYPE.encode(), media_type.encode())
    with pytest.raises(InvalidManifest, match="is not a list of signatures; nothing was changed"):
        attached(previous=standing(foreign))


def test_attaching_beside_another_kind_of_layer_is_refused() -> None:
    mixed = FOREIGN.replace(
        b'"layers":[', b'"layers":[{"mediaType":"x","size":0,"digest":"' + sha256(b"").encode() + b'"},'
    )
    with pytest.raises(InvalidManifest, match="is not a list of signatures; nothing was changed"):
        attached(previous=standing(mixed))


@pytest.mark.parametrize("layers", [b"[]", b"null"])
def test_attaching_to_an_empty_list_makes_the_first_layer(layers: bytes) -> None:
    raw = FOREIGN.replace(b"[" + FOREIGN_LAYER + b"]", layers)
    made = attached(previous=standing(raw))
    assert made.manifest.layers == attached().manifest.layers


def test_manifest_without_a_media_type_in_it_keeps_the_declared_one() -> None:
    raw = FOREIGN.replace(b'"mediaType":"application/vnd.oci.image.manifest.v1+json",', b"")
    made = attached(previous=standing(raw))
    assert made.manifest.descriptor.media_type == OCI_MANIFEST
    assert b'"mediaType":"application/vnd.oci.image.manifest.v1+json"' not in made.manifest.raw


@pytest.mark.parametrize(("count", "accepted"), [(LAYERS_LIMIT - 1, True), (LAYERS_LIMIT, False)])
def test_full_list_of_signatures_takes_no_more(count: int, accepted: bool) -> None:
    raw = FOREIGN.replace(FOREIGN_LAYER, b",".join([FOREIGN_LAYER] * count))
    if accepted:
        assert len(attached(previous=standing(raw)).manifest.layers) == 1000
    else:
        with pytest.raises(InvalidManifest, match=r"^the signature tag holds 1000 signatures already$"):
            attached(previous=standing(raw))


@pytest.mark.parametrize("value", [b'"\\ud800"', b'{"\\ud800":1}', b"1e999", b"-1e999"])
def test_what_cannot_be_written_again_is_refused_and_never_a_crash(value: bytes) -> None:
    """Whoever may write the tag must not be able to make signing crash."""

    def attach() -> None:
        attached(previous=standing(FOREIGN.replace(b'"new":{', b'"odd":' + value + b',"new":{')))

    with pytest.raises(InvalidManifest):
        attach()


# Round trip


def test_what_is_written_reads_back_as_what_was_drafted() -> None:
    made = attached()
    (found,) = FORMAT.read(opened(FORMAT, made.manifest, stored(PAYLOAD), AT), AT, DIGEST)
    assert isinstance(found, SimpleCandidate)
    assert found.verify(TrustedKey(key=public(KEY))) == Claim(
        format="simple",
        place=Tag(AT.name, 0),
        subjects=(
            Subject(
                digest=DIGEST,
                name="registry.example.com/shop/app:1.4",
                annotations={"stage": "prod", "build": "7 <&> ü"},
                claimed_at=SIGNED_AT,
                expires_at=SIGNED_AT + timedelta(days=90),
                sequence=42,
            ),
        ),
        signer=Signer(spki=public(KEY).digest),
        predicate_type=None,
    )
