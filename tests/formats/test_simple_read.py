"""Simple signatures from others: what is read, and what is a defect or a claim that must not count."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imgsign.claim import Defect, Referrers, Subject, Tag
from imgsign.errors import InvalidEnvelope, UntrustedSigner
from imgsign.formats.simple import (
    FORMAT,
    LAYER_TYPE,
    PAYLOAD_LIMIT,
    SimpleCandidate,
    parse_payload,
)
from imgsign.oci import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Artifact, Manifest
from imgsign.reference import Digest
from imgsign.tagged import LAYERS_LIMIT, SIGNATURE_KEY
from imgsign.trust import TrustedKey
from tests.artifacts import (
    IMAGE,
    compact,
    ed25519,
    image,
    judge_by_key,
    p256,
    payload,
    public,
    read_simple,
    sig_manifest,
    sign_payload,
)

KEY = ed25519(1)
DIGEST = Digest("sha256", "5e" * 32)
SIGNED_AT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
GOOD = payload("x:1", DIGEST)

# Read


def test_another_key_did_not_sign_it() -> None:
    (found,) = read_simple(sig_manifest(sign_payload(KEY, GOOD)), GOOD)
    assert isinstance(found, SimpleCandidate)
    with pytest.raises(UntrustedSigner):
        found.verify(TrustedKey(key=public(ed25519(2))))


def test_payload_is_looked_at_only_after_its_signature() -> None:
    """A stranger's rubbish must be called untrusted, not malformed: its bytes were never read."""
    (found,) = read_simple(sig_manifest(sign_payload(KEY, b"\xff")), b"\xff")
    assert isinstance(found, SimpleCandidate)
    with pytest.raises(UntrustedSigner):
        found.verify(TrustedKey(key=public(p256(5))))


def parsed(optional: object) -> Subject:
    return parse_payload(compact({**json.loads(payload("x:1", DIGEST)), "optional": optional}))


@pytest.mark.parametrize("optional", [None, {}, {"creator": "skopeo"}, {"tag": 1, "a": {"b": [1]}, "c": None}])
def test_optional_part_may_hold_anything_that_is_not_ours(optional: object) -> None:
    assert parsed(optional) == Subject(digest=DIGEST, name="x:1")


@pytest.mark.parametrize(
    ("optional", "at"),
    [
        ({"timestamp": 0}, datetime(1970, 1, 1, tzinfo=UTC)),
        ({"timestamp": 1795435200}, SIGNED_AT),
        ({"timestamp": 1795435200.0}, SIGNED_AT),
        ({"timestamp": 253402300799}, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        # Our own key is the one with a name of its own; the other serves who does not know it.
        ({"timestamp": 0, "imgsign.signed-at": "2026-11-23T12:00:00Z"}, SIGNED_AT),
    ],
)
def test_signing_time_is_read(optional: object, at: datetime) -> None:
    assert parsed(optional).claimed_at == at


@pytest.mark.parametrize(("name", "expected"), [("x:1", "x:1"), ("", None), ("no name!", "no name!")])
def test_name_is_kept_as_it_was_signed(name: str, expected: str | None) -> None:
    assert parse_payload(payload(name, DIGEST)).name == expected


@pytest.mark.parametrize("around", [b" %b ", b"\n\t%b\r\n"])
def test_white_space_around_the_payload_is_json(around: bytes) -> None:
    assert parse_payload(around % payload("x:1", DIGEST)) == Subject(digest=DIGEST, name="x:1")


# Rejected: signed, but not acceptable


def swapped(old: str, new: str) -> bytes:
    assert GOOD.count(old.encode()) == 1
    return GOOD.replace(old.encode(), new.encode())


REJECTED = {
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, "starts with a byte order mark"),
    "not UTF-8": (swapped("x:1", "x:1|").replace(b"|", b"\xff"), "not UTF-8 at byte 48"),
    "trailing data": (GOOD + b"{}", f"not JSON: extra data at line 1 column {len(GOOD) + 1}"),
    "cut short": (GOOD[:-1], f"not JSON: expecting ',' delimiter at line 1 column {len(GOOD)}"),
    "NaN": (swapped("null", '{"x":NaN}'), "NaN is not JSON"),
    "Infinity": (swapped("null", '{"x":-Infinity}'), "-Infinity is not JSON"),
    "not an object": (b"[]", "expected object, got list at $"),
    "no critical": (b'{"optional":null}', "missing key 'critical' at $"),
    "no optional": (swapped(',"optional":null', ""), "missing key 'optional' at $"),
    "optional a list": (swapped("null", "[]"), "expected object, got list at $.optional"),
    "unknown top-level key": (swapped("null", 'null,"x":1'), "unknown key 'x' at $"),
    "unknown critical key": (swapped('"identity":', '"x":1,"identity":'), "unknown key 'x' at $.critical"),
    "unknown identity key": (
        swapped('"docker-reference":', '"x":1,"docker-reference":'),
        "unknown key 'x' at $.critical.identity",
    ),
    "unknown image key": (
        swapped('"docker-manifest-digest":', '"x":1,"docker-manifest-digest":'),
        "unknown key 'x' at $.critical.image",
    ),
    "case variant": (
        swapped('"docker-reference":', '"Docker-Reference":"y:1","docker-reference":'),
        "key 'Docker-Reference' differs from 'docker-reference' only by case at $.critical.identity",
    ),
    "duplicate key": (
        swapped('"docker-reference":', '"docker-reference":"y:1","docker-reference":'),
        "duplicate key 'docker-reference'",
    ),
    "duplicate optional key": (swapped("null", '{"a":1,"a":1}'), "duplicate key 'a'"),
    "no type": (swapped(',"type":"cosign container image signature"', ""), "missing key 'type' at $.critical"),
    "another type": (
        swapped("cosign container", "atomic container"),
        "unknown payload type 'atomic container image signature' at $.critical.type",
    ),
    "type with a blank": (
        swapped('signature"', 'signature "'),
        "unknown payload type 'cosign container image signature ' at $.critical.type",
    ),
    "no identity": (swapped('"identity":{"docker-reference":"x:1"},', ""), "missing key 'identity' at $.critical"),
    "no name": (swapped('"docker-reference":"x:1"', ""), "missing key 'docker-reference' at $.critical.identity"),
    "name not text": (swapped('"x:1"', "null"), "expected string, got null at $.critical.identity.docker-reference"),
    "name with a lone surrogate": (
        swapped("x:1", "\\ud800"),
        "holds a lone surrogate",
    ),
    "no digest": (
        swapped(f'"docker-manifest-digest":"{DIGEST}"', ""),
        "missing key 'docker-manifest-digest' at $.critical.image",
    ),
    "digest in upper case": (
        swapped("5e" * 32, "5E" * 32),
        "expected 64 lower-case hex digits after 'sha256:' at $.critical.image.docker-manifest-digest",
    ),
    "digest without algorithm": (
        swapped("sha256:", ""),
        f"not a digest: {'5e' * 32!r} at $.critical.image.docker-manifest-digest",
    ),
    "digest by md5": (
        swapped(str(DIGEST), "md5:d41d8cd98f00b204e9800998ecf8427e"),
        "unsupported digest algorithm 'md5' at $.critical.image.docker-manifest-digest",
    ),
    "creator not text": (swapped("null", '{"creator":1}'), "expected string, got integer at $.optional.creator"),
    "timestamp a fraction": (
        swapped("null", '{"timestamp":1.5}'),
        "expected integer, got number at $.optional.timestamp",
    ),
    "timestamp text": (swapped("null", '{"timestamp":"1"}'), "expected integer, got string at $.optional.timestamp"),
    "timestamp a truth": (
        swapped("null", '{"timestamp":true}'),
        "expected integer, got boolean at $.optional.timestamp",
    ),
    "timestamp null": (swapped("null", '{"timestamp":null}'), "expected integer, got null at $.optional.timestamp"),
    "timestamp before 1970": (
        swapped("null", '{"timestamp":-1}'),
        "integer -1 is out of range at $.optional.timestamp",
    ),
    "timestamp after 9999": (
        swapped("null", '{"timestamp":253402300800}'),
        "integer 253402300800 is out of range at $.optional.timestamp",
    ),
    "timestamp imprecise": (
        swapped("null", '{"timestamp":9007199254740992.0}'),
        "expected integer, got number at $.optional.timestamp",
    ),
    "unknown reserved key": (
        swapped("null", '{"imgsign.not-before":"2027-01-01T00:00:00Z"}'),
        "signed annotation 'imgsign.not-before' is not known to this version",
    ),
    "case-variant reserved key": (
        swapped("null", '{"Imgsign.expires-at":"2027-01-01T00:00:00Z"}'),
        "signed annotation 'Imgsign.expires-at' is not known to this version",
    ),
    "sequence a number": (
        swapped("null", '{"imgsign.sequence":1}'),
        "expected string, got integer at $.optional.'imgsign.sequence'",
    ),
}


@pytest.mark.parametrize("fault", REJECTED)
def test_payload_is_refused(fault: str) -> None:
    raw, message = REJECTED[fault]
    with pytest.raises(InvalidEnvelope) as e:
        parse_payload(raw)
    assert e.value.message == message


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_number_that_becomes_infinite_is_refused_as_infinity_is(number: str) -> None:
    """containers/image refuses it too: Go reads no float that overflows."""
    with pytest.raises(InvalidEnvelope):
        parse_payload(swapped("null", f'{{"x":{number}}}'))


def test_payload_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidEnvelope, match=r"^262145 bytes are more than the limit of 262144$"):
        parse_payload(GOOD + b" " * (PAYLOAD_LIMIT + 1 - len(GOOD)))


def test_longest_payload_is_read() -> None:
    assert parse_payload(GOOD + b" " * (PAYLOAD_LIMIT - len(GOOD))).name == "x:1"


# Rejected: defects of one layer

SIGNED_LAYER = sign_payload(KEY, payload("example.com/app:1"))


def only_defect(*layer: tuple[bytes, dict[str, str]]) -> tuple[str, str]:
    (found,) = read_simple(sig_manifest(*layer), *(raw for raw, _ in layer))
    assert isinstance(found, Defect)
    return found.code, found.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "malformed, missing annotation 'dev.cosignproject.cosign/signature'"),
        ("", "malformed, missing annotation 'dev.cosignproject.cosign/signature'"),
        ("_-8=", "malformed, signature is not standard base64"),
        ("c2ln\n", "malformed, signature is not standard base64"),
        ("c2lnbg", "malformed, signature is not standard base64"),
        ("ü", "malformed, signature is not standard base64"),
        ("c2lnbh==", "malformed, signature is not canonical base64"),
        (base64.b64encode(b"x" * 8193).decode(), "malformed, signature of 8193 bytes"),
    ],
)
def test_signature_that_cannot_be_read_is_a_defect(text: str | None, reason: str) -> None:
    assert only_defect((GOOD, {} if text is None else {SIGNATURE_KEY: text})) == ("malformed", reason)


def test_longest_signature_is_a_candidate() -> None:
    text = base64.b64encode(b"x" * 8192).decode()
    (found,) = read_simple(sig_manifest((GOOD, {SIGNATURE_KEY: text})), GOOD)
    assert isinstance(found, SimpleCandidate)


def test_payload_that_could_not_be_had_is_a_defect_with_the_reason() -> None:
    (found,) = read_simple(sig_manifest(SIGNED_LAYER))
    assert found == Defect(
        place=Tag(f"{IMAGE.digest.tag}.sig", 0), code="blob-missing", reason="is not there", format="simple"
    )


def test_payload_over_the_limit_is_never_fetched() -> None:
    big = b" " * (PAYLOAD_LIMIT + 1)
    manifest = sig_manifest((big, {SIGNATURE_KEY: "c2ln"}))
    at = Tag(f"{IMAGE.digest.tag}.sig")
    assert FORMAT.wanted(Artifact(manifest=manifest), at) == ()
    (found,) = read_simple(manifest, big)
    assert found == Defect(
        place=Tag(at.name, 0),
        code="too-large",
        reason="payload of 262145 bytes is over the limit of 262144",
        format="simple",
    )


def test_layer_that_lies_about_its_size_does_not_hide_the_true_one() -> None:
    """Two descriptors of one digest: whichever is asked for, the good signature must stay readable (law 4)."""
    true = json.loads(sig_manifest(SIGNED_LAYER).raw)
    lie = {**true["layers"][0], "size": 1}
    manifest = Manifest.parse(compact({**true, "layers": [*true["layers"], lie]}), OCI_MANIFEST)
    found = read_simple(manifest, SIGNED_LAYER[0])
    assert judge_by_key(image("example.com/app:1"), found, public(KEY)).allowed
    assert found[1] == Defect(
        place=Tag(f"{IMAGE.digest.tag}.sig", 1),
        code="blob-missing",
        reason=f"blob has {len(SIGNED_LAYER[0])} bytes, its descriptor says 1",
        format="simple",
    )


def test_broken_layers_around_a_good_one_change_nothing() -> None:
    broken = (b"\x00", {SIGNATURE_KEY: "!"})
    unsigned = (payload("evil.example.com/app:1"), {SIGNATURE_KEY: "c2ln"})
    manifest = sig_manifest(broken, unsigned, SIGNED_LAYER, broken)
    found = read_simple(manifest, b"\x00", unsigned[0], SIGNED_LAYER[0])
    assert [type(f) for f in found] == [Defect, SimpleCandidate, SimpleCandidate, Defect]
    assert judge_by_key(image("example.com/app:1"), found, public(KEY)).allowed


def test_only_so_many_layers_are_read() -> None:
    manifest = sig_manifest(*[SIGNED_LAYER] * (LAYERS_LIMIT + 1))
    assert len(read_simple(manifest, SIGNED_LAYER[0])) == 1000


# Where it lies


def test_place_is_the_sig_tag_of_the_digest() -> None:
    assert FORMAT.places(DIGEST) == (Tag(f"sha256-{'5e' * 32}.sig"),)
    assert FORMAT.places(Digest("sha512", "5e" * 64)) == (Tag(f"sha512-{'5e' * 32}.sig"),)


@pytest.mark.parametrize("at", [Referrers(IMAGE.digest), Tag("1.0"), Tag(f"{IMAGE.digest.tag}.att")])
def test_nothing_is_wanted_elsewhere(at: Tag | Referrers) -> None:
    artifact = Artifact(manifest=sig_manifest(SIGNED_LAYER))
    assert (FORMAT.wanted(artifact, at), FORMAT.read(artifact, at, IMAGE.digest)) == ((), ())


def test_index_at_the_tag_is_a_defect() -> None:
    manifest = Manifest.parse(compact({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}), OCI_INDEX)
    assert read_simple(manifest) == (
        Defect(
            place=Tag(f"{IMAGE.digest.tag}.sig"), code="malformed", reason="is not an image manifest", format="simple"
        ),
    )


def test_docker_manifest_at_the_tag_is_read() -> None:
    """cosign writes one under COSIGN_DOCKER_MEDIA_TYPES=1."""
    raw = sig_manifest(SIGNED_LAYER).raw.replace(OCI_MANIFEST.encode(), DOCKER_MANIFEST.encode())
    manifest = Manifest.parse(raw, DOCKER_MANIFEST)
    decision = judge_by_key(image("example.com/app:1"), read_simple(manifest, SIGNED_LAYER[0]), public(KEY))
    assert decision.allowed


def test_listing_never_hints_at_it() -> None:
    assert FORMAT.likely(replace(IMAGE.descriptor, artifact_type=LAYER_TYPE), frozenset()) is False
