"""Sigstore bundles v0.3 as OCI 1.1 referrers: what cosign 3 writes, signatures and attestations.

Sources: sigstore protobuf-specs 0.5 ``sigstore_bundle.proto``; DSSE v1.0.2; in-toto Statement v1; cosign
3 (``specs/BUNDLE_SPEC.md`` and its written manifests); image-spec v1.1.1 manifest.md "artifactType".

Signed is a statement with one subject per name: ``name`` the full reference, the image's digest, and as
annotations the user's keys plus the reserved ones. cosign itself signs no name, and attests the repository's.

Only bundles with a plain ``publicKey`` and a DSSE envelope are judged. A key inside the bundle is never
used (GHSA-fx35-mq7g-6g98), its ``hint`` only orders our own keys, log entries are ignored: without a
configured log they prove nothing. Certificates and ``messageSignature`` (a signature over a file, not
over an image's name and digest) become a :class:`~imgsign.claim.Defect` that says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgsign.claim import (
    Candidate,
    Defect,
    Draft,
    Place,
    Referrers,
    Unsigned,
    resumed_draft,
)
from imgsign.dsse import Envelope, parse_pae
from imgsign.enveloped import EnvelopeCandidate, draft_statement, read_statement
from imgsign.errors import InvalidEnvelope
from imgsign.intoto import COSIGN_SIGN, PAYLOAD_TYPE
from imgsign.keys import PublicKey
from imgsign.oci import EMPTY_CONFIG, OCI_MANIFEST, Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.wire import Node, check_few_values, dump_json, format_time, load_json, quote

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OLDER = tuple(f"application/vnd.dev.sigstore.bundle+json;version=0.{n}" for n in (1, 2, 3))
MEDIA_TYPES = (MEDIA_TYPE, *_OLDER)

BUNDLE_LIMIT = 128 * 1024 * 1024
"""Bytes of one bundle that are parsed at all; how many are fetched is decided by :mod:`imgsign.gather`."""

SIGNATURE_LIMIT = 8 * 1024 * 1024
"""Bytes of one bundle with a signature that is written: what readers fetch without being asked for more."""

VALUES_LIMIT = 50_000  # values in one bundle; one with a certificate chain and 30 log entries has some 3,000
LAYERS_LIMIT = 16  # bundles in one artifact; cosign writes one

_CONTENT = "dev.sigstore.bundle.content"
_PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"
_CREATED = "org.opencontainers.image.created"


class UnsupportedBundle(InvalidEnvelope):
    """A well-formed bundle of a kind that is not judged here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCandidate(EnvelopeCandidate):
    """A bounded, parsed, unverified bundle."""

    format: str = "bundle"


def parse_bundle(raw: bytes, place: Place) -> BundleCandidate:
    """Parse one bundle's bytes.

    Raises:
        InvalidEnvelope: if it is malformed; ``UnsupportedBundle`` if it is sound but of another kind.
    """
    check_few_values(raw, VALUES_LIMIT, error=InvalidEnvelope)
    node = load_json(raw, limit=BUNDLE_LIMIT, error=InvalidEnvelope)
    members = node.fields(("mediaType", "verificationMaterial"), ("dsseEnvelope", "messageSignature"))
    media_type = members["mediaType"].text()
    if media_type not in MEDIA_TYPES:
        members["mediaType"].refuse(f"unknown bundle version {quote(media_type)}")
    if ("dsseEnvelope" in members) == ("messageSignature" in members):
        node.refuse("expected one of 'dsseEnvelope' and 'messageSignature'")
    # The envelope before the key: what no client accepts is malformed, whoever signed it.
    envelope = Envelope.parse(members["dsseEnvelope"]) if "dsseEnvelope" in members else None
    hint = _key_hint(members["verificationMaterial"])
    if envelope is None:
        raise UnsupportedBundle("signs a file, not an image: no DSSE envelope")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise UnsupportedBundle(f"payload type {quote(envelope.payload_type)} is not an in-toto statement")
    return BundleCandidate(place=place, key_hint=hint, envelope=envelope)


def _key_hint(node: Node) -> str | None:
    """Return the hint; anything else in the verification material is left unread or refused."""
    kinds = ("publicKey", "certificate", "x509CertificateChain")
    members = node.fields((), (*kinds, "tlogEntries", "timestampVerificationData"))
    present = [k for k in kinds if k in members]
    if len(present) != 1:
        node.refuse(f"expected one of {', '.join(kinds)}")
    if present != ["publicKey"]:
        raise UnsupportedBundle("signed with a certificate; only signatures by plain keys are judged")
    # Open: older producers put other members here. A key among them is attacker's bytes and never read.
    key = members["publicKey"].fields((), ("hint",), closed=False)
    return key["hint"].text() if "hint" in key else None


class _BundleFormat:
    """See :class:`imgsign.claim.Format`."""

    name = "bundle"
    label = "sigstore bundle"
    signs = True
    attests = True

    def places(self, image: Digest) -> tuple[Place, ...]:
        return (Referrers(),)

    def likely(self, listed: Descriptor, wanted: frozenset[str]) -> bool:
        labelled = listed.annotations.get(_PREDICATE_TYPE)
        return listed.artifact_type in MEDIA_TYPES and (labelled is None or labelled in wanted)

    def wanted(self, artifact: Artifact, at: Place) -> tuple[Descriptor, ...]:
        if not isinstance(at, Referrers):
            return ()
        return tuple(d for d in artifact.manifest.layers if d.media_type in MEDIA_TYPES)[:LAYERS_LIMIT]

    def read(self, artifact: Artifact, at: Place, image: Digest) -> tuple[Candidate | Defect, ...]:
        layers = self.wanted(artifact, at)
        if not layers:
            return ()
        subject = artifact.manifest.subject
        if subject is None or subject.digest != image:
            # A fallback tag can list anything; the signed statement decides in the end, but a referrer
            # that does not even claim this image is not looked at further.
            return (
                Defect(
                    place=at,
                    code="foreign-referrer",
                    reason="is not a referrer of this image",
                    format=self.name,
                ),
            )
        found = []
        for index, descriptor in enumerate(layers):
            place = Referrers(artifact.manifest.digest, index if len(layers) > 1 else None)
            found.append(self._read_layer(artifact, descriptor, place))
        return tuple(found)

    def _read_layer(self, artifact: Artifact, descriptor: Descriptor, place: Place) -> Candidate | Defect:
        blob = artifact.blob(descriptor.digest)
        if blob is None:
            code, why = artifact.missing_code(descriptor.digest), artifact.why_missing(descriptor.digest)
            return Defect(place=place, code=code, reason=why, format=self.name)
        try:
            return parse_bundle(blob.raw, place)
        except UnsupportedBundle as e:
            return Defect(place=place, code="unsupported", reason=e.message, format=self.name)
        except InvalidEnvelope as e:
            return Defect(place=place, code="malformed", reason=f"malformed, {e.message}", format=self.name)

    def draft(self, image: Descriptor, draft: Draft, key: PublicKey) -> tuple[Unsigned, ...]:
        limit = SIGNATURE_LIMIT if draft.predicate_type == COSIGN_SIGN else BUNDLE_LIMIT
        return (draft_statement(self.name, image, draft, key, limit=limit),)

    def resume(self, message: bytes, image: Descriptor, key: PublicKey) -> Unsigned:
        payload = parse_pae(message, PAYLOAD_TYPE)
        statement, subjects = read_statement(payload)
        if statement.predicate_type != COSIGN_SIGN:
            raise InvalidEnvelope(f"is an attestation of type {quote(statement.predicate_type)}, not a signature")
        return Unsigned(
            format=self.name,
            image=image,
            key=key,
            scheme=key.scheme.bundle,
            message=message,
            content=payload,
            draft=resumed_draft(subjects, image.digest),
        )

    def attach(self, unsigned: Unsigned, signature: bytes, *, previous: Artifact | None) -> Artifact:
        envelope = Envelope(payload_type=PAYLOAD_TYPE, payload=unsigned.content, signature=signature)
        bundle = Blob.of(
            dump_json(
                {
                    "mediaType": MEDIA_TYPE,
                    "verificationMaterial": {"publicKey": {"hint": unsigned.key.hint}, "tlogEntries": []},
                    "dsseEnvelope": envelope.to_json(),
                }
            ),
            MEDIA_TYPE,
        )
        subject = unsigned.image
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": MEDIA_TYPE,
            "config": EMPTY_CONFIG.descriptor.to_json(),
            "layers": [bundle.descriptor.to_json()],
            "subject": {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size},
            "annotations": {
                _CONTENT: "dsse-envelope",
                _PREDICATE_TYPE: unsigned.draft.predicate_type,
                _CREATED: format_time(unsigned.draft.signed_at),
            },
        }
        return Artifact(manifest=Manifest.parse(dump_json(manifest), OCI_MANIFEST), blobs=(EMPTY_CONFIG, bundle))


FORMAT = _BundleFormat()
