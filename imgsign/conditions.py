"""The conditions one signature or attestation alone must meet: its kind, and each of them by one of its subjects.

Every function here looks at one claim and says what is wrong with it, or nothing; what counts, and how
many are needed, is :mod:`imgsign.evaluate`'s. A problem is a stable code, a message and a hint.

The kind comes first and is not a detail: a signature is a claim with cosign's sign predicate or of simple
signing, an attestation one of the asked-for types. Neither ever stands in for the other, nor one type of
attestation for another (CVE-2022-35930).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import assert_never

from imgsign.claim import Claim, Subject
from imgsign.errors import InvalidReference
from imgsign.intoto import COSIGN_SIGN
from imgsign.oci import Image
from imgsign.policy.match import Exists, Prefix, TextMatch
from imgsign.policy.model import Attested, NameRule, SignedBy, Terms
from imgsign.reference import Reference, Repository
from imgsign.trust import TrustedKey
from imgsign.wire import format_time, quote

CLOCK_SKEW = timedelta(minutes=5)
"""How far a signer's clock may run ahead of ours before its time is refused as being in the future."""

Problem = tuple[str, str, str | None]
"""Code, message, hint."""


def kind_problem(claim: Claim, required: SignedBy | Attested) -> Problem | None:
    """Whether the claim is of the kind that is asked for: a signature, or an attestation of a named type."""
    kind = claim.predicate_type
    is_signature = kind is None or kind == COSIGN_SIGN
    match required:
        case SignedBy():
            if is_signature and claim.format == "dsse":
                return ("not-a-signature", "is kept as an attestation, not as a signature", None)
            if not is_signature:
                return ("not-a-signature", f"is an attestation of type {quote(kind or '')}, not a signature", None)
        case Attested():
            if is_signature:
                return ("not-an-attestation", "is a signature, not an attestation", None)
            if kind not in required.uris:
                return ("other-predicate", f"is an attestation of another type, {quote(kind or '')}", None)
        case _:
            assert_never(required)
    return None


def subject_problems(
    subject: Subject, claim: Claim, trusted: TrustedKey, required: Terms, image: Image, now: datetime
) -> Iterator[Problem | None]:
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
    for key, wanted in required.annotations.items():
        value = subject.annotations.get(key)
        if value is None or not text_matches(value, wanted):
            has = "is missing" if value is None else f"is {quote(value)}"
            yield ("annotation-mismatch", f"annotation {quote(key)} {has}, {_shown(wanted)} needed", None)
    yield None


def text_matches(value: str, wanted: TextMatch) -> bool:
    """Whether a signed text is what a policy wants it to be."""
    match wanted:
        case Prefix():
            return value.startswith(wanted.text)
        case Exists():
            return True
        case _:
            return value in wanted


def _shown(wanted: TextMatch) -> str:
    return " or ".join(quote(a) for a in wanted) if isinstance(wanted, tuple) else str(wanted)


def name_problem(subject: Subject, required: Terms, asked: Reference | None) -> Problem | None:
    """Compare the signed name with the asked one by the table of design §7; ``None`` is good.

    Under ``exact``: a signed R:T is good for R:T, R@D and R:T@D; a signed R (no tag) for R@D; no name
    for nothing. A digest in the signed name must be the subject's own.
    """
    if required.name is NameRule.UNSAFE_ANY:
        return None
    if subject.name is None:
        hint = 'only name = "unsafe-any" would accept it: any name of this digest, as cosign does'
        return ("name-missing", "signs no name", hint)
    asked = required.unsafe_signed_name or asked
    if asked is None:
        return (
            "no-name",
            "the image has no name to compare",
            "give its name with --identity registry/repo:tag",
        )
    try:
        # What is written as the asked name is written is that name: most are, and need no parsing.
        name = asked.name if subject.name == str(asked.name) else Reference.parse(subject.name)
    except InvalidReference:
        return ("name-invalid", f"signs {quote(subject.name)}, which is not an image name", None)
    wanted = remapped(asked.repository, required.remap)
    if wanted is None:
        return ("name-mismatch", f"remap makes no repository name of {asked.repository}", "see remap in the policy")
    if name.repository != wanted or name.digest not in (None, subject.digest):
        hint = 'only name = "unsafe-any" or a remap would accept it: any name of this digest'
        return ("name-mismatch", f"signs the name {name}, asked for {wanted}", hint)
    return _tag_problem(name, required.name, asked)


def _tag_problem(name: Reference, rule: NameRule, asked: Reference) -> Problem | None:
    """Compare what follows the repository in two names of one repository."""
    loose = 'only name = "repository" would accept it: any tag of this repository, older ones too'
    match rule:
        case NameRule.REPOSITORY | NameRule.UNSAFE_ANY:
            return None
        case NameRule.IDENTICAL if (name.tag, name.digest) != (asked.tag, None if asked.tag else asked.digest):
            hint = 'name = "exact" would accept the tag it was signed by, and its digest'
            return ("name-mismatch", f"signs the name {name}, asked for exactly {asked}", hint)
        case NameRule.TAGGED if name.tag is None and name.digest is None:
            return ("name-without-tag", f"signs {name.repository} without a tag", 'name = "exact" would accept it')
        case NameRule.EXACT | NameRule.TAGGED | NameRule.IDENTICAL:
            pass
        case _:
            assert_never(rule)
    if asked.tag is None:
        return None
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


def _key_problem(trusted: TrustedKey, claim: Claim, now: datetime) -> Problem | None:
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


def _time_problem(subject: Subject, claim: Claim, required: Terms, now: datetime) -> Problem | None:
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


def holds_until(subject: Subject, claim: Claim, trusted: TrustedKey, required: Terms) -> datetime | None:
    """The earliest time at which this subject stops counting (law 8)."""
    ends = [subject.expires_at]
    if not claim.proven_at:
        ends.append(trusted.not_after)
    at = _signing_time(subject, claim)
    if required.max_age is not None and at is not None:
        ends.append(at + required.max_age)
    return min((e for e in ends if e is not None), default=None)
