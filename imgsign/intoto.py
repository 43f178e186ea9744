"""in-toto Statements: which digests, under which names, a predicate is about.

Source: in-toto attestation spec v1 ``spec/v1/statement.md`` and ``resource_descriptor.md``, and
Statement v0.1, which ``cosign attest`` still writes. Unknown members are ignored, as the specification
asks; duplicate and case-variant keys are not. The predicate is checked to be JSON and not built: it may be
an SBOM of 30 MB, and nearly always nobody asks for a value in it (:meth:`Predicate.pick`).

Not checked here: any signature, and whether the predicate says what its type promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from imgsign.errors import InvalidDigest, InvalidEnvelope
from imgsign.outline import load_outline
from imgsign.record import record
from imgsign.reference import Digest
from imgsign.wire import Node, dump_json, load_json, quote

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type that makes a statement an image signature; every other one is an attestation."""

STATEMENT_LIMIT = 96 * 1024 * 1024  # bytes; an SBOM of a large image takes some 10 MiB, of a very large one 30
SUBJECT_LIMIT = 1024  # sigstore-go's limit, as is the next
DIGEST_LIMIT = 32  # digests of one subject

_SUPPORTED = ("sha256", "sha384", "sha512")


@record
class StatementSubject:
    """One subject: its supported digests, its name and its annotations as they were written."""

    digests: tuple[Digest, ...]
    name: str | None
    annotations: Mapping[str, Node] = field(default_factory=dict, hash=False)


@record
class Predicate:
    """A predicate where it lies: bytes ``start`` to ``end`` of its statement's."""

    statement: bytes = field(repr=False)
    start: int
    end: int

    @property
    def raw(self) -> bytes:
        """Its bytes as they were signed."""
        return self.statement[self.start : self.end]

    def pick(self, names: frozenset[str]) -> Node:
        """Parse it, keeping only the members of these names, at any depth.

        Raises:
            InvalidEnvelope: it is nested too deeply.
        """
        raw = memoryview(self.statement)[self.start : self.end]
        return load_json(raw, limit=STATEMENT_LIMIT, error=InvalidEnvelope, keep=names)


@record
class Statement:
    """A parsed statement; ``predicate`` is ``None`` where it has none."""

    subjects: tuple[StatementSubject, ...]
    predicate_type: str
    predicate: Predicate | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Statement:
        """Read a statement of version 0.1 or 1.

        Raises:
            InvalidEnvelope: if it is not one.
        """
        outline = load_outline(raw, skip="predicate", limit=STATEMENT_LIMIT, error=InvalidEnvelope)
        members = outline.node.fields(("_type", "subject", "predicateType"), ("predicate",), closed=False)
        version = members["_type"].text()
        if version not in (STATEMENT_V1, STATEMENT_V01):
            members["_type"].refuse(f"not an in-toto statement: {quote(version)}")
        subjects = members["subject"].items(limit=SUBJECT_LIMIT)
        return cls(
            subjects=tuple(_parse_subject(s) for s in subjects),
            predicate_type=members["predicateType"].text(),
            predicate=None
            if outline.start is None or outline.end is None
            else Predicate(statement=raw, start=outline.start, end=outline.end),
        )


def write_signing_statement(subjects: Iterator[tuple[str | None, Digest, Mapping[str, str]]]) -> bytes:
    """Write a statement with cosign's sign predicate: one subject per (name, digest, annotations)."""
    return write_statement(subjects, COSIGN_SIGN, b"{}")


def write_statement(
    subjects: Iterator[tuple[str | None, Digest, Mapping[str, str]]], predicate_type: str, predicate: bytes
) -> bytes:
    """Write a statement around a predicate, whose bytes, JSON already, are taken over as they are."""
    written: list[dict[str, object]] = []
    for name, digest, signed_keys in subjects:
        subject: dict[str, object] = {} if name is None else {"name": name}
        subject["digest"] = {digest.algorithm: digest.hex}
        if signed_keys:
            subject["annotations"] = dict(sorted(signed_keys.items()))
        written.append(subject)
    head = dump_json({"_type": STATEMENT_V1, "subject": written, "predicateType": predicate_type})
    return b"".join((head[:-1], b',"predicate":', predicate, b"}"))


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
