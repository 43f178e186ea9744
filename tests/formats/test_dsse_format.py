"""Reading cosign's ``.att`` tag: every way in which a layer is no attestation, with its code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imgsign.claim import Defect, Draft, Referrers, Tag
from imgsign.errors import InvalidEnvelope, UsageError
from imgsign.formats import FORMATS, formats_for
from imgsign.formats.dsse import FORMAT, LAYER_TYPE, DsseCandidate
from imgsign.intoto import COSIGN_SIGN
from imgsign.oci import OCI_INDEX, Artifact, Blob, Manifest
from imgsign.reference import Reference
from tests.properties.forge import IMAGES, KEYS, sign

IMAGE = IMAGES[0]
AT = Tag(f"{IMAGE.digest.tag}.att")
DRAFT = Draft(
    names=(Reference.parse("r.example.com/app:1"),),
    signed_at=datetime(2026, 11, 23, tzinfo=UTC),
    predicate_type="https://example.com/x",
)


def made(previous: Artifact | None = None) -> Artifact:
    (unsigned,) = FORMAT.draft(IMAGE.descriptor, DRAFT, KEYS[0])
    return FORMAT.attach(unsigned, sign(0, unsigned.message), previous=previous)


def layer(raw: bytes, **annotations: str) -> Artifact:
    blob = Blob.of(raw, LAYER_TYPE, annotations=annotations)
    value = json.loads(made().manifest.raw)
    value["layers"] = [blob.descriptor.to_json()]
    return Artifact(manifest=Manifest.parse(json.dumps(value).encode()), blobs=(blob,))


def only_defect(artifact: Artifact) -> tuple[str, str]:
    (found,) = FORMAT.read(artifact, AT, IMAGE.digest)
    assert isinstance(found, Defect)
    assert (found.place, found.format) == (Tag(AT.name, 0), "dsse")
    return found.code, found.reason


ENVELOPE = json.loads(made().blobs[-1].raw)


def test_layer_is_a_candidate_without_a_hint() -> None:
    (found,) = FORMAT.read(made(), AT, IMAGE.digest)
    assert isinstance(found, DsseCandidate)
    assert (found.place, found.key_hint, found.format) == (Tag(AT.name, 0), None, "dsse")


def test_two_layers_are_two_candidates_in_order() -> None:
    (unsigned,) = FORMAT.draft(IMAGE.descriptor, replace(DRAFT, sequence=2), KEYS[0])
    both = FORMAT.attach(unsigned, sign(0, unsigned.message), previous=made())
    both = replace(both, blobs=(*both.blobs, *made().blobs))
    assert [c.place for c in FORMAT.read(both, AT, IMAGE.digest)] == [Tag(AT.name, 0), Tag(AT.name, 1)]


def test_same_attestation_is_not_added_twice() -> None:
    once = made()
    assert made(once) is once


@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        (b"", "malformed", "malformed, not JSON: expecting value at line 1 column 1"),
        (b"[" * 2000, "malformed", "malformed, holds more than 1000 values"),
        (json.dumps({**ENVELOPE, "payloadType": "text/plain"}).encode(), "malformed",
         "malformed, payload type 'text/plain' is not an in-toto statement"),
        (json.dumps({**ENVELOPE, "signatures": []}).encode(), "malformed",
         "malformed, expected exactly one signature, got 0 at $.signatures"),
        (json.dumps({**ENVELOPE, "signatures": ENVELOPE["signatures"] * 2}).encode(), "malformed",
         "malformed, expected exactly one signature, got 2 at $.signatures"),
        (json.dumps({**ENVELOPE, "payload": "e30"}).encode(), "malformed",
         "malformed, not standard base64 at $.payload"),
    ],
)  # fmt: skip
def test_layer_that_is_no_envelope_is_a_defect(raw: bytes, code: str, reason: str) -> None:
    assert only_defect(layer(raw)) == (code, reason)


def test_layer_with_a_certificate_is_not_judged() -> None:
    artifact = layer(made().blobs[-1].raw, **{"dev.sigstore.cosign/certificate": "PEM"})
    assert only_defect(artifact) == (
        "unsupported",
        "signed with a certificate; only signatures by plain keys are judged",
    )


def test_layer_that_could_not_be_had_says_why() -> None:
    artifact = made()
    digest = artifact.blobs[-1].descriptor.digest
    gone = replace(artifact, blobs=(), missing=((digest, "is not there"),))
    assert only_defect(gone) == ("blob-missing", "is not there")
    assert only_defect(replace(gone, too_large=frozenset((digest,)))) == ("too-large", "is not there")


def test_index_under_the_tag_is_a_defect() -> None:
    index = Manifest.parse(b'{"schemaVersion":2,"manifests":[]}', OCI_INDEX)
    (found,) = FORMAT.read(Artifact(manifest=index), AT, IMAGE.digest)
    assert isinstance(found, Defect)
    assert (found.code, found.reason) == ("malformed", "is not an image manifest")


def test_other_places_are_not_its_own() -> None:
    for place in (Tag(f"{IMAGE.digest.tag}.sig"), Referrers(IMAGE.digest)):
        assert FORMAT.wanted(made(), place) == ()
        assert FORMAT.read(made(), place, IMAGE.digest) == ()


def test_signature_is_not_drafted_nor_anything_attached_later() -> None:
    with pytest.raises(UsageError):
        FORMAT.draft(IMAGE.descriptor, replace(DRAFT, predicate_type=COSIGN_SIGN), KEYS[0])
    with pytest.raises(InvalidEnvelope):
        FORMAT.resume(b"", IMAGE.descriptor, KEYS[0])


@pytest.mark.parametrize(
    ("wanted", "formats"),
    [
        ((), []),
        ((COSIGN_SIGN,), ["bundle", "simple"]),
        (("https://example.com/x",), ["bundle", "dsse"]),
        ((COSIGN_SIGN, "https://example.com/x"), ["bundle", "simple", "dsse"]),
    ],
)
def test_formats_are_those_that_can_hold_what_is_wanted(wanted: tuple[str, ...], formats: list[str]) -> None:
    assert [f.name for f in formats_for(frozenset(wanted))] == formats
    assert list(FORMATS) == ["bundle", "simple", "dsse"]
