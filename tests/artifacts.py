"""Keys, artifacts and judgements in one line each, for the tests of formats and of ``evaluate``.

Keys come from fixed numbers, so that Ed25519 signatures are the same on every run. Artifacts are opened as
``gather`` opens them: only blobs that are what their descriptors say, the rest with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imgsign.claim import Candidate, Defect, Format, Place, Referrers, Tag
from imgsign.decision import Decision, Evidence
from imgsign.errors import ContentMismatch
from imgsign.evaluate import evaluate
from imgsign.formats import bundle, simple
from imgsign.keys import PublicKey
from imgsign.oci import OCI_MANIFEST, Artifact, Blob, Image, Manifest
from imgsign.policy.model import NameRule, Policy, Reject, Rule, SignedBy
from imgsign.reference import Digest, Reference
from imgsign.trust import Keys, TrustedKey, TrustStore

NOW = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)

Secret = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def ed25519(number: int) -> Ed25519PrivateKey:
    """The Ed25519 key whose seed is this byte, 32 times."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def p256(number: int) -> ec.EllipticCurvePrivateKey:
    """The P-256 key with this private number."""
    return ec.derive_private_key(number, ec.SECP256R1())


def public(secret: Secret) -> PublicKey:
    """The public half."""
    return PublicKey.from_crypto(secret.public_key())


def sign(secret: Secret, message: bytes) -> bytes:
    """Sign with ``cryptography`` alone; P-256 with SHA-256."""
    if isinstance(secret, Ed25519PrivateKey):
        return secret.sign(message)
    return secret.sign(message, ec.ECDSA(hashes.SHA256()))


def sha256(raw: bytes) -> str:
    """The digest of bytes as text, computed without imgsign."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def compact(value: object) -> bytes:
    """Compact JSON, written without imgsign."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


IMAGE_RAW = compact(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "c" * 64, "size": 9},
        "layers": [],
    }
)
IMAGE = Manifest.parse(IMAGE_RAW, OCI_MANIFEST)
"""The image that hand-made signatures are about."""


def image(name: str, manifest: Manifest | None = IMAGE) -> Image:
    """An image asked for by a name."""
    return Image(name=Reference.parse(name), manifest=manifest)


def stored(*blobs: bytes) -> dict[Digest, bytes]:
    """Bytes by the digest they are stored under."""
    return {Digest.of(raw): raw for raw in blobs}


def opened(format: Format, manifest: Manifest, blobs: Mapping[Digest, bytes], at: Place) -> Artifact:
    """Open an artifact as ``gather`` does: the blobs the format wants, checked; else the reason."""
    found: list[Blob] = []
    missing: list[tuple[Digest, str]] = []
    for descriptor in format.wanted(Artifact(manifest=manifest), at):
        if (raw := blobs.get(descriptor.digest)) is None:
            missing.append((descriptor.digest, "is not there"))
            continue
        try:
            found.append(Blob.checked(descriptor, raw))
        except ContentMismatch as e:
            missing.append((descriptor.digest, e.message))
    return Artifact(manifest=manifest, blobs=tuple(found), missing=tuple(missing))


SIGN_TYPE = "https://sigstore.dev/cosign/sign/v1"


def subject(
    name: str | None, digest: Digest = IMAGE.digest, annotations: Mapping[str, object] | None = None
) -> dict[str, object]:
    """One subject of a statement."""
    found: dict[str, object] = {} if name is None else {"name": name}
    found["digest"] = {digest.algorithm: digest.hex}
    return found if annotations is None else {**found, "annotations": dict(annotations)}


def statement(*subjects: Mapping[str, object], predicate_type: str = SIGN_TYPE) -> bytes:
    """An in-toto statement."""
    return compact(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": list(subjects),
            "predicateType": predicate_type,
            "predicate": {},
        }
    )


def bundle_value(payload: bytes, signature: bytes) -> dict[str, object]:
    """A Sigstore bundle with a plain key, as JSON values."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }


def sign_statement(secret: Secret, payload: bytes) -> bytes:
    """Sign a statement, as a bundle."""
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    return compact(bundle_value(payload, sign(secret, message)))


def payload(name: str, digest: Digest = IMAGE.digest, optional: Mapping[str, object] | None = None) -> bytes:
    """A payload of simple signing."""
    return compact(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": str(digest)},
                "type": "cosign container image signature",
            },
            "optional": None if optional is None else dict(optional),
        }
    )


def sign_payload(secret: Secret, raw: bytes) -> tuple[bytes, dict[str, str]]:
    """Sign a payload: what one layer at a ``.sig`` tag holds."""
    return raw, {"dev.cosignproject.cosign/signature": base64.b64encode(sign(secret, raw)).decode()}


EMPTY_CONFIG = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}


def referrer(*raw: bytes, subject: Manifest | None = IMAGE) -> Manifest:
    """A referrer of an image whose layers are these bundles."""
    value: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": bundle.MEDIA_TYPE,
        "config": EMPTY_CONFIG,
        "layers": [{"mediaType": bundle.MEDIA_TYPE, "digest": sha256(r), "size": len(r)} for r in raw],
    }
    if subject is not None:
        described = subject.descriptor
        value["subject"] = {"mediaType": described.media_type, "digest": str(subject.digest), "size": described.size}
    return Manifest.parse(compact(value), OCI_MANIFEST)


def read_bundles(*raw: bytes, subject: Manifest = IMAGE) -> tuple[Candidate | Defect, ...]:
    """Read bundles as one referrer of an image."""
    manifest = referrer(*raw, subject=subject)
    at = Referrers(manifest.digest)
    return bundle.FORMAT.read(opened(bundle.FORMAT, manifest, stored(*raw), at), at, subject.digest)


def sig_manifest(*layers: tuple[bytes, Mapping[str, str]]) -> Manifest:
    """What stands at a ``.sig`` tag: each layer a payload and its annotations."""
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": EMPTY_CONFIG,
        "layers": [
            {"mediaType": simple.LAYER_TYPE, "digest": sha256(raw), "size": len(raw), "annotations": dict(annotations)}
            for raw, annotations in layers
        ],
    }
    return Manifest.parse(compact(value), OCI_MANIFEST)


def read_simple(manifest: Manifest, *payloads: bytes, about: Digest = IMAGE.digest) -> tuple[Candidate | Defect, ...]:
    """Read the manifest at the ``.sig`` tag of an image."""
    at = Tag(f"{about.tag}.sig")
    return simple.FORMAT.read(opened(simple.FORMAT, manifest, stored(*payloads), at), at, about)


def judge(
    asked: Image,
    read: Iterable[Candidate | Defect],
    required: SignedBy | tuple[SignedBy, ...],
    anchors: Mapping[str, Iterable[PublicKey | TrustedKey]],
    *,
    now: datetime = NOW,
) -> Decision:
    """Judge by a policy of one rule for every image."""
    read = tuple(read)
    evidence = Evidence(
        candidates=tuple(r for r in read if not isinstance(r, Defect)),
        defects=tuple(r for r in read if isinstance(r, Defect)),
    )
    require = required if isinstance(required, tuple) else (required,)
    policy = Policy(default=Rule(scope=None, require=(Reject(),)), scopes={"*": Rule(scope="*", require=require)})
    trust = {
        name: Keys(name=name, keys=tuple(k if isinstance(k, TrustedKey) else TrustedKey(key=k) for k in keys))
        for name, keys in anchors.items()
    }
    return evaluate(policy, TrustStore(anchors=trust), asked, evidence, now=now)


def judge_by_key(
    asked: Image,
    read: Iterable[Candidate | Defect],
    *keys: PublicKey | TrustedKey,
    name: NameRule = NameRule.EXACT,
    threshold: int = 1,
    remap: Mapping[str, str] | None = None,
) -> Decision:
    """Judge by one anchor of these keys."""
    required = SignedBy(anchors=("release",), name=name, threshold=threshold, remap=remap or {})
    return judge(asked, read, required, {"release": keys})


def failures(decision: Decision) -> list[str]:
    """The codes of what failed, candidate by candidate, without the summary."""
    return [c.code for c in decision.checks if not c.passed and c.code != "threshold"]


def summary(decision: Decision) -> str:
    """How many of how many signers of the first requirement were found."""
    return next(c.message for c in decision.checks if c.code == "threshold").partition(",")[0]


def messages(decision: Decision) -> list[str]:
    """The messages of what failed, candidate by candidate, without the summary."""
    return [c.message for c in decision.checks if not c.passed and c.code != "threshold"]
