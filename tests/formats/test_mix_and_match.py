"""Design law 3: one subject of one claim alone meets every condition, or the signature does not count.

Each attack offers all that the policy asks for, but in pieces: spread over the subjects of a statement, over
signatures, over formats or over signers. Beside each stands its control, which offers the same in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from imgsign.claim import Candidate, Defect
from imgsign.decision import Decision
from imgsign.policy.model import NameRule, SignedBy
from imgsign.reference import Digest
from imgsign.wire import format_time
from tests.artifacts import (
    IMAGE,
    NOW,
    Secret,
    bundle_value,
    compact,
    ed25519,
    failures,
    image,
    judge,
    p256,
    payload,
    public,
    read_bundles,
    read_simple,
    sig_manifest,
    sign,
    sign_payload,
    sign_statement,
    statement,
    subject,
    summary,
)

ALICE, BOB = ed25519(1), ed25519(2)
ANCHORS = {"alice": [public(ALICE)], "bob": [public(BOB)]}
NAME = "registry.example.com/shop/app:1.4"
OTHER_NAME = "registry.example.com/shop/app:1.3"
OTHER = Digest("sha256", "b" * 64)
DAY = timedelta(days=1)

Read = tuple[Candidate | Defect, ...]


def at(moment: datetime) -> str:
    return format_time(moment)


def by(secret: Secret, *subjects: dict[str, object]) -> Read:
    """One bundle with these subjects."""
    return read_bundles(sign_statement(secret, statement(*subjects)))


def simple(secret: Secret, name: str, optional: dict[str, object]) -> Read:
    """One simple signature."""
    layer = sign_payload(secret, payload(name, optional=optional))
    return read_simple(sig_manifest(layer), layer[0])


def decide(found: Read, *required: SignedBy) -> Decision:
    return judge(image(NAME), found, required, ANCHORS)


# Within one statement


@dataclass(frozen=True)
class Split:
    """What the policy asks for, the subjects that have it in pieces, and how that is refused."""

    pieces: list[dict[str, object]]
    code: str
    annotations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    max_age: timedelta | None = None
    signed_after: datetime | None = None
    min_sequence: int | None = None
    name: NameRule = NameRule.EXACT

    @property
    def required(self) -> SignedBy:
        return SignedBy(
            anchors=("alice",),
            name=self.name,
            annotations=self.annotations,
            max_age=self.max_age,
            signed_after=self.signed_after,
            min_sequence=self.min_sequence,
        )


OLD, FRESH = at(NOW - 100 * DAY), at(NOW - DAY)
PAST, FUTURE = at(NOW - DAY), at(NOW + DAY)

SPLITS = {
    "digest here, name there": Split(
        [subject(OTHER_NAME), subject(NAME, OTHER)],
        "name-mismatch",
    ),
    "digest here without a name, name there": Split(
        [subject(None), subject(NAME, OTHER)],
        "name-missing",
    ),
    "repository here, digest there": Split(
        [subject("registry.example.com/other:1.4"), subject(OTHER_NAME, OTHER)],
        "name-mismatch",
        name=NameRule.REPOSITORY,
    ),
    "one annotation each": Split(
        [subject(NAME, annotations={"stage": "prod"}), subject(NAME, annotations={"team": "shop"})],
        "annotation-mismatch",
        annotations={"stage": ("prod",), "team": ("shop",)},
    ),
    "annotation on another image": Split(
        [subject(NAME), subject(NAME, OTHER, {"stage": "prod"})],
        "annotation-mismatch",
        annotations={"stage": ("prod",)},
    ),
    "annotation under another name": Split(
        [subject(NAME), subject(OTHER_NAME, annotations={"stage": "prod"})],
        "annotation-mismatch",
        annotations={"stage": ("prod",)},
    ),
    "expired here, another image not": Split(
        [
            subject(NAME, annotations={"imgsign.expires-at": PAST}),
            subject(NAME, OTHER, {"imgsign.expires-at": FUTURE}),
        ],
        "expired",
    ),
    "expired here, another name not": Split(
        [subject(NAME, annotations={"imgsign.expires-at": PAST}), subject(OTHER_NAME)],
        "expired",
    ),
    "too old here, another image fresh": Split(
        [
            subject(NAME, annotations={"imgsign.signed-at": OLD}),
            subject(NAME, OTHER, {"imgsign.signed-at": FRESH}),
        ],
        "too-old",
        max_age=90 * DAY,
    ),
    "no time here, another name fresh": Split(
        [subject(NAME), subject(OTHER_NAME, annotations={"imgsign.signed-at": FRESH})],
        "no-time",
        max_age=90 * DAY,
    ),
    "too early here, another image late": Split(
        [
            subject(NAME, annotations={"imgsign.signed-at": OLD}),
            subject(NAME, OTHER, {"imgsign.signed-at": FRESH}),
        ],
        "signed-too-early",
        signed_after=datetime(2026, 11, 1, tzinfo=UTC),
    ),
    "low sequence here, another image high": Split(
        [
            subject(NAME, annotations={"imgsign.sequence": "6"}),
            subject(NAME, OTHER, {"imgsign.sequence": "8"}),
        ],
        "sequence-too-low",
        min_sequence=7,
    ),
    "sequence here, annotation there": Split(
        [
            subject(NAME, annotations={"imgsign.sequence": "8"}),
            subject(NAME, annotations={"imgsign.sequence": "6", "stage": "prod"}),
        ],
        "annotation-mismatch",
        annotations={"stage": ("prod",)},
        min_sequence=7,
    ),
}


@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
@pytest.mark.parametrize("attack", SPLITS)
def test_conditions_spread_over_subjects_are_denied(attack: str, backwards: bool) -> None:
    split = SPLITS[attack]
    pieces = split.pieces[::-1] if backwards else split.pieces
    decision = decide(by(ALICE, *pieces), split.required)
    assert (decision.allowed, failures(decision)) == (False, [split.code])


@pytest.mark.parametrize("attack", SPLITS)
def test_conditions_spread_over_signatures_of_one_key_are_denied(attack: str) -> None:
    split = SPLITS[attack]
    found = [read for piece in split.pieces for read in by(ALICE, piece)]
    decision = decide(tuple(found), split.required)
    assert (decision.allowed, summary(decision)) == (False, "0 of 1 needed")
    assert split.code in failures(decision)


EVERYTHING: dict[str, object] = {
    "stage": "prod",
    "team": "shop",
    "imgsign.signed-at": FRESH,
    "imgsign.expires-at": FUTURE,
    "imgsign.sequence": "8",
}


@pytest.mark.parametrize("attack", SPLITS)
def test_one_subject_with_everything_is_allowed_beside_the_pieces(attack: str) -> None:
    split = SPLITS[attack]
    decision = decide(by(ALICE, *split.pieces, subject(NAME, annotations=EVERYTHING)), split.required)
    assert (decision.allowed, failures(decision)) == (True, [])


def test_expiry_of_one_subject_does_not_outlast_its_own() -> None:
    short = subject(NAME, annotations={"imgsign.expires-at": FUTURE})
    long = subject(NAME, OTHER, {"imgsign.expires-at": at(NOW + 90 * DAY)})
    decision = decide(by(ALICE, short, long), SignedBy(anchors=("alice",)))
    assert (decision.allowed, decision.valid_until) == (True, NOW + DAY)


# Over two signers


def stage_or_team(*found: Read, required: SignedBy) -> Decision:
    return decide(tuple(r for read in found for r in read), required)


STAGED = {"stage": ("prod",)}


def test_name_by_one_anchor_and_annotation_by_another_are_denied() -> None:
    required = SignedBy(anchors=("alice", "bob"), annotations=STAGED)
    named = by(ALICE, subject(NAME))
    staged = by(BOB, subject(OTHER_NAME, annotations={"stage": "prod"}))
    decision = stage_or_team(named, staged, required=required)
    assert (decision.allowed, failures(decision)) == (False, ["annotation-mismatch", "name-mismatch"])


def test_one_annotation_by_each_of_two_anchors_is_denied() -> None:
    required = SignedBy(anchors=("alice", "bob"), annotations={**STAGED, "team": ("shop",)})
    decision = stage_or_team(
        by(ALICE, subject(NAME, annotations={"stage": "prod"})),
        by(BOB, subject(NAME, annotations={"team": "shop"})),
        required=required,
    )
    assert (decision.allowed, failures(decision)) == (False, ["annotation-mismatch"] * 2)


def test_threshold_of_two_anchors_wants_everything_from_each() -> None:
    required = SignedBy(anchors=("alice", "bob"), threshold=2, annotations=STAGED)
    whole = by(ALICE, subject(NAME, annotations={"stage": "prod"}))
    denied = stage_or_team(whole, by(BOB, subject(NAME)), required=required)
    assert (denied.allowed, summary(denied), failures(denied)) == (False, "1 of 2 needed", ["annotation-mismatch"])
    other = by(BOB, subject(NAME, annotations={"stage": "prod"}))
    assert stage_or_team(whole, other, required=required).allowed


def test_two_requirements_are_each_met_by_their_own_signer_alone() -> None:
    required = (SignedBy(anchors=("alice",), annotations=STAGED), SignedBy(anchors=("bob",), min_sequence=7))
    staged = by(ALICE, subject(NAME, annotations={"stage": "prod"}))
    counted = by(BOB, subject(NAME, annotations={"imgsign.sequence": "7"}))
    assert decide((*staged, *counted), *required).allowed
    swapped = (
        *by(BOB, subject(NAME, annotations={"stage": "prod"})),
        *by(ALICE, subject(NAME, annotations={"imgsign.sequence": "7"})),
    )
    decision = decide(swapped, *required)
    assert (decision.allowed, sorted(failures(decision))) == (
        False,
        ["annotation-mismatch", "sequence-too-low", "untrusted-signer", "untrusted-signer"],
    )


@pytest.mark.parametrize("missing", ["alice", "bob"])
def test_signature_of_one_anchor_does_not_stand_in_for_another(missing: str) -> None:
    required = (SignedBy(anchors=("alice",)), SignedBy(anchors=("bob",)))
    found = by(BOB if missing == "alice" else ALICE, subject(NAME))
    decision = decide((*found, *found), *required)
    assert (decision.allowed, failures(decision)) == (False, ["untrusted-signer"] * 2)


# Over two formats


def test_name_in_one_format_and_annotation_in_the_other_are_denied() -> None:
    required = SignedBy(anchors=("alice",), annotations=STAGED)
    decision = stage_or_team(
        by(ALICE, subject(OTHER_NAME, annotations={"stage": "prod"})), simple(ALICE, NAME, {}), required=required
    )
    assert (decision.allowed, failures(decision)) == (False, ["name-mismatch", "annotation-mismatch"])


def test_one_key_in_two_formats_is_one_signer() -> None:
    required = SignedBy(anchors=("alice", "bob"), threshold=2)
    decision = stage_or_team(by(ALICE, subject(NAME)), simple(ALICE, NAME, {}), required=required)
    assert (decision.allowed, summary(decision), failures(decision)) == (False, "1 of 2 needed", [])
    assert stage_or_team(by(ALICE, subject(NAME)), simple(BOB, NAME, {}), required=required).allowed


# Over two spellings of one signature


def sign_both_ways(secret_number: int) -> Sequence[Candidate | Defect]:
    """An ECDSA signature (r, s) and its twin (r, n - s), which verifies too and nobody had to make."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    raw = statement(subject(NAME))
    made = sign(p256(secret_number), b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(raw), raw))
    r, s = decode_dss_signature(made)
    twins = (made, encode_dss_signature(r, order - s))
    return [found for twin in twins for found in read_bundles(compact(bundle_value(raw, twin)))]


def test_twin_of_an_ecdsa_signature_is_the_same_signer() -> None:
    anchors = {"alice": [public(p256(7)), public(p256(8))]}
    required = SignedBy(anchors=("alice",), threshold=2)
    decision = judge(image(NAME), sign_both_ways(7), required, anchors)
    assert (decision.allowed, summary(decision), failures(decision)) == (False, "1 of 2 needed", [])


def test_image_of_another_digest_is_never_meant() -> None:
    """All conditions but the digest, in every piece at once."""
    found = by(
        ALICE, subject(NAME, OTHER, EVERYTHING), subject(NAME, Digest("sha512", IMAGE.digest.hex * 2), EVERYTHING)
    )
    decision = decide(found, SignedBy(anchors=("alice",), name=NameRule.UNSAFE_ANY))
    assert (decision.allowed, failures(decision)) == (False, ["digest-mismatch"])
