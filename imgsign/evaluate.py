"""evaluate(): (policy, trust, image, evidence, now) -> Decision. Nothing else decides.

A pure function: no input or output, no clock. For the laws it keeps see design §5; in short:

1. Only this function makes a positive ``Decision``.
2. Monotone: no requirement asks for absence, so less evidence never allows more, and candidates that do
   not verify with a key of the rule change nothing.
3. No mix and match: a signature counts only if *one subject of one claim* meets digest, name,
   annotations, age, sequence and expiry. Only distinct signers are counted across signatures.
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

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from imgsign.claim import Candidate, Claim, Defect, Subject
from imgsign.decision import SEAL, Check, Decision, Evidence, Fault, Verdict
from imgsign.errors import InvalidEnvelope, InvalidReference, UntrustedSigner
from imgsign.intoto import COSIGN_SIGN
from imgsign.oci import Image
from imgsign.policy.model import NameRule, Policy, Reject, Rule, SignedBy, UnsafeAcceptUnsigned
from imgsign.reference import Reference, Repository
from imgsign.trust import TrustedKey, TrustStore
from imgsign.wire import format_time, quote

VERIFICATIONS_LIMIT = 2000
"""Signature verifications one decision may cost (law 9): 100 candidates against 20 keys."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far a signer's clock may run ahead of ours before its time is refused as being in the future."""


class Untried(enum.Enum):
    """Stands for a pair that was not verified, because the limit had been reached."""

    UNTRIED = "untried"


@dataclass(slots=True)
class Verifications:
    """Results of (candidate, key) pairs, so that none is computed twice in one decision.

    May be kept over the rounds in which the evidence for one image grows. Pairs that the candidate hints
    at have a limit of their own: a stranger's junk, gathered first or judged for another requirement, must
    not leave nothing for a signature that says whose it is.
    """

    done: dict[tuple[int, str, str | None], Claim | Check | None] = field(default_factory=dict)
    kept: dict[int, Candidate] = field(default_factory=dict)
    hinted: int = 0
    others: int = 0
    exhausted: bool = False

    def result(self, candidate: Candidate, trusted: TrustedKey) -> Claim | Check | Untried | None:
        """Return a claim, a failed check (verified, but unacceptable), or ``None`` (another key's)."""
        key = (id(candidate), trusted.key.digest, trusted.hash)
        if key in self.done:
            return self.done[key]
        is_hinted = candidate.key_hint == trusted.key.hint
        if (self.hinted if is_hinted else self.others) >= VERIFICATIONS_LIMIT:
            self.exhausted = True
            return Untried.UNTRIED
        if is_hinted:
            self.hinted += 1
        else:
            self.others += 1
        found: Claim | Check | None
        try:
            found = candidate.verify(trusted)
        except UntrustedSigner:
            found = None
        except InvalidEnvelope as e:
            found = Check(code="bad-claim", passed=False, about=str(candidate.place), message=e.message, hint=e.hint)
        self.done[key] = found
        self.kept[id(candidate)] = candidate  # an id stays unique only while its object lives
        return found


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
    outcomes = [_judge(requirement, rule, trust, image, evidence, memo, now) for requirement in rule.require]
    faults = evidence.faults
    if memo.exhausted:
        limit = Fault(about="verifications", message=f"stopped after {VERIFICATIONS_LIMIT} signature verifications")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """One requirement's result; ``final`` if no further evidence could change a failure."""

    holds: bool
    checks: tuple[Check, ...]
    claims: tuple[tuple[str, Claim], ...] = ()
    valid_until: datetime | None = None
    final: bool = False


def _judge(
    requirement: SignedBy | UnsafeAcceptUnsigned | Reject,
    rule: Rule,
    trust: TrustStore,
    image: Image,
    evidence: Evidence,
    memo: Verifications,
    now: datetime,
) -> _Outcome:
    match requirement:
        case UnsafeAcceptUnsigned():
            message = "accepted without looking for signatures"
            return _Outcome(holds=True, checks=(_check("accepted-unsigned", True, requirement, message),))
        case Reject():
            if rule.scope is None:
                text = "no scope of the policy covers it, and the default rejects"
                check = _check("no-scope", False, requirement, text, hint="add a scope for it to the policy")
            else:
                check = _check("rejected", False, requirement, "the scope rejects every image")
            return _Outcome(holds=False, checks=(check,), final=True)
        case SignedBy():
            return _judge_signed_by(requirement, trust, image, evidence, memo, now)
        case _:
            assert_never(requirement)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """One signature that counts for a requirement, until when, and for which anchor."""

    anchor: str
    claim: Claim
    until: datetime | None


def _judge_signed_by(
    required: SignedBy,
    trust: TrustStore,
    image: Image,
    evidence: Evidence,
    memo: Verifications,
    now: datetime,
) -> _Outcome:
    best: dict[str, _Counted] = {}  # by signer: law 6
    checks: list[Check] = []
    _verify_hinted(evidence.candidates, required, trust, memo)
    for candidate in evidence.candidates:
        for found in _judge_candidate(candidate, required, trust, image, memo, now):
            if isinstance(found, Check):
                checks.append(found)
                continue
            checks.append(_passed_check(found, required))
            if (spki := found.claim.signer.spki) is not None and _lasts_longer(found, best.get(spki)):
                best[spki] = found
    checks.extend(_defect_check(d, required) for d in evidence.defects)
    counted = sorted(best.values(), key=_latest_first)[: required.threshold]
    holds = len(best) >= required.threshold
    summary = _check(
        "threshold",
        holds,
        required,
        f"{len(best)} of {required.threshold} needed"
        + ("" if evidence.candidates or evidence.defects else ", no signatures found"),
        hint=None if holds else _threshold_hint(required, image, checks),
    )
    ends = [c.until for c in counted if c.until is not None]
    return _Outcome(
        holds=holds,
        checks=(summary, *checks),
        claims=tuple((c.anchor, c.claim) for c in counted) if holds else (),
        valid_until=min(ends) if ends else None,
    )


def _judge_candidate(
    candidate: Candidate,
    required: SignedBy,
    trust: TrustStore,
    image: Image,
    memo: Verifications,
    now: datetime,
) -> Iterator[_Counted | Check]:
    """Yield every way in which the candidate counts, or the one reason why it does not."""
    where = str(candidate.place)
    if not _is_allowed_format(candidate, required):
        text = f"format {candidate.format} is not among those allowed: {', '.join(required.formats or ())}"
        yield _check("format-not-allowed", False, required, text, about=f"{where} ({candidate.format})")
        return
    refused: list[Check] = []
    counted = 0
    signer: str | None = None
    untried = False
    for anchor, trusted in _hinted_first(candidate, required, trust):
        if signer not in (None, trusted.key.digest):
            continue  # a signature has one signer; the same key may stand in another anchor
        found = memo.result(candidate, trusted)
        if found is None or found is Untried.UNTRIED:
            untried = untried or found is not None
            continue
        signer = trusted.key.digest
        if isinstance(found, Check):
            refused.append(_check(found.code, False, required, found.message, about=_label(candidate), hint=found.hint))
            continue
        outcome = _judge_claim(found, anchor, trusted, required, image, now)
        if isinstance(outcome, Check):
            refused.append(outcome)
        else:
            counted += 1
            yield outcome
    if not counted:
        yield refused[0] if refused else _no_signer(candidate, required, trust, untried=untried)


def _no_signer(candidate: Candidate, required: SignedBy, trust: TrustStore, *, untried: bool) -> Check:
    names = ", ".join(quote(a) for a in required.anchors)
    if untried:
        text = f"was not tried with every key of anchor {names}: there are too many signatures"
        return _check("not-tried", False, required, text, about=_label(candidate))
    keys = sum(len(trust.anchors[a].keys) for a in required.anchors)
    plural = "the key" if keys == 1 else f"any of the {keys} keys"
    text = f"does not verify with {plural} of anchor {names}"
    return _check("untrusted-signer", False, required, text, about=_label(candidate))


def _judge_claim(
    claim: Claim, anchor: str, trusted: TrustedKey, required: SignedBy, image: Image, now: datetime
) -> _Counted | Check:
    """Find one subject that meets everything; else say what its best subject lacks."""

    def failed(code: str, message: str, hint: str | None = None) -> Check:
        return _check(code, False, required, message, about=f"{claim.place} ({claim.format})", hint=hint)

    if claim.predicate_type is not None and claim.predicate_type != COSIGN_SIGN:
        return failed("not-a-signature", f"is an attestation of type {quote(claim.predicate_type)}, not a signature")
    if not claim.subjects:
        return failed("no-subject", "is about nothing: no subject with a supported digest")
    problem: tuple[str, str, str | None] = ("digest-mismatch", "is about another digest", None)
    progress = -1
    best: _Counted | None = None
    for subject in claim.subjects:
        steps = _subject_problems(subject, claim, trusted, required, image, now)
        done = 0
        for found in steps:
            if found is not None:
                break
            done += 1
        else:
            counted = _Counted(anchor=anchor, claim=claim, until=_until(subject, claim, trusted, required))
            best = counted if _lasts_longer(counted, best) else best
            continue
        if done > progress:
            progress, problem = done, found
    return best if best is not None else failed(*problem)


def _subject_problems(
    subject: Subject, claim: Claim, trusted: TrustedKey, required: SignedBy, image: Image, now: datetime
) -> Iterator[tuple[str, str, str | None] | None]:
    """Yield the result of each condition on one subject, in order; ``None`` is good."""
    if subject.digest != image.digest:
        yield ("digest-mismatch", f"is about {subject.digest}", None)
    yield None
    yield name_problem(subject, required, image.name)
    yield _key_problem(trusted, claim, now)
    yield _time_problem(subject, claim, required, now)
    if required.min_sequence is not None and (subject.sequence is None or subject.sequence < required.min_sequence):
        has = "no sequence number" if subject.sequence is None else f"sequence {subject.sequence}"
        yield ("sequence-too-low", f"{has}, {required.min_sequence} needed", None)
    yield None
    for key, accepted in required.annotations.items():
        value = subject.annotations.get(key)
        if value not in accepted:
            has = "is missing" if value is None else f"is {quote(value)}"
            wanted = " or ".join(quote(a) for a in accepted)
            yield ("annotation-mismatch", f"annotation {quote(key)} {has}, {wanted} needed", None)
    yield None


def name_problem(subject: Subject, required: SignedBy, asked: Reference | None) -> tuple[str, str, str | None] | None:
    """Compare the signed name with the asked one by the table of design §7; ``None`` is good.

    Under ``exact``: a signed R:T is good for R:T, R@D and R:T@D; a signed R (no tag) for R@D; no name
    for nothing. A digest in the signed name must be the subject's own.
    """
    if required.name is NameRule.UNSAFE_ANY:
        return None
    if subject.name is None:
        hint = 'only name = "unsafe-any" would accept it: any name of this digest, as cosign does'
        return ("name-missing", "signs no name", hint)
    if asked is None:
        return (
            "no-name",
            "the image has no name to compare",
            "give its name with --identity registry/repo:tag",
        )
    try:
        name = Reference.parse(subject.name)
    except InvalidReference:
        return ("name-invalid", f"signs {quote(subject.name)}, which is not an image name", None)
    wanted = remapped(asked.repository, required.remap)
    if wanted is None:
        return ("name-mismatch", f"remap makes no repository name of {asked.repository}", "see remap in the policy")
    if name.repository != wanted or name.digest not in (None, subject.digest):
        hint = 'only name = "unsafe-any" or a remap would accept it: any name of this digest'
        return ("name-mismatch", f"signs the name {name}, asked for {wanted}", hint)
    if required.name is NameRule.REPOSITORY or asked.tag is None:
        return None
    loose = 'only name = "repository" would accept it: any tag of this repository, older ones too'
    if name.tag is None:
        return ("name-without-tag", f"signs {name.repository} without a tag, asked for :{asked.tag}", loose)
    if name.tag != asked.tag:
        return ("name-mismatch", f"signs :{name.tag}, asked for :{asked.tag}", loose)
    return None


def remapped(asked: Repository, remap: Mapping[str, str]) -> Repository | None:
    """Apply the longest matching prefix of ``remap`` once, at ``/`` boundaries; ``None``: no name is left."""
    text = str(asked)
    for prefix in sorted(remap, key=len, reverse=True):
        if text == prefix or text.startswith(prefix + "/"):
            found = remap[prefix] + text[len(prefix) :]
            try:
                return Reference.parse(found).repository if "/" in found else None
            except InvalidReference:
                return None
    return asked


def _key_problem(trusted: TrustedKey, claim: Claim, now: datetime) -> tuple[str, str, str | None] | None:
    moment = min((p.at for p in claim.proven_at), default=now)
    if trusted.not_before is not None and moment < trusted.not_before:
        text = f"key {trusted.key.fingerprint} is trusted from {format_time(trusted.not_before)} only"
        return ("key-not-yet-valid", text, None)
    if trusted.not_after is not None and moment >= trusted.not_after:
        text = f"key {trusted.key.fingerprint} was trusted until {format_time(trusted.not_after)}"
        return ("key-expired", text, "sign again with a current key")
    return None


def _signing_time(subject: Subject, claim: Claim) -> datetime | None:
    return min((p.at for p in claim.proven_at), default=subject.claimed_at)


def _time_problem(
    subject: Subject, claim: Claim, required: SignedBy, now: datetime
) -> tuple[str, str, str | None] | None:
    if subject.expires_at is not None and now >= subject.expires_at:
        return ("expired", f"expired at {format_time(subject.expires_at)}", "sign it again")
    at = _signing_time(subject, claim)
    if at is None:
        if required.max_age is None and required.signed_after is None:
            return None
        return ("no-time", "says no signing time, and the policy limits the age", None)
    if at > now + CLOCK_SKEW:
        return (
            "signed-in-future",
            f"says it was signed at {format_time(at)}, which is in the future",
            "check the clocks",
        )
    if required.max_age is not None and now - at >= required.max_age:
        return (
            "too-old",
            f"was signed at {format_time(at)}, longer ago than the policy allows",
            "sign it again",
        )
    if required.signed_after is not None and at <= required.signed_after:
        limit = format_time(required.signed_after)
        return (
            "signed-too-early",
            f"was signed at {format_time(at)}, the policy wants after {limit}",
            "sign it again",
        )
    return None


def _until(subject: Subject, claim: Claim, trusted: TrustedKey, required: SignedBy) -> datetime | None:
    """The earliest time at which this subject stops counting (law 8)."""
    ends = [subject.expires_at]
    if not claim.proven_at:
        ends.append(trusted.not_after)
    at = _signing_time(subject, claim)
    if required.max_age is not None and at is not None:
        ends.append(at + required.max_age)
    return min((e for e in ends if e is not None), default=None)


def _lasts_longer(found: _Counted, other: _Counted | None) -> bool:
    if other is None:
        return True
    return other.until is not None and (found.until is None or found.until > other.until)


def _latest_first(counted: _Counted) -> tuple[bool, float]:
    return (counted.until is not None, -counted.until.timestamp() if counted.until is not None else 0.0)


def _hinted_first(candidate: Candidate, required: SignedBy, trust: TrustStore) -> list[tuple[str, TrustedKey]]:
    keys = [(name, k) for name in required.anchors for k in trust.anchors[name].keys]
    if candidate.key_hint is None:
        return keys
    return sorted(keys, key=lambda pair: pair[1].key.hint != candidate.key_hint)


def _verify_hinted(
    candidates: tuple[Candidate, ...], required: SignedBy, trust: TrustStore, memo: Verifications
) -> None:
    """Verify each candidate with the key it hints at, before any is tried with the others.

    So a stranger's junk, with or without our hint, cannot use up the verifications before ours had its one.
    """
    hinted: dict[str, list[TrustedKey]] = {}
    for name in required.anchors:
        for trusted in trust.anchors[name].keys:
            hinted.setdefault(trusted.key.hint, []).append(trusted)
    for candidate in candidates:
        if candidate.key_hint is not None and _is_allowed_format(candidate, required):
            for trusted in hinted.get(candidate.key_hint, ()):
                memo.result(candidate, trusted)


def _is_allowed_format(candidate: Candidate, required: SignedBy) -> bool:
    return required.formats is None or candidate.format in required.formats


def _label(candidate: Candidate | Defect) -> str:
    return f"{candidate.place} ({candidate.format})" if candidate.format else str(candidate.place)


def _defect_check(defect: Defect, required: SignedBy) -> Check:
    return _check(defect.code, False, required, defect.reason, about=_label(defect))


def _passed_check(counted: _Counted, required: SignedBy) -> Check:
    claim = counted.claim
    text = f"signed by {counted.anchor}"
    return _check("signed", True, required, text, about=f"{claim.place} ({claim.format})")


def _threshold_hint(required: SignedBy, image: Image, checks: list[Check]) -> str:
    first = next((c.hint for c in checks if c.hint is not None), None)
    if first is not None:
        return first
    target = "IMAGE" if image.name is None else str(image)
    names = " or ".join(f'"{a}"' for a in required.anchors)
    return f"sign it with a key of anchor {names}: imgsign sign {target} -k KEY"


def _check(
    code: str,
    passed: bool,
    required: SignedBy | UnsafeAcceptUnsigned | Reject,
    message: str,
    *,
    about: str | None = None,
    hint: str | None = None,
) -> Check:
    group = str(required)
    return Check(code=code, passed=passed, about=about or group, message=message, hint=hint, group=group)
