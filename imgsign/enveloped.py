"""Candidates that are DSSE envelopes over in-toto statements, in whatever container they lie.

Sources: DSSE v1.0.2; in-toto Statement v1 and v0.1. Signed is one subject per name: ``name`` the full
reference, the image's digest, and as annotations the user's keys plus the reserved ones. The statement is
parsed only after its signature has verified.
"""

from __future__ import annotations

from dataclasses import field

from imgsign.claim import Claim, Draft, Place, Signer, Subject, Unsigned, parse_subject, reserved_annotations
from imgsign.dsse import Envelope, pae
from imgsign.errors import UsageError
from imgsign.intoto import PAYLOAD_TYPE, SUBJECT_LIMIT, Statement, write_statement
from imgsign.keys import PublicKey
from imgsign.oci import Descriptor
from imgsign.record import record
from imgsign.trust import TrustedKey


@record
class EnvelopeCandidate:
    """A bounded, parsed, unverified envelope; see :class:`imgsign.claim.Candidate`."""

    place: Place
    key_hint: str | None
    envelope: Envelope = field(repr=False)
    format: str

    def untrusted_content(self) -> tuple[str | None, tuple[Subject, ...]]:
        """See :class:`imgsign.claim.Candidate`."""
        statement, subjects = read_statement(self.envelope.payload)
        return statement.predicate_type, subjects

    def verify(self, trusted: TrustedKey) -> Claim:
        """See :class:`imgsign.claim.Candidate`."""
        trusted.key.verify(self.envelope.signature, self.envelope.message, hash=trusted.hash)
        statement, subjects = read_statement(self.envelope.payload)
        return Claim(
            format=self.format,
            place=self.place,
            subjects=subjects,
            signer=Signer(spki=trusted.key.digest),
            predicate_type=statement.predicate_type,
            predicate=statement.predicate,
        )


def read_statement(payload: bytes) -> tuple[Statement, tuple[Subject, ...]]:
    """Parse a statement and its subjects, one a digest.

    Raises:
        InvalidEnvelope: it is not a statement, or demands something that is not understood.
    """
    statement = Statement.parse(payload)
    subjects: list[Subject] = []
    for subject in statement.subjects:
        subjects.extend(parse_subject(d, subject.name, subject.annotations) for d in subject.digests)
    return statement, tuple(subjects)


def draft_statement(format: str, image: Descriptor, draft: Draft, key: PublicKey, *, limit: int) -> Unsigned:
    """Say what has to be signed, in a container of at most ``limit`` bytes.

    Raises:
        UsageError: too many names, or too much of anything.
    """
    if len(draft.names) > SUBJECT_LIMIT:
        raise UsageError(f"one bundle holds at most {SUBJECT_LIMIT} names", hint="sign them in several runs")
    annotations = {**draft.annotations, **reserved_annotations(draft)}
    subjects = ((str(name), image.digest, annotations) for name in draft.names)
    payload = write_statement(subjects, draft.predicate_type, draft.predicate)
    most = limit * 3 // 4 - 16 * 1024  # what fits as base64, with room for the rest
    if len(payload) > most:
        raise UsageError(f"what is to be signed is over the limit of {most} bytes")
    return Unsigned(
        format=format,
        image=image,
        key=key,
        scheme=key.scheme.bundle,
        message=pae(PAYLOAD_TYPE, payload),
        content=payload,
        draft=draft,
    )
