"""DSSE envelopes: what is signed, and one payload with one signature or nothing."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from imgsign.dsse import SIGNATURE_LIMIT, Envelope, pae, parse_pae
from imgsign.errors import InvalidEnvelope, UntrustedSigner
from imgsign.keys import PublicKey
from imgsign.wire import load_json
from tests.artifacts import compact

PAYLOAD = "aGVsbG8gd29ybGQ="  # hello world
SIG = "c2ln"


def parse(raw: bytes) -> Envelope:
    return Envelope.parse(load_json(raw, limit=1_000_000, error=InvalidEnvelope))


def envelope(**changed: object) -> bytes:
    """An envelope with members replaced, or left out where they are ``...``."""
    value = {"payload": PAYLOAD, "payloadType": "http://example.com/HelloWorld", "signatures": [{"sig": SIG}]}
    return compact({k: v for k, v in {**value, **changed}.items() if v is not ...})


# DSSE v1.0.2 protocol.md "Test Vectors"

HELLO = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
SPEC_X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
SPEC_Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
SPEC_ENVELOPE = (
    b'{"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld", "signatures": [{"sig": '
    b'"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}'
)


def test_pae_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == HELLO


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("", b"", b"DSSEv1 0  0 "),
        ("t", b"\x00\xff", b"DSSEv1 1 t 2 \x00\xff"),
        # Lengths are of bytes, not of characters.
        ("ü", "ü".encode(), b"DSSEv1 2 \xc3\xbc 2 \xc3\xbc"),
        # What would read alike without lengths does not.
        ("t 1 x", b"", b"DSSEv1 5 t 1 x 0 "),
        ("t", b"x 0 ", b"DSSEv1 1 t 4 x 0 "),
    ],
)
def test_pae_counts_bytes(kind: str, payload: bytes, expected: bytes) -> None:
    assert pae(kind, payload) == expected


@pytest.mark.parametrize("payload", [b"", b"hello world", b" ", b"11 hello world", b"\x00\xff" * 9])
def test_encoding_reads_back_for_its_own_type(payload: bytes) -> None:
    assert parse_pae(b"DSSEv1 1 t %d %b" % (len(payload), payload), "t") == payload


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello world",
        HELLO[:-1],
        HELLO + b"\n",
        HELLO.replace(b"DSSEv1", b"DSSEv2"),
        HELLO.replace(b" 29 ", b" 029 "),
        HELLO.replace(b" 29 ", b" 28 "),
        HELLO.replace(b" 11 ", b" 011 "),
        HELLO.replace(b" 11 ", b" +11 "),
        HELLO.replace(b" 11 ", b" 12 "),
        HELLO.replace(b" 11 ", b"  "),
        HELLO.replace(b" 11 ", b" " + b"9" * 5000 + b" "),
        HELLO.replace(b"HelloWorld", b"helloworld"),
    ],
)
def test_what_is_not_the_encoding_of_that_type_is_refused(message: bytes) -> None:
    with pytest.raises(InvalidEnvelope) as e:
        parse_pae(message, "http://example.com/HelloWorld")
    assert e.value.message == "not what a DSSE signature of http://example.com/HelloWorld is over"


def spec_key() -> PublicKey:
    return PublicKey.from_crypto(ec.EllipticCurvePublicNumbers(SPEC_X, SPEC_Y, ec.SECP256R1()).public_key())


def spec_signature(found: Envelope) -> bytes:
    """The specification's example is r and s side by side; everybody else writes DER."""
    numbers = found.signature[:32], found.signature[32:]
    return encode_dss_signature(*(int.from_bytes(n, "big") for n in numbers))


def test_envelope_of_the_specification_verifies() -> None:
    found = parse(SPEC_ENVELOPE)
    assert found.message == HELLO
    spec_key().verify(spec_signature(found), found.message)


def test_signature_over_the_bare_payload_does_not_verify() -> None:
    found = parse(SPEC_ENVELOPE)
    with pytest.raises(UntrustedSigner):
        spec_key().verify(spec_signature(found), found.payload)


# Accept


@pytest.mark.parametrize(
    "signature",
    [
        {"sig": SIG},
        {"sig": SIG, "keyid": ""},
        {"sig": SIG, "keyid": "SHA256:any"},
        # protobuf's JSON writes absent fields as null; model-signing 0.2 to 1.0 does.
        {"sig": SIG, "keyid": None},
    ],
)
def test_keyid_is_a_hint_and_changes_nothing(signature: dict[str, object]) -> None:
    expected = Envelope(payload_type="http://example.com/HelloWorld", payload=b"hello world", signature=b"sig")
    assert parse(envelope(signatures=[signature])) == expected


def test_order_of_members_and_white_space_do_not_matter() -> None:
    raw = b'{ "signatures" : [ { "sig" : "c2ln" } ] ,\n"payloadType": "t", "payload" : "" }'
    assert parse(raw) == Envelope(payload_type="t", payload=b"", signature=b"sig")


def test_longest_signature_is_accepted() -> None:
    sig = base64.b64encode(b"x" * SIGNATURE_LIMIT).decode()
    assert len(parse(envelope(signatures=[{"sig": sig}])).signature) == 8192


# Reject

REJECTED = {
    "no payload": (envelope(payload=...), "missing key 'payload' at $"),
    "no payload type": (envelope(payloadType=...), "missing key 'payloadType' at $"),
    "no signatures": (envelope(signatures=...), "missing key 'signatures' at $"),
    "unknown member": (envelope(extra=1), "unknown key 'extra' at $"),
    "case variant": (envelope(Payload="aGV2aWw="), "key 'Payload' differs from 'payload' only by case at $"),
    "empty signatures": (envelope(signatures=[]), "expected exactly one signature, got 0 at $.signatures"),
    "two signatures": (
        envelope(signatures=[{"sig": SIG}, {"sig": SIG}]),
        "expected exactly one signature, got 2 at $.signatures",
    ),
    "signatures not a list": (envelope(signatures={"sig": SIG}), "expected list, got object at $.signatures"),
    "signature not an object": (envelope(signatures=[SIG]), "expected object, got string at $.signatures[0]"),
    "no sig": (envelope(signatures=[{"keyid": "k"}]), "missing key 'sig' at $.signatures[0]"),
    "unknown member of the signature": (
        envelope(signatures=[{"sig": SIG, "cert": "x"}]),
        "unknown key 'cert' at $.signatures[0]",
    ),
    "keyid not text": (
        envelope(signatures=[{"sig": SIG, "keyid": 1}]),
        "expected string, got integer at $.signatures[0].keyid",
    ),
    "empty sig": (envelope(signatures=[{"sig": ""}]), "signature of 0 bytes at $.signatures[0].sig"),
    "sig too long": (
        envelope(signatures=[{"sig": base64.b64encode(b"x" * (SIGNATURE_LIMIT + 1)).decode()}]),
        "signature of 8193 bytes at $.signatures[0].sig",
    ),
    "sig in the URL alphabet": (
        envelope(signatures=[{"sig": "_-8="}]),
        "not standard base64 at $.signatures[0].sig",
    ),
    "sig with trailing bits": (
        envelope(signatures=[{"sig": "c2lnZf=="}]),
        "not canonical base64 at $.signatures[0].sig",
    ),
    "sig with a line break": (
        envelope(signatures=[{"sig": "c2ln\nc2ln"}]),
        "not standard base64 at $.signatures[0].sig",
    ),
    "payload without padding": (envelope(payload=PAYLOAD.rstrip("=")), "not standard base64 at $.payload"),
    "payload with trailing bits": (envelope(payload="aGVsbG8gd29ybGR="), "not canonical base64 at $.payload"),
    "payload not text": (envelope(payload={}), "expected string, got object at $.payload"),
    "payload type not text": (envelope(payloadType=None), "expected string, got null at $.payloadType"),
    "payload type with a lone surrogate": (
        b'{"payload":"","payloadType":"\\ud800","signatures":[{"sig":"c2ln"}]}',
        "holds a lone surrogate",
    ),
    "duplicate member": (
        b'{"payload":"","payload":"eA==","payloadType":"t","signatures":[{"sig":"c2ln"}]}',
        "duplicate key 'payload'",
    ),
    "not an object": (b'"x"', "expected object, got string at $"),
}


@pytest.mark.parametrize("fault", REJECTED)
def test_envelope_is_refused(fault: str) -> None:
    raw, message = REJECTED[fault]
    with pytest.raises(InvalidEnvelope) as e:
        parse(raw)
    assert e.value.message == message


# Round trip


def test_envelope_is_written_without_keyid_in_cosigns_order() -> None:
    found = Envelope(payload_type="http://example.com/HelloWorld", payload=b"hello world", signature=b"sig")
    assert compact(found.to_json()) == envelope()


@pytest.mark.parametrize("payload", [b"", b"\x00", b"{}", bytes(range(256))])
def test_what_is_written_reads_back(payload: bytes) -> None:
    found = Envelope(payload_type="t", payload=payload, signature=b"\xff" * 64)
    assert parse(compact(found.to_json())) == found
