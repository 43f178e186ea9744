"""Design law 10: a changed signature is refused or says what it said; never something else, never a crash.

Every byte of every blob and manifest is changed, and every cut is made. Under the old digest none of it is
taken. Addressed anew, so that the artifact is consistent again, the result is no candidate, a candidate that
does not verify, or a claim equal to the original but for its place. Last, the signed bytes themselves are changed
and signed again: whatever a trusted key signs by mistake is judged too.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imgsign.claim import Candidate, Claim, Defect, Draft, Format, Place, Referrers
from imgsign.errors import ContentMismatch, InvalidEnvelope, InvalidManifest, UntrustedSigner
from imgsign.formats import FORMATS
from imgsign.oci import OCI_MANIFEST, Artifact, Blob, Manifest
from imgsign.reference import Reference
from imgsign.trust import TrustedKey
from tests.artifacts import (
    IMAGE,
    Secret,
    compact,
    ed25519,
    failures,
    image,
    judge_by_key,
    opened,
    p256,
    public,
    read_bundles,
    read_simple,
    sha256,
    sig_manifest,
    sign,
    sign_payload,
    sign_statement,
    stored,
)

FLIPS = (0x01, 0x20, 0x80) if "IMGSIGN_E2E" in os.environ else (0x01,)
"""Neighbouring digits and letters; in the full run also the case of letters, and bytes that are no UTF-8."""

NAME = "registry.example.com/shop/app:1.4"
DRAFT = Draft(
    names=(Reference.parse(NAME),),
    annotations={"stage": "prod"},
    signed_at=datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC),
    expires_at=datetime(2027, 2, 21, 12, 0, 0, tzinfo=UTC),
    sequence=7,
)
ATTESTED = replace(
    DRAFT, predicate_type="https://slsa.dev/provenance/v1", predicate=b'{"buildDefinition":{"a":[1,"b"]}}'
)
"""What formats are given that hold no signatures."""

SECRETS: dict[str, Secret] = {"ed25519": ed25519(1), "p256": p256(7)}
CASES = [pytest.param(format, SECRETS[kind], id=f"{format}-{kind}") for format in FORMATS for kind in SECRETS]
each_case = pytest.mark.parametrize(("format", "secret"), CASES)
SIGNING = [name for name, format in FORMATS.items() if format.signs]
each_signature = pytest.mark.parametrize(
    ("format", "secret"), [pytest.param(f, SECRETS[k], id=f"{f}-{k}") for f in SIGNING for k in SECRETS]
)


def mangled(raw: bytes) -> Iterator[bytes]:
    """Every byte changed in several ways, and every truncation."""
    for index, byte in enumerate(raw):
        for flip in FLIPS:
            yield raw[:index] + bytes([byte ^ flip]) + raw[index + 1 :]
        yield raw[:index]


def made(format: str, secret: Secret) -> Artifact:
    """A good artifact of one signature."""
    draft = DRAFT if FORMATS[format].signs else ATTESTED
    (unsigned,) = FORMATS[format].draft(IMAGE.descriptor, draft, public(secret))
    return FORMATS[format].attach(unsigned, sign(secret, unsigned.message), previous=None)


def place(format: Format, manifest: Manifest) -> Place:
    (at,) = format.places(IMAGE.digest)
    return Referrers(manifest.digest) if isinstance(at, Referrers) else at


def read(format: str, manifest: Manifest, *blobs: bytes) -> tuple[Candidate | Defect, ...]:
    at = place(FORMATS[format], manifest)
    return FORMATS[format].read(opened(FORMATS[format], manifest, stored(*blobs), at), at, IMAGE.digest)


def outcome(found: tuple[Candidate | Defect, ...], secret: Secret, original: Claim) -> str:
    """Name what came out; anything but a refusal or the same claim fails the test."""
    if not found:
        return "nothing"
    (only,) = found
    if isinstance(only, Defect):
        return only.code
    try:
        claim = only.verify(TrustedKey(key=public(secret)))
    except (UntrustedSigner, InvalidEnvelope) as e:
        return type(e).__name__
    assert replace(claim, place=original.place) == original
    return "same"


def original_of(format: str, secret: Secret) -> tuple[Artifact, Claim]:
    artifact = made(format, secret)
    (only,) = read(format, artifact.manifest, *(b.raw for b in artifact.blobs))
    assert not isinstance(only, Defect)
    return artifact, only.verify(TrustedKey(key=public(secret)))


# Under the old digest


@each_case
def test_changed_blob_is_refused_under_its_digest(format: str, secret: Secret) -> None:
    for blob in made(format, secret).blobs:
        for changed in mangled(blob.raw):
            with pytest.raises(ContentMismatch):
                Blob.checked(blob.descriptor, changed)


@each_case
def test_changed_blob_leaves_nothing_but_a_defect(format: str, secret: Secret) -> None:
    """A registry that serves other bytes under the digest: as ``gather`` opens it, the blob is missing."""
    artifact = made(format, secret)
    signed = artifact.blobs[-1]
    at = place(FORMATS[format], artifact.manifest)
    for changed in mangled(signed.raw):
        lied = opened(FORMATS[format], artifact.manifest, {signed.descriptor.digest: changed}, at)
        (found,) = FORMATS[format].read(lied, at, IMAGE.digest)
        assert isinstance(found, Defect)
        assert found.code == "blob-missing"


@each_case
def test_changed_manifest_has_another_digest(format: str, secret: Secret) -> None:
    manifest = made(format, secret).manifest
    for changed in mangled(manifest.raw):
        try:
            parsed = Manifest.parse(changed, OCI_MANIFEST)
        except InvalidManifest:
            continue
        assert parsed.digest != manifest.digest


# Addressed anew


def readdressed(artifact: Artifact, blob: Blob, changed: bytes) -> Manifest:
    """Put other bytes in the place of one blob; the rest of the manifest stays."""
    value = json.loads(artifact.manifest.raw)
    (descriptor,) = (d for d in (value["config"], *value["layers"]) if d["digest"] == str(blob.descriptor.digest))
    descriptor.update(digest=sha256(changed), size=len(changed))
    return Manifest.parse(compact(value), OCI_MANIFEST)


@each_case
def test_changed_blob_addressed_anew_says_the_same_or_nothing(format: str, secret: Secret) -> None:
    artifact, original = original_of(format, secret)
    signed = artifact.blobs[-1]
    seen: Counter[str] = Counter()
    for changed in mangled(signed.raw):
        found = read(format, readdressed(artifact, signed, changed), changed)
        seen[outcome(found, secret, original)] += 1
    if format == "bundle":
        # Unsigned are the structure and the hint; to change the hint changes nothing.
        assert set(seen) == {"same", "malformed", "unsupported", "UntrustedSigner"}
    elif format == "dsse":
        # All of an envelope is signed or is structure.
        assert set(seen) == {"malformed", "UntrustedSigner"}
    else:
        assert set(seen) == {"UntrustedSigner"}


@each_case
def test_changed_config_addressed_anew_changes_nothing(format: str, secret: Secret) -> None:
    artifact, original = original_of(format, secret)
    config, signed = artifact.blobs
    for changed in mangled(config.raw):
        found = read(format, readdressed(artifact, config, changed), changed, signed.raw)
        assert outcome(found, secret, original) == "same"


@each_case
def test_changed_manifest_addressed_anew_says_the_same_or_nothing(format: str, secret: Secret) -> None:
    artifact, original = original_of(format, secret)
    blobs = [b.raw for b in artifact.blobs]
    seen: Counter[str] = Counter()
    for changed in mangled(artifact.manifest.raw):
        try:
            manifest = Manifest.parse(changed, OCI_MANIFEST)
        except InvalidManifest:
            seen["InvalidManifest"] += 1
            continue
        seen[outcome(read(format, manifest, *blobs), secret, original)] += 1
    expected = {"same", "nothing", "InvalidManifest", "blob-missing"}
    # A bundle's manifest says whose referrer it is; a simple one holds the signature.
    expected |= {"bundle": {"foreign-referrer"}, "simple": {"malformed", "UntrustedSigner"}, "dsse": set()}[format]
    assert set(seen) == expected


@each_signature
def test_changed_artifact_is_allowed_only_for_what_was_signed(format: str, secret: Secret) -> None:
    """The same through ``evaluate``: what is still allowed rests on the original claim, for the signed name."""
    artifact, original = original_of(format, secret)
    signed, asked = artifact.blobs[-1], image(NAME)
    seen: Counter[str] = Counter()
    for changed in mangled(signed.raw):
        found = read(format, readdressed(artifact, signed, changed), changed)
        decision = judge_by_key(asked, found, public(secret))
        if decision.allowed:
            assert [replace(c, place=original.place) for _, c in decision.claims] == [original]
        seen.update(failures(decision) or ["allowed"])
    if format == "bundle":
        assert set(seen) == {"allowed", "malformed", "unsupported", "untrusted-signer"}
    else:
        assert set(seen) == {"untrusted-signer"}


# Changed and signed again, by the key that may


@pytest.mark.parametrize("format", SIGNING)
def test_changed_content_signed_again_is_judged_and_never_a_crash(format: str) -> None:
    secret, asked = SECRETS["ed25519"], image(NAME)
    (unsigned,) = FORMATS[format].draft(IMAGE.descriptor, DRAFT, public(secret))
    resign: dict[str, Callable[[bytes], tuple[Candidate | Defect, ...]]] = {
        "bundle": lambda raw: read_bundles(sign_statement(secret, raw)),
        "simple": lambda raw: read_simple(sig_manifest(sign_payload(secret, raw)), raw),
    }
    codes: set[str] = set()
    for changed in mangled(unsigned.content):
        codes.update(failures(judge_by_key(asked, resign[format](changed), public(secret))))
    expected = {"bad-claim", "digest-mismatch", "name-mismatch", "name-invalid", "signed-in-future", "expired"}
    # A bundle's statement may also be of another type, and its members' names are free.
    assert codes == expected | ({"not-a-signature", "name-missing", "no-subject"} if format == "bundle" else set())


@pytest.mark.parametrize("format", SIGNING)
def test_changed_message_signed_elsewhere_is_refused_or_attached_as_it_is(format: str) -> None:
    key = public(SECRETS["ed25519"])
    (unsigned,) = FORMATS[format].draft(IMAGE.descriptor, DRAFT, key)
    seen: Counter[str] = Counter()
    for changed in mangled(unsigned.message):
        try:
            resumed = FORMATS[format].resume(changed, IMAGE.descriptor, key)
        except InvalidEnvelope:
            seen["refused"] += 1
            continue
        assert (resumed.message, resumed.image) == (changed, IMAGE.descriptor)
        seen["resumed"] += 1
    assert set(seen) == {"refused", "resumed"}


@pytest.mark.parametrize("kind", SECRETS)
def test_changed_or_cut_signature_does_not_verify(kind: str) -> None:
    key, signature = public(SECRETS[kind]), sign(SECRETS[kind], b"message")
    for changed in mangled(signature):
        with pytest.raises(UntrustedSigner):
            key.verify(changed, b"message")
