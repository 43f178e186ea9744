"""evaluate(): (policy, trust, image, evidence, now) -> Decision. Nothing else decides.

A pure function: no input or output, no clock. This page counts: which claims hold for which requirement, by
how many signers, until when. What one claim must meet is :mod:`imgsign.conditions`, what its predicate must
say :mod:`imgsign.where`, and what a verification costs :mod:`imgsign.verifications`.

For the laws it keeps see design §5; in short:

1. Only this function makes a positive ``Decision``.
2. Monotone: no requirement asks for absence, so less evidence never allows more, and candidates that do
   not verify with a key of the rule change nothing.
3. No mix and match: a signature or attestation counts only if *one subject of one claim* meets digest,
   name, annotations, age, sequence and expiry, and that claim's own predicate every ``where``. Only
   distinct signers are counted across claims.
4. Whatever is wrong with one candidate is a failed check of that candidate.
5. A fault never turns ALLOW into DENY; it makes a DENY inconclusive.
6. Two signers with one SPKI are one signer.
8. ``valid_until`` is the earliest time at which the checks relied on could come out differently.
9. Each (candidate, key) pair is verified at most once, hinted keys first, up to a limit: one for pairs that
   the candidate hints at and one for the others.

What ALLOW does not prove: that the keys are still in the right hands, that the times signers claim are
true, or anything about what the image does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from imgsign.claim import Candidate, Claim, Defect
from imgsign.conditions import CLOCK_SKEW, Problem, holds_until, kind_problem, subject_problems
from imgsign.decision import SEAL, Check, Decision, Evidence, Fault, Verdict
from imgsign.errors import InvalidEnvelope
from imgsign.oci import Image
from imgsign.policy.model import Attested, Policy, Reject, Requirement, Rule, SignedBy, UnsafeAcceptUnsigned
from imgsign.record import record
from imgsign.trust import TrustedKey, TrustStore
from imgsign.verifications import VERIFICATIONS_LIMIT, Untried, Verifications
from imgsign.where import Fails, Holds, judge_where
from imgsign.wire import quote

__all__ = ["CLOCK_SKEW", "VERIFICATIONS_LIMIT", "Verifications", "evaluate"]


def evaluate(
    policy: Policy,
    trust: TrustStore,
    image: Image,
    evidence: Evidence,
    *,
    now: datetime,
    verifications: Verifications | None = None,
) -> Decision:
    """Judge one image.

    Args:
        policy: The rule of the image's most specific scope applies; without a name, the default does.
        trust: Must hold every anchor the policy names.
        image: The manifest whose bytes were hashed, and the name it was asked for by.
        evidence: In any order.
        now: Aware UTC.
        verifications: Kept results of earlier rounds over a part of the same evidence.
    """
    rule = policy.rule_for(None if image.name is None else image.name.repository)
    memo = Verifications() if verifications is None else verifications
    memo.limit = policy.settings.verifications or VERIFICATIONS_LIMIT
    case = _Case(trust=trust, image=image, evidence=evidence, memo=memo, now=now)
    outcomes = [_judge(requirement, label, rule, case) for requirement, label in _labelled(rule)]
    faults = evidence.faults
    if memo.exhausted:
        limit = Fault(about="verifications", message=f"stopped after {memo.limit} signature verifications")
        faults = (*faults, limit)
    # Without bytes that were hashed there is nothing to allow; an empty rule allows nothing either.
    allowed = image.manifest is not None and bool(outcomes) and all(o.holds for o in outcomes)
    conclusive = allowed or any(o.final for o in outcomes)
    ends = [o.valid_until for o in outcomes if o.valid_until is not None]
    return Decision(
        verdict=Verdict.ALLOW if allowed else Verdict.DENY,
        image=image,
        scope=rule.scope,
        checks=tuple(c for o in outcomes for c in o.checks),
        claims=tuple(c for o in outcomes for c in o.claims) if allowed else (),
        faults=() if conclusive and not allowed else faults,
        valid_until=min(ends) if allowed and ends else None,
        seal=SEAL,
    )


@record
class _Case:
    """What every requirement of one decision is judged by."""

    trust: TrustStore
    image: Image
    evidence: Evidence
    memo: Verifications
    now: datetime


@record
class _Outcome:
    """One requirement's result; ``final`` if no further evidence could change a failure."""

    holds: bool
    checks: tuple[Check, ...]
    claims: tuple[tuple[str, Claim], ...] = ()
    valid_until: datetime | None = None
    final: bool = False


def _labelled(rule: Rule) -> Iterator[tuple[Requirement, str]]:
    """Name each requirement for its checks; the second of two that read alike gets a number."""
    seen: dict[str, int] = {}
    for required in rule.require:
        text = str(required)
        seen[text] = seen.get(text, 0) + 1
        yield required, text if seen[text] == 1 else f"{text} ({seen[text]})"


def _judge(required: Requirement, label: str, rule: Rule, case: _Case) -> _Outcome:
    match required:
        case UnsafeAcceptUnsigned():
            message = "accepted without looking for signatures"
            return _Outcome(holds=True, checks=(_check("accepted-unsigned", True, label, message),))
        case Reject():
            if rule.scope is None:
                text = "no scope of the policy covers it, and the default rejects"
                check = _check("no-scope", False, label, text, hint="add a scope for it to the policy")
            else:
                check = _check("rejected", False, label, "the scope rejects every image")
            return _Outcome(holds=False, checks=(check,), final=True)
        case SignedBy() | Attested():
            return _Count(required, label, case).outcome()
        case _:
            assert_never(required)


@record
class _Counted:
    """One claim that counts for a requirement, until when, and for which anchor."""

    anchor: str
    claim: Claim
    until: datetime | None


@record(kw_only=False)
class _Count:
    """Counting distinct signers for one requirement."""

    required: SignedBy | Attested
    label: str
    case: _Case

    def outcome(self) -> _Outcome:
        """Judge every candidate, and see whether enough distinct signers are left."""
        required, evidence = self.required, self.case.evidence
        best: dict[str, _Counted] = {}  # by signer: law 6
        checks: list[Check] = []
        keys = [(name, k) for name in required.anchors for k in self.case.trust.anchors[name].keys]
        by_hint: dict[str, list[tuple[str, TrustedKey]]] = {}
        for pair in keys:
            by_hint.setdefault(pair[1].key.hint, []).append(pair)
        self._verify_hinted(by_hint)
        for candidate in evidence.candidates:
            for found in self._judge_candidate(candidate, keys, by_hint):
                if isinstance(found, Check):
                    checks.append(found)
                    continue
                checks.append(self._passed(found))
                if (spki := found.claim.signer.spki) is not None and _lasts_longer(found, best.get(spki)):
                    best[spki] = found
        checks.extend(self._failed(d.code, d.reason, about=_label(d)) for d in evidence.defects)
        counted = sorted(best.values(), key=_latest_first)[: required.threshold]
        holds = len(best) >= required.threshold
        what = "signatures" if isinstance(required, SignedBy) else "attestations"
        nothing = "" if evidence.candidates or evidence.defects else f", no {what} found"
        text = f"{len(best)} of {required.threshold} needed{nothing}"
        hint = None if holds else self._next_step(checks)
        summary = _check("threshold", holds, self.label, text, hint=hint)
        ends = [c.until for c in counted if c.until is not None]
        return _Outcome(
            holds=holds,
            checks=(summary, *checks),
            claims=tuple((c.anchor, c.claim) for c in counted) if holds else (),
            valid_until=min(ends) if ends else None,
        )

    def _verify_hinted(self, by_hint: dict[str, list[tuple[str, TrustedKey]]]) -> None:
        """Verify each candidate with the key it hints at, before any is tried with the others.

        So a stranger's junk, with or without our hint, cannot use up the verifications before ours had its one.
        """
        for candidate in self.case.evidence.candidates:
            if candidate.key_hint is not None and self._is_allowed_format(candidate):
                for _, trusted in by_hint.get(candidate.key_hint, ()):
                    self.case.memo.result(candidate, trusted)

    def _judge_candidate(
        self,
        candidate: Candidate,
        keys: list[tuple[str, TrustedKey]],
        by_hint: dict[str, list[tuple[str, TrustedKey]]],
    ) -> Iterator[_Counted | Check]:
        """Yield every way in which the candidate counts, or the one reason why it does not."""
        if not self._is_allowed_format(candidate):
            allowed = ", ".join(self.required.formats or ())
            text = f"format {candidate.format} is not among those allowed: {allowed}"
            yield self._failed("format-not-allowed", text, about=_label(candidate))
            return
        refused: list[Check] = []
        counted = 0
        signer: str | None = None
        untried = False
        for anchor, trusted in _hinted_first(candidate, keys, by_hint):
            if signer is not None and signer != trusted.key.digest:
                continue  # a signature has one signer; the same key may stand in another anchor
            found = self.case.memo.result(candidate, trusted)
            if found is None or found is Untried.UNTRIED:
                untried = untried or found is not None
                continue
            signer = trusted.key.digest
            if isinstance(found, Check):
                refused.append(self._failed(found.code, found.message, about=_label(candidate), hint=found.hint))
                continue
            outcome = self._judge_claim(found, anchor, trusted)
            if isinstance(outcome, Check):
                refused.append(outcome)
            else:
                counted += 1
                yield outcome
        if not counted:
            yield refused[0] if refused else self._no_signer(candidate, len(keys), untried=untried)

    def _judge_claim(self, claim: Claim, anchor: str, trusted: TrustedKey) -> _Counted | Check:
        """Find one subject that meets everything; else say what its best subject lacks."""
        required, case = self.required, self.case
        problem: Problem | None = kind_problem(claim, required)
        if problem is not None:
            return self._failed(*problem[:2], about=_where(claim), hint=problem[2])
        if not claim.subjects:
            text = "is about nothing: no subject with a supported digest"
            return self._failed("no-subject", text, about=_where(claim))
        problem = ("digest-mismatch", "is about another digest", None)
        progress = -1
        best: _Counted | None = None
        for subject in claim.subjects:
            steps = subject_problems(subject, claim, trusted, required, case.image, case.now)
            done = 0
            for found in steps:
                if found is not None:
                    break
                done += 1
            else:
                counted = _Counted(anchor=anchor, claim=claim, until=holds_until(subject, claim, trusted, required))
                best = counted if _lasts_longer(counted, best) else best
                continue
            if done > progress:
                progress, problem = done, found
        if best is None:
            return self._failed(*problem[:2], about=_where(claim), hint=problem[2])
        return self._judge_predicate(best)

    def _judge_predicate(self, counted: _Counted) -> _Counted | Check:
        """Hold a claim whose subject is right against the conditions on its own predicate."""
        required = self.required
        if not isinstance(required, Attested) or not required.where:
            return counted
        names = frozenset(name for condition in required.where for name in condition.names)
        predicate = self.case.memo.pick(counted.claim, names)
        if isinstance(predicate, InvalidEnvelope):
            return self._failed(
                "bad-predicate", f"its predicate is unusable, {predicate.message}", about=_where(counted.claim)
            )
        found = judge_where(required.where, predicate.value, now=self.case.now, skew=CLOCK_SKEW)
        match found:
            case Fails():
                return self._failed(found.code, found.message, about=_where(counted.claim))
            case Holds():
                ends = [e for e in (counted.until, found.until) if e is not None]
                return replace(counted, until=min(ends, default=None))
            case _:
                assert_never(found)

    def _no_signer(self, candidate: Candidate, keys: int, *, untried: bool) -> Check:
        names = ", ".join(quote(a) for a in self.required.anchors)
        if untried:
            text = f"was not tried with every key of anchor {names}: there are too many signatures"
            return self._failed("not-tried", text, about=_label(candidate))
        plural = "the key" if keys == 1 else f"any of the {keys} keys"
        text = f"does not verify with {plural} of anchor {names}"
        return self._failed("untrusted-signer", text, about=_label(candidate))

    def _is_allowed_format(self, candidate: Candidate) -> bool:
        return self.required.formats is None or candidate.format in self.required.formats

    def _passed(self, counted: _Counted) -> Check:
        word = "signed" if isinstance(self.required, SignedBy) else "attested"
        return _check(word, True, self.label, f"{word} by {counted.anchor}", about=_where(counted.claim))

    def _failed(self, code: str, message: str, *, about: str, hint: str | None = None) -> Check:
        return _check(code, False, self.label, message, about=about, hint=hint)

    def _next_step(self, checks: list[Check]) -> str:
        """The hint of the first candidate that has one, else the command that would make what is missing."""
        first = next((c.hint for c in checks if c.hint is not None), None)
        if first is not None:
            return first
        image, required = self.case.image, self.required
        target = "IMAGE" if image.name is None else str(image)
        names = " or ".join(f'"{a}"' for a in required.anchors)
        if isinstance(required, Attested):
            kind = required.types[0]
            return (
                f"attest it with a key of anchor {names}: imgsign attest {target} --type {kind} --predicate FILE -k KEY"
            )
        return f"sign it with a key of anchor {names}: imgsign sign {target} -k KEY"


def _hinted_first(
    candidate: Candidate, keys: list[tuple[str, TrustedKey]], by_hint: dict[str, list[tuple[str, TrustedKey]]]
) -> list[tuple[str, TrustedKey]]:
    hinted = by_hint.get(candidate.key_hint) if candidate.key_hint is not None else None
    if hinted is None:
        return keys
    return [*hinted, *(pair for pair in keys if pair[1].key.hint != candidate.key_hint)]


def _lasts_longer(found: _Counted, other: _Counted | None) -> bool:
    if other is None:
        return True
    return other.until is not None and (found.until is None or found.until > other.until)


def _latest_first(counted: _Counted) -> tuple[bool, float]:
    return (counted.until is not None, -counted.until.timestamp() if counted.until is not None else 0.0)


def _where(claim: Claim) -> str:
    return f"{claim.place} ({claim.format})"


def _label(candidate: Candidate | Defect) -> str:
    return f"{candidate.place} ({candidate.format})" if candidate.format else str(candidate.place)


def _check(
    code: str, passed: bool, group: str, message: str, *, about: str | None = None, hint: str | None = None
) -> Check:
    return Check(code=code, passed=passed, about=about or group, message=message, hint=hint, group=group)
