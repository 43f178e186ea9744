"""The laws of ``evaluate`` (design §5) over generated policies, trust, names and real signatures.

Law 10 (mangling) is tested with the formats, law 11 (secrets) with the transport.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from datetime import timedelta
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsign.claim import Candidate, Claim, Place, Referrers, Subject
from imgsign.decision import Decision, Evidence, Fault, Verdict
from imgsign.errors import Denied, Malformed
from imgsign.evaluate import VERIFICATIONS_LIMIT, Verifications, evaluate
from imgsign.formats.bundle import parse_bundle
from imgsign.oci import OCI_MANIFEST, Image, Manifest
from imgsign.policy.match import Condition, OneOf, Path
from imgsign.policy.model import Attested, Policy, Reject, Rule, SignedBy, Terms
from imgsign.reference import Digest
from imgsign.trust import TrustedKey
from imgsign.workflow import require_allowed
from tests.properties import oracle
from tests.properties.cases import EVERY_KIND, Case, Tally, cases, fault_lists, fitting, worthless
from tests.properties.forge import (
    IMAGES,
    KEYS,
    NOW,
    STRANGERS,
    About,
    Name,
    Sig,
    attach,
    candidate,
    defect,
    read,
    sign,
    unsigned_bytes,
)
from tests.properties.oracle import Entry
from tests.properties.predicates import TYPES

FULL = 12 if "IMGSIGN_E2E" in os.environ else 1
"""How many times more cases the full run of tests/run generates: 5,400 for the oracle alone."""


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """This many generated cases, in the full run more; the profile makes them the same on every run."""
    return settings(max_examples=count * FULL)


def fewer(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As ``examples``, but in the quick loop half of them: for laws whose cases are not counted."""
    return settings(max_examples=count * FULL if FULL > 1 else count // 2)


ASKED = Name("r.example.com:5000", "team/app", "1")
REJECT = Rule(scope=None, require=(Reject(),))


def policy_of(*required: SignedBy) -> Policy:
    """One rule for every image."""
    return Policy(default=REJECT, scopes={"*": Rule(scope="*", require=required)})


def single(required: SignedBy, anchors: oracle.Anchors, sigs: list[Sig]) -> Case:
    """A case with one requirement."""
    return Case(asked=ASKED, policy=policy_of(required), anchors=anchors, sigs=tuple(sigs))


# Law 1: a positive decision exists only through evaluate; bool(decision) raises.


@fewer(50)
@given(cases())
def test_law_1_a_decision_has_no_truth_value(case: Case) -> None:
    with pytest.raises(TypeError, match=r"^a Decision has no truth value"):
        bool(case.judge())


@fewer(50)
@given(cases())
def test_law_1_no_decision_can_be_made_from_another(case: Case) -> None:
    decision = case.judge()
    with pytest.raises(ValueError, match="seal"):
        replace(decision, verdict=Verdict.ALLOW)  # type: ignore[call-arg]  # that it needs the seal is the point
    with pytest.raises(TypeError, match=r"^a Decision is made by imgsign\.evaluate\.evaluate only$"):
        replace(decision, verdict=Verdict.ALLOW, seal=object())
    with pytest.raises(FrozenInstanceError):
        decision.verdict = Verdict.ALLOW  # type: ignore[misc]  # that it is frozen is the point


@pytest.mark.parametrize("seal", [None, True, object, object()])
def test_law_1_no_decision_can_be_made_without_the_seal(seal: object) -> None:
    image = Image(name=None, manifest=IMAGES[0])
    with pytest.raises(TypeError, match=r"^a Decision is made by imgsign\.evaluate\.evaluate only$"):
        Decision(verdict=Verdict.ALLOW, image=image, scope="*", checks=(), seal=seal)


@fewer(50)
@given(cases())
def test_law_1_require_allowed_pins_what_was_allowed_and_raises_for_the_rest(case: Case) -> None:
    decision = case.judge()
    if not decision.allowed:
        with pytest.raises(Denied) as caught:
            require_allowed(decision)
        assert caught.value.decision is decision
    elif case.asked is not None:
        assert require_allowed(decision).digest == IMAGES[0].digest


# Law 2: less evidence never allows more, untrusted evidence changes nothing, order neither.


@fewer(100)
@given(cases(), st.data())
def test_law_2_removing_evidence_never_turns_deny_into_allow(case: Case, data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.sampled_from(range(len(case.sigs))), unique=True)) if case.sigs else []
    fewer = Evidence(candidates=tuple(candidate(case.sigs[n]) for n in kept))
    if case.judge(fewer).allowed:
        assert case.judge().allowed


@fewer(100)
@given(cases(), st.data())
def test_law_2_evidence_of_strangers_never_changes_a_verdict(case: Case, data: st.DataObject) -> None:
    before = case.judge()
    junk = tuple(candidate(s) for s in data.draw(worthless(case)))
    evidence = case.evidence
    halves = (junk, evidence.candidates) if data.draw(st.booleans()) else (evidence.candidates, junk)
    after = case.judge(replace(evidence, candidates=sum(halves, ()), defects=(*evidence.defects, defect(99))))
    assert (after.verdict, after.valid_until, after.faults) == (before.verdict, before.valid_until, before.faults)


@fewer(100)
@given(cases(), st.data())
def test_law_2_order_never_matters(case: Case, data: st.DataObject) -> None:
    shuffled = Evidence(
        candidates=tuple(data.draw(st.permutations(case.evidence.candidates))),
        defects=tuple(data.draw(st.permutations(case.evidence.defects))),
        faults=case.faults,
    )
    before, after = case.judge(), case.judge(shuffled)
    assert (after.verdict, after.valid_until) == (before.verdict, before.valid_until)
    assert Counter(c.code for c in after.checks) == Counter(c.code for c in before.checks)


# Law 3: no mix and match. The oracle tries every combination, one subject at a time.


def test_law_3_the_verdict_is_that_of_a_naive_oracle() -> None:
    tally = Tally()

    @examples(450)
    @given(cases())
    def agree(case: Case) -> None:
        decision = case.judge()
        assert decision.verdict is case.expected()
        tally.add(case, decision)

    agree()
    assert tally.counts["cases"] >= 450 * FULL
    assert FULL == 1 or tally.counts["cases"] >= 5000
    tally.check(EVERY_KIND)


@fewer(150)
@given(st.data())
def test_law_3_half_right_subjects_do_not_add_up(data: st.DataObject) -> None:
    # Every condition is met by some subject of the one claim, no subject meets all.
    required = SignedBy(
        anchors=("release",),
        max_age=timedelta(hours=1),
        min_sequence=41,
        annotations={"channel": ("stable",)},
    )
    right = About(name=ASKED, annotations=(("channel", "stable"),), signed=-60, expires=60, sequence=41)
    wrong = [
        replace(right, image=1),
        replace(right, name=replace(ASKED, tag="2")),
        replace(right, annotations=()),
        replace(right, signed=-3600),
        replace(right, expires=0),
        replace(right, sequence=40),
    ]
    chosen = data.draw(st.lists(st.sampled_from(wrong), min_size=2, max_size=6, unique=True))
    anchors = {"release": (Entry(0),)}
    assert single(required, anchors, [Sig(0, "bundle", tuple(chosen))]).judge().verdict is Verdict.DENY
    together = data.draw(st.permutations([right, *chosen]))
    assert single(required, anchors, [Sig(0, "bundle", tuple(together))]).judge().verdict is Verdict.ALLOW


@fewer(150)
@given(st.data())
def test_law_3_half_right_attestations_do_not_add_up(data: st.DataObject) -> None:
    # Digest, name, predicate and type are each right in some attestation, and in none all of them.
    where = Condition(Path("a", ("a",)), (OneOf((1,)),))
    required = Attested(anchors=("release",), types=TYPES[:1], uris=frozenset(TYPES[:1]), where=(where,))
    about = About(name=ASKED, signed=-60)
    right = Sig(0, "bundle", (about,), attests=TYPES[0], content='{"a": 1}')
    wrong = [
        replace(right, abouts=(replace(about, image=1),)),
        replace(right, abouts=(replace(about, name=replace(ASKED, tag="2")),)),
        replace(right, abouts=(replace(about, expires=0),)),
        replace(right, content='{"a": 2}'),
        replace(right, content='{"b": 1}'),
        replace(right, attests=TYPES[1]),
        replace(right, attests=None),
        replace(right, key=STRANGERS[0]),
    ]
    chosen = data.draw(st.lists(st.sampled_from(wrong), min_size=2, max_size=8, unique=True))
    anchors = {"release": (Entry(0),)}
    policy = Policy(default=REJECT, scopes={"*": Rule(scope="*", require=(required,))})
    for sigs, verdict in ((chosen, Verdict.DENY), ([*chosen, right], Verdict.ALLOW)):
        case = Case(asked=ASKED, policy=policy, anchors=anchors, sigs=tuple(data.draw(st.permutations(sigs))))
        assert case.judge().verdict is verdict


# Law 4: what is wrong with a candidate is a failed check of it, never an exception, and blocks nobody.


@fewer(100)
@given(cases())
def test_law_4_every_useless_candidate_and_defect_is_listed_with_its_place(case: Case) -> None:
    decision = case.judge()
    seen: list[str] = []
    for required in case.rule.require:
        seen.append(str(required))
        if not isinstance(required, Terms):
            continue
        # Of requirements that read alike, the second is told as "signed-by release (2)".
        same = seen.count(str(required))
        group = str(required) if same == 1 else f"{required} ({same})"
        good = {id(v.sig) for v in oracle.good_votes(required, case.anchors, case.asked, case.sigs)}
        failed = [c for c in decision.checks if not c.passed and c.group == group]
        shown = " ".join(c.about for c in failed)
        for sig in case.sigs:
            if id(sig) not in good:
                assert str(candidate(sig).place) in shown
        for number in range(case.defects):
            assert any(str(defect(number).place) in c.about and c.code == defect(number).code for c in failed)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["_type", "subject", "predicateType", "critical", "optional", "digest", "name", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
GOOD = Sig(0, "bundle", (About(name=ASKED, signed=0),))


@fewer(200)
@given(
    st.binary(max_size=60) | _json.map(lambda value: json.dumps(value).encode()), st.sampled_from(["bundle", "simple"])
)
def test_law_4_meaningless_bytes_signed_by_a_trusted_key_block_nobody(content: bytes, format: str) -> None:
    unsigned = unsigned_bytes(0, format, content)
    strange = read(attach(unsigned, sign(0, unsigned.message)), format)
    case = single(SignedBy(anchors=("release",)), {"release": (Entry(0),)}, [])
    alone = case.judge(Evidence(candidates=(strange,)))
    assert alone.verdict is Verdict.DENY
    assert [c.code for c in alone.checks] == ["threshold", "bad-claim"]
    assert case.judge(Evidence(candidates=(strange, candidate(GOOD)))).verdict is Verdict.ALLOW


BUNDLE = attach(unsigned_bytes(0, "bundle", b"{}"), b"signature").blobs[1].raw


@fewer(100)
@given(st.integers(0, len(BUNDLE) - 1), st.binary(max_size=3), st.integers(0, 5))
def test_law_4_mangled_bundle_is_malformed_or_untrusted(position: int, inserted: bytes, cut: int) -> None:
    raw = BUNDLE[:position] + inserted + BUNDLE[position + cut :]
    try:
        mangled = parse_bundle(raw, Referrers(Digest.of(raw)))
    except Malformed:
        return
    case = single(SignedBy(anchors=("release",)), {"release": (Entry(0),)}, [])
    assert case.judge(Evidence(candidates=(mangled,))).verdict is Verdict.DENY


# Law 5: a fault never turns ALLOW into DENY; it makes a DENY inconclusive, but for final rejections.


@fewer(200)
@given(cases(), fault_lists(least=1))
def test_law_5_faults_only_make_denials_inconclusive(case: Case, faults: tuple[Fault, ...]) -> None:
    without = case.judge(replace(case.evidence, faults=()))
    with_faults = case.judge(replace(case.evidence, faults=faults))
    final = any(isinstance(r, Reject) for r in case.rule.require)
    assert with_faults.verdict is without.verdict
    assert with_faults.valid_until == without.valid_until
    assert not without.inconclusive
    assert with_faults.inconclusive == (not without.allowed and not final)
    assert with_faults.faults == (() if final else faults)


# Law 6: thresholds count signers, not signatures, anchors, formats, names or key entries.


@fewer(100)
@given(st.data())
def test_law_6_thresholds_count_distinct_signers(data: st.DataObject) -> None:
    required = SignedBy(anchors=("release", "ci"), threshold=data.draw(st.integers(1, 4)))
    # Every key is in both anchors, twice in one of them.
    anchors = {"release": tuple(Entry(k) for k in range(6)) * 2, "ci": tuple(Entry(k) for k in reversed(range(6)))}
    signers = data.draw(st.lists(st.integers(0, 5), max_size=5, unique=True))
    sigs = [data.draw(fitting(required, ASKED, key)) for key in signers for _ in range(data.draw(st.integers(1, 3)))]
    decision = single(required, anchors, data.draw(st.permutations(sigs))).judge()
    assert decision.allowed == (len(signers) >= required.threshold)
    if decision.allowed:
        counted = {claim.signer.spki for _, claim in decision.claims}
        assert len(decision.claims) == len(counted) == required.threshold
        assert counted <= {KEYS[k].digest for k in signers}


# Law 7: the digest judged is that of the bytes.


@fewer(60)
@given(cases(), st.integers(1, 3))
def test_law_7_other_bytes_are_another_image(case: Case, blanks: int) -> None:
    # The same manifest to every JSON reader; only its bytes, and therefore its digest, differ.
    rewritten = Manifest.parse(IMAGES[0].raw + b" " * blanks, OCI_MANIFEST)
    image = Image(name=case.image.name, manifest=rewritten)
    decision = evaluate(case.policy, case.trust, image, case.evidence, now=NOW)
    assert decision.image.digest == rewritten.digest
    if any(isinstance(r, Terms) for r in case.rule.require):
        assert decision.verdict is Verdict.DENY


# Law 8: ALLOW at now stays ALLOW until valid_until, and no longer.


def test_law_8_allow_holds_until_valid_until_and_not_at_it() -> None:
    ending = Counter[bool]()

    @examples(250)
    @given(cases(), st.floats(0, 1))
    def holds(case: Case, part: float) -> None:
        decision = case.judge()
        if not decision.allowed:
            assert decision.valid_until is None
            return
        ending[decision.valid_until is not None] += 1
        if decision.valid_until is None:
            for years in (1, 100):
                assert case.judge(now=NOW + timedelta(days=365 * years)).allowed
            return
        left = decision.valid_until - NOW
        assert left > timedelta()
        late = oracle.late_starters(case.anchors, case.sigs)
        for moment in (NOW + left * part * 0.999, decision.valid_until - timedelta(microseconds=1)):
            again = case.judge(now=moment)
            assert again.allowed
            assert late or again.valid_until == decision.valid_until
        at_the_end = case.judge(now=decision.valid_until)
        assert at_the_end.verdict is case.expected(now=int(left.total_seconds()))
        assert late or at_the_end.verdict is Verdict.DENY

    holds()
    assert ending[True] >= 30
    assert ending[False] >= 30


# Law 9: each (candidate, key) pair is verified at most once, hinted keys first, up to a limit.


@dataclass
class Counting:
    """A candidate that counts by which keys it was verified."""

    inner: Candidate
    calls: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def format(self) -> str:
        return self.inner.format

    @property
    def place(self) -> Place:
        return self.inner.place

    @property
    def key_hint(self) -> str | None:
        return self.inner.key_hint

    def untrusted_content(self) -> tuple[str | None, tuple[Subject, ...]]:
        return self.inner.untrusted_content()

    def verify(self, trusted: TrustedKey) -> Claim:
        self.calls.append((trusted.key.digest, trusted.hash))
        return self.inner.verify(trusted)


@fewer(150)
@given(cases(), st.lists(st.integers(0, 8), max_size=2))
def test_law_9_no_pair_is_verified_twice_not_even_over_rounds(case: Case, cuts: list[int]) -> None:
    counting = tuple(Counting(c) for c in case.candidates)
    memo = Verifications()
    # The last round is everything; gathering shows a growing part of it before.
    for end in [*sorted(cuts), len(counting)]:
        decision = case.judge(replace(case.evidence, candidates=counting[:end]), memo=memo)
    assert decision.verdict is case.expected()
    for candidate_calls in (c.calls for c in counting):
        assert len(candidate_calls) == len(set(candidate_calls))
    named = {a for r in case.rule.require if isinstance(r, Terms) for a in r.anchors}
    known = {KEYS[e.key].digest for a in named for e in case.anchors[a]}
    assert {key for key, _ in chain.from_iterable(c.calls for c in counting)} <= known


@fewer(60)
@given(st.permutations(range(6)), st.integers(0, 5))
def test_law_9_the_hinted_key_is_tried_first(order: list[int], key: int) -> None:
    counting = Counting(candidate(replace(GOOD, key=key)))
    case = single(SignedBy(anchors=("release",)), {"release": tuple(Entry(k) for k in order)}, [])
    assert case.judge(Evidence(candidates=(counting,))).allowed
    assert counting.calls[0] == (KEYS[key].digest, None)


def junk(count: int, *, hint: int | None = None) -> tuple[Candidate, ...]:
    """A stranger's signature at ever other places; the hint costs an attacker nothing."""
    one = candidate(Sig(STRANGERS[0], "bundle", (About(name=ASKED, signed=0),), hint=hint))
    assert hasattr(one, "envelope")
    return tuple(replace(one, place=Referrers(Digest.of(b"%d" % n))) for n in range(count))  # type: ignore[type-var]  # candidates are dataclasses


FIVE = {"release": tuple(Entry(k) for k in range(5))}


def test_law_9_as_many_verifications_as_the_limit_are_no_fault() -> None:
    case = single(SignedBy(anchors=("release",)), FIVE, [])
    decision = case.judge(Evidence(candidates=junk(400)))
    assert VERIFICATIONS_LIMIT == 400 * 5
    assert (decision.verdict, decision.faults) == (Verdict.DENY, ())


def test_law_9_more_verifications_than_the_limit_are_a_fault() -> None:
    case = single(SignedBy(anchors=("release",)), FIVE, [])
    counting = tuple(Counting(c) for c in junk(401))
    decision = case.judge(Evidence(candidates=counting))
    assert sum(len(c.calls) for c in counting) == VERIFICATIONS_LIMIT
    assert decision.faults == (Fault(about="verifications", message="stopped after 2000 signature verifications"),)
    assert decision.inconclusive


def test_law_9_strangers_cannot_use_up_the_limit_before_a_hinted_signature() -> None:
    case = single(SignedBy(anchors=("release",)), FIVE, [])
    assert case.judge(Evidence(candidates=(*junk(500), candidate(GOOD)))).allowed


def test_law_9_strangers_with_our_hint_cannot_use_up_the_limit_either() -> None:
    # A hint is public. 500 referrers are within the limits of gathering, and pushing them takes no key; if
    # each were held against all five keys before the next is looked at, ours would never be.
    case = single(SignedBy(anchors=("release",)), FIVE, [])
    assert case.judge(Evidence(candidates=(*junk(500, hint=0), candidate(GOOD)))).allowed


@pytest.mark.parametrize("hint", [None, 0])
def test_law_9_strangers_cannot_use_up_the_limit_before_the_next_requirement(hint: int | None) -> None:
    # Held against the five keys of the first requirement, junk must not leave nothing for the second.
    policy = policy_of(SignedBy(anchors=("release",)), SignedBy(anchors=("ci",)))
    case = Case(asked=ASKED, policy=policy, anchors={**FIVE, "ci": (Entry(5),)}, sigs=())
    ours = (candidate(GOOD), candidate(replace(GOOD, key=5)))
    assert case.judge(Evidence(candidates=(*junk(500, hint=hint), *ours))).allowed


@pytest.mark.parametrize("hint", [None, 0])
def test_law_9_strangers_of_earlier_rounds_cannot_use_up_the_limit(hint: int | None) -> None:
    # Who pushes referrers also has a say in their order: the good one may be gathered in the last round.
    case = single(SignedBy(anchors=("release",)), FIVE, [])
    memo, first = Verifications(), junk(600, hint=hint)
    assert case.judge(Evidence(candidates=first), memo=memo).inconclusive
    assert case.judge(Evidence(candidates=(*first, candidate(GOOD))), memo=memo).allowed
