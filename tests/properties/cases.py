"""Hypothesis strategies: policies, trust, names and evidence that have to do with each other.

Independent draws would deny nearly always. So a case starts from its requirements: most get signatures
that fit, some with one flaw, and noise around. Flaws sit on the boundaries: the second before and the
second at which a condition turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from imgsign.claim import Candidate
from imgsign.decision import Decision, Evidence, Fault, Verdict
from imgsign.evaluate import Verifications, evaluate
from imgsign.oci import Image
from imgsign.policy.match import Exists, Prefix, TextMatch
from imgsign.policy.model import (
    Attested,
    NameRule,
    Policy,
    Reject,
    Requirement,
    Rule,
    SignedBy,
    Terms,
    UnsafeAcceptUnsigned,
)
from imgsign.trust import Keys, TrustedKey, TrustStore
from tests.properties import oracle
from tests.properties.forge import (
    GARBLED,
    IMAGES,
    KEYS,
    NOW,
    STRANGERS,
    About,
    Name,
    Sig,
    at,
    candidate,
    defect,
)
from tests.properties.oracle import Anchors, Entry
from tests.properties.predicates import OTHER_TYPE, TYPES, WHERES

T = TypeVar("T")

HOUR, DAY = 3600, 86400

FORMATS = ("bundle", "simple")
ATTESTING = ("bundle", "dsse")

PLACES: dict[tuple[str, str], tuple[str, ...]] = {
    ("r.example.com:5000", "team/app"): (
        "r.example.com:5000/team/app",
        "r.example.com:5000/team",
        "r.example.com:5000",
        "*.example.com",
        "*.com",
        "*",
    ),
    ("docker.io", "library/app"): ("docker.io/library/app", "docker.io/library", "docker.io", "*.io", "*"),
    ("mirror.example", "hub/library/app"): ("mirror.example/hub", "mirror.example", "*.example", "*"),
    ("mirror.example", "hubbub/app"): ("mirror.example/hubbub", "mirror.example", "*"),
}
"""Repositories that are asked for, each with the scopes that cover it, most specific first."""

STRAY_SCOPES = ("r.example.com:5000/team/app2", "r.example.com", "docker.io/lib", "mirror.example/hu", "*.net")

REMAP = {"mirror.example/hub": "docker.io", "mirror.example/hub/deep": "r.example.com:5000/deep"}

TAGS = ("1", "2", "latest")
STRICT_NAMES = (NameRule.TAGGED, NameRule.IDENTICAL)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One judgement: everything ``evaluate`` is given, and what it was made from."""

    asked: Name | None
    policy: Policy
    anchors: Anchors
    sigs: tuple[Sig, ...]
    defects: int = 0
    faults: tuple[Fault, ...] = ()

    @property
    def trust(self) -> TrustStore:
        return TrustStore(
            anchors={
                name: Keys(name=name, keys=tuple(_trusted(e) for e in entries))
                for name, entries in self.anchors.items()
            }
        )

    @property
    def image(self) -> Image:
        return Image(name=None if self.asked is None else self.asked.reference, manifest=IMAGES[0])

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(candidate(s) for s in self.sigs)

    @property
    def evidence(self) -> Evidence:
        defects = tuple(defect(n) for n in range(self.defects))
        return Evidence(candidates=self.candidates, defects=defects, faults=self.faults)

    @property
    def rule(self) -> Rule:
        """The rule that applies, as the oracle finds it."""
        return oracle.rule_for(self.policy, self.asked)

    def judge(
        self, evidence: Evidence | None = None, *, now: datetime = NOW, memo: Verifications | None = None
    ) -> Decision:
        """What ``evaluate`` says."""
        evidence = self.evidence if evidence is None else evidence
        return evaluate(self.policy, self.trust, self.image, evidence, now=now, verifications=memo)

    def expected(self, *, now: int = 0) -> Verdict:
        """What the oracle says."""
        allowed = oracle.allows(self.policy, self.anchors, self.asked, self.sigs, now=now)
        return Verdict.ALLOW if allowed else Verdict.DENY


def _trusted(entry: Entry) -> TrustedKey:
    return TrustedKey(
        key=KEYS[entry.key],
        not_before=None if entry.not_before is None else at(entry.not_before),
        not_after=None if entry.not_after is None else at(entry.not_after),
    )


class Tally:
    """Counts what was generated, so that a test can say that its cases were worth running."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, case: Case, decision: Decision) -> None:
        self.counts["cases"] += 1
        labels = {decision.verdict.name, *(f"evidence:{s.format}" for s in case.sigs)}
        labels.update(f"counted:{claim.format}" for _, claim in decision.claims)
        for required in case.rule.require:
            labels.update(_features(required))
            if decision.allowed:
                labels.update(f"{feature} allowed" for feature in _features(required))
        labels.add("scope" if case.rule.scope else "default")
        labels.update(_material(case))
        self.counts.update(labels)

    def share(self, label: str) -> float:
        return self.counts[label] / self.counts["cases"]

    def check(self, shares: dict[str, float]) -> None:
        short = {k: round(self.share(k), 3) for k, least in shares.items() if self.share(k) < least}
        assert not short, f"too few of {self.counts['cases']} generated cases: {short}"


def _features(required: Requirement) -> set[str]:
    match required:
        case UnsafeAcceptUnsigned() | Reject():
            return {str(required)}
        case SignedBy() | Attested():
            word = "signed-by" if isinstance(required, SignedBy) else "attested"
            matches = list(required.annotations.values())
            optional = {
                "where": isinstance(required, Attested) and bool(required.where),
                "annotation prefix": any(isinstance(a, Prefix) for a in matches),
                "annotation exists": any(isinstance(a, Exists) for a in matches),
                "threshold": required.threshold > 1,
                "remap": bool(required.remap),
                "max-age": required.max_age is not None,
                "signed-after": required.signed_after is not None,
                "min-sequence": required.min_sequence is not None,
                "annotations": bool(required.annotations),
                "formats": required.formats is not None,
                "anchors": len(required.anchors) > 1,
            }
            return {word, f"name:{required.name.value}", *(k for k, used in optional.items() if used)}


def _material(case: Case) -> set[str]:
    abouts = [about for sig in case.sigs for about in sig.abouts]
    found = {
        "key window": any(
            e.not_before is not None or e.not_after is not None for es in case.anchors.values() for e in es
        ),
        "expiry": any(a.expires is not None for a in abouts),
        "nameless": any(a.name is None for a in abouts),
        "other image": any(a.image != 0 for a in abouts),
        "two subjects": any(len(s.abouts) > 1 for s in case.sigs),
        "stranger": any(s.key in STRANGERS for s in case.sigs),
        "tampered": any(s.spoiled in ("signature", "payload") for s in case.sigs),
        "bad claim": any(s.spoiled in ("critical", "statement") for s in case.sigs),
        "attestation": any(s.attests is not None or s.spoiled == "predicate" for s in case.sigs),
        "defect": case.defects > 0,
        "fault": bool(case.faults),
    }
    return {label for label, used in found.items() if used}


EVERY_KIND = {
    "signed-by": 0.30,
    "attested": 0.15,
    "attested allowed": 0.05,
    "where": 0.07,
    "where allowed": 0.03,
    "annotation prefix": 0.03,
    "annotation exists": 0.03,
    "evidence:dsse": 0.05,
    "counted:dsse": 0.04,
    "unsafe-accept-unsigned": 0.05,
    "reject": 0.05,
    "name:exact": 0.05,
    "name:repository": 0.05,
    "name:unsafe-any": 0.05,
    "threshold": 0.05,
    "remap": 0.05,
    "max-age": 0.05,
    "signed-after": 0.05,
    "min-sequence": 0.05,
    "annotations": 0.05,
    "formats": 0.05,
    "anchors": 0.05,
    "scope": 0.05,
    "default": 0.05,
    "evidence:bundle": 0.05,
    "evidence:simple": 0.05,
    "counted:bundle": 0.05,
    "counted:simple": 0.05,
    "key window": 0.05,
    "expiry": 0.05,
    "nameless": 0.05,
    "other image": 0.05,
    "two subjects": 0.05,
    "stranger": 0.05,
    "tampered": 0.05,
    "bad claim": 0.05,
    "attestation": 0.05,
    "defect": 0.05,
    "fault": 0.05,
    "ALLOW": 0.30,
    "DENY": 0.30,
}
"""The least share of generated cases that must have each of these (design §5)."""


# Strategies.


def _chance(draw: st.DrawFn, percent: int) -> bool:
    return draw(st.integers(0, 99)) >= 100 - percent


def _pick(draw: st.DrawFn, values: Sequence[T]) -> T:
    return values[draw(st.integers(0, len(values) - 1))]


@st.composite
def asked_names(draw: st.DrawFn) -> Name | None:
    if _chance(draw, 5):
        return None
    registry, path = _pick(draw, list(PLACES))
    tag = _pick(draw, [*TAGS, None])
    digest = 0 if tag is None or _chance(draw, 25) else None
    return Name(registry, path, tag, digest)


@st.composite
def anchor_sets(draw: st.DrawFn) -> dict[str, tuple[Entry, ...]]:
    """1 to 4 anchors of 1 to 5 keys; keys may be shared, windows may be over or not begun."""
    found = {}
    for name in ("release", "ci", "legacy", "partner")[: draw(st.integers(1, 4))]:
        entries = []
        for _ in range(draw(st.integers(1, 5))):
            start = _pick(draw, [-HOUR, 0, 1, HOUR]) if _chance(draw, 15) else None
            end = _pick(draw, [0, 1, HOUR, DAY, 100 * DAY]) if _chance(draw, 25) else None
            entries.append(Entry(draw(st.integers(0, 5)), start, end))
        found[name] = tuple(entries)
    return found


@st.composite
def requirements(draw: st.DrawFn, anchors: Anchors) -> SignedBy | Attested:
    attested = _chance(draw, 30)
    names = draw(st.permutations(sorted(anchors)))[: 2 if _chance(draw, 25) else 1]
    signed = SignedBy(
        anchors=tuple(names),
        threshold=_pick(draw, [1, 1, 1, 2, 2, 3]),
        name=_pick(draw, [NameRule.EXACT, NameRule.EXACT, NameRule.REPOSITORY, NameRule.UNSAFE_ANY, *STRICT_NAMES]),
        remap=REMAP if _chance(draw, 50) else {},
        max_age=timedelta(seconds=_pick(draw, [HOUR, DAY, 90 * DAY])) if _chance(draw, 25) else None,
        signed_after=at(_pick(draw, [-HOUR, -DAY, -30 * DAY])) if _chance(draw, 30) else None,
        min_sequence=_pick(draw, [0, 1, 41]) if _chance(draw, 30) else None,
        annotations=_pick(draw, ANNOTATED) if _chance(draw, 40) else {},
        formats=(_pick(draw, ATTESTING if attested else FORMATS),) if _chance(draw, 20) else None,
    )
    if not attested:
        return signed
    types = _pick(draw, [TYPES[:1], TYPES[1:], TYPES])
    where = _pick(draw, WHERES) if _chance(draw, 65) else None
    terms = {f.name: getattr(signed, f.name) for f in fields(Terms)}
    return Attested(types=types, uris=frozenset(types), where=() if where is None else where.conditions, **terms)


ANNOTATED: list[dict[str, TextMatch]] = [
    {"channel": ("stable", "lts")},
    {"channel": ("stable",), "team": ("a",)},
    {"channel": Prefix("st/"), "team": Exists()},
    {"team": Exists()},
]
"""What requirements ask of annotations; SAYS has what to sign for each."""

SAYS: dict[type, tuple[str, ...]] = {Prefix: ("st/", "st/x"), Exists: ("a", "")}


@st.composite
def rule_requirements(draw: st.DrawFn, anchors: Anchors) -> tuple[Requirement, ...]:
    found: list[Requirement] = []
    for _ in range(_pick(draw, [1, 1, 2])):
        if _chance(draw, 10):
            found.append(Reject())
        elif _chance(draw, 12):
            found.append(UnsafeAcceptUnsigned())
        else:
            found.append(draw(requirements(anchors)))
    return tuple(found)


@st.composite
def policies(draw: st.DrawFn, anchors: Anchors, asked: Name | None) -> Policy:
    """The rule in one covering scope or the default; other scopes, which must not apply, say the opposite."""
    require = draw(rule_requirements(anchors))
    decoy: tuple[Requirement, ...] = (UnsafeAcceptUnsigned(),) if _chance(draw, 50) else (Reject(),)
    covering = ("*",) if asked is None else PLACES[asked.registry, asked.path]
    position = draw(st.integers(0, len(covering)))
    chosen = covering[position] if position < len(covering) else None
    others = [s for s in (*covering[position + 1 :], *STRAY_SCOPES) if _chance(draw, 40)]
    scopes = {scope: Rule(scope=scope, require=decoy) for scope in others}
    if chosen is None:
        return Policy(default=Rule(scope=None, require=require), scopes=scopes)
    scopes[chosen] = Rule(scope=chosen, require=require)
    return Policy(default=Rule(scope=None, require=decoy), scopes=scopes)


@st.composite
def fitting(draw: st.DrawFn, required: SignedBy | Attested, asked: Name | None, key: int) -> Sig:
    """A signature by ``key`` that meets the requirement (where its own conditions do not exclude it)."""
    attests = isinstance(required, Attested)
    format = _pick(draw, required.formats or (ATTESTING if attests else FORMATS))
    abouts: tuple[About, ...] = (draw(_fitting_subject(required, asked)),)
    if format == "bundle" and _chance(draw, 20):
        abouts = _insert(draw, abouts, draw(subjects(asked)))
    sig = Sig(key, format, abouts, hint=draw(st.integers(0, 5)) if _chance(draw, 10) else None)
    if not isinstance(required, Attested):
        return sig
    known = next((w for w in WHERES if w.conditions == required.where), None)
    content = '{"x": 1}' if known is None else _pick(draw, known.good)
    return replace(sig, attests=_pick(draw, sorted(required.uris)), content=content)


def _insert(draw: st.DrawFn, abouts: tuple[About, ...], more: About) -> tuple[About, ...]:
    return (*abouts, more) if _chance(draw, 50) else (more, *abouts)


@st.composite
def _fitting_subject(draw: st.DrawFn, required: Terms, asked: Name | None) -> About:
    moments = [offset for offset in (300, 1, 0, -1, -59, -3599, -86399, -29 * DAY) if _timely(required, offset)]
    may_be_undated = required.max_age is None and required.signed_after is None
    least = required.min_sequence
    return About(
        name=_fitting_name(draw, required, asked),
        annotations=tuple(
            (k, _pick(draw, wanted if isinstance(wanted, tuple) else SAYS[type(wanted)]))
            for k, wanted in required.annotations.items()
        ),
        signed=None if may_be_undated and _chance(draw, 15) else _pick(draw, moments or [0]),
        expires=_pick(draw, [1, 60, HOUR, DAY]) if _chance(draw, 25) else None,
        sequence=_pick(draw, [least, least + 1]) if least is not None else _pick(draw, [None, 7]),
    )


def _timely(required: Terms, offset: int) -> bool:
    young = required.max_age is None or timedelta(seconds=-offset) < required.max_age
    return young and (required.signed_after is None or at(offset) > required.signed_after)


def _fitting_name(draw: st.DrawFn, required: Terms, asked: Name | None) -> Name | None:
    if asked is None or (required.name is NameRule.UNSAFE_ANY and _chance(draw, 50)):
        return None
    registry, path = asked.registry, asked.path
    if required.remap and path == "hub/library/app":
        registry, path = "docker.io", "library/app"
    strict = required.name in (NameRule.EXACT, *STRICT_NAMES)
    tag = asked.tag if strict and asked.tag is not None else _pick(draw, [*TAGS, None])
    digest = 0 if _chance(draw, 10) else None
    if required.name is NameRule.IDENTICAL:
        tag, digest = asked.tag, None if asked.tag is not None else asked.digest
    return Name(registry, path, tag, digest, short=_chance(draw, 30))


@st.composite
def subjects(draw: st.DrawFn, asked: Name | None) -> About:
    """Any subject: often of the right image or the right name, seldom of both."""
    name: Name | str | None = _pick(draw, [None, GARBLED])
    if _chance(draw, 75):
        registry, path = _pick(draw, list(PLACES))
        if asked is not None and _chance(draw, 60):
            registry, path = asked.registry, asked.path
        name = Name(registry, path, _pick(draw, [*TAGS, None]))
    return About(
        image=_pick(draw, [0, 1]),
        name=name,
        annotations=_pick(draw, [(), (("channel", "stable"),), (("channel", "stable"), ("team", "a"))]),
        signed=_pick(draw, [None, 0, 301, -HOUR, -DAY, -90 * DAY]),
        expires=_pick(draw, [None, None, 0, HOUR]),
        sequence=_pick(draw, [None, 0, 41]),
    )


@st.composite
def any_signatures(draw: st.DrawFn, asked: Name | None) -> Sig:
    """Noise: strangers, attestations, tampered and meaningless signatures, and good ones by chance."""
    format = _pick(draw, (*FORMATS, "dsse"))
    abouts = [draw(subjects(asked)) for _ in range(2 if format == "bundle" and _chance(draw, 25) else 1)]
    key = _pick(draw, STRANGERS) if _chance(draw, 30) else draw(st.integers(0, 5))
    sig = Sig(key, format, tuple(abouts), _spoiled(draw, format) if _chance(draw, 50) else None)
    if format == "dsse" or (format == "bundle" and _chance(draw, 25)):
        known = _pick(draw, WHERES)
        return replace(sig, attests=_pick(draw, (*TYPES, OTHER_TYPE)), content=_pick(draw, known.good + known.bad))
    return sig


def _spoiled(draw: st.DrawFn, format: str) -> str:
    kinds = ["signature", "payload", "critical", "statement"]
    return _pick(draw, [*kinds, "predicate", "predicate", "predicate"] if format == "bundle" else kinds)


Flaw = Callable[[About, Terms], About]

SUBJECT_FLAWS: dict[str, Flaw] = {
    "digest": lambda a, _: replace(a, image=1),
    "no name": lambda a, _: replace(a, name=None),
    "garbled name": lambda a, _: replace(a, name=GARBLED),
    "other tag": lambda a, _: replace(a, name=replace(a.name, tag="9")) if isinstance(a.name, Name) else a,
    "no tag": lambda a, _: replace(a, name=replace(a.name, tag=None)) if isinstance(a.name, Name) else a,
    "longer path": lambda a, _: (
        replace(a, name=replace(a.name, path=a.name.path + "2")) if isinstance(a.name, Name) else a
    ),
    "deeper path": lambda a, _: (
        replace(a, name=replace(a.name, path=a.name.path + "/x")) if isinstance(a.name, Name) else a
    ),
    "other digest in the name": lambda a, _: (
        replace(a, name=replace(a.name, digest=1)) if isinstance(a.name, Name) else a
    ),
    "expired": lambda a, _: replace(a, expires=0),
    "in the future": lambda a, _: replace(a, signed=301),
    "no time": lambda a, _: replace(a, signed=None),
    "too old": lambda a, r: replace(a, signed=-int(r.max_age.total_seconds())) if r.max_age else a,
    "too early": lambda a, r: replace(a, signed=int((r.signed_after - NOW).total_seconds())) if r.signed_after else a,
    "sequence too low": lambda a, r: replace(a, sequence=r.min_sequence - 1) if r.min_sequence else a,
    "no sequence": lambda a, _: replace(a, sequence=None),
    "other annotation": lambda a, _: replace(a, annotations=(("channel", "nightly"), ("team", "a"))),
    "no annotation": lambda a, _: replace(a, annotations=()),
}
"""What can be wrong with one subject, each flaw exactly on its boundary."""

PREFERRED = frozenset(
    (
        "digest",
        "expired",
        "other tag",
        "no time",
        "too old",
        "too early",
        "sequence too low",
        "no sequence",
        "other annotation",
        "no annotation",
    )
)
"""Flaws chosen more often than the many ways in which a name can be wrong."""


@st.composite
def flawed(draw: st.DrawFn, sig: Sig, required: SignedBy | Attested, anchors: Anchors, asked: Name | None) -> Sig:
    """A fitting signature with one thing wrong that matters here, or with two half-right subjects."""
    ways = ["subject", "subject", "subject", "stranger", "spoiled"]
    known = [w for w in WHERES if isinstance(required, Attested) and w.conditions == required.where]
    ways += ["content"] * 4 if known else []
    ways += ["kind", "kind"] if isinstance(required, Attested) else []
    ways += ["mixed", "mixed", "predicate"] if sig.format == "bundle" else []
    ways += ["format", "format"] if required.formats is not None else []
    match _pick(draw, ways):
        case "subject" | "mixed" as way:
            named = [
                (name, replace(sig, abouts=(flaw(sig.abouts[0], required),))) for name, flaw in SUBJECT_FLAWS.items()
            ]
            named = [(name, w) for name, w in named if not oracle.good_votes(required, anchors, asked, [w])]
            wrong = [w for name, w in named for _ in range(4 if name in PREFERRED else 1)]
            one = _pick(draw, wrong)
            # Mix and match: what one subject lacks the other has.
            return replace(one, abouts=one.abouts + _pick(draw, wrong).abouts) if way == "mixed" else one
        case "stranger":
            return replace(sig, key=_pick(draw, STRANGERS))
        case "content":
            return replace(sig, content=_pick(draw, known[0].bad))
        case "kind":
            return replace(sig, attests=OTHER_TYPE)
        case "format":
            return _in_format(sig, next(f for f in _formats_of(sig) if f != sig.format))
        case "predicate":
            return replace(sig, spoiled="predicate")
        case _:
            return replace(sig, spoiled=_spoiled(draw, sig.format))


def _formats_of(sig: Sig) -> tuple[str, ...]:
    return FORMATS if sig.attests is None else ATTESTING


def _in_format(sig: Sig, format: str) -> Sig:
    return replace(sig, format=format, abouts=sig.abouts[:1])


@st.composite
def signatures(draw: st.DrawFn, policy: Policy, anchors: Anchors, asked: Name | None) -> tuple[Sig, ...]:
    found: list[Sig] = []
    for required in oracle.rule_for(policy, asked).require:
        if not isinstance(required, SignedBy | Attested) or _chance(draw, 5):
            continue
        keys = sorted({e.key for name in required.anchors for e in anchors[name]})
        for key in draw(st.permutations(keys))[: required.threshold + (1 if _chance(draw, 20) else 0)]:
            sig = draw(fitting(required, asked, key))
            found.append(draw(flawed(sig, required, anchors, asked)) if _chance(draw, 28) else sig)
            if _chance(draw, 10) and found[-1].spoiled != "predicate":
                found.append(_in_format(found[-1], _pick(draw, _formats_of(found[-1]))))  # once more
    found.extend(draw(any_signatures(asked)) for _ in range(draw(st.integers(0, 3))))
    return tuple(draw(st.permutations(found)))


@st.composite
def fault_lists(draw: st.DrawFn, least: int = 0) -> tuple[Fault, ...]:
    count = draw(st.integers(least, 2))
    return tuple(Fault(about=("referrers", "sha256-0.sig")[n % 2], message="answered 503") for n in range(count))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A whole judgement."""
    asked = draw(asked_names())
    anchors = draw(anchor_sets())
    policy = draw(policies(anchors, asked))
    return Case(
        asked=asked,
        policy=policy,
        anchors=anchors,
        sigs=draw(signatures(policy, anchors, asked)),
        defects=_pick(draw, [0, 0, 0, 1, 3]),
        faults=draw(fault_lists(least=1)) if _chance(draw, 20) else (),
    )


@st.composite
def worthless(draw: st.DrawFn, case: Case) -> tuple[Sig, ...]:
    """Signatures that no anchor of the case can vouch for: anybody may push these."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        sig = draw(any_signatures(case.asked))
        if _chance(draw, 50):
            found.append(replace(sig, key=_pick(draw, STRANGERS)))
        else:
            found.append(replace(sig, spoiled=_pick(draw, ["signature", "payload"])))
    return tuple(found)
