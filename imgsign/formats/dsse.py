"""Attestations under cosign's ``.att`` tag: what cosign 1 and 2 write, and policy-controller reads.

Sources: cosign ``specs/ATTESTATION_SPEC.md`` and, where it is silent, cosign 3's code (``cmd/cosign/cli/attest``,
``pkg/oci/static``): one layer is one attestation, the blob a DSSE envelope as JSON, the annotation
``predicateType`` a label without authority, the signature's annotation present and empty.

Never a signature, whatever its predicate type says: signatures lie in bundles and under ``.sig``. An
envelope with a certificate beside it was signed by a key that nobody keeps, and becomes a defect that says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgsign.claim import Candidate, Defect, Draft, Place, Tag, Unsigned
from imgsign.dsse import Envelope
from imgsign.enveloped import EnvelopeCandidate, draft_statement
from imgsign.errors import InvalidEnvelope, UsageError
from imgsign.intoto import COSIGN_SIGN, PAYLOAD_TYPE
from imgsign.keys import PublicKey
from imgsign.oci import DOCKER_MANIFEST, OCI_MANIFEST, Artifact, Blob, Descriptor
from imgsign.reference import Digest
from imgsign.tagged import LAYERS_LIMIT, SIGNATURE_KEY, append_layer
from imgsign.wire import check_few_values, dump_json, load_json, quote

LAYER_TYPE = "application/vnd.dsse.envelope.v1+json"
PREDICATE_KEY = "predicateType"
CERTIFICATE_KEY = "dev.sigstore.cosign/certificate"

ENVELOPE_LIMIT = 128 * 1024 * 1024
"""Bytes of one envelope that are parsed at all; how many are fetched is decided by :mod:`imgsign.gather`."""

VALUES_LIMIT = 1000  # values in one envelope; one with one signature has 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DsseCandidate(EnvelopeCandidate):
    """One layer of an ``.att`` manifest: an envelope, unverified. It names no key."""

    format: str = "dsse"


def parse_envelope(raw: bytes, place: Place) -> DsseCandidate:
    """Parse one layer's bytes.

    Raises:
        InvalidEnvelope: if they are not one envelope over an in-toto statement.
    """
    check_few_values(raw, VALUES_LIMIT, error=InvalidEnvelope)
    envelope = Envelope.parse(load_json(raw, limit=ENVELOPE_LIMIT, error=InvalidEnvelope))
    if envelope.payload_type != PAYLOAD_TYPE:
        raise InvalidEnvelope(f"payload type {quote(envelope.payload_type)} is not an in-toto statement")
    return DsseCandidate(place=place, key_hint=None, envelope=envelope)


class _DsseFormat:
    """See :class:`imgsign.claim.Format`."""

    name = "dsse"
    label = "attestation tag"
    signs = False
    attests = True

    def places(self, image: Digest) -> tuple[Place, ...]:
        return (Tag(f"{image.tag}.att"),)

    def likely(self, listed: Descriptor, wanted: frozenset[str]) -> bool:
        return False  # never listed: its place is a tag

    def wanted(self, artifact: Artifact, at: Place) -> tuple[Descriptor, ...]:
        if not isinstance(at, Tag) or not at.name.endswith(".att"):
            return ()
        layers = [d for d in artifact.manifest.layers if d.media_type == LAYER_TYPE][:LAYERS_LIMIT]
        return tuple({(d.digest, d.size): d for d in layers}.values())

    def read(self, artifact: Artifact, at: Place, image: Digest) -> tuple[Candidate | Defect, ...]:
        if not isinstance(at, Tag) or not at.name.endswith(".att"):
            return ()
        if artifact.manifest.descriptor.media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
            return (Defect(place=at, code="malformed", reason="is not an image manifest", format=self.name),)
        found: list[Candidate | Defect] = []
        for index, descriptor in enumerate(artifact.manifest.layers[:LAYERS_LIMIT]):
            if descriptor.media_type == LAYER_TYPE:
                found.append(self._read_layer(artifact, descriptor, Tag(at.name, index)))
        return tuple(found)

    def _read_layer(self, artifact: Artifact, descriptor: Descriptor, place: Place) -> Candidate | Defect:
        def defect(code: str, reason: str) -> Defect:
            return Defect(place=place, code=code, reason=reason, format=self.name)

        blob = artifact.blob(descriptor.digest)
        if blob is None:
            return defect(artifact.missing_code(descriptor.digest), artifact.why_missing(descriptor.digest))
        if len(blob.raw) != descriptor.size:
            # Another layer says the true size of the same blob.
            return defect("blob-missing", f"blob has {len(blob.raw)} bytes, its descriptor says {descriptor.size}")
        if descriptor.annotations.get(CERTIFICATE_KEY):
            return defect("unsupported", "signed with a certificate; only signatures by plain keys are judged")
        try:
            return parse_envelope(blob.raw, place)
        except InvalidEnvelope as e:
            return defect("malformed", f"malformed, {e.message}")

    def draft(self, image: Descriptor, draft: Draft, key: PublicKey) -> tuple[Unsigned, ...]:
        if draft.predicate_type == COSIGN_SIGN:
            raise UsageError("the attestation tag holds no signatures", hint="use --format bundle or simple")
        return (draft_statement(self.name, image, draft, key, limit=ENVELOPE_LIMIT),)

    def resume(self, message: bytes, image: Descriptor, key: PublicKey) -> Unsigned:
        raise InvalidEnvelope("an attestation cannot be attached later")

    def attach(self, unsigned: Unsigned, signature: bytes, *, previous: Artifact | None) -> Artifact:
        envelope = Envelope(payload_type=PAYLOAD_TYPE, payload=unsigned.content, signature=signature)
        labels = {PREDICATE_KEY: unsigned.draft.predicate_type, SIGNATURE_KEY: ""}
        layer = Blob.of(dump_json(envelope.to_json()), LAYER_TYPE, annotations=labels)
        return append_layer(previous, layer)


FORMAT = _DsseFormat()
