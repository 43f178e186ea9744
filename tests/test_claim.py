"""What a signed subject says about itself: reserved keys become fields, unknown ones refuse the claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import imgsign.claim
from imgsign.claim import (
    SEQUENCE_MAX,
    Claim,
    Draft,
    Referrers,
    Signer,
    Subject,
    Tag,
    parse_sequence,
    parse_subject,
    reserved_annotations,
)
from imgsign.errors import InvalidEnvelope
from imgsign.reference import Digest
from imgsign.wire import Node

DIGEST = Digest("sha256", "a" * 64)
SIGNED = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def subject(annotations: dict[str, object], name: str | None = "example.com/app:1") -> Subject:
    nodes = Node(annotations, "$.annotations", InvalidEnvelope).entries()
    return parse_subject(DIGEST, name, nodes)


# Accept


def test_user_annotations_are_kept_as_they_are() -> None:
    found = subject({"stage": "prod", "Stage": "", "imgsign": "no prefix", "imgsignal.x": "1", "ü": "ü"})
    assert found == Subject(
        digest=DIGEST,
        name="example.com/app:1",
        annotations={"stage": "prod", "Stage": "", "imgsign": "no prefix", "imgsignal.x": "1", "ü": "ü"},
    )


def test_annotations_that_are_no_text_are_nothing_a_policy_could_ask_for() -> None:
    assert subject({"a": 1, "b": None, "c": ["x"], "d": {"e": "f"}, "g": True}).annotations == {}


def test_reserved_annotations_become_fields() -> None:
    found = subject(
        {
            "imgsign.signed-at": "2026-11-23T12:00:00Z",
            "imgsign.expires-at": "2027-02-21T12:00:00Z",
            "imgsign.sequence": "42",
        }
    )
    assert found == Subject(
        digest=DIGEST,
        name="example.com/app:1",
        claimed_at=SIGNED,
        expires_at=datetime(2027, 2, 21, 12, 0, 0, tzinfo=UTC),
        sequence=42,
    )


@pytest.mark.parametrize(
    "text",
    ["2026-11-23T12:00:00Z", "2026-11-23t12:00:00z", "2026-11-23T12:00:00.999Z", "2026-11-23T13:30:00+01:30"],
)
def test_every_spelling_of_a_time_is_one_time(text: str) -> None:
    assert subject({"imgsign.signed-at": text}).claimed_at == SIGNED


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("9223372036854775807", SEQUENCE_MAX)])
def test_sequence_number_is_read(text: str, value: int) -> None:
    assert parse_sequence(Node(text, "$", InvalidEnvelope)) == value


# Reject


@pytest.mark.parametrize(
    "key",
    [
        "imgsign.not-before",
        "imgsign.",
        "imgsign.signed-at ",
        "imgsign.signed_at",
        "Imgsign.signed-at",
        "IMGSIGN.EXPIRES-AT",
        "imgsign.Sequence",
        "iMgsign.unknown",
    ],
)
def test_unknown_or_case_variant_reserved_key_refuses_the_claim(key: str) -> None:
    with pytest.raises(InvalidEnvelope) as e:
        subject({"stage": "prod", key: "2026-11-23T12:00:00Z"})
    assert e.value.message == f"signed annotation {key!r} is not known to this version"
    assert e.value.hint == "upgrade imgsign"


@pytest.mark.parametrize("value", [None, 1, {}, []])
def test_unknown_reserved_key_refuses_whatever_its_value_is(value: object) -> None:
    with pytest.raises(InvalidEnvelope, match=r"^signed annotation 'imgsign\.scope' is not known to this version$"):
        subject({"imgsign.scope": value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2026-11-23", "not an RFC 3339 time: '2026-11-23' at $.annotations.'imgsign.expires-at'"),
        (
            "2026-11-23T12:00:00",
            "not an RFC 3339 time: '2026-11-23T12:00:00' at $.annotations.'imgsign.expires-at'",
        ),
        (
            "2026-13-23T12:00:00Z",
            "not an RFC 3339 time: '2026-13-23T12:00:00Z' at $.annotations.'imgsign.expires-at'",
        ),
        (
            "9999-12-31T23:59:59-00:01",
            "not an RFC 3339 time: '9999-12-31T23:59:59-00:01' at $.annotations.'imgsign.expires-at'",
        ),
        (
            "0001-01-01T00:00:00+00:01",
            "not an RFC 3339 time: '0001-01-01T00:00:00+00:01' at $.annotations.'imgsign.expires-at'",
        ),
        ("", "not an RFC 3339 time: '' at $.annotations.'imgsign.expires-at'"),
        (1795435200, "expected string, got integer at $.annotations.'imgsign.expires-at'"),
        (None, "expected string, got null at $.annotations.'imgsign.expires-at'"),
    ],
)
def test_expiry_that_cannot_be_read_refuses_the_claim(value: object, message: str) -> None:
    with pytest.raises(InvalidEnvelope) as e:
        subject({"imgsign.expires-at": value})
    assert e.value.message == message


@pytest.mark.parametrize("text", ["", "-1", "+1", "01", "00", " 1", "1 ", "1.0", "1e3", "0x1", "١", "１", "²"])
def test_sequence_number_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(InvalidEnvelope, match=r"^not a sequence number: "):
        subject({"imgsign.sequence": text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9223372036854775808", "sequence number 9223372036854775808 is too large at $"),
        ("10000000000000000000", "not a sequence number: '10000000000000000000' at $"),
    ],
)
def test_sequence_number_over_63_bits_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidEnvelope) as e:
        parse_sequence(Node(text, "$", InvalidEnvelope))
    assert e.value.message == message


def test_sequence_number_that_is_a_number_is_refused() -> None:
    with pytest.raises(InvalidEnvelope) as e:
        subject({"imgsign.sequence": 7})
    assert e.value.message == "expected string, got integer at $.annotations.'imgsign.sequence'"


# Round trip


@pytest.mark.parametrize(
    ("expires", "sequence", "expected"),
    [
        (None, None, {"imgsign.signed-at": "2026-11-23T12:00:00Z"}),
        (None, 0, {"imgsign.signed-at": "2026-11-23T12:00:00Z", "imgsign.sequence": "0"}),
        (
            SIGNED + timedelta(days=90),
            SEQUENCE_MAX,
            {
                "imgsign.signed-at": "2026-11-23T12:00:00Z",
                "imgsign.expires-at": "2027-02-21T12:00:00Z",
                "imgsign.sequence": "9223372036854775807",
            },
        ),
    ],
)
def test_what_a_draft_says_is_written_and_reads_back(
    expires: datetime | None, sequence: int | None, expected: dict[str, object]
) -> None:
    written = reserved_annotations(Draft(names=(), signed_at=SIGNED, expires_at=expires, sequence=sequence))
    assert written == expected
    found = subject(dict(written))
    assert (found.claimed_at, found.expires_at, found.sequence) == (SIGNED, expires, sequence)


# Values


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Referrers(), "referrers"),
        (Referrers(DIGEST), f"referrer {DIGEST}"),
        (Referrers(DIGEST, 0), f"referrer {DIGEST}[0]"),
        (Tag("sha256-a.sig"), "sha256-a.sig"),
        (Tag("sha256-a.sig", 2), "sha256-a.sig[2]"),
    ],
)
def test_place_is_shown(place: Referrers | Tag, text: str) -> None:
    assert str(place) == text


def test_claims_that_differ_in_an_annotation_are_not_equal() -> None:
    """The mangle test rests on it: ``annotations`` are left out of the hash, not of the comparison."""

    def claim(value: str) -> Claim:
        annotated = Subject(digest=DIGEST, annotations={"a": value})
        return Claim(format="bundle", place=Referrers(), subjects=(annotated,), signer=Signer(spki="x"))

    assert claim("1") == claim("1")
    assert claim("1") != claim("2")


def test_exported_names_are_sorted() -> None:
    constants = [n for n in imgsign.claim.__all__ if n.isupper()]
    classes = [n for n in imgsign.claim.__all__ if n[0].isupper() and not n.isupper()]
    functions = [n for n in imgsign.claim.__all__ if n.islower()]
    assert imgsign.claim.__all__ == sorted(constants) + sorted(classes) + sorted(functions)
