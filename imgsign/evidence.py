"""Evidence that is kept: everything one judgement read, so that it can be made again without a registry.

The same format and version give the same decision, check by check. Of another version the verdict is compared with
the one that was saved, and a difference is named (:func:`difference`). Files: :mod:`imgsign.evidence_files`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from imgsign import __version__
from imgsign.decision import Decision, Evidence, Fault, Opened
from imgsign.evaluate import Verifications, evaluate
from imgsign.formats import formats_for
from imgsign.gather import Limits, Pile, gather
from imgsign.oci import Image, Manifest
from imgsign.policy.model import Policy, Reject
from imgsign.predicates import shown_type
from imgsign.record import record
from imgsign.reference import Reference
from imgsign.resolve import Target
from imgsign.trust import TrustStore


@record
class Saved:
    """One judgement's input, and what came out of it.

    ``reference`` is what was asked for in words, ``rounds`` what was opened, in the order of gathering. ``verdict`` and
    ``checks`` are the decision at ``judged_at``, made by ``version``.
    """

    version: str
    judged_at: datetime
    reference: str
    name: Reference | None
    place: str
    policy: Policy
    trust: TrustStore
    limits: Limits
    wanted: frozenset[str]
    manifest: Manifest | None
    rounds: tuple[tuple[Opened, ...], ...]
    verdict: str
    checks: tuple[tuple[str, bool, str], ...]


def collect(
    target: Target, policy: Policy, trust: TrustStore, *, now: datetime, everything: frozenset[str] | None = None
) -> tuple[Saved, Decision]:
    """Gather all that a verification would look at, and judge it as a verification does.

    ``everything``: these predicate types, whatever the rule asks for.

    Raises:
        RegistryError: the image itself could not be read.
    """
    now = now.replace(microsecond=0)
    rule = policy.rule_for(None if target.name is None else target.name.repository)
    rejects = any(isinstance(r, Reject) for r in rule.require)
    wanted = everything if everything is not None else rule.wanted
    limits = Limits().settled(policy.settings)
    manifest = None
    rounds: list[tuple[Opened, ...]] = []
    if not rejects or everything is not None:
        manifest = target.store.fetch(target.what)
        known = 0
        if wanted:
            for found in gather(target.store, manifest.digest, formats_for(wanted), wanted=wanted, limits=limits):
                rounds.append(found.opened[known:])
                known = len(found.opened)
    saved = Saved(
        version=__version__,
        judged_at=now,
        reference=str(target),
        name=target.name,
        place=target.place,
        policy=policy,
        trust=trust,
        limits=limits,
        wanted=wanted,
        manifest=manifest,
        rounds=tuple(rounds),
        verdict="",
        checks=(),
    )
    decision = replay(saved, policy, trust, now=now)
    return _with_outcome(saved, decision), decision


def replay(saved: Saved, policy: Policy, trust: TrustStore, *, now: datetime) -> Decision:
    """Judge saved evidence, in the rounds in which it was gathered, as :func:`imgsign.workflow.verify` does."""
    rule = policy.rule_for(None if saved.name is None else saved.name.repository)
    if any(isinstance(r, Reject) for r in rule.require):
        return evaluate(policy, trust, Image(name=saved.name, manifest=None), Evidence(), now=now)
    image = Image(name=saved.name, manifest=saved.manifest)
    if saved.manifest is None:
        lacks = _lack("it was saved under a policy that rejects the image, so nothing was gathered")
        return evaluate(policy, trust, image, Evidence(faults=(lacks,)), now=now)
    if not rule.needs_evidence:
        return evaluate(policy, trust, image, Evidence(), now=now)
    pile = Pile(formats_for(rule.wanted), saved.manifest.digest)
    if missing := sorted(map(shown_type, rule.wanted - saved.wanted)):
        pile.faults.append(_lack(f"nothing of type {', '.join(missing)} was gathered"))
    memo = Verifications()
    decision = None
    for opened in saved.rounds or ((),):
        for one in opened:
            pile.add(one)
        decision = evaluate(policy, trust, image, pile.evidence(), now=now, verifications=memo)
        if decision.allowed:
            break
    if decision is None:
        raise RuntimeError("there is at least one round")
    return decision


def difference(saved: Saved) -> str | None:
    """Judge again by the saved policy and time: how the verdict differs from the one that was saved, if it does."""
    decision = replay(saved, saved.policy, saved.trust, now=saved.judged_at)
    again = _with_outcome(saved, decision)
    if again.verdict == saved.verdict and (saved.version != __version__ or again.checks == saved.checks):
        return None
    first = next((c for c in again.checks if c not in saved.checks), None)
    first = first or next((c for c in saved.checks if c not in again.checks), None)
    why = "" if first is None else f", first at {first[2]}: {first[0]}"
    return f"imgsign {saved.version} said {saved.verdict}, imgsign {__version__} says {again.verdict}{why}"


def _with_outcome(saved: Saved, decision: Decision) -> Saved:
    word = "undecided" if decision.inconclusive else decision.verdict.value
    return replace(saved, verdict=word, checks=tuple((c.code, c.passed, c.about) for c in decision.checks))


def _lack(text: str) -> Fault:
    return Fault(about="evidence", message=text, hint="save it again with --everything, under this policy")
