"""in-toto statements: which digests are meant, under which names; two readers must never see two."""

from __future__ import annotations

import pytest

from imgsign.errors import InvalidEnvelope
from imgsign.intoto import DIGEST_LIMIT, STATEMENT_LIMIT, SUBJECT_LIMIT, Statement, write_signing_statement
from imgsign.reference import Digest
from tests.artifacts import compact

A = "a" * 64
B = "b" * 64
V1 = "https://in-toto.io/Statement/v1"
V01 = "https://in-toto.io/Statement/v0.1"


def statement(**changed: object) -> bytes:
    """A statement with members replaced, or left out where they are ``...``."""
    value = {"_type": V1, "subject": [{"digest": {"sha256": A}}], "predicateType": "t", "predicate": {}}
    return compact({k: v for k, v in {**value, **changed}.items() if v is not ...})


def with_subject(**changed: object) -> bytes:
    """A statement of one subject with members replaced, or left out where they are ``...``."""
    value = {"name": "app", "digest": {"sha256": A}, **changed}
    return statement(subject=[{k: v for k, v in value.items() if v is not ...}])


# Accept


@pytest.mark.parametrize("version", [V1, V01])
def test_statement_of_either_version_is_read(version: str) -> None:
    found = Statement.parse(statement(_type=version, predicateType="https://example.com/p"))
    assert found.predicate_type == "https://example.com/p"
    assert [s.digests for s in found.subjects] == [(Digest("sha256", A),)]


@pytest.mark.parametrize(
    "raw",
    [
        statement(predicate=...),
        statement(predicate=None),
        statement(predicate="text, as older cosign writes it"),
        statement(extra={"of": "a later version"}),
        with_subject(uri="pkg:oci/app", mediaType="text/plain", downloadLocation="x", content="eA=="),
    ],
)
def test_what_is_not_ours_is_ignored(raw: bytes) -> None:
    (subject,) = Statement.parse(raw).subjects
    assert subject.digests == (Digest("sha256", A),)


@pytest.mark.parametrize(("name", "expected"), [("app", "app"), ("", None), (None, None), (..., None)])
def test_empty_name_is_no_name(name: object, expected: str | None) -> None:
    (subject,) = Statement.parse(with_subject(name=name)).subjects
    assert subject.name == expected


@pytest.mark.parametrize("annotations", [{}, None, ...])
def test_no_annotations_are_none(annotations: object) -> None:
    (subject,) = Statement.parse(with_subject(annotations=annotations)).subjects
    assert subject.annotations == {}


def test_annotations_keep_their_values() -> None:
    (subject,) = Statement.parse(with_subject(annotations={"a": "1", "b": [2]})).subjects
    assert {k: n.value for k, n in subject.annotations.items()} == {"a": "1", "b": [2]}


def test_subjects_keep_their_order_and_their_own_names() -> None:
    raw = statement(subject=[{"name": "x", "digest": {"sha256": B}}, {"name": "y", "digest": {"sha256": A}}])
    found = Statement.parse(raw)
    assert [(s.name, s.digests) for s in found.subjects] == [
        ("x", (Digest("sha256", B),)),
        ("y", (Digest("sha256", A),)),
    ]


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        ({"sha256": A, "sha512": A + B}, (Digest("sha256", A), Digest("sha512", A + B))),
        ({"sha1": "a" * 40, "sha384": A + "c" * 32}, (Digest("sha384", A + "c" * 32),)),
        # Unsupported algorithms are skipped, whatever they hold: sha1 of a git commit, a directory hash.
        ({"sha1": "a" * 40, "gitCommit": "x", "dirHash": 1}, ()),
        # Not the algorithm's name, so not a digest we know.
        ({"SHA256": A}, ()),
    ],
)
def test_supported_digests_are_read(digest: dict[str, object], expected: tuple[Digest, ...]) -> None:
    (subject,) = Statement.parse(with_subject(digest=digest)).subjects
    assert subject.digests == expected


def test_no_subject_is_read_as_no_subject() -> None:
    assert Statement.parse(statement(subject=[])).subjects == ()


# Reject

REJECTED = {
    "no type": (statement(_type=...), "missing key '_type' at $"),
    "no subject": (statement(subject=...), "missing key 'subject' at $"),
    "no predicate type": (statement(predicateType=...), "missing key 'predicateType' at $"),
    "another type": (
        statement(_type="https://in-toto.io/Statement/v2"),
        "not an in-toto statement: 'https://in-toto.io/Statement/v2' at $._type",
    ),
    "type not text": (statement(_type=1), "expected string, got integer at $._type"),
    "subject not a list": (statement(subject={}), "expected list, got object at $.subject"),
    "subject null": (statement(subject=None), "expected list, got null at $.subject"),
    "subject not an object": (statement(subject=["x"]), "expected object, got string at $.subject[0]"),
    "predicate type not text": (statement(predicateType=None), "expected string, got null at $.predicateType"),
    "case variant": (statement(Subject=[]), "key 'Subject' differs from 'subject' only by case at $"),
    # U+017F: Go's decoder, which every other client is written in, takes it for an s and the last one wins.
    "case variant by long s": (
        compact({"_type": V1, "subject": [{"digest": {"sha256": A}}], "\u017fubject": [], "predicateType": "t"}),
        "key '\u017fubject' differs from 'subject' only by case at $",
    ),
    "no digest": (with_subject(digest=...), "missing key 'digest' at $.subject[0]"),
    "empty digest": (with_subject(digest={}), "expected 1 to 32 digests, got 0 at $.subject[0].digest"),
    "digest not an object": (with_subject(digest=A), "expected object, got string at $.subject[0].digest"),
    "digest not text": (
        with_subject(digest={"sha256": 1}),
        "expected string, got integer at $.subject[0].digest.sha256",
    ),
    "upper-case digest": (
        with_subject(digest={"sha256": "A" * 64}),
        "expected 64 lower-case hex digits after 'sha256:' at $.subject[0].digest.sha256",
    ),
    "short digest": (
        with_subject(digest={"sha256": "a" * 63}),
        "expected 64 lower-case hex digits after 'sha256:' at $.subject[0].digest.sha256",
    ),
    "digest of another length": (
        with_subject(digest={"sha512": A}),
        "expected 128 lower-case hex digits after 'sha512:' at $.subject[0].digest.sha512",
    ),
    "digest case variant": (
        with_subject(Digest={"sha256": B}),
        "key 'Digest' differs from 'digest' only by case at $.subject[0]",
    ),
    "name not text": (with_subject(name=1), "expected string, got integer at $.subject[0].name"),
    "name case variant": (
        with_subject(Name="evil"),
        "key 'Name' differs from 'name' only by case at $.subject[0]",
    ),
    "annotations not an object": (
        with_subject(annotations=["a"]),
        "expected object, got list at $.subject[0].annotations",
    ),
    "duplicate subject": (
        b'{"_type":"t","subject":[],"subject":[],"predicateType":"t"}',
        "duplicate key 'subject'",
    ),
    "not an object": (b"[]", "expected object, got list at $"),
    "empty": (b"", "not JSON: expecting value at line 1 column 1"),
}


@pytest.mark.parametrize("fault", REJECTED)
def test_statement_is_refused(fault: str) -> None:
    raw, message = REJECTED[fault]
    with pytest.raises(InvalidEnvelope) as e:
        Statement.parse(raw)
    assert e.value.message == message


# Limits


@pytest.mark.parametrize(("count", "accepted"), [(SUBJECT_LIMIT, True), (SUBJECT_LIMIT + 1, False)])
def test_number_of_subjects_is_limited(count: int, accepted: bool) -> None:
    raw = statement(subject=[{"digest": {"sha256": A}}] * count)
    if accepted:
        assert len(Statement.parse(raw).subjects) == 1024
    else:
        with pytest.raises(InvalidEnvelope, match=r"^expected at most 1024 elements, got 1025 at \$\.subject$"):
            Statement.parse(raw)


@pytest.mark.parametrize(("count", "accepted"), [(DIGEST_LIMIT, True), (DIGEST_LIMIT + 1, False)])
def test_number_of_digests_of_a_subject_is_limited(count: int, accepted: bool) -> None:
    raw = with_subject(digest={f"x{n}": "" for n in range(count)})
    if accepted:
        assert Statement.parse(raw).subjects[0].digests == ()
    else:
        with pytest.raises(InvalidEnvelope, match=r"^expected 1 to 32 digests, got 33 at \$\.subject\[0\]\.digest$"):
            Statement.parse(raw)


def test_length_of_a_statement_is_limited() -> None:
    with pytest.raises(InvalidEnvelope, match=r"^100663297 bytes are more than the limit of 100663296$"):
        Statement.parse(b" " * (STATEMENT_LIMIT + 1))


# Written


def test_signing_statement_is_written_as_cosign_does() -> None:
    written = write_signing_statement(iter([(None, Digest("sha256", A), {})]))
    assert written == (
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"' + b"a" * 64 + b'"}}],'
        b'"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
    )


def test_each_name_becomes_a_subject_with_sorted_annotations() -> None:
    digest = Digest("sha512", A + B)
    written = write_signing_statement(iter([("x:1", digest, {"b": "ü", "a": "<"}), ("y:1", digest, {})]))
    text = (A + B).encode()
    assert written == (
        b'{"_type":"https://in-toto.io/Statement/v1","subject":['
        b'{"name":"x:1","digest":{"sha512":"' + text + b'"},"annotations":{"a":"<","b":"\xc3\xbc"}},'
        b'{"name":"y:1","digest":{"sha512":"' + text + b'"}}],'
        b'"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
    )


def test_what_is_written_reads_back() -> None:
    digest = Digest("sha384", A + "c" * 32)
    found = Statement.parse(write_signing_statement(iter([("x:1", digest, {"k": "v"}), (None, digest, {})])))
    assert [(s.name, s.digests, {k: n.value for k, n in s.annotations.items()}) for s in found.subjects] == [
        ("x:1", (digest,), {"k": "v"}),
        (None, (digest,), {}),
    ]
    assert found.predicate_type == "https://sigstore.dev/cosign/sign/v1"
