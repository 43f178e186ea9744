"""Named mutants of the judgement: each is one attack let through, and each is caught by a scenario written by hand.

The judgement is ``evaluate.py`` and the pages it stands on. A mutant is their source with one piece of text
replaced, which must stand there exactly once in all of them. The scenarios
are few and fixed, their expected results worked out on paper: they say what ``evaluate`` is for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from imgsign import evaluate as original
from imgsign.decision import Decision, Fault, Verdict
from imgsign.policy.match import Any as Each
from imgsign.policy.match import Compared, Condition, MaxAge, OneOf, Prefix, Relation, Step, Test, Within
from imgsign.policy.match import Path as Where
from imgsign.policy.model import Attested, NameRule, Policy, Reject, Requirement, Rule, SignedBy, UnsafeAcceptUnsigned
from tests.properties.cases import Case
from tests.properties.forge import NOW, About, Name, Sig, at
from tests.properties.oracle import Entry

APP = Name("r.example.com", "team/app", "1")
RIGHT = About(name=APP, signed=-60)
A, B, STRANGER = 0, 1, 6
TWO = {"release": (Entry(A), Entry(B))}
UNAVAILABLE = (Fault(about="referrers", message="answered 503"),)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A case and what must come of it; ``until`` in seconds after NOW."""

    name: str
    case: Case
    allowed: bool
    inconclusive: bool = False
    until: int | None = None

    def __str__(self) -> str:
        return self.name


def by(required: SignedBy | Attested, *sigs: Sig, **more: object) -> Case:
    """A case of one requirement in the scope of the image's host."""
    return case((required,), *sigs, **more)


def case(require: tuple[Requirement, ...], *sigs: Sig, **more: object) -> Case:
    policy = Policy(default=Rule(scope=None, require=(Reject(),)), scopes={"*": Rule(scope="*", require=require)})
    made = Case(asked=APP, policy=policy, anchors=TWO, sigs=sigs)
    return replace(made, **more)  # type: ignore[arg-type]  # Case's own field types


def bundle(*abouts: About, key: int = A, spoiled: str | None = None) -> Sig:
    return Sig(key, "bundle", abouts, spoiled)


def simple(about: About, key: int = A) -> Sig:
    return Sig(key, "simple", (about,))


ONE = SignedBy(anchors=("release",))
BOTH = SignedBy(anchors=("release",), threshold=2)
FRESH = SignedBy(anchors=("release",), max_age=timedelta(hours=1))
HUB = SignedBy(anchors=("release",), remap={"mirror.example/hub": "docker.io/team"})
MIRRORED = Name("mirror.example", "hub/app", "1")
NEIGHBOUR = Name("mirror.example", "hub-evil/app", "1")

SLSA, VULN = "https://slsa.dev/provenance/v1", "https://cosign.sigstore.dev/attestation/vuln/v1"


def at_path(*steps: Step, tests: tuple[Test, ...]) -> Condition:
    return Condition(Where("path", steps), tests)


def attested(*where: Condition, threshold: int = 1) -> Attested:
    return Attested(
        anchors=("release",), types=("slsa-provenance",), uris=frozenset((SLSA,)), where=where, threshold=threshold
    )


def says(content: str, about: About = RIGHT, *, key: int = A, kind: str = SLSA, format: str = "bundle") -> Sig:
    return Sig(key, format, (about,), attests=kind, content=content)


BUILDER = attested(at_path("builder", "id", tests=(Prefix("https://ci.example/"),)))
NEW_SCAN = attested(at_path("at", tests=(MaxAge(timedelta(hours=1)),)))
TYPED = attested(at_path("n", tests=(OneOf((1,)),)))
LOW = attested(at_path("n", tests=(Compared(Relation.BELOW, 7),)))
PAIR = attested(at_path("l", "x", tests=(OneOf((1,)),)), at_path("l", "y", tests=(OneOf((2,)),)))
ELEMENT = attested(
    at_path(
        "l",
        Each.ELEMENT,
        tests=(Within((at_path("x", tests=(OneOf((1,)),)), at_path("y", tests=(OneOf((2,)),)))),),
    )
)

SCENARIOS = [
    # Attestations that count, and until when.
    Scenario(name="attestation of a trusted key", case=by(attested(), says("{}")), allowed=True),
    Scenario(name="attestation under the tag", case=by(attested(), says("{}", format="dsse")), allowed=True),
    Scenario(
        name="the good one of two attestations",
        case=by(BUILDER, says('{"builder": {"id": "x"}}'), says('{"builder": {"id": "https://ci.example/1"}}')),
        allowed=True,
    ),
    Scenario(
        name="until the scan is too old",
        case=by(NEW_SCAN, says('{"at": "2026-11-23T11:00:30Z"}', replace(RIGHT, expires=600))),
        allowed=True,
        until=30,
    ),
    # Attestations that do not.
    Scenario(name="signature for an attestation", case=by(attested(), bundle(RIGHT)), allowed=False),
    Scenario(name="attestation of another type", case=by(attested(), says("{}", kind=VULN)), allowed=False),
    Scenario(
        name="signature kept as an attestation",
        case=by(replace(ONE, name=NameRule.UNSAFE_ANY), Sig(A, "dsse", (replace(RIGHT, name=None),))),
        allowed=False,
    ),
    Scenario(
        name="attestation by another builder",
        case=by(BUILDER, says('{"builder": {"id": "https://ci.evil/"}}')),
        allowed=False,
    ),
    Scenario(
        name="attestation that says nothing of it",
        case=by(BUILDER, says('{"a": {"id": "https://ci.example/"}}')),
        allowed=False,
    ),
    Scenario(
        name="builder of another image",
        case=by(BUILDER, says('{"builder": {"id": "https://ci.example/1"}}', replace(RIGHT, image=1)), says("{}")),
        allowed=False,
    ),
    Scenario(name="one attester twice for two", case=by(attested(threshold=2), says("{}"), says("[]")), allowed=False),
    Scenario(name="old scan", case=by(NEW_SCAN, says('{"at": "2026-11-23T11:00:00Z"}')), allowed=False),
    Scenario(name="scan of tomorrow", case=by(NEW_SCAN, says('{"at": "2026-11-24T11:00:00Z"}')), allowed=False),
    Scenario(name="true is not one", case=by(TYPED, says('{"n": true}')), allowed=False),
    Scenario(name="exactly the bound", case=by(LOW, says('{"n": 7}')), allowed=False),
    Scenario(name="two halves of an element", case=by(ELEMENT, says('{"l": [{"x": 1}, {"y": 2}]}')), allowed=False),
    Scenario(
        name="element of a list that nobody searched", case=by(PAIR, says('{"l": [{"x": 1, "y": 2}]}')), allowed=False
    ),
    Scenario(name="one of two conditions", case=by(PAIR, says('{"l": {"x": 1, "y": 3}}')), allowed=False),
    # What has to be allowed.
    Scenario(name="bundle of a trusted key", case=by(ONE, bundle(RIGHT)), allowed=True),
    Scenario(name="simple signature of a trusted key", case=by(ONE, simple(RIGHT)), allowed=True),
    Scenario(
        name="good one among a stranger's", case=by(ONE, bundle(RIGHT, key=STRANGER), simple(RIGHT)), allowed=True
    ),
    Scenario(name="two signers for two", case=by(BOTH, bundle(RIGHT), simple(RIGHT, key=B)), allowed=True),
    Scenario(name="fresh enough", case=by(FRESH, bundle(replace(RIGHT, signed=-3599))), allowed=True, until=1),
    Scenario(name="signed by a clock that runs ahead", case=by(ONE, bundle(replace(RIGHT, signed=300))), allowed=True),
    Scenario(
        name="second subject is the right one", case=by(ONE, bundle(replace(RIGHT, image=1), RIGHT)), allowed=True
    ),
    Scenario(
        name="signed under the origin's name, asked through the mirror",
        case=by(HUB, bundle(About(name=Name("docker.io", "team/app", "1"))), asked=MIRRORED),
        allowed=True,
    ),
    Scenario(name="fault beside a good signature", case=by(ONE, bundle(RIGHT), faults=UNAVAILABLE), allowed=True),
    Scenario(name="unsigned where that is accepted", case=case((UnsafeAcceptUnsigned(),)), allowed=True),
    # Until when.
    Scenario(name="until expiry", case=by(ONE, bundle(replace(RIGHT, expires=60))), allowed=True, until=60),
    Scenario(
        name="until the earlier of age and expiry",
        case=by(FRESH, bundle(replace(RIGHT, expires=7200))),
        allowed=True,
        until=3540,
    ),
    Scenario(
        name="until the first of two needed signers expires",
        case=by(BOTH, bundle(replace(RIGHT, expires=60)), bundle(replace(RIGHT, expires=600), key=B)),
        allowed=True,
        until=60,
    ),
    Scenario(
        name="until the last of two sufficient signers expires",
        case=by(ONE, bundle(replace(RIGHT, expires=60)), bundle(replace(RIGHT, expires=600), key=B)),
        allowed=True,
        until=600,
    ),
    Scenario(
        name="until the first of two requirements fails",
        case=case((ONE, FRESH), bundle(replace(RIGHT, expires=7200))),
        allowed=True,
        until=3540,
    ),
    Scenario(
        name="until the key's last second",
        case=by(ONE, bundle(RIGHT), anchors={"release": (Entry(A, None, 30),)}),
        allowed=True,
        until=30,
    ),
    # What has to be denied.
    Scenario(name="no signature", case=by(ONE), allowed=False),
    Scenario(name="stranger's signature", case=by(ONE, bundle(RIGHT, key=STRANGER)), allowed=False),
    Scenario(name="tampered signature", case=by(ONE, bundle(RIGHT, spoiled="signature")), allowed=False),
    Scenario(name="signature of another image", case=by(ONE, bundle(replace(RIGHT, image=1))), allowed=False),
    Scenario(
        name="old image under a new tag",
        case=by(ONE, bundle(replace(RIGHT, name=replace(APP, tag="0.9")))),
        allowed=False,
    ),
    Scenario(
        name="image of another team",
        case=by(ONE, bundle(replace(RIGHT, name=replace(APP, path="other/app")))),
        allowed=False,
    ),
    Scenario(name="signature without a name", case=by(ONE, bundle(replace(RIGHT, name=None))), allowed=False),
    Scenario(
        name="name without a tag",
        case=by(ONE, bundle(replace(RIGHT, name=replace(APP, tag=None)))),
        allowed=False,
    ),
    Scenario(
        name="name with another digest",
        case=by(ONE, bundle(replace(RIGHT, name=replace(APP, digest=1)))),
        allowed=False,
    ),
    Scenario(
        name="neighbour of the mirror's directory",
        case=by(HUB, bundle(About(name=Name("docker.io", "team-evil/app", "1"))), asked=NEIGHBOUR),
        allowed=False,
    ),
    Scenario(
        name="name of one subject, digest of another",
        case=by(ONE, bundle(replace(RIGHT, image=1), replace(RIGHT, name=replace(APP, tag="0.9")))),
        allowed=False,
    ),
    Scenario(name="one signer twice for two", case=by(BOTH, bundle(RIGHT), simple(RIGHT)), allowed=False),
    Scenario(
        name="one key in two anchors for two",
        case=by(
            SignedBy(anchors=("release", "ci"), threshold=2),
            bundle(RIGHT),
            anchors={"release": (Entry(A),), "ci": (Entry(A), Entry(B))},
        ),
        allowed=False,
    ),
    Scenario(name="expired", case=by(ONE, bundle(replace(RIGHT, expires=0))), allowed=False),
    Scenario(name="too old", case=by(FRESH, bundle(replace(RIGHT, signed=-3600))), allowed=False),
    Scenario(name="of no age", case=by(FRESH, bundle(replace(RIGHT, signed=None))), allowed=False),
    Scenario(name="of tomorrow", case=by(FRESH, bundle(replace(RIGHT, signed=86400))), allowed=False),
    Scenario(
        name="from before the incident",
        case=by(replace(ONE, signed_after=at(-3600)), bundle(replace(RIGHT, signed=-3600))),
        allowed=False,
    ),
    Scenario(
        name="release that was superseded",
        case=by(replace(ONE, min_sequence=41), bundle(replace(RIGHT, sequence=40))),
        allowed=False,
    ),
    Scenario(
        name="release without a number",
        case=by(replace(ONE, min_sequence=41), bundle(RIGHT)),
        allowed=False,
    ),
    Scenario(
        name="other channel",
        case=by(
            replace(ONE, annotations={"channel": ("stable", "lts")}),
            bundle(replace(RIGHT, annotations=(("channel", "nightly"),))),
        ),
        allowed=False,
    ),
    Scenario(
        name="key that was retired",
        case=by(ONE, bundle(RIGHT), anchors={"release": (Entry(A, None, 0),)}),
        allowed=False,
    ),
    Scenario(
        name="key of next year",
        case=by(ONE, bundle(RIGHT), anchors={"release": (Entry(A, 1, None),)}),
        allowed=False,
    ),
    Scenario(name="attestation", case=by(ONE, bundle(RIGHT, spoiled="predicate")), allowed=False),
    Scenario(
        name="signature in a format that is not wanted",
        case=by(replace(ONE, formats=("bundle",)), simple(RIGHT)),
        allowed=False,
    ),
    Scenario(
        name="one of two requirements",
        case=case((ONE, replace(ONE, min_sequence=1)), bundle(RIGHT)),
        allowed=False,
    ),
    Scenario(name="rejected scope", case=case((Reject(), UnsafeAcceptUnsigned())), allowed=False),
    # What cannot be known.
    Scenario(name="fault and no signature", case=by(ONE, faults=UNAVAILABLE), allowed=False, inconclusive=True),
    Scenario(name="fault and a rejected scope", case=case((ONE, Reject()), faults=UNAVAILABLE), allowed=False),
]

Evaluate = Callable[..., Decision]


def wrong(evaluate: Evaluate) -> list[str]:
    """The scenarios in which this ``evaluate`` does not answer as it must."""
    found = []
    for scenario in SCENARIOS:
        case = scenario.case
        decision = evaluate(case.policy, case.trust, case.image, case.evidence, now=NOW)
        expected = (
            Verdict.ALLOW if scenario.allowed else Verdict.DENY,
            scenario.inconclusive,
            None if scenario.until is None else at(scenario.until),
        )
        if (decision.verdict, decision.inconclusive, decision.valid_until) != expected:
            found.append(scenario.name)
    return found


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One replacement in the source, and the scenario that shows the attack it would let through."""

    name: str
    old: str
    new: str
    caught_by: str

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


MUTANTS = [
    Mutant(
        name="signature from anywhere",
        old='if is_signature and claim.format == "dsse":',
        new="if False:",
        caught_by="signature kept as an attestation",
    ),
    Mutant(
        name="attestation of any type",
        old="if kind not in required.uris:",
        new="if False:",
        caught_by="attestation of another type",
    ),
    Mutant(
        name="kind is not looked at",
        old="problem: Problem | None = kind_problem(claim, required)",
        new="problem: Problem | None = None",
        caught_by="attestation of another type",
    ),
    Mutant(
        name="where is ignored",
        old="if not isinstance(required, Attested) or not required.where:",
        new="if True:",
        caught_by="attestation by another builder",
    ),
    Mutant(
        name="what is missing holds",
        old="    if not seen:\n        return Fails(",
        new="    if not seen:\n        return Holds(None)\n        return Fails(",
        caught_by="attestation that says nothing of it",
    ),
    Mutant(
        name="first condition is enough",
        old="        if isinstance(found, Fails):\n            return found\n",
        new="        return found\n",
        caught_by="one of two conditions",
    ),
    Mutant(
        name="prefix anywhere",
        old="value.startswith(test.text)",
        new="('builder' in value or value.startswith('https://ci.'))",
        caught_by="attestation by another builder",
    ),
    Mutant(
        name="age of a scan is ignored",
        old="now - moment >= test.span or ",
        new="",
        caught_by="old scan",
    ),
    Mutant(
        name="scan of the future",
        old=" or moment > now + skew",
        new="",
        caught_by="scan of tomorrow",
    ),
    Mutant(
        name="age of a scan has no end",
        old="return Holds(moment + test.span)",
        new="return Holds(None)",
        caught_by="until the scan is too old",
    ),
    Mutant(
        name="end of the predicate is forgotten",
        old="ends = [e for e in (counted.until, found.until) if e is not None]",
        new="ends = [e for e in (counted.until,) if e is not None]",
        caught_by="until the scan is too old",
    ),
    Mutant(
        name="true is one",
        old="    if isinstance(value, bool) or isinstance(wanted, bool):\n        return value is wanted\n",
        new="",
        caught_by="true is not one",
    ),
    Mutant(
        name="below is at most",
        old="return value < test.bound",
        new="return value <= test.bound",
        caught_by="exactly the bound",
    ),
    Mutant(
        name="element is met by several",
        old="return found if isinstance(found, Holds) else None",
        new="return Holds(None)",
        caught_by="two halves of an element",
    ),
    Mutant(
        name="lists are searched unasked",
        old="        if isinstance(value, dict) and step in value:\n",
        new="        if isinstance(value, list):\n"
        "            for element in value:\n"
        "                yield from values_at(steps, element)\n"
        "        if isinstance(value, dict) and step in value:\n",
        caught_by="element of a list that nobody searched",
    ),
    Mutant(
        name="digest is not compared",
        old="if subject.digest != image.digest:",
        new="if False:",
        caught_by="signature of another image",
    ),
    Mutant(
        name="name is not compared",
        old="yield name_problem(subject, required, image.name)",
        new="yield None",
        caught_by="old image under a new tag",
    ),
    Mutant(
        name="tag is not compared",
        old="if name.tag != asked.tag:",
        new="if False:",
        caught_by="old image under a new tag",
    ),
    Mutant(
        name="nameless signature fits every name",
        old="if required.name is NameRule.UNSAFE_ANY:",
        new="if required.name is NameRule.UNSAFE_ANY or subject.name is None:",
        caught_by="signature without a name",
    ),
    Mutant(
        name="digest in the name is not compared",
        old="name.digest not in (None, subject.digest)",
        new="False",
        caught_by="name with another digest",
    ),
    Mutant(
        name="remap has no boundary",
        old='text.startswith(prefix + "/")',
        new="text.startswith(prefix)",
        caught_by="neighbour of the mirror's directory",
    ),
    Mutant(
        name="name of any subject serves all",
        old="for subject in claim.subjects:\n",
        new="for subject in [replace(s, name=n.name) for s in claim.subjects for n in claim.subjects]:\n",
        caught_by="name of one subject, digest of another",
    ),
    Mutant(
        name="threshold counts signatures",
        old="best[spki] = found",
        new='best[f"{spki} {len(best)}"] = found',
        caught_by="one signer twice for two",
    ),
    Mutant(
        name="threshold counts anchors",
        old="best[spki] = found",
        new='best[f"{spki} {found.anchor}"] = found',
        caught_by="one key in two anchors for two",
    ),
    Mutant(
        name="expiry is ignored",
        old="now >= subject.expires_at",
        new="False",
        caught_by="expired",
    ),
    Mutant(
        name="maximum age is a minimum",
        old="now - at >= required.max_age",
        new="now - at < required.max_age",
        caught_by="too old",
    ),
    Mutant(
        name="maximum age is one second more",
        old="now - at >= required.max_age",
        new="now - at > required.max_age",
        caught_by="too old",
    ),
    Mutant(
        name="missing time is no problem",
        old="if required.max_age is None and required.signed_after is None:",
        new="if True:",
        caught_by="of no age",
    ),
    Mutant(
        name="future is accepted",
        old="if at > now + CLOCK_SKEW:",
        new="if False:",
        caught_by="of tomorrow",
    ),
    Mutant(
        name="signed-after is ignored",
        old="at <= required.signed_after",
        new="False",
        caught_by="from before the incident",
    ),
    Mutant(
        name="min-sequence is ignored",
        old="subject.sequence < required.min_sequence",
        new="False",
        caught_by="release that was superseded",
    ),
    Mutant(
        name="missing sequence is high enough",
        old="(subject.sequence is None or subject.sequence < required.min_sequence)",
        new="(subject.sequence or required.min_sequence) < required.min_sequence",
        caught_by="release without a number",
    ),
    Mutant(
        name="annotations are ignored",
        old="if value is None or not text_matches(value, wanted):",
        new="if False:",
        caught_by="other channel",
    ),
    Mutant(
        name="not-after is ignored",
        old="moment >= trusted.not_after",
        new="False",
        caught_by="key that was retired",
    ),
    Mutant(
        name="not-before is ignored",
        old="moment < trusted.not_before",
        new="False",
        caught_by="key of next year",
    ),
    Mutant(
        name="predicate type is ignored",
        old="if not is_signature:",
        new="if False:",
        caught_by="attestation",
    ),
    Mutant(
        name="formats are ignored",
        old="candidate.format in self.required.formats",
        new="True",
        caught_by="signature in a format that is not wanted",
    ),
    Mutant(
        name="one requirement is enough",
        old="all(o.holds for o in outcomes)",
        new="any(o.holds for o in outcomes)",
        caught_by="one of two requirements",
    ),
    Mutant(
        name="fault allows",
        old="all(o.holds for o in outcomes)",
        new="(bool(evidence.faults) or all(o.holds for o in outcomes))",
        caught_by="fault and no signature",
    ),
    Mutant(
        name="fault is forgotten",
        old="conclusive = allowed or any(o.final for o in outcomes)",
        new="conclusive = True",
        caught_by="fault and no signature",
    ),
    Mutant(
        name="fault outlives a final rejection",
        old="conclusive = allowed or any(o.final for o in outcomes)",
        new="conclusive = allowed",
        caught_by="fault and a rejected scope",
    ),
    Mutant(
        name="fault denies",
        old="all(o.holds for o in outcomes)",
        new="not evidence.faults and all(o.holds for o in outcomes)",
        caught_by="fault beside a good signature",
    ),
    Mutant(
        name="valid until the last requirement fails",
        old="valid_until=min(ends) if allowed",
        new="valid_until=max(ends) if allowed",
        caught_by="until the first of two requirements fails",
    ),
    Mutant(
        name="valid until the last needed signer expires",
        old="valid_until=min(ends) if ends",
        new="valid_until=max(ends) if ends",
        caught_by="until the first of two needed signers expires",
    ),
    Mutant(
        name="valid until the last condition fails",
        old="return min((e for e in ends if e is not None), default=None)",
        new="return max((e for e in ends if e is not None), default=None)",
        caught_by="until the earlier of age and expiry",
    ),
    Mutant(
        name="valid after the key is retired",
        old="ends.append(trusted.not_after)",
        new="pass",
        caught_by="until the key's last second",
    ),
]


PAGES = ("where", "conditions", "verifications", "evaluate")
"""The pages of the judgement, each after those it imports."""


def mutated(mutant: Mutant, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Load fresh copies of all pages, one with the mutant's text in it."""
    sources = {page: Path(original.__file__).with_name(f"{page}.py").read_text("utf-8") for page in PAGES}
    count = sum(source.count(mutant.old) for source in sources.values())
    assert count == 1, f"{mutant.old!r} stands {count} times in {', '.join(PAGES)}"
    for page, source in sources.items():
        path = directory / f"{page}.py"
        path.write_text(source.replace(mutant.old, mutant.new), "utf-8")
        spec = spec_from_file_location(f"imgsign.{page}", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # where the later pages find it
        spec.loader.exec_module(module)
    evaluate: Evaluate = module.evaluate
    return evaluate


def test_every_scenario_comes_out_as_written() -> None:
    assert wrong(original.evaluate) == []


def test_names_of_scenarios_and_mutants_are_unique() -> None:
    for names in ([s.name for s in SCENARIOS], [m.name for m in MUTANTS]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant_is_caught(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mutant.caught_by in wrong(mutated(mutant, tmp_path, monkeypatch))


def test_unmutated_copy_is_not_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise being loaded in this way would be what the scenarios catch.
    same = Mutant(name="none", old="def evaluate(", new="def evaluate(", caught_by="")
    assert wrong(mutated(same, tmp_path, monkeypatch)) == []
