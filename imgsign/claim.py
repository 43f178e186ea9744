"""What a signature says once it has verified, and the two protocols every signature format fills.

A :class:`Candidate` is parsed, bounded and *unverified*; its ``verify`` is the only maker of a
:class:`Claim`. A :class:`Defect` stands for bytes that could not become a candidate. Nothing in a
candidate but its place may be shown to a person as true.

Age, expiry and sequence belong to a :class:`Subject`, not to the claim as in the first sketch of the
design: a bundle signs them per subject, and law 3 (no mix and match) wants one subject alone to meet
every condition.

A positive answer of ``verify`` proves that the holder of the key signed these subjects. It proves
neither that the image is one of them (:mod:`imgsign.evaluate` compares) nor when it was signed:
``claimed_at`` is the signer's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Protocol, runtime_checkable

from imgsign.errors import InvalidEnvelope, InvalidReference
from imgsign.intoto import COSIGN_SIGN, Predicate
from imgsign.keys import PublicKey
from imgsign.oci import Artifact, Descriptor
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.trust import TrustedKey
from imgsign.wire import Node, format_time, quote

RESERVED_PREFIX = "imgsign."
"""Annotation keys under this prefix are imgsign's own; an unknown one refuses the claim (critical extension)."""

SIGNED_AT = "imgsign.signed-at"
EXPIRES_AT = "imgsign.expires-at"
SEQUENCE = "imgsign.sequence"
SEQUENCE_MAX = 2**63 - 1


@record(kw_only=False)
class Referrers:
    """The referrers of the image; with ``manifest``, that one referrer, and ``index`` a layer of it."""

    manifest: Digest | None = None
    index: int | None = None

    def __str__(self) -> str:
        if self.manifest is None:
            return "referrers"
        return f"referrer {self.manifest}" + ("" if self.index is None else f"[{self.index}]")


@record(kw_only=False)
class Tag:
    """A tag of the image's repository; with ``index``, one layer of the manifest there."""

    name: str
    index: int | None = None

    def __str__(self) -> str:
        return self.name + ("" if self.index is None else f"[{self.index}]")


Place = Referrers | Tag


@record
class Subject:
    """One thing that was signed, with everything that was signed about it alone.

    ``name`` is a full reference without digest, or whatever else a foreign signer wrote. Times are aware
    UTC. ``annotations`` hold the user's keys only; the reserved ones have become fields.
    """

    digest: Digest
    name: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    claimed_at: datetime | None = None
    expires_at: datetime | None = None
    sequence: int | None = None


@record
class Signer:
    """Who signed: the key, by the fingerprint of its SPKI; ``identity`` for certificates."""

    spki: str | None
    identity: str | None = None


@record
class ProvenTime:
    """A time that somebody other than the signer vouches for."""

    at: datetime
    source: str


@record
class Claim:
    """What a verified candidate asserts.

    ``predicate_type`` is ``None`` for simple signing, that of cosign's sign predicate for any other signature,
    and anything else for an attestation, of which ``predicate`` is the content.
    """

    format: str
    place: Place
    subjects: tuple[Subject, ...]
    signer: Signer
    proven_at: tuple[ProvenTime, ...] = ()
    predicate_type: str | None = None
    predicate: Predicate | None = None


@record
class Defect:
    """Bytes at ``place`` that are not a usable candidate; ``code`` and ``reason`` say why."""

    place: Place
    code: str
    reason: str
    format: str | None = None


@runtime_checkable
class Candidate(Protocol):
    """A parsed, bounded, unverified signature."""

    @property
    def format(self) -> str: ...
    @property
    def place(self) -> Place: ...
    @property
    def key_hint(self) -> str | None: ...

    def untrusted_content(self) -> tuple[str | None, tuple[Subject, ...]]:
        """What it says without any check of who says it: predicate type and subjects, for ``inspect`` only.

        Raises:
            InvalidEnvelope: it says nothing that can be read.
        """
        ...

    def verify(self, trusted: TrustedKey) -> Claim:
        """Return the claim if this one key made the signature.

        One key at a time, not a whole anchor as in the first sketch of the design: so ``evaluate`` can
        see to it that no (candidate, key) pair is verified twice (law 9).

        Raises:
            UntrustedSigner: the key did not.
            InvalidEnvelope: the key did, but what it signed is not acceptable.
        """
        ...


@record
class Draft:
    """What to sign about an image: ``names`` (without digests), user annotations, times, sequence.

    With another ``predicate_type`` than that of signatures it is an attestation, and ``predicate`` its JSON.
    """

    names: tuple[Reference, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    signed_at: datetime
    expires_at: datetime | None = None
    sequence: int | None = None
    predicate_type: str = COSIGN_SIGN
    predicate: bytes = field(default=b"{}", repr=False)


@record
class Unsigned:
    """A signature before its signature: ``message`` is what the key signs, by ``scheme``.

    ``content`` is what the format needs to attach it; nothing else reads it.
    """

    format: str
    image: Descriptor
    key: PublicKey
    scheme: str
    message: bytes = field(repr=False)
    content: bytes = field(repr=False)
    draft: Draft


class Format(Protocol):
    """One signature format; pure, so that an HSM, a KMS or another machine may sign in between."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def signs(self) -> bool:
        """Whether it holds signatures."""
        ...

    @property
    def attests(self) -> bool:
        """Whether it holds attestations."""
        ...

    def places(self, image: Digest) -> tuple[Place, ...]:
        """Where signatures of this image are kept."""
        ...

    def likely(self, listed: Descriptor, wanted: frozenset[str]) -> bool:
        """Whether a listed descriptor looks like one of ours with a wanted predicate type.

        An unauthenticated hint for the order only.
        """
        ...

    def wanted(self, artifact: Artifact, at: Place) -> tuple[Descriptor, ...]:
        """Which blobs of a fetched manifest ``read`` needs; empty if the manifest is not of this format."""
        ...

    def read(self, artifact: Artifact, at: Place, image: Digest) -> tuple[Candidate | Defect, ...]:
        """Turn an artifact into candidates and defects, in stored order; never raises for its content."""
        ...

    def draft(self, image: Descriptor, draft: Draft, key: PublicKey) -> tuple[Unsigned, ...]:
        """Say what has to be signed: one element per signature."""
        ...

    def resume(self, message: bytes, image: Descriptor, key: PublicKey) -> Unsigned:
        """Take up a message that ``draft`` made earlier, to attach a signature made elsewhere.

        Raises:
            InvalidEnvelope: it is not a message of this format about this image.
        """
        ...

    def attach(self, unsigned: Unsigned, signature: bytes, *, previous: Artifact | None) -> Artifact:
        """Make the artifact to store; ``previous`` is what stands at the place now.

        Returns ``previous`` itself if it holds this very signature already.
        """
        ...


def reserved_annotations(draft: Draft) -> dict[str, str]:
    """The reserved annotation keys that say what a draft says."""
    found = {SIGNED_AT: format_time(draft.signed_at)}
    if draft.expires_at is not None:
        found[EXPIRES_AT] = format_time(draft.expires_at)
    if draft.sequence is not None:
        found[SEQUENCE] = str(draft.sequence)
    return found


def parse_subject(digest: Digest, name: str | None, annotations: Mapping[str, Node]) -> Subject:
    """Read a subject's annotations: reserved keys into fields, other string values kept, the rest ignored.

    Raises:
        InvalidEnvelope: for an unknown or malformed reserved key. The signer demanded something this
            version does not understand, so the claim must not count.
    """
    user: dict[str, str] = {}
    times: dict[str, datetime] = {}
    sequence: int | None = None
    for key, node in annotations.items():
        if not key.lower().startswith(RESERVED_PREFIX):
            if isinstance(node.value, str):
                user[key] = node.text()
        elif key in (SIGNED_AT, EXPIRES_AT):
            times[key] = node.moment()
        elif key == SEQUENCE:
            sequence = parse_sequence(node)
        else:
            raise InvalidEnvelope(
                f"signed annotation {quote(key)} is not known to this version", hint="upgrade imgsign"
            )
    return Subject(
        digest=digest,
        name=name,
        annotations=user,
        claimed_at=times.get(SIGNED_AT),
        expires_at=times.get(EXPIRES_AT),
        sequence=sequence,
    )


def resumed_draft(subjects: tuple[Subject, ...], image: Digest) -> Draft:
    """Rebuild the draft behind subjects that were written earlier, all about one image.

    Raises:
        InvalidEnvelope: they are about another digest, or do not say when they were drafted.
    """
    names = []
    for subject in subjects:
        if subject.digest != image:
            raise InvalidEnvelope(f"is about {subject.digest}, the image is {image}")
        try:
            names.append(Reference.parse(subject.name or ""))
        except InvalidReference as e:
            raise InvalidEnvelope(f"names {quote(subject.name or '')}, which is not an image name") from e
    if not subjects or subjects[0].claimed_at is None:
        raise InvalidEnvelope("does not say when it was drafted", hint="imgsign sign --export-payload makes it")
    return Draft(
        names=tuple(names),
        annotations=subjects[0].annotations,
        signed_at=subjects[0].claimed_at,
        expires_at=subjects[0].expires_at,
        sequence=subjects[0].sequence,
    )


def parse_sequence(node: Node) -> int:
    """Read a decimal sequence number without sign or leading zeros."""
    text = node.text()
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and (text == "0" or text[0] != "0")):
        node.refuse(f"not a sequence number: {quote(text)}")
    value = int(text)
    if value > SEQUENCE_MAX:
        node.refuse(f"sequence number {text} is too large")
    return value


__all__ = [
    "EXPIRES_AT",
    "RESERVED_PREFIX",
    "SEQUENCE",
    "SEQUENCE_MAX",
    "SIGNED_AT",
    "Candidate",
    "Claim",
    "Defect",
    "Draft",
    "Format",
    "Place",
    "ProvenTime",
    "Referrers",
    "Signer",
    "Subject",
    "Tag",
    "Unsigned",
    "parse_sequence",
    "parse_subject",
    "reserved_annotations",
    "resumed_draft",
]
