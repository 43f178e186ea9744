"""Sigstore bundles from others: what is read, and what is a defect or a claim that must not count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgsign.claim import Claim, Defect, Referrers, Signer, Subject, Tag
from imgsign.errors import InvalidEnvelope, UntrustedSigner
from imgsign.formats import bundle
from imgsign.formats.bundle import BUNDLE_LIMIT, FORMAT, LAYERS_LIMIT, BundleCandidate
from imgsign.intoto import COSIGN_SIGN
from imgsign.keys import PublicKey
from imgsign.oci import OCI_MANIFEST, Artifact, Manifest
from imgsign.reference import Digest
from imgsign.trust import TrustedKey
from tests.artifacts import (
    IMAGE,
    bundle_value,
    compact,
    ed25519,
    opened,
    p256,
    public,
    read_bundles,
    referrer,
    sign,
    sign_statement,
    statement,
    stored,
    subject,
)

KEY = ed25519(1)
DIGEST = Digest("sha256", "5e" * 32)

# Read


def claim_of(raw: bytes, key: PublicKey | None = None) -> Claim:
    (found,) = read_bundles(raw)
    assert isinstance(found, BundleCandidate)
    return found.verify(TrustedKey(key=key or public(KEY)))


def test_wrong_hint_hides_nothing() -> None:
    """The hint is the attacker's to choose; it orders keys and decides nothing."""
    assert claim_of(sign_statement(KEY, statement(subject("x:1")))).signer == Signer(spki=public(KEY).digest)


def test_another_key_did_not_sign_it() -> None:
    with pytest.raises(UntrustedSigner):
        claim_of(sign_statement(KEY, statement(subject("x:1"))), public(ed25519(2)))


@pytest.mark.parametrize("hash", ["sha384", "sha512"])
def test_hash_of_the_policy_replaces_that_of_the_key(hash: str) -> None:
    (found,) = read_bundles(sign_statement(p256(7), statement(subject("x:1"))))
    assert isinstance(found, BundleCandidate)
    assert found.verify(TrustedKey(key=public(p256(7)), hash="sha256")).subjects[0].name == "x:1"
    with pytest.raises(UntrustedSigner):
        found.verify(TrustedKey(key=public(p256(7)), hash=hash))


def test_attestation_keeps_its_type_so_that_it_never_counts_as_a_signature() -> None:
    raw = sign_statement(KEY, statement(subject("x:1"), predicate_type="https://slsa.dev/provenance/v1"))
    assert claim_of(raw).predicate_type == "https://slsa.dev/provenance/v1"


def test_subject_with_two_digests_is_two_subjects_with_one_name() -> None:
    both = {"name": "x:1", "digest": {"sha256": "a" * 64, "sha512": "b" * 128}}
    assert claim_of(sign_statement(KEY, statement(both))).subjects == (
        Subject(digest=Digest("sha256", "a" * 64), name="x:1"),
        Subject(digest=Digest("sha512", "b" * 128), name="x:1"),
    )


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    ],
)
def test_older_bundle_versions_are_read(media_type: str) -> None:
    payload = statement(subject("x:1"))
    value = bundle_value(payload, sign(KEY, b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)))
    assert claim_of(compact({**value, "mediaType": media_type})).subjects[0].name == "x:1"


SOUND = bundle_value(statement(subject("x:1")), b"signature")


def with_material(**members: object) -> bytes:
    return compact({**SOUND, "verificationMaterial": members})


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (with_material(publicKey={"hint": "h"}), "h"),
        (with_material(publicKey={"hint": ""}), ""),
        (with_material(publicKey={}), None),
        (with_material(publicKey={"rawBytes": "eA==", "keyDetails": "PKIX_ECDSA_P384_SHA_384"}), None),
        (with_material(publicKey={"hint": "h"}, tlogEntries=[{"never": "read"}], timestampVerificationData=None), "h"),
    ],
)
def test_material_gives_a_hint_or_none(raw: bytes, hint: str | None) -> None:
    (found,) = read_bundles(raw)
    assert isinstance(found, BundleCandidate)
    assert found.key_hint == hint


def test_bundles_of_one_referrer_are_named_by_their_place() -> None:
    one, two = sign_statement(KEY, statement(subject("x:1"))), sign_statement(KEY, statement(subject("y:1")))
    manifest = referrer(one, b"{}", two)
    assert [f.place for f in read_bundles(one, b"{}", two)] == [Referrers(manifest.digest, n) for n in range(3)]


# Rejected: defects of one candidate


def only_defect(raw: bytes) -> tuple[str, str]:
    (found,) = read_bundles(raw)
    assert isinstance(found, Defect)
    return found.code, found.reason


CERTIFICATE = "signed with a certificate; only signatures by plain keys are judged"
ENVELOPE = SOUND["dsseEnvelope"]
assert isinstance(ENVELOPE, dict)

REJECTED = {
    "not JSON": (b"\x00", "malformed", "malformed, not JSON: expecting value at line 1 column 1"),
    "not UTF-8": (b'{"\xff"}', "malformed", "malformed, not UTF-8 at byte 2"),
    "byte order mark": (b"\xef\xbb\xbf{}", "malformed", "malformed, starts with a byte order mark"),
    "trailing data": (
        compact(SOUND) + b"{}",
        "malformed",
        f"malformed, not JSON: extra data at line 1 column {len(compact(SOUND)) + 1}",
    ),
    "not an object": (b"[]", "malformed", "malformed, expected object, got list at $"),
    "no media type": (
        compact({k: v for k, v in SOUND.items() if k != "mediaType"}),
        "malformed",
        "malformed, missing key 'mediaType' at $",
    ),
    "unknown version": (
        compact({**SOUND, "mediaType": "application/vnd.dev.sigstore.bundle.v0.4+json"}),
        "malformed",
        "malformed, unknown bundle version 'application/vnd.dev.sigstore.bundle.v0.4+json' at $.mediaType",
    ),
    "unknown member": (compact({**SOUND, "extra": 1}), "malformed", "malformed, unknown key 'extra' at $"),
    "case variant": (
        compact({**SOUND, "DsseEnvelope": ENVELOPE}),
        "malformed",
        "malformed, key 'DsseEnvelope' differs from 'dsseEnvelope' only by case at $",
    ),
    "duplicate member": (
        b'{"mediaType":"x",' + compact(SOUND)[1:],
        "malformed",
        "malformed, duplicate key 'mediaType'",
    ),
    "no content": (
        compact({k: v for k, v in SOUND.items() if k != "dsseEnvelope"}),
        "malformed",
        "malformed, expected one of 'dsseEnvelope' and 'messageSignature' at $",
    ),
    "two contents": (
        compact({**SOUND, "messageSignature": {}}),
        "malformed",
        "malformed, expected one of 'dsseEnvelope' and 'messageSignature' at $",
    ),
    "no material": (
        with_material(tlogEntries=[]),
        "malformed",
        "malformed, expected one of publicKey, certificate, x509CertificateChain at $.verificationMaterial",
    ),
    "two materials": (
        with_material(publicKey={"hint": "h"}, certificate={"rawBytes": ""}),
        "malformed",
        "malformed, expected one of publicKey, certificate, x509CertificateChain at $.verificationMaterial",
    ),
    "unknown material": (
        with_material(publicKey={"hint": "h"}, rawKey="x"),
        "malformed",
        "malformed, unknown key 'rawKey' at $.verificationMaterial",
    ),
    "hint not text": (
        with_material(publicKey={"hint": 1}),
        "malformed",
        "malformed, expected string, got integer at $.verificationMaterial.publicKey.hint",
    ),
    "key not an object": (
        with_material(publicKey="MCowBQYDK2VwAyEA"),
        "malformed",
        "malformed, expected object, got string at $.verificationMaterial.publicKey",
    ),
    "two signatures": (
        compact({**SOUND, "dsseEnvelope": {**ENVELOPE, "signatures": [{"sig": "eA=="}] * 2}}),
        "malformed",
        "malformed, expected exactly one signature, got 2 at $.dsseEnvelope.signatures",
    ),
    "two signatures and a certificate": (
        compact(
            {
                **SOUND,
                "verificationMaterial": {"certificate": {"rawBytes": ""}},
                "dsseEnvelope": {**ENVELOPE, "signatures": [{"sig": "eA=="}] * 2},
            }
        ),
        "malformed",
        "malformed, expected exactly one signature, got 2 at $.dsseEnvelope.signatures",
    ),
    "certificate": (with_material(certificate={"rawBytes": "eA=="}), "unsupported", CERTIFICATE),
    "certificate chain": (with_material(x509CertificateChain={"certificates": []}), "unsupported", CERTIFICATE),
    "signature over a file": (
        compact({k: v for k, v in {**SOUND, "messageSignature": {}}.items() if k != "dsseEnvelope"}),
        "unsupported",
        "signs a file, not an image: no DSSE envelope",
    ),
    "another payload type": (
        compact({**SOUND, "dsseEnvelope": {**ENVELOPE, "payloadType": "application/vnd.in-toto+JSON"}}),
        "unsupported",
        "payload type 'application/vnd.in-toto+JSON' is not an in-toto statement",
    ),
}


@pytest.mark.parametrize("fault", REJECTED)
def test_bundle_is_a_defect(fault: str) -> None:
    raw, code, reason = REJECTED[fault]
    assert only_defect(raw) == (code, reason)


def test_bundle_over_the_limit_is_a_defect() -> None:
    raw = compact(SOUND) + b" " * (BUNDLE_LIMIT + 1 - len(compact(SOUND)))
    assert only_defect(raw) == ("malformed", "malformed, 134217729 bytes are more than the limit of 134217728")


def test_bundle_of_very_many_values_is_not_parsed() -> None:
    # As long as an SBOM, and as text no more than that; as Python's lists twenty times as much.
    raw = b'{"mediaType":[' + b"[]," * 50_000 + b"[]]}"
    assert only_defect(raw) == ("malformed", "malformed, holds more than 50000 values")


def test_only_so_many_bundles_of_one_referrer_are_read() -> None:
    raw = [sign_statement(KEY, statement(subject(f"x:{n}"))) for n in range(LAYERS_LIMIT + 1)]
    assert len(read_bundles(*raw)) == 16


# Rejected: signed, but not acceptable

BAD_CLAIMS: dict[str, tuple[dict[str, object], str]] = {
    "unknown reserved key": (
        subject("x:1", annotations={"imgsign.not-before": "2027-01-01T00:00:00Z"}),
        "signed annotation 'imgsign.not-before' is not known to this version",
    ),
    "case-variant reserved key": (
        subject("x:1", annotations={"imgsign.Expires-At": "2027-01-01T00:00:00Z"}),
        "signed annotation 'imgsign.Expires-At' is not known to this version",
    ),
    "expiry not a time": (
        subject("x:1", annotations={"imgsign.expires-at": "soon"}),
        "not an RFC 3339 time: 'soon' at $.subject[0].annotations.'imgsign.expires-at'",
    ),
    "sequence not text": (
        subject("x:1", annotations={"imgsign.sequence": 1}),
        "expected string, got integer at $.subject[0].annotations.'imgsign.sequence'",
    ),
    "digest in upper case": (
        {"name": "x:1", "digest": {"sha256": "A" * 64}},
        "expected 64 lower-case hex digits after 'sha256:' at $.subject[0].digest.sha256",
    ),
}


@pytest.mark.parametrize("fault", BAD_CLAIMS)
def test_signed_statement_is_refused(fault: str) -> None:
    bad, message = BAD_CLAIMS[fault]
    with pytest.raises(InvalidEnvelope) as e:
        claim_of(sign_statement(KEY, statement(bad)))
    assert e.value.message == message


def test_one_bad_subject_refuses_the_whole_claim() -> None:
    """A critical extension on any subject: the signer meant something this version does not know."""
    good, bad = subject("x:1"), subject("y:1", annotations={"imgsign.x": ""})
    with pytest.raises(InvalidEnvelope, match=r"^signed annotation 'imgsign\.x' is not known to this version$"):
        claim_of(sign_statement(KEY, statement(good, bad)))


def test_payload_is_looked_at_only_after_its_signature() -> None:
    """A stranger's rubbish must be called untrusted, not malformed: its bytes were never read."""
    with pytest.raises(UntrustedSigner):
        claim_of(sign_statement(KEY, b"\xff"), public(p256(5)))


# Where it lies


def test_place_is_among_the_referrers() -> None:
    assert FORMAT.places(DIGEST) == (Referrers(),)


def test_nothing_is_wanted_from_a_tag() -> None:
    raw = sign_statement(KEY, statement(subject("x:1")))
    at = Tag(f"{IMAGE.digest.tag}.sig")
    artifact = Artifact(manifest=referrer(raw))
    assert (FORMAT.wanted(artifact, at), FORMAT.read(artifact, at, IMAGE.digest)) == ((), ())


def test_referrer_of_another_type_is_none_of_ours() -> None:
    manifest = Manifest.parse(IMAGE.raw, OCI_MANIFEST)
    assert FORMAT.read(Artifact(manifest=manifest), Referrers(manifest.digest), IMAGE.digest) == ()


@pytest.mark.parametrize("listed_for", [None, Manifest.parse(IMAGE.raw + b" ", OCI_MANIFEST)])
def test_referrer_of_another_image_is_foreign_wherever_it_is_listed(listed_for: Manifest | None) -> None:
    """Whoever can write a fallback tag can list any manifest in it."""
    raw = sign_statement(KEY, statement(subject("x:1")))
    manifest = referrer(raw, subject=listed_for)
    at = Referrers(manifest.digest)
    assert FORMAT.read(opened(FORMAT, manifest, stored(raw), at), at, IMAGE.digest) == (
        Defect(place=at, code="foreign-referrer", reason="is not a referrer of this image", format="bundle"),
    )


def test_bundle_that_could_not_be_had_is_a_defect_with_the_reason() -> None:
    manifest = referrer(b"{}")
    at = Referrers(manifest.digest)
    assert FORMAT.read(opened(FORMAT, manifest, {}, at), at, IMAGE.digest) == (
        Defect(place=at, code="blob-missing", reason="is not there", format="bundle"),
    )


@pytest.mark.parametrize(
    ("artifact_type", "annotations", "likely"),
    [
        (bundle.MEDIA_TYPE, {}, True),
        (bundle.MEDIA_TYPE, {"dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1"}, True),
        (bundle.MEDIA_TYPE, {"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}, False),
        ("application/spdx+json", {}, False),
        (None, {}, False),
    ],
)
def test_listing_says_what_is_looked_at_first(
    artifact_type: str | None, annotations: dict[str, str], likely: bool
) -> None:
    listed = replace(IMAGE.descriptor, artifact_type=artifact_type, annotations=annotations)
    assert FORMAT.likely(listed, frozenset((COSIGN_SIGN,))) is likely
