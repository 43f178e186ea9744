"""Real signatures from plain descriptions: what was signed, by whom, and what an attacker did to it since.

A :class:`Sig` says in integers and strings what a signature is; :func:`candidate` makes it with real keys
through the formats' own ``draft`` and ``attach``, or, for what imgsign would not write, by hand. The
oracle judges the description, ``evaluate`` the bytes. Times are seconds relative to :data:`NOW`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from imgsign.claim import Candidate, Defect, Draft, Format, Place, Referrers, Tag, Unsigned
from imgsign.dsse import pae
from imgsign.formats import bundle, dsse, simple
from imgsign.intoto import COSIGN_SIGN, PAYLOAD_TYPE
from imgsign.keys import PublicKey
from imgsign.oci import OCI_MANIFEST, Artifact, Manifest
from imgsign.reference import Digest, Reference

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

Secret = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

SECRETS: tuple[Secret, ...] = (
    ed25519.Ed25519PrivateKey.from_private_bytes(b"\x01" * 32),
    ec.derive_private_key(2, ec.SECP256R1()),
    ed25519.Ed25519PrivateKey.from_private_bytes(b"\x03" * 32),
    ec.derive_private_key(4, ec.SECP256R1()),
    ed25519.Ed25519PrivateKey.from_private_bytes(b"\x05" * 32),
    ec.derive_private_key(6, ec.SECP256R1()),
    # Strangers: no policy of these tests ever names the last two.
    ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32),
    ec.derive_private_key(8, ec.SECP256R1()),
)
"""Worthless keys from fixed numbers."""

KEYS = tuple(PublicKey.from_crypto(s.public_key()) for s in SECRETS)
STRANGERS = (6, 7)

ATTESTATION = "https://example.com/nobody-asks-for-this"


def at(offset: int) -> datetime:
    """The time ``offset`` seconds after NOW."""
    return NOW + timedelta(seconds=offset)


def manifest(note: str) -> Manifest:
    """An image whose bytes, and therefore digest, depend on ``note``."""
    blob = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "c" * 64, "size": 9}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob, "layers": [], "annotations": {"n": note}}
    return Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST)


IMAGES = (manifest("judged"), manifest("other"))
"""The image that is judged, and another one whose signatures turn up beside it."""


@dataclass(frozen=True)
class Name:
    """A signed or asked name in parts; ``digest`` is an index into IMAGES, ``short`` a spelling only."""

    registry: str
    path: str
    tag: str | None = None
    digest: int | None = None
    short: bool = False

    def __str__(self) -> str:
        prefix = f"{self.registry}/"
        path = self.path
        if self.short and self.registry == "docker.io":
            prefix, path = "", path.removeprefix("library/")
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{IMAGES[self.digest].digest}"
        return f"{prefix}{path}{tag}{digest}"

    @property
    def reference(self) -> Reference:
        return Reference.parse(str(self))


GARBLED = "Not/A Name!"
"""What a foreign signer may write where a name belongs."""


@dataclass(frozen=True)
class About:
    """One signed subject. ``name`` is ``None`` (cosign signs none), a Name, or GARBLED."""

    image: int = 0
    name: Name | str | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    signed: int | None = None
    expires: int | None = None
    sequence: int | None = None


@dataclass(frozen=True)
class Sig:
    """One signature. ``spoiled`` is what makes it worthless, whatever it says:

    ``signature`` or ``payload`` (a byte changed after signing), ``critical`` (a reserved key of a later
    version), ``predicate`` (an attestation, not a signature; bundles only), ``statement`` (signed bytes that
    are not a statement or payload at all). ``hint`` is the key whose hint a bundle shows, ``None``: its own.
    With ``attests`` it is an attestation of that predicate type, and ``content`` its predicate as JSON.
    """

    key: int
    format: str
    abouts: tuple[About, ...]
    spoiled: str | None = None
    hint: int | None = None
    attests: str | None = None
    content: str = "{}"


def sign(key: int, message: bytes) -> bytes:
    """Sign with cryptography alone."""
    match SECRETS[key]:
        case ed25519.Ed25519PrivateKey() as secret:
            return secret.sign(message)
        case secret:
            return secret.sign(message, ec.ECDSA(hashes.SHA256()))


@cache
def candidate(sig: Sig) -> Candidate:
    """Make the signature, store it as its format does, and read it back."""
    unsigned = _unsigned(sig)
    signature = sign(sig.key, unsigned.message)
    if sig.spoiled == "signature":
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    if sig.spoiled == "payload":
        unsigned = replace(unsigned, content=unsigned.content.replace(b"sha256", b"sha512", 1))
    return read(attach(unsigned, signature, hint=sig.hint), sig.format)


def attach(unsigned: Unsigned, signature: bytes, *, hint: int | None = None) -> Artifact:
    """Store a signature beside the judged image, with the hint of another key if one is given."""
    unsigned = replace(unsigned, image=IMAGES[0].descriptor, key=unsigned.key if hint is None else KEYS[hint])
    return _FORMATS[unsigned.format].attach(unsigned, signature, previous=None)


def read(artifact: Artifact, format: str) -> Candidate:
    """Read the one candidate of an artifact at its format's place for the judged image."""
    image = IMAGES[0].digest
    place: Place = Referrers() if format == "bundle" else Tag(f"{image.tag}.{TAGS[format]}")
    (found,) = _FORMATS[format].read(artifact, place, image)
    assert not isinstance(found, Defect), found
    return found


TAGS = {"simple": "sig", "dsse": "att"}
_FORMATS: dict[str, Format] = {"bundle": bundle.FORMAT, "simple": simple.FORMAT, "dsse": dsse.FORMAT}


def _unsigned(sig: Sig) -> Unsigned:
    """Draft as imgsign does where it would write such a thing, else as a foreign signer does."""
    first = sig.abouts[0]
    names = [a.name for a in sig.abouts if isinstance(a.name, Name)]
    alike = len({replace(a, name=None) for a in sig.abouts}) == 1
    if len(names) == len(sig.abouts) and alike and first.signed is not None and sig.spoiled in (None, *_BYTES):
        draft = Draft(
            names=tuple(n.reference for n in names),
            annotations=dict(first.annotations),
            signed_at=at(first.signed),
            expires_at=None if first.expires is None else at(first.expires),
            sequence=first.sequence,
            predicate_type=sig.attests or COSIGN_SIGN,
            predicate=sig.content.encode(),
        )
        (unsigned,) = _FORMATS[sig.format].draft(IMAGES[first.image].descriptor, draft, KEYS[sig.key])
        return unsigned
    return unsigned_bytes(sig.key, sig.format, _payload(sig) if sig.format == "simple" else _statement(sig))


_BYTES = ("signature", "payload")


def unsigned_bytes(key: int, format: str, content: bytes) -> Unsigned:
    """Any bytes, ready to be signed and stored as if they were a statement or payload."""
    return Unsigned(
        format=format,
        image=IMAGES[0].descriptor,
        key=KEYS[key],
        scheme="any",
        message=content if format == "simple" else pae(PAYLOAD_TYPE, content),
        content=content,
        draft=Draft(names=(), signed_at=NOW),
    )


def _reserved(about: About, spoiled: str | None) -> dict[str, str]:
    found = dict(about.annotations)
    if about.signed is not None:
        found["imgsign.signed-at"] = _rfc3339(about.signed)
    if about.expires is not None:
        found["imgsign.expires-at"] = _rfc3339(about.expires)
    if about.sequence is not None:
        found["imgsign.sequence"] = str(about.sequence)
    if spoiled == "critical":
        found["imgsign.only-on-sundays"] = "yes"
    return found


def _statement(sig: Sig) -> bytes:
    if sig.spoiled == "statement":
        return b'{"_type": "https://in-toto.io/Statement/v1"}'
    subjects = []
    for about in sig.abouts:
        subject: dict[str, object] = {} if about.name is None else {"name": str(about.name)}
        subject["digest"] = {"sha256": IMAGES[about.image].digest.hex}
        if found := _reserved(about, sig.spoiled):
            subject["annotations"] = found
        subjects.append(subject)
    kind = ATTESTATION if sig.spoiled == "predicate" else sig.attests or COSIGN_SIGN
    value = {"_type": "https://in-toto.io/Statement/v0.1", "subject": subjects, "predicateType": kind}
    return _json(value)[:-1] + b', "predicate": ' + sig.content.encode() + b"}"


def _payload(sig: Sig) -> bytes:
    (about,) = sig.abouts
    if sig.spoiled == "statement":
        return b'{"critical": {}, "optional": {}}'
    optional: dict[str, object] = dict(_reserved(about, sig.spoiled))
    if about.signed is not None:
        # As skopeo and podman say it: only this, in whole seconds.
        del optional["imgsign.signed-at"]
        optional["timestamp"] = int(at(about.signed).timestamp())
    critical = {
        "identity": {"docker-reference": "" if about.name is None else str(about.name)},
        "image": {"docker-manifest-digest": str(IMAGES[about.image].digest)},
        "type": "cosign container image signature",
    }
    return _json({"critical": critical, "optional": optional or None})


def _rfc3339(offset: int) -> str:
    return at(offset).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode()


def defect(number: int) -> Defect:
    """Something at a place of its own that is no candidate."""
    return Defect(
        place=Referrers(Digest.of(b"defect %d" % number)),
        code=("malformed", "blob-missing", "unsupported", "foreign-referrer")[number % 4],
        reason="malformed, for a reason",
        format="bundle",
    )
