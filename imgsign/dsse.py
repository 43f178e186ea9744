"""DSSE envelopes: the bytes that are signed, and the container around them.

Source: secure-systems-lab/dsse v1.0.2, protocol.md (PAE) and envelope.md (JSON). A signature is checked
by trying keys, never by trusting ``keyid``. An envelope with several signatures is refused, as
sigstore's clients do: which one counts would be the attacker's choice.
"""

from __future__ import annotations

from dataclasses import field

from imgsign.errors import InvalidEnvelope
from imgsign.record import record
from imgsign.wire import Node, b64decode, b64encode

SIGNATURE_LIMIT = 8 * 1024
"""Bytes of one signature; ML-DSA-65, the largest supported, takes 3,309."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what the key signs. Lengths are in bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_pae(message: bytes, payload_type: str) -> bytes:
    """Return the payload of a pre-authentication encoding of that type.

    Raises:
        InvalidEnvelope: it is not exactly one.
    """
    _, _, rest = message.partition(payload_type.encode("utf-8") + b" ")
    length, _, payload = rest.partition(b" ")
    if not length.isdigit() or len(length) > 10 or pae(payload_type, payload) != message:
        raise InvalidEnvelope(f"not what a DSSE signature of {payload_type} is over")
    return payload


@record
class Envelope:
    """One payload with exactly one signature, nothing verified."""

    payload_type: str
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, node: Node) -> Envelope:
        """Read the JSON form.

        Raises:
            InvalidEnvelope: if it is not one payload with one signature in canonical base64.
        """
        members = node.fields(("payload", "payloadType", "signatures"))
        signatures = members["signatures"].items()
        if len(signatures) != 1:
            members["signatures"].refuse(f"expected exactly one signature, got {len(signatures)}")
        only = signatures[0].fields(("sig",), ("keyid",))
        if "keyid" in only and only["keyid"].value is not None:
            only["keyid"].text()  # a hint without authority; checked for its type and forgotten
        signature = b64decode(only["sig"].text(), error=InvalidEnvelope, path=only["sig"].path)
        if not 0 < len(signature) <= SIGNATURE_LIMIT:
            only["sig"].refuse(f"signature of {len(signature)} bytes")
        payload = b64decode(members["payload"].text(), error=InvalidEnvelope, path=members["payload"].path)
        return cls(payload_type=members["payloadType"].text(), payload=payload, signature=signature)

    def to_json(self) -> dict[str, object]:
        """Return the JSON form in cosign's order of keys, without ``keyid``."""
        return {
            "payload": b64encode(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"sig": b64encode(self.signature)}],
        }

    @property
    def message(self) -> bytes:
        """What the signature is over."""
        return pae(self.payload_type, self.payload)
