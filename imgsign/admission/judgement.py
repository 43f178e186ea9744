"""One image of a review, judged: a :class:`~imgsign.decision.Decision`, or why there is none; pure.

A positive judgement rests on a positive decision, which only ``evaluate`` makes, or on a scope that accepts
unsigned images (:meth:`Judgement.unsigned`, made by :mod:`imgsign.admission.plan` alone). Everything else is a
denial or undecided, and gates deny what is undecided. A test reads the sources: judgements are made here alone.
"""

from __future__ import annotations

import enum

from imgsign.decision import Decision
from imgsign.errors import (
    AuthenticationFailed,
    ContentMismatch,
    ImgsignError,
    NotFound,
    TooLarge,
    Unavailable,
)
from imgsign.policy.model import Rule, UnsafeAcceptUnsigned
from imgsign.record import record
from imgsign.reference import Digest, Reference

_CODES: tuple[tuple[type[ImgsignError], str], ...] = (
    (NotFound, "not-found"),
    (AuthenticationFailed, "authentication-failed"),
    (ContentMismatch, "content-mismatch"),
    (TooLarge, "too-large"),
    (Unavailable, "unavailable"),
)


class Ruling(enum.Enum):
    """What a judgement comes to."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNDECIDED = "undecided"


@record
class Judgement:
    """What is known of one image. ``text`` is canonical if it is a reference, else as it was written.

    ``code`` is stable: of the first failed check, of the fault, or one of this package's own
    (``not-pinned``, ``invalid-reference``, ``short-name``, ``host-not-allowed``, ``not-judged``, ``busy``,
    ``deadline``). ``digest`` is of the bytes that were hashed: what mutate writes. ``cached``: no request
    was made for it.
    """

    text: str
    ruling: Ruling
    code: str
    message: str
    hint: str | None = None
    digest: Digest | None = None
    decision: Decision | None = None
    cached: bool = False

    @classmethod
    def of(cls, reference: Reference, decision: Decision, *, cached: bool = False) -> Judgement:
        """Take what ``evaluate`` decided."""
        text, digest = str(reference), decision.image.digest
        if decision.allowed and digest is not None:
            anchors = dict.fromkeys(anchor for anchor, _ in decision.claims)
            message = f"signed by {', '.join(anchors)}" if anchors else "accepted unsigned"
            ruling, code, hint = Ruling.ALLOWED, "allowed" if anchors else "accepted-unsigned", None
        elif decision.inconclusive:
            fault = decision.faults[0]
            message, hint = f"{fault.about}: {fault.message}", fault.hint
            ruling, code = Ruling.UNDECIDED, "evidence-missing"
        else:
            failed = [c for c in decision.checks if not c.passed]
            first = next((c for c in failed if c.about == c.group), None)
            message = "the policy denies it" if first is None else f"{first.group}: {first.message}"
            hint = None if first is None else first.hint
            codes = list(dict.fromkeys(c.code for c in failed if c is not first))
            # One reason is named as it is; several are summed up by the requirement that is not met.
            ruling, code = Ruling.DENIED, codes[0] if len(codes) == 1 else first.code if first else "denied"
        return cls(
            text=text,
            ruling=ruling,
            code=code,
            message=message,
            hint=hint,
            digest=digest,
            decision=decision,
            cached=cached,
        )

    @classmethod
    def unsigned(cls, text: str, rule: Rule) -> Judgement:
        """Accept without any request: the rule asks for no signature."""
        if not rule.require or not all(isinstance(r, UnsafeAcceptUnsigned) for r in rule.require):
            raise ValueError("the rule does not accept unsigned images")
        return cls(text=text, ruling=Ruling.ALLOWED, code="accepted-unsigned", message="accepted unsigned")

    @classmethod
    def undecided(cls, reference: Reference, code: str, message: str, hint: str | None = None) -> Judgement:
        """Say why nothing was decided: no slot, no time, no answer."""
        return cls(text=str(reference), ruling=Ruling.UNDECIDED, code=code, message=message, hint=hint)

    @classmethod
    def failed(cls, reference: Reference, error: ImgsignError) -> Judgement:
        """Say that the image itself could not be read."""
        code = next((c for kind, c in _CODES if isinstance(error, kind)), "failed")
        return cls.undecided(reference, code, error.message, error.hint)

    @classmethod
    def denied(cls, text: str, code: str, message: str, hint: str | None = None) -> Judgement:
        """Deny conclusively, without a decision: what was written cannot be accepted, whatever is signed."""
        return cls(text=text, ruling=Ruling.DENIED, code=code, message=message, hint=hint)
