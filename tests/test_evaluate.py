"""evaluate() by example: every cell of the name table, every code, every boundary, with the text people read.

Signatures are real (``tests/properties/forge.py``); expected results are written by hand from design §5-§7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from imgsign.claim import Candidate, Claim, Place, ProvenTime, Referrers, Signer, Subject
from imgsign.decision import Check, Decision, Evidence, Fault, Verdict
from imgsign.errors import UntrustedSigner
from imgsign.evaluate import Verifications, evaluate
from imgsign.oci import Image
from imgsign.policy.model import NameRule, Policy, Reject, Requirement, Rule, SignedBy, UnsafeAcceptUnsigned
from imgsign.reference import Digest, Reference
from imgsign.trust import Keys, TrustedKey, TrustStore
from tests.properties.cases import Case
from tests.properties.forge import (
    ATTESTATION,
    GARBLED,
    IMAGES,
    KEYS,
    NOW,
    About,
    Name,
    Sig,
    at,
    attach,
    candidate,
    defect,
    read,
    sign,
    unsigned_bytes,
)
from tests.properties.oracle import Anchors, Entry

A, B, C, STRANGER = 0, 1, 2, 6
DIGEST, OTHER = IMAGES[0].digest, IMAGES[1].digest
R = Name("r.example", "app")
RT = replace(R, tag="1")
RIGHT = About(name=RT, signed=-60)
RELEASE = SignedBy(anchors=("release",))
ONE_KEY: Anchors = {"release": (Entry(A),)}
THREE_KEYS: Anchors = {"release": (Entry(A), Entry(B), Entry(C))}
REJECTED = Rule(scope=None, require=(Reject(),))


def judge(
    *sigs: Sig,
    require: Requirement | tuple[Requirement, ...] = RELEASE,
    anchors: Anchors = ONE_KEY,
    asked: Name | None = RT,
    now: int = 0,
    faults: tuple[Fault, ...] = (),
    defects: int = 0,
) -> Decision:
    """Judge by one rule in scope ``*``."""
    rule = Rule(scope="*", require=require if isinstance(require, tuple) else (require,))
    policy = Policy(default=REJECTED, scopes={"*": rule})
    case = Case(asked=asked, policy=policy, anchors=anchors, sigs=sigs, faults=faults, defects=defects)
    return case.judge(now=at(now))


def bundle(*abouts: About, key: int = A, spoiled: str | None = None, hint: int | None = None) -> Sig:
    return Sig(key, "bundle", abouts or (RIGHT,), spoiled, hint)


def simple(about: About = RIGHT, *, key: int = A, spoiled: str | None = None) -> Sig:
    return Sig(key, "simple", (about,), spoiled)


def why_not(decision: Decision) -> Check:
    """The one check that failed beside the threshold of a denied image."""
    assert decision.verdict is Verdict.DENY
    (found,) = [c for c in decision.checks if not c.passed and c.code != "threshold"]
    return found


def code(decision: Decision) -> str | None:
    """Why it was denied, ``None`` if it was allowed."""
    return None if decision.allowed else why_not(decision).code


# Names. The table of design §7.

ASKED = {"R:T": RT, "R@D": replace(R, digest=0), "R:T@D": replace(RT, digest=0), "R:U": replace(R, tag="2")}
SIGNED = {
    "R:T": RT,
    "R": R,
    "no name": None,
    "S:T": Name("r.example", "other", "1"),
    "R@D": replace(R, digest=0),
}

NAME_TABLE: list[tuple[str, str, str, str | None]] = [
    # rule, signed, asked, code (None: allowed)
    ("exact", "R:T", "R:T", None),
    ("exact", "R:T", "R@D", None),
    ("exact", "R:T", "R:T@D", None),
    ("exact", "R:T", "R:U", "name-mismatch"),
    ("exact", "R", "R:T", "name-without-tag"),
    ("exact", "R", "R@D", None),
    ("exact", "R", "R:T@D", "name-without-tag"),
    ("exact", "R", "R:U", "name-without-tag"),
    ("exact", "no name", "R:T", "name-missing"),
    ("exact", "no name", "R@D", "name-missing"),
    ("exact", "no name", "R:T@D", "name-missing"),
    ("exact", "no name", "R:U", "name-missing"),
    ("exact", "S:T", "R:T", "name-mismatch"),
    ("exact", "S:T", "R@D", "name-mismatch"),
    ("exact", "S:T", "R:T@D", "name-mismatch"),
    ("exact", "S:T", "R:U", "name-mismatch"),
    ("repository", "R:T", "R:T", None),
    ("repository", "R:T", "R@D", None),
    ("repository", "R:T", "R:T@D", None),
    ("repository", "R:T", "R:U", None),
    ("repository", "R", "R:T", None),
    ("repository", "R", "R@D", None),
    ("repository", "R", "R:T@D", None),
    ("repository", "R", "R:U", None),
    ("repository", "no name", "R:T", "name-missing"),
    ("repository", "no name", "R@D", "name-missing"),
    ("repository", "no name", "R:T@D", "name-missing"),
    ("repository", "no name", "R:U", "name-missing"),
    ("repository", "S:T", "R:T", "name-mismatch"),
    ("repository", "S:T", "R@D", "name-mismatch"),
    ("repository", "S:T", "R:T@D", "name-mismatch"),
    ("repository", "S:T", "R:U", "name-mismatch"),
    # What a signature made by digest says: it is about its own digest only.
    ("exact", "R@D", "R:T", "name-without-tag"),
    ("exact", "R@D", "R@D", None),
    # As exact, but a bare repository never counts.
    ("exact-tagged", "R:T", "R:T", None),
    ("exact-tagged", "R:T", "R@D", None),
    ("exact-tagged", "R:T", "R:U", "name-mismatch"),
    ("exact-tagged", "R", "R:T", "name-without-tag"),
    ("exact-tagged", "R", "R@D", "name-without-tag"),
    ("exact-tagged", "R@D", "R@D", None),
    ("exact-tagged", "no name", "R@D", "name-missing"),
    ("exact-tagged", "S:T", "R@D", "name-mismatch"),
    # The very name that was asked for.
    ("identical", "R:T", "R:T", None),
    ("identical", "R:T", "R@D", "name-mismatch"),
    ("identical", "R:T", "R:T@D", None),
    ("identical", "R", "R@D", "name-mismatch"),
    ("identical", "R@D", "R@D", None),
    ("identical", "R@D", "R:T", "name-mismatch"),
    ("identical", "no name", "R:T", "name-missing"),
    *(("unsafe-any", signed, asked, None) for signed in SIGNED for asked in ASKED),
]


@pytest.mark.parametrize("format", ["bundle", "simple"])
@pytest.mark.parametrize(("rule", "signed", "asked", "expected"), NAME_TABLE)
def test_signed_name_is_compared_by_the_table(
    rule: str, signed: str, asked: str, expected: str | None, format: str
) -> None:
    sig = Sig(A, format, (About(name=SIGNED[signed]),))
    assert code(judge(sig, require=replace(RELEASE, name=NameRule(rule)), asked=ASKED[asked])) == expected


@pytest.mark.parametrize(
    ("signed", "message", "hint"),
    [
        (
            replace(R, tag="2"),
            "signs :2, asked for :1",
            'only name = "repository" would accept it: any tag of this repository, older ones too',
        ),
        (
            R,
            "signs r.example/app without a tag, asked for :1",
            'only name = "repository" would accept it: any tag of this repository, older ones too',
        ),
        (
            None,
            "signs no name",
            'only name = "unsafe-any" would accept it: any name of this digest, as cosign does',
        ),
        (
            Name("r.example", "other", "1"),
            "signs the name r.example/other:1, asked for r.example/app",
            'only name = "unsafe-any" or a remap would accept it: any name of this digest',
        ),
        (GARBLED, "signs 'Not/A Name!', which is not an image name", None),
    ],
)
def test_failure_of_a_name_says_which_rule_would_accept_it(
    signed: Name | str | None, message: str, hint: str | None
) -> None:
    found = why_not(judge(bundle(About(name=signed))))
    assert (found.message, found.hint) == (message, hint)


def test_retagged_old_image_is_refused_though_its_signature_is_good() -> None:
    # A registry's thief serves the bytes of 1, with the signature of 1, under the tag 2.
    assert code(judge(bundle(), asked=replace(R, tag="2"))) == "name-mismatch"


@pytest.mark.parametrize(
    "name",
    [
        Name("r.example", "app2", "1"),
        Name("r.example", "ap", "1"),
        Name("r.example", "app/x", "1"),
        Name("r.example:443", "app", "1"),
        Name("R.example", "app", "1"),
        Name("x.r.example", "app", "1"),
    ],
)
def test_name_that_is_nearly_the_same_is_another_name(name: Name) -> None:
    assert code(judge(bundle(About(name=name)))) == "name-mismatch"


@pytest.mark.parametrize(
    "written", ["index.docker.io/library/app:1", "index.docker.io/app:1", "docker.io/app:1", "app:1"]
)
def test_spellings_of_docker_hub_are_one_name(written: str) -> None:
    payload = b'{"critical":{"identity":{"docker-reference":"%b"},"image":{"docker-manifest-digest":"%b"},' % (
        written.encode(),
        str(DIGEST).encode(),
    )
    payload += b'"type":"cosign container image signature"},"optional":null}'
    found = read(attach(unsigned_bytes(A, "simple", payload), sign(A, payload)), "simple")
    asked = Image(name=Reference.parse("docker.io/library/app:1"), manifest=IMAGES[0])
    assert evaluate_one(asked, found).allowed


def evaluate_one(asked: Image, *found: Candidate, require: SignedBy = RELEASE, now: datetime = NOW) -> Decision:
    """Judge ready candidates by key A."""
    policy = Policy(default=REJECTED, scopes={"*": Rule(scope="*", require=(require,))})
    trust = TrustStore(anchors={"release": Keys(name="release", keys=(TrustedKey(key=KEYS[A]),))})
    return evaluate(policy, trust, asked, Evidence(candidates=found), now=now)


def test_digest_in_the_signed_name_must_be_the_signed_digest() -> None:
    assert code(judge(bundle(About(name=replace(RT, digest=0))))) is None
    assert code(judge(bundle(About(name=replace(RT, digest=1))))) == "name-mismatch"


@pytest.mark.parametrize(("rule", "expected"), [("exact", "no-name"), ("repository", "no-name"), ("unsafe-any", None)])
def test_image_without_a_name_cannot_be_compared(rule: str, expected: str | None) -> None:
    decision = judge(bundle(), require=replace(RELEASE, name=NameRule(rule)), asked=None)
    assert code(decision) == expected
    if expected:
        assert why_not(decision).hint == "give its name with --identity registry/repo:tag"


# Names through mirrors.

HUB = replace(RELEASE, remap={"mirror.example/hub": "docker.io"})


@pytest.mark.parametrize(
    ("remap", "asked", "signed", "expected"),
    [
        ({"mirror.example/hub": "docker.io"}, "mirror.example/hub/team/app", "docker.io/team/app", None),
        ({"mirror.example/hub": "docker.io"}, "mirror.example/hub/library/app", "docker.io/library/app", None),
        ({"mirror.example": "r.example"}, "mirror.example/team/app", "r.example/team/app", None),
        ({"mirror.example/hub": "r.example/x"}, "mirror.example/hub", "r.example/x", None),
        # Only the asked name is remapped: what was signed under the mirror's name is not accepted.
        (
            {"mirror.example/hub": "docker.io"},
            "mirror.example/hub/team/app",
            "mirror.example/hub/team/app",
            "name-mismatch",
        ),
        # Nothing is left of the asked name: "docker.io" is a host here, not the image docker.io/library/docker.io.
        ({"mirror.example/hub": "docker.io"}, "mirror.example/hub", "docker.io/library/docker.io", "name-mismatch"),
        (
            {"mirror.example/hub": "r.example:5000"},
            "mirror.example/hub",
            "docker.io/library/r.example",
            "name-mismatch",
        ),
        # Boundaries.
        ({"mirror.example/hub": "r.example/x"}, "mirror.example/hub2/app", "r.example/x2/app", "name-mismatch"),
        ({"mirror.example/hub": "r.example/x"}, "mirror.example/hub-a/app", "r.example/x-a/app", "name-mismatch"),
        ({"mirror.example": "r.example"}, "mirror.example:5000/app", "r.example/app", "name-mismatch"),
        ({"mirror.example": "r.example"}, "mirror.example.net/app", "r.example.net/app", "name-mismatch"),
        # Not matching: compared as asked.
        ({"mirror.example/hub": "docker.io"}, "r.example/team/app", "r.example/team/app", None),
        # Once, not again and again.
        (
            {"a.example": "b.example", "b.example": "c.example"},
            "a.example/app",
            "c.example/app",
            "name-mismatch",
        ),
        ({"a.example": "b.example", "b.example": "c.example"}, "a.example/app", "b.example/app", None),
        # The longest prefix.
        (
            {"m.example": "a.example", "m.example/hub": "b.example", "m.example/hub/x": "c.example"},
            "m.example/hub/app",
            "b.example/app",
            None,
        ),
    ],
)
def test_remap_applies_to_the_asked_name_at_boundaries_once(
    remap: dict[str, str], asked: str, signed: str, expected: str | None
) -> None:
    sig = bundle(About(name=name_of(signed)))
    assert code(judge(sig, require=replace(RELEASE, remap=remap), asked=name_of(asked))) == expected


def name_of(repository: str) -> Name:
    """A repository's name with tag 1."""
    registry, _, path = repository.partition("/")
    return Name(registry, path, "1")


def test_remap_to_docker_hub_reads_one_component_as_docker_does() -> None:
    # docker.io/app does not exist; the name that was signed is docker.io/library/app.
    assert (
        code(
            judge(
                bundle(About(name=name_of("docker.io/library/app"))),
                require=HUB,
                asked=name_of("mirror.example/hub/app"),
            )
        )
        is None
    )


def test_remap_of_a_whole_name_to_a_bare_host_is_no_fault_of_the_signature() -> None:
    # mirror.example/hub/app -> docker.io: nothing is left to compare, and the signed name is a good one.
    require = replace(RELEASE, remap={"mirror.example/hub/app": "docker.io"})
    decision = judge(bundle(About(name=RT)), require=require, asked=name_of("mirror.example/hub/app"))
    assert code(decision) == "name-mismatch"


def test_name_failure_through_a_mirror_shows_the_name_that_was_wanted() -> None:
    found = why_not(judge(bundle(), require=HUB, asked=name_of("mirror.example/hub/team/app")))
    assert found.message == "signs the name r.example/app:1, asked for docker.io/team/app"


# Digests, subjects, predicates, bad claims.


@pytest.mark.parametrize(
    "sig", [bundle(replace(RIGHT, image=1)), simple(replace(RIGHT, image=1))], ids=lambda s: s.format
)
def test_signature_of_another_image_is_refused(sig: Sig) -> None:
    found = why_not(judge(sig))
    assert (found.code, found.message) == ("digest-mismatch", f"is about {OTHER}")


def test_any_one_subject_that_meets_everything_is_enough() -> None:
    assert judge(bundle(replace(RIGHT, image=1), replace(RIGHT, name=None), RIGHT)).allowed


def test_name_and_digest_of_different_subjects_do_not_add_up() -> None:
    sig = bundle(replace(RIGHT, image=1), replace(RIGHT, name=replace(R, tag="2")))
    assert code(judge(sig)) == "name-mismatch"


def test_reason_shown_is_that_of_the_subject_that_came_furthest() -> None:
    sig = bundle(replace(RIGHT, image=1), replace(RIGHT, expires=0), replace(RIGHT, name=None))
    assert code(judge(sig)) == "expired"


def test_attestation_is_not_a_signature() -> None:
    found = why_not(judge(bundle(spoiled="predicate")))
    assert found.code == "not-a-signature"
    assert found.message == f"is an attestation of type '{ATTESTATION}', not a signature"


def test_statement_without_a_supported_digest_is_about_nothing() -> None:
    content = (
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://sigstore.dev/cosign/sign/v1",'
        b'"subject":[{"name":"r.example/app:1","digest":{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}]}'
    )
    unsigned = unsigned_bytes(A, "bundle", content)
    found = read(attach(unsigned, sign(A, unsigned.message)), "bundle")
    decision = evaluate_one(Image(name=RT.reference, manifest=IMAGES[0]), found)
    assert code(decision) == "no-subject"


@pytest.mark.parametrize("sig", [bundle(spoiled="critical"), simple(spoiled="critical")], ids=lambda s: s.format)
def test_claim_with_a_reserved_key_of_a_later_version_is_refused(sig: Sig) -> None:
    found = why_not(judge(sig))
    assert found.code == "bad-claim"
    assert found.message == "signed annotation 'imgsign.only-on-sundays' is not known to this version"
    assert found.hint == "upgrade imgsign"


@pytest.mark.parametrize("sig", [bundle(spoiled="statement"), simple(spoiled="statement")], ids=lambda s: s.format)
def test_signed_bytes_that_are_no_claim_are_refused(sig: Sig) -> None:
    assert code(judge(sig)) == "bad-claim"


# Keys.


@pytest.mark.parametrize("spoiled", ["signature", "payload"])
@pytest.mark.parametrize("format", ["bundle", "simple"])
def test_tampered_signature_verifies_with_no_key(format: str, spoiled: str) -> None:
    assert code(judge(Sig(A, format, (RIGHT,), spoiled))) == "untrusted-signer"


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (ONE_KEY, "does not verify with the key of anchor 'release'"),
        (THREE_KEYS, "does not verify with any of the 3 keys of anchor 'release'"),
    ],
)
def test_stranger_is_told_apart_by_the_number_of_keys_tried(anchors: Anchors, message: str) -> None:
    found = why_not(judge(bundle(key=STRANGER), anchors=anchors))
    assert (found.code, found.message) == ("untrusted-signer", message)


def test_hint_of_our_key_on_a_strangers_signature_helps_nobody() -> None:
    assert code(judge(bundle(key=STRANGER, hint=A))) == "untrusted-signer"


def test_hint_of_another_key_on_a_good_signature_harms_nobody() -> None:
    assert judge(bundle(hint=STRANGER)).allowed


def test_key_of_another_anchor_does_not_count() -> None:
    anchors = {"release": (Entry(A),), "ci": (Entry(B),)}
    assert code(judge(bundle(key=B), anchors=anchors)) == "untrusted-signer"
    assert judge(bundle(key=B), anchors=anchors, require=replace(RELEASE, anchors=("release", "ci"))).allowed


@pytest.mark.parametrize(
    ("now", "expected"), [(-1, "key-not-yet-valid"), (0, None), (99, None), (100, "key-expired"), (101, "key-expired")]
)
def test_key_counts_from_not_before_until_just_before_not_after(now: int, expected: str | None) -> None:
    anchors = {"release": (Entry(A, 0, 100),)}
    assert code(judge(bundle(About(name=RT)), anchors=anchors, now=now)) == expected


def test_messages_about_a_keys_time_name_the_key_and_the_time() -> None:
    sig = bundle(About(name=RT))
    early = why_not(judge(sig, anchors={"release": (Entry(A, 1, None),)}))
    late = why_not(judge(sig, anchors={"release": (Entry(A, None, 0),)}))
    fingerprint = KEYS[A].fingerprint
    assert early.message == f"key {fingerprint} is trusted from 2026-11-23T12:00:01Z only"
    assert late.message == f"key {fingerprint} was trusted until 2026-11-23T12:00:00Z"
    assert late.hint == "sign again with a current key"


def test_key_listed_twice_counts_within_either_time() -> None:
    anchors = {"release": (Entry(A, None, -10), Entry(A, -5, 10))}
    assert judge(bundle(), anchors=anchors).valid_until == at(10)


def test_claimed_time_within_a_retired_keys_life_does_not_revive_it() -> None:
    # The thief of a retired key writes any date; only a proven time may be compared with not-after.
    assert (
        code(judge(bundle(replace(RIGHT, signed=-86400)), anchors={"release": (Entry(A, None, -1),)})) == "key-expired"
    )


def test_hash_override_replaces_what_the_kind_of_key_accepts() -> None:
    found = candidate(bundle(key=B))  # P-256 with SHA-256

    def decide(hash: str | None) -> Decision:
        policy = Policy(default=REJECTED, scopes={"*": Rule(scope="*", require=(RELEASE,))})
        trust = TrustStore(anchors={"release": Keys(name="release", keys=(TrustedKey(key=KEYS[B], hash=hash),))})
        asked = Image(name=RT.reference, manifest=IMAGES[0])
        return evaluate(policy, trust, asked, Evidence(candidates=(found,)), now=NOW)

    assert decide(None).allowed
    assert decide("sha256").allowed
    assert code(decide("sha512")) == "untrusted-signer"


# Thresholds.

BOTH = replace(RELEASE, threshold=2)


def test_two_signers_meet_a_threshold_of_two_across_formats() -> None:
    decision = judge(bundle(), simple(key=B), require=BOTH, anchors=THREE_KEYS)
    assert decision.allowed
    assert sorted((anchor, claim.format) for anchor, claim in decision.claims) == [
        ("release", "bundle"),
        ("release", "simple"),
    ]


@pytest.mark.parametrize(
    "sigs",
    [
        (bundle(), bundle()),
        (bundle(), simple()),
        (bundle(), bundle(replace(RIGHT, signed=-61))),
        (bundle(RIGHT, replace(RIGHT, name=replace(R, tag="2"))),),
    ],
)
def test_one_signer_never_counts_twice(sigs: tuple[Sig, ...]) -> None:
    decision = judge(*sigs, require=BOTH, anchors=THREE_KEYS)
    assert decision.verdict is Verdict.DENY
    assert decision.checks[0].message == "1 of 2 needed"


def test_one_key_in_two_anchors_is_one_signer() -> None:
    anchors = {"release": (Entry(A), Entry(B)), "ci": (Entry(A),)}
    require = SignedBy(anchors=("release", "ci"), threshold=2)
    assert judge(bundle(), require=require, anchors=anchors).verdict is Verdict.DENY


def test_one_signature_may_serve_two_requirements() -> None:
    anchors = {"release": (Entry(A),), "ci": (Entry(A),)}
    decision = judge(bundle(), require=(RELEASE, SignedBy(anchors=("ci",))), anchors=anchors)
    assert [anchor for anchor, _ in decision.claims] == ["release", "ci"]


def test_all_requirements_must_hold() -> None:
    anchors = {"release": (Entry(A),), "ci": (Entry(B),)}
    decision = judge(bundle(), require=(RELEASE, SignedBy(anchors=("ci",))), anchors=anchors)
    assert decision.verdict is Verdict.DENY
    assert [(c.group, c.passed) for c in decision.checks if c.code == "threshold"] == [
        ("signed-by release", True),
        ("signed-by ci", False),
    ]
    assert decision.claims == ()


# Rollback.


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [(None, "sequence-too-low"), (0, "sequence-too-low"), (40, "sequence-too-low"), (41, None), (42, None)],
)
def test_min_sequence_refuses_lower_and_missing_numbers(sequence: int | None, expected: str | None) -> None:
    sig = bundle(replace(RIGHT, sequence=sequence))
    assert code(judge(sig, require=replace(RELEASE, min_sequence=41))) == expected


@pytest.mark.parametrize(
    ("sequence", "message"), [(None, "no sequence number, 41 needed"), (40, "sequence 40, 41 needed")]
)
def test_low_sequence_is_shown(sequence: int | None, message: str) -> None:
    sig = bundle(replace(RIGHT, sequence=sequence))
    assert why_not(judge(sig, require=replace(RELEASE, min_sequence=41))).message == message


def test_min_sequence_0_still_wants_a_number() -> None:
    assert code(judge(bundle(), require=replace(RELEASE, min_sequence=0))) == "sequence-too-low"
    assert judge(bundle(replace(RIGHT, sequence=0)), require=replace(RELEASE, min_sequence=0)).allowed


@pytest.mark.parametrize(("threshold", "allowed"), [(1, True), (2, True), (3, False)])
def test_sequence_of_an_image_is_the_kth_largest_over_signers(threshold: int, allowed: bool) -> None:
    # Signers say 50, 45 and 40; with threshold k the image's sequence is 50, 45, 40.
    sigs = [bundle(replace(RIGHT, sequence=n), key=k) for k, n in ((A, 50), (B, 45), (C, 40))]
    require = replace(RELEASE, threshold=threshold, min_sequence=41)
    assert judge(*sigs, require=require, anchors=THREE_KEYS).allowed is allowed


def test_high_sequence_of_one_subject_does_not_lift_another() -> None:
    sig = bundle(replace(RIGHT, sequence=40), replace(RIGHT, image=1, sequence=99))
    assert code(judge(sig, require=replace(RELEASE, min_sequence=41))) == "sequence-too-low"


@pytest.mark.parametrize(
    ("signed", "expected"),
    [(-3601, "signed-too-early"), (-3600, "signed-too-early"), (-3599, None), (None, "no-time")],
)
def test_signed_after_refuses_what_was_signed_at_that_second_or_before(
    signed: int | None, expected: str | None
) -> None:
    sig = bundle(replace(RIGHT, signed=signed))
    assert code(judge(sig, require=replace(RELEASE, signed_after=at(-3600)))) == expected


def test_signed_after_counts_for_each_signer_of_a_threshold() -> None:
    require = replace(BOTH, signed_after=at(-3600))
    old, new = bundle(replace(RIGHT, signed=-7200), key=B), bundle()
    decision = judge(new, old, require=require, anchors=THREE_KEYS)
    assert code(decision) == "signed-too-early"
    assert why_not(decision).message == (
        "was signed at 2026-11-23T10:00:00Z, the policy wants after 2026-11-23T11:00:00Z"
    )


# Age, expiry, clocks.


@pytest.mark.parametrize(("signed", "expected"), [(-3599, None), (-3600, "too-old"), (-3601, "too-old")])
@pytest.mark.parametrize("format", ["bundle", "simple"])
def test_max_age_is_exclusive(signed: int, expected: str | None, format: str) -> None:
    sig = Sig(A, format, (replace(RIGHT, signed=signed),))
    assert code(judge(sig, require=replace(RELEASE, max_age=timedelta(hours=1)))) == expected


def test_timestamp_of_a_foreign_simple_signature_is_its_time() -> None:
    # skopeo and podman write optional.timestamp and no reserved keys; a nameless one is not imgsign's.
    require = replace(RELEASE, name=NameRule.UNSAFE_ANY, max_age=timedelta(hours=1))
    assert judge(simple(About(signed=-3599)), require=require).valid_until == at(1)
    assert code(judge(simple(About(signed=-3600)), require=require)) == "too-old"


@pytest.mark.parametrize("limit", [{"max_age": timedelta(days=1)}, {"signed_after": at(-86400)}], ids=str)
def test_signature_without_a_time_cannot_meet_a_limit_of_age(limit: dict[str, object]) -> None:
    found = why_not(judge(bundle(About(name=RT)), require=replace(RELEASE, **limit)))  # type: ignore[arg-type]  # SignedBy's own field types
    assert (found.code, found.message) == ("no-time", "says no signing time, and the policy limits the age")


def test_signature_without_a_time_is_good_where_age_does_not_matter() -> None:
    assert judge(bundle(About(name=RT))).valid_until is None


@pytest.mark.parametrize(("signed", "expected"), [(300, None), (301, "signed-in-future"), (86400, "signed-in-future")])
def test_clock_of_a_signer_may_run_ahead_by_five_minutes(signed: int, expected: str | None) -> None:
    assert code(judge(bundle(replace(RIGHT, signed=signed)))) == expected


def test_signature_of_the_future_cannot_stay_young_for_ever() -> None:
    # Signed with a date of next year, it would outlive every max-age.
    sig = bundle(replace(RIGHT, signed=365 * 86400))
    assert code(judge(sig, require=replace(RELEASE, max_age=timedelta(days=1)))) == "signed-in-future"


@pytest.mark.parametrize(("now", "expected"), [(99, None), (100, "expired"), (101, "expired")])
def test_expiry_is_exclusive(now: int, expected: str | None) -> None:
    assert code(judge(bundle(replace(RIGHT, expires=100)), now=now)) == expected


def test_expiry_never_lengthens() -> None:
    sig = bundle(replace(RIGHT, signed=-7200, expires=86400))
    assert code(judge(sig, require=replace(RELEASE, max_age=timedelta(hours=1)))) == "too-old"


@pytest.mark.parametrize(
    ("about", "more", "message", "hint"),
    [
        (replace(RIGHT, expires=-1), {}, "expired at 2026-11-23T11:59:59Z", "sign it again"),
        (
            replace(RIGHT, signed=-7200),
            {"max_age": timedelta(hours=1)},
            "was signed at 2026-11-23T10:00:00Z, longer ago than the policy allows",
            "sign it again",
        ),
        (
            replace(RIGHT, signed=7200),
            {},
            "says it was signed at 2026-11-23T14:00:00Z, which is in the future",
            "check the clocks",
        ),
    ],
)
def test_failure_of_time_shows_the_time(about: About, more: dict[str, object], message: str, hint: str) -> None:
    found = why_not(judge(bundle(about), require=replace(RELEASE, **more)))  # type: ignore[arg-type]  # SignedBy's own field types
    assert (found.message, found.hint) == (message, hint)


# Proven times. No format proves one yet, so the candidate is a stub.


@dataclass(frozen=True)
class Proven:
    """A candidate of key A whose claim has times that somebody else vouches for."""

    claimed: int | None
    proven: tuple[int, ...]
    format: str = "stub"
    key_hint: str | None = None

    @property
    def place(self) -> Place:
        return Referrers(DIGEST)

    def untrusted_content(self) -> tuple[str | None, tuple[Subject, ...]]:
        return None, ()

    def verify(self, trusted: TrustedKey) -> Claim:
        if trusted.key != KEYS[A]:
            raise UntrustedSigner("another key")
        subject = Subject(digest=DIGEST, name=str(RT), claimed_at=None if self.claimed is None else at(self.claimed))
        return Claim(
            format=self.format,
            place=self.place,
            subjects=(subject,),
            signer=Signer(spki=trusted.key.digest),
            proven_at=tuple(ProvenTime(at=at(p), source="authority") for p in self.proven),
        )


def judge_proven(found: Proven, *, require: SignedBy = RELEASE, not_after: int | None = None) -> Decision:
    policy = Policy(default=REJECTED, scopes={"*": Rule(scope="*", require=(require,))})
    trusted = TrustedKey(key=KEYS[A], not_after=None if not_after is None else at(not_after))
    trust = TrustStore(anchors={"release": Keys(name="release", keys=(trusted,))})
    asked = Image(name=RT.reference, manifest=IMAGES[0])
    return evaluate(policy, trust, asked, Evidence(candidates=(found,)), now=NOW)


HOUR = replace(RELEASE, max_age=timedelta(hours=1))


@pytest.mark.parametrize(
    ("claimed", "proven", "expected"),
    [
        (-7200, (-60,), None),  # the authority's word, not the signer's
        (-60, (-7200,), "too-old"),
        (None, (-60,), None),
        (-60, (-60, -7200), "too-old"),  # the earliest
        (-60, (301,), "signed-in-future"),
    ],
)
def test_age_is_that_of_the_earliest_proven_time(
    claimed: int | None, proven: tuple[int, ...], expected: str | None
) -> None:
    assert code(judge_proven(Proven(claimed, proven), require=HOUR)) == expected


def test_key_that_was_retired_since_a_proven_time_still_counts() -> None:
    decision = judge_proven(Proven(-7200, (-7200,)), not_after=-3600)
    assert decision.allowed
    assert decision.valid_until is None  # the key's end lies behind it already


def test_key_that_was_retired_before_a_proven_time_does_not_count() -> None:
    assert code(judge_proven(Proven(-7200, (-1800,)), not_after=-3600)) == "key-expired"


# Annotations.

CHANNEL = replace(RELEASE, annotations={"channel": ("stable", "lts"), "team": ("payments",)})


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ((("channel", "stable"), ("team", "payments")), None),
        ((("channel", "lts"), ("team", "payments")), None),
        ((("channel", "lts"), ("team", "payments"), ("more", "x")), None),
        ((("channel", "nightly"), ("team", "payments")), "annotation 'channel' is 'nightly', 'stable' or 'lts' needed"),
        ((("channel", "Stable"), ("team", "payments")), "annotation 'channel' is 'Stable', 'stable' or 'lts' needed"),
        ((("channel", "stable "), ("team", "payments")), "annotation 'channel' is 'stable ', 'stable' or 'lts' needed"),
        ((("channel", ""), ("team", "payments")), "annotation 'channel' is '', 'stable' or 'lts' needed"),
        ((("Channel", "stable"), ("team", "payments")), "annotation 'channel' is missing, 'stable' or 'lts' needed"),
        ((("channel", "stable"),), "annotation 'team' is missing, 'payments' needed"),
        ((), "annotation 'channel' is missing, 'stable' or 'lts' needed"),
    ],
)
@pytest.mark.parametrize("format", ["bundle", "simple"])
def test_required_annotations_are_exact_and_of_a_closed_set(
    annotations: tuple[tuple[str, str], ...], message: str | None, format: str
) -> None:
    decision = judge(Sig(A, format, (replace(RIGHT, annotations=annotations),)), require=CHANNEL)
    if message is None:
        assert decision.allowed
    else:
        found = why_not(decision)
        assert (found.code, found.message) == ("annotation-mismatch", message)


def test_annotations_of_two_subjects_do_not_add_up() -> None:
    one = replace(RIGHT, annotations=(("channel", "stable"),))
    other = replace(RIGHT, annotations=(("team", "payments"),))
    assert code(judge(bundle(one, other), require=CHANNEL)) == "annotation-mismatch"


def test_escape_sequence_in_a_signed_annotation_is_not_printed() -> None:
    sig = bundle(replace(RIGHT, annotations=(("channel", "\x1b[2Jallowed"), ("team", "payments"))))
    assert why_not(judge(sig, require=CHANNEL)).message.startswith(r"annotation 'channel' is '\x1b[2Jallowed', ")


# Formats.


def test_format_that_is_not_allowed_is_not_even_verified() -> None:
    require = replace(RELEASE, formats=("bundle",))
    memo = Verifications()
    policy = Policy(default=REJECTED, scopes={"*": Rule(scope="*", require=(require,))})
    trust = TrustStore(anchors={"release": Keys(name="release", keys=(TrustedKey(key=KEYS[A]),))})
    asked = Image(name=RT.reference, manifest=IMAGES[0])
    found = (candidate(simple()),)
    decision = evaluate(policy, trust, asked, Evidence(candidates=found), now=NOW, verifications=memo)
    assert (why_not(decision).code, why_not(decision).message) == (
        "format-not-allowed",
        "format simple is not among those allowed: bundle",
    )
    assert memo.done == {}


# Rules without signatures, scopes, missing manifests.


def test_unsafe_accept_unsigned_accepts_and_says_so() -> None:
    decision = judge(require=UnsafeAcceptUnsigned())
    assert decision.allowed
    assert [(c.code, c.passed, c.message) for c in decision.checks] == [
        ("accepted-unsigned", True, "accepted without looking for signatures")
    ]
    assert (decision.claims, decision.valid_until) == ((), None)


def test_reject_refuses_whatever_is_signed() -> None:
    found = why_not(judge(bundle(), require=Reject()))
    assert (found.code, found.message) == ("rejected", "the scope rejects every image")


def test_reject_beside_other_requirements_is_final() -> None:
    decision = judge(require=(RELEASE, Reject()), faults=(Fault(about="referrers", message="answered 503"),))
    assert decision.verdict is Verdict.DENY
    assert not decision.inconclusive
    assert decision.faults == ()


def test_image_that_no_scope_covers_is_denied_with_a_hint() -> None:
    policy = Policy(default=REJECTED, scopes={"other.example": Rule(scope="other.example", require=(RELEASE,))})
    decision = Case(asked=RT, policy=policy, anchors=ONE_KEY, sigs=(bundle(),)).judge()
    found = why_not(decision)
    assert (found.code, found.message, found.hint) == (
        "no-scope",
        "no scope of the policy covers it, and the default rejects",
        "add a scope for it to the policy",
    )
    assert decision.scope is None


def test_only_the_most_specific_scope_applies() -> None:
    strict = Rule(scope="r.example", require=(replace(RELEASE, threshold=2),))
    lax = Rule(scope="r.example/app", require=(RELEASE,))
    policy = Policy(default=REJECTED, scopes={"r.example": strict, "r.example/app": lax})
    decision = Case(asked=RT, policy=policy, anchors=THREE_KEYS, sigs=(bundle(),)).judge()
    assert (decision.verdict, decision.scope) == (Verdict.ALLOW, "r.example/app")


@pytest.mark.parametrize("require", [(UnsafeAcceptUnsigned(),), (RELEASE,), (Reject(),), ()], ids=str)
def test_image_without_bytes_is_never_allowed(require: tuple[Requirement, ...]) -> None:
    policy = Policy(default=REJECTED, scopes={"*": Rule(scope="*", require=require)})
    trust = TrustStore(anchors={"release": Keys(name="release", keys=(TrustedKey(key=KEYS[A]),))})
    found = Evidence(candidates=(candidate(bundle()),))
    decision = evaluate(policy, trust, Image(name=RT.reference, manifest=None), found, now=NOW)
    assert decision.verdict is Verdict.DENY


def test_rule_without_requirements_allows_nothing() -> None:
    assert judge(bundle(), require=()).verdict is Verdict.DENY


# Faults, defects, hints.


def test_fault_makes_a_denial_inconclusive() -> None:
    fault = Fault(about="referrers", message="registry answered 503", hint="try again")
    decision = judge(faults=(fault,))
    assert (decision.verdict, decision.inconclusive, decision.faults) == (Verdict.DENY, True, (fault,))


def test_fault_beside_an_allowed_image_is_still_shown() -> None:
    fault = Fault(about="referrers", message="registry answered 503")
    decision = judge(bundle(), faults=(fault,))
    assert (decision.verdict, decision.inconclusive, decision.faults) == (Verdict.ALLOW, False, (fault,))


def test_denial_without_faults_is_conclusive() -> None:
    assert not judge(bundle(key=STRANGER)).inconclusive


def test_defects_are_listed_with_place_code_and_reason() -> None:
    decision = judge(defects=2)
    assert [(c.code, c.about, c.message) for c in decision.checks[1:]] == [
        (defect(0).code, f"{defect(0).place} (bundle)", "malformed, for a reason"),
        (defect(1).code, f"{defect(1).place} (bundle)", "malformed, for a reason"),
    ]


def test_defects_beside_a_good_signature_block_nobody() -> None:
    assert judge(bundle(), defects=3).allowed


def test_unsigned_image_gets_the_command_that_signs_it() -> None:
    summary = judge().checks[0]
    assert (summary.code, summary.passed, summary.group) == ("threshold", False, "signed-by release")
    assert summary.hint == f'sign it with a key of anchor "release": imgsign sign r.example/app:1@{DIGEST} -k KEY'


def test_nameless_unsigned_image_gets_a_command_too() -> None:
    hint = judge(asked=None).checks[0].hint
    assert hint == 'sign it with a key of anchor "release": imgsign sign IMAGE -k KEY'


def test_hint_of_the_first_candidate_that_has_one_is_the_next_step() -> None:
    summary = judge(bundle(replace(RIGHT, expires=0))).checks[0]
    assert summary.hint == "sign it again"


def test_allowed_image_has_no_hint() -> None:
    decision = judge(bundle())
    assert [c.hint for c in decision.checks] == [None, None]


def test_passed_signature_is_listed_with_its_anchor_and_place() -> None:
    decision = judge(bundle())
    assert [(c.code, c.passed, c.message) for c in decision.checks] == [
        ("threshold", True, "1 of 1 needed"),
        ("signed", True, "signed by release"),
    ]
    assert decision.checks[1].about == f"{candidate(bundle()).place} (bundle)"


# Until when.


@pytest.mark.parametrize(
    ("about", "require", "entry", "until"),
    [
        (RIGHT, RELEASE, Entry(A), None),
        (replace(RIGHT, expires=100), RELEASE, Entry(A), 100),
        (RIGHT, HOUR, Entry(A), 3540),
        (RIGHT, RELEASE, Entry(A, None, 50), 50),
        (replace(RIGHT, expires=100), HOUR, Entry(A, None, 50), 50),
        (replace(RIGHT, expires=40), HOUR, Entry(A, None, 50), 40),
        (replace(RIGHT, signed=300), HOUR, Entry(A), 3900),
        (RIGHT, replace(RELEASE, signed_after=at(-86400), min_sequence=None), Entry(A, -10, None), None),
    ],
)
def test_verdict_holds_until_the_first_condition_turns(
    about: About, require: SignedBy, entry: Entry, until: int | None
) -> None:
    decision = judge(bundle(about), require=require, anchors={"release": (entry,)})
    assert decision.allowed
    assert decision.valid_until == (None if until is None else at(until))


def test_verdict_rests_on_the_signatures_that_last_longest() -> None:
    sigs = [bundle(replace(RIGHT, expires=e), key=k) for k, e in ((A, 10), (B, 30), (C, 20))]
    assert judge(*sigs, anchors=THREE_KEYS).valid_until == at(30)
    assert judge(*sigs, require=BOTH, anchors=THREE_KEYS).valid_until == at(20)


def test_renewed_signature_of_one_signer_lasts_as_long_as_the_newer() -> None:
    assert judge(bundle(replace(RIGHT, expires=10)), simple(replace(RIGHT, expires=20))).valid_until == at(20)


def test_denied_image_has_no_end() -> None:
    require = replace(BOTH, max_age=timedelta(hours=1))
    assert judge(bundle(), require=require, anchors=THREE_KEYS).valid_until is None


# The limit of verifications (its property: law 9).


def test_passed_limit_beside_an_allowed_image_is_shown_and_changes_nothing() -> None:
    stranger = candidate(bundle(key=STRANGER))
    copies = tuple(
        replace(stranger, place=Referrers(Digest.of(b"%d" % n)))  # type: ignore[type-var]  # candidates are dataclasses
        for n in range(2001)
    )
    asked = Image(name=RT.reference, manifest=IMAGES[0])
    decision = evaluate_one(asked, *copies, candidate(bundle()))
    assert decision.allowed
    assert decision.faults == (Fault(about="verifications", message="stopped after 2000 signature verifications"),)


def test_candidate_that_was_never_tried_is_not_called_a_strangers() -> None:
    # "does not verify with any key" would be a lie, and the wrong next step.
    stranger = candidate(simple(key=STRANGER))
    copies = tuple(
        replace(stranger, place=Referrers(Digest.of(b"%d" % n)))  # type: ignore[type-var]  # candidates are dataclasses
        for n in range(2000)
    )
    asked = Image(name=RT.reference, manifest=IMAGES[0])
    ours = candidate(simple())  # has no hint, so its turn comes after the limit
    decision = evaluate_one(asked, *copies, ours)
    assert decision.inconclusive
    (about_ours,) = [c for c in decision.checks if c.about == f"{ours.place} (simple)"]
    assert about_ours.code != "untrusted-signer"
