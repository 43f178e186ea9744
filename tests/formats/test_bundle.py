"""Sigstore bundles as referrers: what is drafted and attached, byte for byte, and that it reads back."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imgsign.claim import Claim, Draft, Referrers, Signer, Subject
from imgsign.errors import InvalidEnvelope
from imgsign.formats.bundle import FORMAT, BundleCandidate
from imgsign.keys import PublicKey
from imgsign.oci import OCI_INDEX, Artifact, Descriptor
from imgsign.reference import Digest, Reference
from imgsign.trust import TrustedKey
from tests.artifacts import (
    ed25519,
    opened,
    public,
    sha256,
    sign,
    statement,
    stored,
)
from tests.shared import ROOT

KEY = ed25519(1)
DIGEST = Digest("sha256", "5e" * 32)
SIGNED_IMAGE = Descriptor(media_type=OCI_INDEX, digest=DIGEST, size=1234)
NAME = Reference.parse("registry.example.com/shop/app:1.4")
SIGNED_AT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DRAFT = Draft(
    names=(NAME,),
    annotations={"stage": "prod", "build": "7 <&> ü"},
    signed_at=SIGNED_AT,
    expires_at=SIGNED_AT + timedelta(days=90),
    sequence=42,
)

# Written by hand; the signature and the hint were made with openssl from the seed 01 01 … 01.

STATEMENT = (
    '{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"registry.example.com/shop/app:1.4",'
    '"digest":{"sha256":"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"},'
    '"annotations":{"build":"7 <&> ü","imgsign.expires-at":"2027-02-21T12:00:00Z","imgsign.sequence":"42",'
    '"imgsign.signed-at":"2026-11-23T12:00:00Z","stage":"prod"}}],'
    '"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
).encode()
MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 417 " + STATEMENT
SIGNATURE = "XcEWOf1uYUG8CbGm3I3WmXbe1ag8JY9RoCBKKPsuI9aHb9O0nCUVnHoTw+Uc5/PyACpe51BBey/c4rROO/2yBg=="
BUNDLE = (
    '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",'
    '"verificationMaterial":{"publicKey":{"hint":"/RENMB0vB33hQUuPmfRBsUA/qyB7IFL70sBl5O6OfcI="},"tlogEntries":[]},'
    f'"dsseEnvelope":{{"payload":"{base64.b64encode(STATEMENT).decode()}",'
    f'"payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":"{SIGNATURE}"}}]}}}}'
).encode()
MANIFEST = (
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    '"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",'
    '"config":{"mediaType":"application/vnd.oci.empty.v1+json",'
    '"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},'
    '"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",'
    f'"digest":"{sha256(BUNDLE)}","size":{len(BUNDLE)}}}],'
    '"subject":{"mediaType":"application/vnd.oci.image.index.v1+json",'
    '"digest":"sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e","size":1234},'
    '"annotations":{"dev.sigstore.bundle.content":"dsse-envelope",'
    '"dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1",'
    '"org.opencontainers.image.created":"2026-11-23T12:00:00Z"}}'
).encode()


# Written


def attached(draft: Draft = DRAFT) -> Artifact:
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, draft, public(KEY))
    return FORMAT.attach(unsigned, sign(KEY, unsigned.message), previous=None)


def test_message_to_sign_is_the_encoded_statement() -> None:
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, DRAFT, public(KEY))
    assert unsigned.message == MESSAGE
    assert (unsigned.format, unsigned.scheme, unsigned.image) == ("bundle", "pure", SIGNED_IMAGE)


def test_bundle_and_referrer_are_written_byte_for_byte() -> None:
    made = attached()
    assert made.manifest.raw == MANIFEST
    assert [b.raw for b in made.blobs] == [b"{}", BUNDLE]
    assert str(made.manifest.digest) == sha256(MANIFEST)


def test_every_blob_the_manifest_names_is_there_to_be_pushed() -> None:
    made = attached()
    assert made.manifest.config is not None
    assert {b.descriptor.digest for b in made.blobs} == {
        made.manifest.config.digest,
        *(d.digest for d in made.manifest.layers),
    }


def test_several_names_share_one_bundle_with_a_subject_each() -> None:
    other = Reference.parse("mirror.example.com/shop/app:1.4")
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, replace(DRAFT, names=(NAME, other)), public(KEY))
    before, subject_text, after = STATEMENT.partition(b'{"name"')
    first = subject_text + after.removesuffix(
        b'],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
    )
    second = first.replace(b"registry.example.com", b"mirror.example.com")
    tail = b'],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
    assert unsigned.content == before + first + b"," + second + tail


def test_least_draft_says_its_time_and_nothing_else() -> None:
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, Draft(names=(NAME,), signed_at=SIGNED_AT), public(KEY))
    assert b'"annotations":{"imgsign.signed-at":"2026-11-23T12:00:00Z"}}]' in unsigned.content


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("release-a", "sha256"),
        ("ed25519", "pure"),
        ("rsa-3072", "sha256"),
        ("ecdsa-p384", "sha384"),
        ("ecdsa-p521", "sha512"),
        ("ml-dsa-65", "pure"),
    ],
)
def test_every_kind_of_key_may_sign_a_bundle(name: str, scheme: str) -> None:
    key = PublicKey.from_pem((ROOT / "keys-test" / f"{name}.pub").read_bytes())
    (unsigned,) = FORMAT.draft(SIGNED_IMAGE, DRAFT, key)
    assert unsigned.scheme == scheme


# Written by two: the message signed elsewhere


def test_message_signed_elsewhere_becomes_the_same_referrer() -> None:
    unsigned = FORMAT.resume(MESSAGE, SIGNED_IMAGE, public(KEY))
    assert unsigned == FORMAT.draft(SIGNED_IMAGE, DRAFT, public(KEY))[0]
    assert FORMAT.attach(unsigned, base64.b64decode(SIGNATURE), previous=None).manifest.raw == MANIFEST


def encoded(payload: bytes) -> bytes:
    return b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)


NOT_RESUMED = {
    "bare statement": (STATEMENT, "not what a DSSE signature of application/vnd.in-toto+json is over"),
    "not a statement": (encoded(b"{}"), "missing key '_type' at $"),
    "attestation": (
        encoded(STATEMENT.replace(b"https://sigstore.dev/cosign/sign/v1", b"https://slsa.dev/provenance/v1")),
        "is an attestation of type 'https://slsa.dev/provenance/v1', not a signature",
    ),
    "another image": (
        encoded(STATEMENT.replace(b"5e5e", b"5f5f")),
        f"is about sha256:{'5f' * 32}, the image is sha256:{'5e' * 32}",
    ),
    "no name": (
        encoded(STATEMENT.replace(b'"name":"registry.example.com/shop/app:1.4",', b"")),
        "names '', which is not an image name",
    ),
    "no image name": (
        encoded(STATEMENT.replace(b"shop/app", b"Shop/App")),
        "names 'registry.example.com/Shop/App:1.4', which is not an image name",
    ),
    "no time": (
        encoded(STATEMENT.replace(b'"imgsign.signed-at":"2026-11-23T12:00:00Z",', b"")),
        "does not say when it was drafted",
    ),
    "no subject": (encoded(statement()), "does not say when it was drafted"),
    "unknown reserved key": (
        encoded(STATEMENT.replace(b"imgsign.sequence", b"imgsign.generation")),
        "signed annotation 'imgsign.generation' is not known to this version",
    ),
}


@pytest.mark.parametrize("fault", NOT_RESUMED)
def test_message_that_would_not_verify_is_not_attached(fault: str) -> None:
    message, said = NOT_RESUMED[fault]
    with pytest.raises(InvalidEnvelope) as e:
        FORMAT.resume(message, SIGNED_IMAGE, public(KEY))
    assert e.value.message == said


# Round trip


def read_back(made: Artifact, about: Digest = DIGEST) -> tuple[object, ...]:
    at = Referrers(made.manifest.digest)
    blobs = stored(*(b.raw for b in made.blobs))
    return FORMAT.read(opened(FORMAT, made.manifest, blobs, at), at, about)


def test_what_is_written_reads_back_as_what_was_drafted() -> None:
    made = attached()
    (found,) = read_back(made)
    assert isinstance(found, BundleCandidate)
    assert found.place == Referrers(made.manifest.digest)
    assert found.key_hint == public(KEY).hint
    claim = found.verify(TrustedKey(key=public(KEY)))
    assert claim.predicate is not None
    assert claim.predicate.raw == b"{}"
    assert replace(claim, predicate=None) == Claim(
        format="bundle",
        place=Referrers(made.manifest.digest),
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
        predicate_type="https://sigstore.dev/cosign/sign/v1",
    )
