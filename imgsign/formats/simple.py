"""Simple signing under cosign's ``.sig`` tag: read by cosign 1 to 3, skopeo, podman, policy-controller.

Sources: cosign ``specs/SIGNATURE_SPEC.md`` (and where it errs, cosign's code: the annotation and key
names below), containers/image ``docs/containers-signature.5.md`` and its strict parser.

One layer is one signature: the blob is the signed JSON payload, the signature stands in an annotation.
Several layers may have the same digest (three signers, one payload), so a candidate is named by its
place in the list. The payload is parsed only after its signature has verified, and then as strictly as
containers/image does; two readers of one payload must not see two images. Stricter than it on purpose:
the payload must be UTF-8 throughout and the base64 canonical.

Signed is ``critical.identity.docker-reference``: the full reference with its tag; skopeo and podman
demand it. cosign writes it without tag and does not check it.
"""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime

from imgsign import __version__
from imgsign.claim import (
    Candidate,
    Claim,
    Defect,
    Draft,
    Place,
    Signer,
    Subject,
    Tag,
    Unsigned,
    parse_subject,
    reserved_annotations,
    resumed_draft,
)
from imgsign.dsse import SIGNATURE_LIMIT
from imgsign.errors import InvalidDigest, InvalidEnvelope, InvalidKey, Malformed, UsageError
from imgsign.keys import PublicKey
from imgsign.oci import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Artifact,
    Blob,
    Descriptor,
)
from imgsign.record import record
from imgsign.reference import Digest
from imgsign.tagged import LAYERS_LIMIT, SIGNATURE_KEY, append_layer
from imgsign.trust import TrustedKey
from imgsign.wire import Node, b64decode, b64encode, dump_json, load_json, quote

LAYER_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
PAYLOAD_KIND = "cosign container image signature"

PAYLOAD_LIMIT = 256 * 1024
"""Bytes of one payload; real ones take 300. containers/image allows 4 MiB."""

_OWN_OPTIONAL = ("creator", "timestamp")
_TIMESTAMP_MAX = 253402300799  # 9999-12-31T23:59:59Z, the last second datetime can hold


@record
class SimpleCandidate:
    """One layer of a ``.sig`` manifest: payload and signature, unverified."""

    place: Place
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    key_hint: str | None = None
    format: str = "simple"

    def untrusted_content(self) -> tuple[str | None, tuple[Subject, ...]]:
        """See :class:`imgsign.claim.Candidate`."""
        return None, (parse_payload(self.payload),)

    def verify(self, trusted: TrustedKey) -> Claim:
        """See :class:`imgsign.claim.Candidate`."""
        trusted.key.verify(self.signature, self.payload, hash=trusted.hash)
        return Claim(
            format=self.format,
            place=self.place,
            subjects=(parse_payload(self.payload),),
            signer=Signer(spki=trusted.key.digest),
        )


def parse_payload(raw: bytes) -> Subject:
    """Read a signed payload.

    Raises:
        InvalidEnvelope: for anything containers/image would refuse too, and for bytes that are not UTF-8.
    """
    top = load_json(raw, limit=PAYLOAD_LIMIT, error=InvalidEnvelope).fields(("critical", "optional"))
    critical = top["critical"].fields(("identity", "image", "type"))
    kind = critical["type"].text()
    if kind != PAYLOAD_KIND:
        critical["type"].refuse(f"unknown payload type {quote(kind)}")
    written = critical["image"].fields(("docker-manifest-digest",))["docker-manifest-digest"]
    try:
        digest = Digest.parse(written.text())
    except InvalidDigest as e:
        written.refuse(e.message)
    name = critical["identity"].fields(("docker-reference",))["docker-reference"].text()
    optional = top["optional"].entries() if top["optional"].value is not None else {}
    if "creator" in optional:
        optional["creator"].text()
    timestamp = _timestamp(optional["timestamp"]) if "timestamp" in optional else None
    subject = parse_subject(digest, name or None, {k: v for k, v in optional.items() if k not in _OWN_OPTIONAL})
    if subject.claimed_at is not None or timestamp is None:
        return subject
    return Subject(
        digest=subject.digest,
        name=subject.name,
        annotations=subject.annotations,
        claimed_at=timestamp,
        expires_at=subject.expires_at,
        sequence=subject.sequence,
    )


def _timestamp(node: Node) -> datetime:
    """Read ``optional.timestamp``: seconds since 1970, an integer in any JSON spelling (1000.0 too)."""
    value = node.value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        node = Node(int(value), node.path, node.error)
    return datetime.fromtimestamp(node.integer(low=0, high=_TIMESTAMP_MAX), UTC)


class _SimpleFormat:
    """See :class:`imgsign.claim.Format`."""

    name = "simple"
    label = "simple signing"
    signs = True
    attests = False

    def places(self, image: Digest) -> tuple[Place, ...]:
        return (Tag(f"{image.tag}.sig"),)

    def likely(self, listed: Descriptor, wanted: frozenset[str]) -> bool:
        return False  # never listed: its place is a tag

    def wanted(self, artifact: Artifact, at: Place) -> tuple[Descriptor, ...]:
        if not isinstance(at, Tag) or not at.name.endswith(".sig"):
            return ()
        layers = [d for d in artifact.manifest.layers if d.media_type == LAYER_TYPE][:LAYERS_LIMIT]
        return tuple({(d.digest, d.size): d for d in layers if d.size <= PAYLOAD_LIMIT}.values())

    def read(self, artifact: Artifact, at: Place, image: Digest) -> tuple[Candidate | Defect, ...]:
        if not isinstance(at, Tag) or not at.name.endswith(".sig"):
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

        if descriptor.size > PAYLOAD_LIMIT:
            return defect("too-large", f"payload of {descriptor.size} bytes is over the limit of {PAYLOAD_LIMIT}")
        blob = artifact.blob(descriptor.digest)
        if blob is None:
            return defect(artifact.missing_code(descriptor.digest), artifact.why_missing(descriptor.digest))
        if len(blob.raw) != descriptor.size:
            # Another layer says the true size of the same blob.
            return defect("blob-missing", f"blob has {len(blob.raw)} bytes, its descriptor says {descriptor.size}")
        text = descriptor.annotations.get(SIGNATURE_KEY)
        if not text:
            return defect("malformed", f"malformed, missing annotation {SIGNATURE_KEY!r}")
        try:
            signature = b64decode(text, error=InvalidEnvelope)
        except Malformed as e:
            return defect("malformed", f"malformed, signature is {e.message}")
        if not 0 < len(signature) <= SIGNATURE_LIMIT:
            return defect("malformed", f"malformed, signature of {len(signature)} bytes")
        return SimpleCandidate(place=place, payload=blob.raw, signature=signature)

    def draft(self, image: Descriptor, draft: Draft, key: PublicKey) -> tuple[Unsigned, ...]:
        scheme = _scheme(key)
        for taken in _OWN_OPTIONAL:
            if taken in draft.annotations:
                raise UsageError(f"annotation {taken!r} is taken by the simple signing format")
        if image.digest.algorithm != "sha256":
            raise UsageError("simple signing knows sha256 digests only", hint="use --format bundle")
        found = []
        for name in draft.names:
            payload = _write_payload(str(name), image.digest, draft)
            if len(payload) > PAYLOAD_LIMIT:
                raise UsageError(f"what is to be signed is over the limit of {PAYLOAD_LIMIT} bytes")
            found.append(
                Unsigned(
                    format=self.name,
                    image=image,
                    key=key,
                    scheme=scheme,
                    message=payload,
                    content=payload,
                    draft=draft,
                )
            )
        return tuple(found)

    def resume(self, message: bytes, image: Descriptor, key: PublicKey) -> Unsigned:
        subject = parse_payload(message)
        return Unsigned(
            format=self.name,
            image=image,
            key=key,
            scheme=_scheme(key),
            message=message,
            content=message,
            draft=resumed_draft((subject,), image.digest),
        )

    def attach(self, unsigned: Unsigned, signature: bytes, *, previous: Artifact | None) -> Artifact:
        payload = Blob.of(unsigned.content, LAYER_TYPE, annotations={SIGNATURE_KEY: b64encode(signature)})
        return append_layer(previous, payload)


def _scheme(key: PublicKey) -> str:
    if key.scheme.simple is None:
        raise InvalidKey(
            f"{key.scheme.title} keys cannot make simple signatures: no other tool reads them",
            hint="use --format bundle, or a P-256, Ed25519 or RSA key",
        )
    return key.scheme.simple


def _write_payload(name: str, digest: Digest, draft: Draft) -> bytes:
    optional: dict[str, object] = {
        **draft.annotations,
        **reserved_annotations(draft),
        "creator": f"imgsign/{__version__}",
        "timestamp": int(draft.signed_at.timestamp()),
    }
    return dump_json(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": str(digest)},
                "type": PAYLOAD_KIND,
            },
            "optional": dict(sorted(optional.items())),
        }
    )


FORMAT = _SimpleFormat()
