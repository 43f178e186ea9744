"""Judging the same images under two policies, or saved evidence under one: what changes, and why.

An image is a :class:`Subject`: evidence that was saved, or gathered now, with everything that could matter to either
policy, so that both judge the same bytes.
"""

from __future__ import annotations

from datetime import datetime

from imgsign.decision import Decision
from imgsign.evidence import Saved, collect, replay
from imgsign.intoto import COSIGN_SIGN
from imgsign.policy.model import Attested, Policy, Reject, Rule
from imgsign.predicates import BY_URI
from imgsign.record import record
from imgsign.resolve import Target
from imgsign.trust import TrustStore

Judges = tuple[Policy, TrustStore]


@record
class Change:
    """One image under both policies; ``why`` is empty where the verdict is the same."""

    reference: str
    old: str
    new: str
    why: str


def gather_subject(target: Target, policies: tuple[Judges, ...], *, now: datetime) -> Saved:
    """Gather everything about an image that one of the policies could ask for.

    Raises:
        RegistryError: the image itself could not be read.
    """
    uris = {
        u for p, _ in policies for r in p.scopes.values() for q in r.require if isinstance(q, Attested) for u in q.uris
    }
    wanted = frozenset((COSIGN_SIGN, *BY_URI, *uris))
    nothing = Policy(default=Rule(scope=None, require=(Reject(),)), scopes={})
    saved, _ = collect(target, nothing, TrustStore(anchors={}), now=now, everything=wanted)
    return saved


def compare(saved: Saved, old: Judges, new: Judges, *, now: datetime) -> Change:
    """Judge one image under both."""
    before, after = replay(saved, *old, now=now), replay(saved, *new, now=now)
    words = word(before), word(after)
    return Change(
        reference=saved.reference,
        old=words[0],
        new=words[1],
        why=reason(before if after.allowed else after) if words[0] != words[1] else "",
    )


def word(decision: Decision) -> str:
    """``allowed``, ``denied`` or ``undecided``."""
    return "undecided" if decision.inconclusive else decision.verdict.value


def codes(decision: Decision) -> frozenset[str]:
    """The codes of everything that failed."""
    return frozenset(c.code for c in decision.checks if not c.passed)


def reason(decision: Decision) -> str:
    """The first thing that fails, and the first candidate's reason for it."""
    failed = [c for c in decision.checks if not c.passed]
    summary = next((c for c in failed if c.about == c.group), None)
    if summary is None:
        return next((f"{f.about}: {f.message}" for f in decision.faults), "")
    single = next((c for c in failed if c.group == summary.group and c is not summary), None)
    more = "" if single is None else f": {single.code}: {single.message}"
    return f"{summary.group}: {summary.message}{more}"
