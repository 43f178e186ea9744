"""One-failure vectors of the policy language: one thing wrong with the evidence each, and the code it must get.

Every case is the text of a requirement, real signatures or attestations, and a code written by hand. Around
each failure stands what is right, so that nothing else can be the reason: the same case without its one
fault is allowed, which :func:`test_what_is_right_is_allowed` shows for each kind of requirement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from imgsign.decision import Decision, Evidence
from imgsign.evaluate import evaluate
from imgsign.keys import PublicKey
from imgsign.oci import Image
from imgsign.policy.model import KeySource
from imgsign.policy.parse import parse_policy
from imgsign.trust import Keys, TrustedKey, TrustStore
from imgsign.wire import load_toml
from tests.properties.forge import GARBLED, IMAGES, KEYS, NOW, STRANGERS, About, Name, Sig, candidate

APP = Name("r.example.com", "team/app", "1")
RIGHT = About(name=APP, signed=-60, sequence=41, annotations=(("channel", "stable"), ("build", "ci/77")))
A, B, C = 0, 1, 2
SLSA, VULN, SPDX = (
    "https://slsa.dev/provenance/v1",
    "https://cosign.sigstore.dev/attestation/vuln/v1",
    "https://spdx.dev/Document",
)
BUILT = """{"buildDefinition": {"buildType": "https://ci.example/build/v1",
 "resolvedDependencies": [{"uri": "git+https://git.example/app", "digest": {"gitCommit": "c0ffee"}},
 {"uri": "pkg:pypi/requests", "digest": {"sha256": "aa"}}]},
 "runDetails": {"builder": {"id": "https://ci.example/runner/7"}, "metadata": {"invocation.id": "7", "attempt": 1}}}"""
SCANNED = """{"scanner": {"uri": "pkg:scan", "db": {"version": 5}},
 "metadata": {"scanStartedOn": "2026-11-23T10:00:00Z", "scanFinishedOn": "2026-11-23T10:30:00Z"},
 "summary": {"critical": 0, "worst": 6.9, "passed": true}}"""


def signature(
    about: About = RIGHT, *more: About, key: int = A, format: str = "bundle", spoiled: str | None = None
) -> Sig:
    return Sig(key, format, (about, *more), spoiled)


def attestation(
    about: About = RIGHT,
    *more: About,
    key: int = A,
    format: str = "bundle",
    kind: str = SLSA,
    content: str = BUILT,
    spoiled: str | None = None,
) -> Sig:
    return Sig(key, format, (about, *more), spoiled, attests=kind, content=content)


def policy(requirement: str) -> str:
    """A policy of one requirement; key A may sign for release, B for ci, C for both partner and late."""
    pem = {n: KEYS[k].to_pem().decode() for n, k in (("release", A), ("ci", B), ("partner", C))}
    anchors = "\n".join(f'[anchors.{name}]\nkeys = ["""{text}"""]\n' for name, text in pem.items())
    retired = f'[anchors.retired]\nkeys = ["""{pem["release"]}"""]\nnot-after = 2026-11-23T12:00:00Z\n'
    future = f'[anchors.future]\nkeys = ["""{pem["release"]}"""]\nnot-before = 2026-11-23T12:00:01Z\n'
    head = f'version = 1\ndefault = "reject"\n{anchors}{retired}{future}'
    return f'{head}[scopes."r.example.com"]\nrequire = [{requirement}]\n'


def _key(source: KeySource) -> TrustedKey:
    key = PublicKey.from_pem(source.text.encode())
    return TrustedKey(key=key, not_before=source.not_before, not_after=source.not_after)


def judge(requirement: str, *sigs: Sig, asked: Name = APP, limit: int | None = None) -> Decision:
    text = policy(requirement) + ("" if limit is None else f"[settings]\nverifications = {limit}\n")
    parsed = parse_policy(load_toml(text.encode(), limit=10**6))
    anchors = {name: Keys(name=name, keys=tuple(_key(s) for s in found)) for name, found in parsed.anchors.items()}
    trust = TrustStore(anchors=dict(anchors))
    found = Evidence(candidates=tuple(candidate(s) for s in sigs))
    return evaluate(parsed, trust, Image(name=asked.reference, manifest=IMAGES[0]), found, now=NOW)


SIGNED = '{ signed-by = "release" }'
STRICT = (
    '{ signed-by = "release", max-age = "1h", min-sequence = 41, annotations = { channel = ["stable", "lts"], '
    'build = { prefix = "ci/" } } }'
)
BOTH = '{ signed-by = ["release", "ci"], threshold = 2 }'
ATTESTED = '{ attested = "slsa-provenance", by = "release" }'
TWO = '{ attested = "slsa-provenance", by = ["release", "ci"], threshold = 2 }'


def where(conditions: str, kind: str = "slsa-provenance") -> str:
    return f'{{ attested = "{kind}", by = "release", where = {{ {conditions} }} }}'


BUILDER = where('"runDetails.builder.id" = { prefix = "https://ci.example/" }')
SOURCE = where(
    '"buildDefinition.resolvedDependencies[]" = { where = { uri = "git+https://git.example/app", '
    '"digest.gitCommit" = "c0ffee" } }'
)
FRESH = where('"metadata.scanFinishedOn" = { max-age = "2h" }', "vuln")


def scanned(text: str = SCANNED, old: str = "", new: str = "") -> Sig:
    assert old in text
    return attestation(kind=VULN, content=text.replace(old, new))


def built(old: str, new: str) -> Sig:
    assert BUILT.count(old) == 1
    return attestation(content=BUILT.replace(old, new))


GOOD: list[tuple[str, str, tuple[Sig, ...]]] = [
    ("signed", SIGNED, (signature(),)),
    ("signed in simple form", SIGNED, (signature(format="simple"),)),
    ("signed strictly", STRICT, (signature(),)),
    ("signed by two", BOTH, (signature(), signature(key=B, format="simple"))),
    ("attested", ATTESTED, (attestation(),)),
    ("attested under the tag", ATTESTED, (attestation(format="dsse"),)),
    ("attested by two", TWO, (attestation(), attestation(key=B, format="dsse"))),
    ("builder", BUILDER, (attestation(),)),
    ("source", SOURCE, (attestation(),)),
    ("fresh scan", FRESH, (scanned(),)),
    ("dot in a name", where("'runDetails.metadata.invocation\\.id' = \"7\""), (attestation(),)),
    ("number", where('"summary.worst" = { below = 7 }, "scanner.db.version" = { at-least = 5 }', "vuln"), (scanned(),)),
    ("boolean", where('"summary.passed" = true, "summary.critical" = 0', "vuln"), (scanned(),)),
    ("one of two attestations", FRESH, (scanned(SCANNED, "T10:30", "T09:30"), scanned())),
    ("any of two types", '{ attested = ["spdx", "vuln"], by = "release" }', (scanned(),)),
    ("signed and attested", f"{SIGNED}, {ATTESTED}", (signature(), attestation())),
]


@pytest.mark.parametrize(("requirement", "sigs"), [pytest.param(*c[1:], id=c[0]) for c in GOOD])
def test_what_is_right_is_allowed(requirement: str, sigs: tuple[Sig, ...]) -> None:
    assert judge(requirement, *sigs).allowed


@dataclass(frozen=True)
class Vector:
    """A requirement, evidence with one fault, and the codes that evidence gets, in order, for the first that fails."""

    requirement: str
    sigs: tuple[Sig, ...]
    codes: tuple[str, ...]
    asked: Name = APP


def one(requirement: str, sig: Sig, code: str, asked: Name = APP) -> Vector:
    return Vector(requirement, (sig,), (code,), asked)


def two(requirement: str, first: Sig, second: Sig, *codes: str) -> Vector:
    return Vector(requirement, (first, second), codes)


def about(**changed: object) -> About:
    return replace(RIGHT, **changed)  # type: ignore[arg-type]  # About's own field types


VECTORS: dict[str, Vector] = {
    # Who.
    "stranger-bundle": one(SIGNED, signature(key=STRANGERS[0]), "untrusted-signer"),
    "stranger-simple": one(SIGNED, signature(key=STRANGERS[1], format="simple"), "untrusted-signer"),
    "key of another anchor": one(SIGNED, signature(key=B), "untrusted-signer"),
    "tampered signature": one(SIGNED, signature(spoiled="signature"), "untrusted-signer"),
    "tampered payload": one(SIGNED, signature(spoiled="payload"), "untrusted-signer"),
    "key retired this second": one('{ signed-by = "retired" }', signature(), "key-expired"),
    "key not begun": one('{ signed-by = "future" }', signature(), "key-not-yet-valid"),
    "stranger attests": one(ATTESTED, attestation(key=STRANGERS[0]), "untrusted-signer"),
    "stranger attests under the tag": one(ATTESTED, attestation(key=STRANGERS[0], format="dsse"), "untrusted-signer"),
    "tampered attestation": one(ATTESTED, attestation(spoiled="signature"), "untrusted-signer"),
    "tampered statement": one(ATTESTED, attestation(spoiled="payload"), "untrusted-signer"),
    "attested by a retired key": one('{ attested = "slsa-provenance", by = "retired" }', attestation(), "key-expired"),
    # What kind: CVE-2022-35930.
    "attestation for a signature": one(SIGNED, attestation(), "not-a-signature"),
    "attestation of the tag for a signature": one(SIGNED, attestation(format="dsse"), "not-a-signature"),
    "signature for an attestation": one(ATTESTED, signature(), "not-an-attestation"),
    "simple signature for an attestation": one(ATTESTED, signature(format="simple"), "not-an-attestation"),
    "other type": one(ATTESTED, attestation(kind=VULN), "other-predicate"),
    "older version of the type": one(ATTESTED, attestation(kind="https://slsa.dev/provenance/v0.2"), "other-predicate"),
    "type with a slash more": one(ATTESTED, attestation(kind=SLSA + "/"), "other-predicate"),
    "type in another case": one(ATTESTED, attestation(kind=SLSA.replace("slsa", "SLSA")), "other-predicate"),
    "other type under the tag": one(ATTESTED, attestation(kind=SPDX, format="dsse"), "other-predicate"),
    "format not wanted": one('{ signed-by = "release", formats = ["simple"] }', signature(), "format-not-allowed"),
    "attestation in a format not wanted": one(
        '{ attested = "slsa-provenance", by = "release", formats = ["dsse"] }', attestation(), "format-not-allowed"
    ),
    # About what.
    "other digest": one(SIGNED, signature(about(image=1)), "digest-mismatch"),
    "attested digest of another image": one(ATTESTED, attestation(about(image=1)), "digest-mismatch"),
    "other tag": one(SIGNED, signature(about(name=replace(APP, tag="0.9"))), "name-mismatch"),
    "other repository": one(SIGNED, signature(about(name=replace(APP, path="team/web"))), "name-mismatch"),
    "other registry": one(SIGNED, signature(about(name=replace(APP, registry="r.example.net"))), "name-mismatch"),
    "no tag": one(SIGNED, signature(about(name=replace(APP, tag=None))), "name-without-tag"),
    "no name": one(SIGNED, signature(about(name=None)), "name-missing"),
    "no image name": one(SIGNED, signature(about(name=GARBLED)), "name-invalid"),
    "digest of another image in the name": one(SIGNED, signature(about(name=replace(APP, digest=1))), "name-mismatch"),
    "attested under another tag": one(ATTESTED, attestation(about(name=replace(APP, tag="0.9"))), "name-mismatch"),
    "attested without a name": one(ATTESTED, attestation(about(name=None)), "name-missing"),
    "attested without a tag": one(ATTESTED, attestation(about(name=replace(APP, tag=None))), "name-without-tag"),
    "attested for another repository": one(
        '{ attested = "slsa-provenance", by = "release", name = "repository" }',
        attestation(about(name=replace(APP, path="team/web"))),
        "name-mismatch",
    ),
    "claim that is no claim": one(SIGNED, signature(spoiled="statement"), "bad-claim"),
    "critical extension": one(SIGNED, signature(spoiled="critical"), "bad-claim"),
    "critical extension of an attestation": one(ATTESTED, attestation(spoiled="critical"), "bad-claim"),
    "predicate with a key twice": one(
        ATTESTED, attestation(about(signed=None), content='{"a": 1, "a": 2}'), "bad-claim"
    ),
    # When.
    "expired": one(SIGNED, signature(about(expires=0)), "expired"),
    "attestation expired": one(ATTESTED, attestation(about(expires=0)), "expired"),
    "too old": one(STRICT, signature(about(signed=-3600)), "too-old"),
    "of no time": one(STRICT, signature(about(signed=None)), "no-time"),
    "of the future": one(SIGNED, signature(about(signed=301)), "signed-in-future"),
    "from before": one(
        '{ signed-by = "release", signed-after = 2026-11-23T11:59:00Z }', signature(), "signed-too-early"
    ),
    "attestation too old": one(
        '{ attested = "slsa-provenance", by = "release", max-age = "1m" }', attestation(), "too-old"
    ),
    "superseded": one(STRICT, signature(about(sequence=40)), "sequence-too-low"),
    "without a sequence": one(STRICT, signature(about(sequence=None)), "sequence-too-low"),
    # Annotations.
    "other channel": one(
        STRICT, signature(about(annotations=(("channel", "beta"), ("build", "ci/1")))), "annotation-mismatch"
    ),
    "no channel": one(STRICT, signature(about(annotations=(("build", "ci/1"),))), "annotation-mismatch"),
    "channel in another case": one(
        STRICT, signature(about(annotations=(("channel", "Stable"), ("build", "ci/1")))), "annotation-mismatch"
    ),
    "prefix cut short": one(
        STRICT, signature(about(annotations=(("channel", "lts"), ("build", "ci")))), "annotation-mismatch"
    ),
    "prefix not at the start": one(
        STRICT, signature(about(annotations=(("channel", "lts"), ("build", "x/ci/1")))), "annotation-mismatch"
    ),
    "annotation that must exist": one(
        '{ signed-by = "release", annotations = { ticket = { exists = true } } }', signature(), "annotation-mismatch"
    ),
    # What the predicate says.
    "other builder": one(BUILDER, built("https://ci.example/runner", "https://ci.evil/runner"), "where-mismatch"),
    "builder's neighbour": one(
        BUILDER, built("https://ci.example/runner", "https://ci.example.evil/"), "where-mismatch"
    ),
    "builder missing": one(BUILDER, built('"builder"', '"Builder"'), "where-missing"),
    "builder null": one(BUILDER, built('"https://ci.example/runner/7"', "null"), "where-missing"),
    "builder in a list": one(
        BUILDER, built('{"id": "https://ci.example/runner/7"}', '[{"id": "https://ci.example/"}]'), "where-missing"
    ),
    "predicate is a text": one(BUILDER, attestation(content='"https://ci.example/"'), "where-missing"),
    "predicate is empty": one(BUILDER, attestation(content="{}"), "where-missing"),
    "element by a number that is too high": one(
        where('"buildDefinition.resolvedDependencies[2].uri" = { exists = true }'), attestation(), "where-missing"
    ),
    "name with a dot taken for two": one(
        where('"runDetails.metadata.invocation.id" = "7"'), attestation(), "where-missing"
    ),
    "list without brackets": one(
        where('"buildDefinition.resolvedDependencies.uri" = { exists = true }'), attestation(), "where-missing"
    ),
    "number for a text": one(where('"runDetails.metadata.attempt" = "1"'), attestation(), "where-mismatch"),
    "true for one": one(where('"summary.passed" = 1', "vuln"), scanned(), "where-mismatch"),
    "above": one(where('"summary.worst" = { below = 6.9 }', "vuln"), scanned(), "where-mismatch"),
    "number written as text": one(
        where('"summary.worst" = { below = 7 }', "vuln"), scanned(SCANNED, "6.9", '"6.9"'), "where-mismatch"
    ),
    "old scan": one(FRESH, scanned(SCANNED, "T10:30", "T10:00"), "where-mismatch"),
    "scan of the future": one(FRESH, scanned(SCANNED, "T10:30:00", "T12:05:01"), "where-mismatch"),
    "time without a zone": one(FRESH, scanned(SCANNED, "T10:30:00Z", "T10:30:00"), "where-mismatch"),
    "second of two conditions": one(
        where('"scanner.uri" = "pkg:scan", "summary.critical" = { at-least = 1 }', "vuln"), scanned(), "where-mismatch"
    ),
    "after, exactly then": one(
        where('"metadata.scanStartedOn" = { after = 2026-11-23T10:00:00Z }', "vuln"), scanned(), "where-mismatch"
    ),
    "before, exactly then": one(
        where('"metadata.scanStartedOn" = { before = 2026-11-23T10:00:00Z }', "vuln"), scanned(), "where-mismatch"
    ),
    # Mix and match: what one lacks the other has, and it is denied.
    "digest of one subject, name of the other": one(
        SIGNED, signature(about(image=1), about(name=replace(APP, tag="2"))), "name-mismatch"
    ),
    "age of one subject, sequence of the other": one(
        STRICT, signature(about(signed=-3600), about(sequence=40)), "sequence-too-low"
    ),
    "annotations of two subjects": one(
        STRICT,
        signature(about(annotations=(("channel", "lts"),)), about(annotations=(("build", "ci/1"),))),
        "annotation-mismatch",
    ),
    "expiry of one subject, tag of the other": one(
        SIGNED, signature(about(expires=0), about(name=replace(APP, tag="2"))), "expired"
    ),
    "attested digest of one subject, name of the other": one(
        ATTESTED, attestation(about(image=1), about(name=replace(APP, tag="2"))), "name-mismatch"
    ),
    "subject of one attestation, predicate of the other": two(
        BUILDER,
        attestation(about(image=1)),
        built("https://ci.example/runner", "https://ci.evil/runner"),
        "digest-mismatch",
        "where-mismatch",
    ),
    "two conditions met by two attestations": two(
        where('"runDetails.builder.id" = { prefix = "https://ci.example/" }, "runDetails.metadata.attempt" = 1'),
        built("https://ci.example/runner", "https://ci.evil/runner"),
        built('"attempt": 1', '"attempt": 2'),
        "where-mismatch",
        "where-mismatch",
    ),
    "two conditions met by two elements": one(SOURCE, built('"c0ffee"', '"bad"'), "where-mismatch"),
    "source of one element, commit of the other": one(
        SOURCE,
        attestation(content=BUILT.replace("c0ffee", "bad").replace('{"sha256": "aa"}', '{"gitCommit": "c0ffee"}')),
        "where-mismatch",
    ),
    "predicate right, signer wrong; signer right, predicate wrong": two(
        BUILDER,
        attestation(key=B),
        built("https://ci.example/runner", "https://ci.evil/runner"),
        "untrusted-signer",
        "where-mismatch",
    ),
    "type right by one, signer right by the other": two(
        ATTESTED, attestation(key=B), attestation(kind=VULN), "untrusted-signer", "other-predicate"
    ),
    "one of two anchors twice": two(BOTH, signature(), signature(format="simple"), "signed", "signed"),
    "one anchor right, the other under another tag": two(
        BOTH, signature(), signature(about(name=replace(APP, tag="2")), key=B), "signed", "name-mismatch"
    ),
    "one anchor attests twice": two(TWO, attestation(), attestation(format="dsse"), "attested", "attested"),
    "one anchor attests, the other signs": two(TWO, attestation(), signature(key=B), "attested", "not-an-attestation"),
    "one anchor signs, the other attests": two(BOTH, signature(), attestation(key=B), "signed", "not-a-signature"),
    "one anchor attests the other image": two(
        TWO, attestation(), attestation(about(image=1), key=B), "attested", "digest-mismatch"
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_one_fault_is_denied_with_its_code(name: str) -> None:
    vector = VECTORS[name]
    decision = judge(vector.requirement, *vector.sigs, asked=vector.asked)
    assert not decision.allowed
    assert not decision.inconclusive
    assert tuple(c.code for c in decision.checks if c.about != c.group) == vector.codes
    assert decision.claims == ()


def test_there_are_enough_vectors_and_no_two_are_alike() -> None:
    assert len(VECTORS) >= 60
    assert len(set(VECTORS.values())) == len(VECTORS)


def test_each_of_two_requirements_is_named_apart() -> None:
    decision = judge(f"{BUILDER}, {ATTESTED}", built("https://ci.example/runner", "https://ci.evil/runner"))
    assert [(c.group, c.code, c.passed) for c in decision.checks] == [
        ("attested slsa-provenance by release", "threshold", False),
        ("attested slsa-provenance by release", "where-mismatch", False),
        ("attested slsa-provenance by release (2)", "threshold", True),
        ("attested slsa-provenance by release (2)", "attested", True),
    ]


def test_limit_of_verifications_is_the_policys() -> None:
    decision = judge(SIGNED, *(signature(key=k, format="simple") for k in STRANGERS), limit=1)
    assert [f.message for f in decision.faults] == ["stopped after 1 signature verifications"]


@pytest.mark.parametrize(
    ("requirement", "sig", "message"),
    [
        (BUILDER, built("https://ci.example/runner", "https://ci.evil/runner"),
         "its predicate's 'runDetails.builder.id' is 'https://ci.evil/runner/7', "
         "something under 'https://ci.example/' needed"),
        (BUILDER, attestation(content="{}"),
         "its predicate has no 'runDetails.builder.id', something under 'https://ci.example/' needed"),
        (FRESH, scanned(SCANNED, "T10:30", "T09:30"),
         "its predicate's 'metadata.scanFinishedOn' is '2026-11-23T09:30:00Z', a time less than 2:00:00 ago needed"),
        (ATTESTED, attestation(kind=VULN), f"is an attestation of another type, '{VULN}'"),
        (ATTESTED, signature(), "is a signature, not an attestation"),
        (SIGNED, attestation(), f"is an attestation of type '{SLSA}', not a signature"),
    ],
)  # fmt: skip
def test_message_says_what_is_there_and_what_was_needed(requirement: str, sig: Sig, message: str) -> None:
    assert judge(requirement, sig).checks[1].message == message


def test_next_step_for_a_missing_attestation_is_the_command_that_makes_it() -> None:
    summary = judge(BUILDER).checks[0]
    assert summary.message == "0 of 1 needed, no attestations found"
    assert summary.hint == (
        f'attest it with a key of anchor "release": imgsign attest r.example.com/team/app:1@{IMAGES[0].digest} '
        "--type slsa-provenance --predicate FILE -k KEY"
    )
