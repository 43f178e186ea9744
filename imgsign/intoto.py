"""in-toto Statements: which digests, under which names, a predicate is about.

Source: in-toto attestation spec v1 ``spec/v1/statement.md`` and ``resource_descriptor.md``, and
Statement v0.1, which ``cosign attest`` still writes. Unknown members are ignored, as the specification
asks; duplicate and case-variant keys are not. The predicate is kept unparsed in meaning.

Not checked here: any signature, and whether the predicate says what its type promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imgsign.errors import InvalidDigest, InvalidEnvelope
from imgsign.reference import Digest
from imgsign.wire import Node, dump_json, load_json, quote

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type that makes a statement an image signature; every other one is an attestation."""

STATEMENT_LIMIT = 32 * 1024 * 1024  # bytes; an SBOM of a large image takes some 10 MiB
SUBJECT_LIMIT = 1024  # sigstore-go's limit, as is the next
DIGEST_LIMIT = 32  # digests of one subject

_SUPPORTED = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSubject:
    """One subject: its supported digests, its name and its annotations as they were written."""

    digests: tuple[Digest, ...]
    name: str | None
    annotations: Mapping[str, Node] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A parsed statement."""

    subjects: tuple[StatementSubject, ...]
    predicate_type: str

    @classmethod
    def parse(cls, raw: bytes) -> Statement:
        """Read a statement of version 0.1 or 1.

        Raises:
            InvalidEnvelope: if it is not one.
        """
        node = load_json(raw, limit=STATEMENT_LIMIT, error=InvalidEnvelope)
        members = node.fields(("_type", "subject", "predicateType"), ("predicate",), closed=False)
        version = members["_type"].text()
        if version not in (STATEMENT_V1, STATEMENT_V01):
            members["_type"].refuse(f"not an in-toto statement: {quote(version)}")
        subjects = members["subject"].items(limit=SUBJECT_LIMIT)
        return cls(
            subjects=tuple(_parse_subject(s) for s in subjects),
            predicate_type=members["predicateType"].text(),
        )


def write_signing_statement(subjects: Iterator[tuple[str | None, Digest, Mapping[str, str]]]) -> bytes:
    """Write a statement with cosign's sign predicate: one subject per (name, digest, annotations)."""
    written: list[dict[str, object]] = []
    for name, digest, signed_keys in subjects:
        subject: dict[str, object] = {} if name is None else {"name": name}
        subject["digest"] = {digest.algorithm: digest.hex}
        if signed_keys:
            subject["annotations"] = dict(sorted(signed_keys.items()))
        written.append(subject)
    return dump_json({"_type": STATEMENT_V1, "subject": written, "predicateType": COSIGN_SIGN, "predicate": {}})


def _parse_subject(node: Node) -> StatementSubject:
    members = node.fields(("digest",), ("name", "annotations", "uri", "mediaType"), closed=False)
    digests = members["digest"].entries()
    if not 0 < len(digests) <= DIGEST_LIMIT:
        members["digest"].refuse(f"expected 1 to {DIGEST_LIMIT} digests, got {len(digests)}")
    found = []
    for algorithm, value in digests.items():
        if algorithm in _SUPPORTED:
            try:
                found.append(Digest(algorithm, value.text()))
            except InvalidDigest as e:
                value.refuse(e.message)
    name = members["name"].text() if "name" in members and members["name"].value is not None else None
    return StatementSubject(
        digests=tuple(found),
        name=name or None,
        annotations=members["annotations"].entries()
        if "annotations" in members and members["annotations"].value is not None
        else {},
    )
