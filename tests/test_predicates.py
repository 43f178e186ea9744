"""What may be attested: strict JSON that is plainly of the type it is said to be."""

from __future__ import annotations

import pytest

from imgsign.errors import InvalidEnvelope, Malformed
from imgsign.predicates import BY_URI, PREDICATES, check_predicate, predicate_uri, shown_type

GOOD = {
    "slsa-provenance": b'{"buildDefinition":{"buildType":"t"},"runDetails":{"builder":{"id":"b"}}}',
    "slsa-provenance-0.2": b'{"builder":{"id":"b"},"buildType":"t"}',
    "spdx": b'{"spdxVersion":"SPDX-2.3"}',
    "cyclonedx": b'{"bomFormat":"CycloneDX","specVersion":"1.6"}',
    "vuln": b'{"scanner":{},"metadata":{"scanStartedOn":"2026-11-23T10:00:00Z",'
    b'"scanFinishedOn":"2026-11-23T10:00:01Z"}}',
    "openvex": b'{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}',
}


@pytest.mark.parametrize("alias", PREDICATES)
def test_predicate_of_its_type_is_taken_as_it_is(alias: str) -> None:
    uri = PREDICATES[alias].uri
    assert check_predicate(uri, b" \n" + GOOD[alias] + b"\n") == GOOD[alias]
    assert (predicate_uri(alias), predicate_uri(uri), shown_type(uri)) == (uri, uri, alias)


@pytest.mark.parametrize("alias", PREDICATES)
@pytest.mark.parametrize("other", PREDICATES)
def test_predicate_of_another_type_is_refused(alias: str, other: str) -> None:
    if alias != other:
        with pytest.raises(InvalidEnvelope):
            check_predicate(PREDICATES[alias].uri, GOOD[other])


@pytest.mark.parametrize(
    ("alias", "raw", "message"),
    [
        ("slsa-provenance", b'{"buildDefinition":{"buildType":1},"runDetails":{"builder":{"id":"b"}}}',
         "expected string, got integer at $.buildDefinition.buildType"),
        ("slsa-provenance-0.2", b'{"builder":{},"buildType":"t"}', "missing key 'id' at $.builder"),
        ("spdx", b'{"spdxVersion":"2.3"}', "not a version of SPDX at $.spdxVersion"),
        ("spdx", b"{}", "not an SPDX document: neither 'spdxVersion' nor '@context' and '@graph' at $"),
        ("cyclonedx", b'{"bomFormat":"cyclonedx","specVersion":"1"}', "expected 'CycloneDX' at $.bomFormat"),
        ("vuln", b'{"scanner":{},"metadata":{"scanStartedOn":"2026-11-23T10:00:00Z","scanFinishedOn":"today"}}',
         "not an RFC 3339 time: 'today' at $.metadata.scanFinishedOn"),
        ("openvex", b'{"@context":"https://openvex.dev.evil","statements":[]}',
         "not the context of OpenVEX at $.'@context'"),
        ("https://example.com/x", b"[]", "expected object, got list at $"),
        ("https://example.com/x", b"x", "not JSON: expecting value at line 1 column 1"),
        ("https://example.com/x", b'{"a":1,"a":2}', "duplicate key 'a'"),
    ],
)  # fmt: skip
def test_predicate_that_is_none_is_refused_with_its_place(alias: str, raw: bytes, message: str) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        check_predicate(predicate_uri(alias), raw)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "text", ["", "sbom", "https://", "https://a b", "https://sigstore.dev/cosign/sign/v1", "x:\x1b[2J"]
)
def test_what_names_no_type_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        predicate_uri(text)


def test_one_alias_is_one_uri() -> None:
    assert len(PREDICATES) == len(BY_URI) == 6
