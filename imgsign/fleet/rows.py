"""The lines of an audit: one JSON object each, so that it can be streamed, cut off, resumed and merged.

    {"imgsign_audit": 1, "at": TIME, "policy": "sha256:…", "targets": […], "shard": null | "0/4", "keys": […]}
    {"n": 0, "reference": …, "verdict": "allowed" | "denied" | "undecided" | "error", …}     one an image
    {"end": {"images": …, "allowed": …, …}}                                                   only if complete

Nothing in a row depends on when or by whom it was written, but for the verdict's time ``at``: parts of one
audit made by several processes join to what one would have written. Keys are added, never changed.

What is read back is checked like anything from outside; a last line that was cut off is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO

from imgsign.errors import Malformed, UsageError
from imgsign.record import record
from imgsign.wire import Node, format_time, load_json, parse_time, printable, quote

FORMAT = 1
LINE_LIMIT = 1024 * 1024
"""Bytes of one line; rows are cut to far less when they are made."""

VERDICTS = ("allowed", "denied", "undecided", "error")
REASONS_LIMIT = 20
_TEXT_LIMIT = 500  # characters of one message


@record
class Signer:
    """One signature a verdict rests on; times as the signer or a witness said, aware UTC."""

    anchor: str
    key: str | None
    format: str
    signed_at: datetime | None
    expires_at: datetime | None


@record
class Reason:
    """Why not: a failed check or a fault; ``code`` is stable."""

    code: str
    about: str
    message: str


@record
class Row:
    """What came of one image; ``n`` counts all targets before they were spread over shards.

    ``formats``: of all signatures that count, where ``signers`` has one for each signer. ``uses``: where it runs
    or lies, a few of ``used`` places in all.
    """

    n: int
    reference: str
    verdict: str
    repository: str | None = None
    digest: str | None = None
    scope: str | None = None
    signers: tuple[Signer, ...] = ()
    formats: tuple[str, ...] = ()
    valid_until: datetime | None = None
    reasons: tuple[Reason, ...] = ()
    hint: str | None = None
    uses: tuple[str, ...] = ()
    used: int = 0

    def line(self) -> bytes:
        """Write the row."""
        return _line(
            {
                "n": self.n,
                "reference": printable(self.reference),
                "verdict": self.verdict,
                "repository": self.repository,
                "digest": self.digest,
                "scope": self.scope,
                "signers": [
                    {
                        "anchor": s.anchor,
                        "key": s.key,
                        "format": s.format,
                        "signed_at": _time(s.signed_at),
                        "expires_at": _time(s.expires_at),
                    }
                    for s in self.signers
                ],
                "formats": list(self.formats),
                "valid_until": _time(self.valid_until),
                "reasons": [
                    {"code": r.code, "about": _cut(r.about), "message": _cut(r.message)}
                    for r in self.reasons[:REASONS_LIMIT]
                ],
                "hint": None if self.hint is None else _cut(self.hint),
                "uses": [_cut(u) for u in self.uses],
                "used": self.used,
            }
        )

    @classmethod
    def parse(cls, node: Node) -> Row:
        """Read a row.

        Raises:
            Malformed: it is none.
        """
        m = node.fields(("n", "reference", "verdict"), _OPTIONAL, closed=False)
        verdict = m["verdict"].text()
        if verdict not in VERDICTS:
            m["verdict"].refuse(f"unknown verdict {quote(verdict)}")
        return cls(
            n=m["n"].integer(low=0, high=2**53),
            reference=m["reference"].text(),
            verdict=verdict,
            repository=_text(m, "repository"),
            digest=_text(m, "digest"),
            scope=_text(m, "scope"),
            signers=tuple(_signer(s) for s in m["signers"].items()) if "signers" in m else (),
            formats=tuple(f.text() for f in m["formats"].items()) if "formats" in m else (),
            valid_until=_read_time(m, "valid_until"),
            reasons=tuple(_reason(r) for r in m["reasons"].items()) if "reasons" in m else (),
            hint=_text(m, "hint"),
            uses=tuple(u.text() for u in m["uses"].items()) if "uses" in m else (),
            used=m["used"].integer(low=0, high=2**53) if "used" in m else 0,
        )


_OPTIONAL = ("repository", "digest", "scope", "signers", "formats", "valid_until", "reasons", "hint", "uses", "used")


@record
class PolicyKey:
    """A key of the policy, used or not."""

    anchor: str
    key: str
    not_after: datetime | None


@record
class Header:
    """What was asked: parts of one audit agree in everything but ``shard`` and ``at``."""

    at: datetime
    policy: str
    targets: tuple[str, ...]
    shard: str | None = None
    keys: tuple[PolicyKey, ...] = ()

    def line(self) -> bytes:
        """Write the header."""
        keys = [{"anchor": k.anchor, "key": k.key, "not_after": _time(k.not_after)} for k in self.keys]
        return _line(
            {
                "imgsign_audit": FORMAT,
                "at": format_time(self.at),
                "policy": self.policy,
                "targets": list(self.targets),
                "shard": self.shard,
                "keys": keys,
            }
        )

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Header:
        """Read the first line of a file.

        Raises:
            UsageError: it is not the first line of an audit.
        """
        try:
            m = load_json(raw, limit=LINE_LIMIT).fields(
                ("imgsign_audit", "at", "policy", "targets"), ("shard", "keys"), closed=False
            )
            if m["imgsign_audit"].integer() != FORMAT:
                m["imgsign_audit"].refuse("another version of imgsign wrote it")
            return cls(
                at=parse_time(m["at"].text()),
                policy=m["policy"].text(),
                targets=tuple(t.text() for t in m["targets"].items()),
                shard=_text(m, "shard"),
                keys=tuple(_policy_key(k) for k in m["keys"].items()) if "keys" in m else (),
            )
        except Malformed as e:
            raise UsageError(f"{quote(where)} is not the output of an audit: {e.message}") from e


@dataclass(slots=True)
class Counts:
    """The summary so far."""

    at: datetime
    soon: timedelta
    verdicts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    lapsing: int = 0

    def add(self, row: Row) -> None:
        """Count one image."""
        self.verdicts[row.verdict] += 1
        self.lapsing += lapses(row, self.at, self.soon)

    @property
    def images(self) -> int:
        """How many have been counted."""
        return sum(self.verdicts.values())

    def end_line(self) -> bytes:
        """The last line of a complete audit."""
        return _line({"end": {"images": self.images, **self.verdicts}})

    def text(self) -> str:
        """The summary for a person."""
        images = "1 image" if self.images == 1 else f"{self.images} images"
        counts = ", ".join(f"{n} {v}" for v, n in self.verdicts.items() if n) or "nothing to judge"
        soon = f"; {self.lapsing} allowed now will lapse within {self.soon.days} days" if self.lapsing else ""
        return f"{images}: {counts}{soon}"


def lapses(row: Row, at: datetime, soon: timedelta) -> bool:
    """Whether an allowed image will stop being allowed soon."""
    return row.verdict == "allowed" and row.valid_until is not None and row.valid_until <= at + soon


def read_lines(file: BinaryIO, where: str) -> Iterator[tuple[bytes, Node]]:
    """Yield every complete line after the first, with what it says; a line that was cut off ends it.

    Raises:
        UsageError: a line is too long, or no JSON.
    """
    number = 1
    while raw := file.readline(LINE_LIMIT + 1):
        number += 1
        if not raw.endswith(b"\n"):
            if len(raw) > LINE_LIMIT:
                raise UsageError(f"{quote(where)} line {number} is too long")
            return
        try:
            yield raw, load_json(raw, limit=LINE_LIMIT)
        except Malformed as e:
            raise UsageError(f"{quote(where)} line {number}: {e.message}") from e


def read_rows(file: BinaryIO, where: str) -> Iterator[tuple[bytes, Row]]:
    """Yield the rows up to the end of the audit.

    Raises:
        UsageError: a line is neither a row nor the end.
    """
    for raw, node in read_lines(file, where):
        if is_end(node):
            return
        try:
            yield raw, Row.parse(node)
        except Malformed as e:
            raise UsageError(f"{quote(where)}: not a row of an audit: {e.message}") from e


def is_end(node: Node) -> bool:
    """Whether a line is the end of a complete audit."""
    return isinstance(node.value, dict) and "end" in node.value


def _signer(node: Node) -> Signer:
    m = node.fields(("anchor", "format"), ("key", "signed_at", "expires_at"), closed=False)
    return Signer(
        anchor=m["anchor"].text(),
        key=_text(m, "key"),
        format=m["format"].text(),
        signed_at=_read_time(m, "signed_at"),
        expires_at=_read_time(m, "expires_at"),
    )


def _reason(node: Node) -> Reason:
    m = node.fields(("code", "about", "message"), closed=False)
    return Reason(code=m["code"].text(), about=m["about"].text(), message=m["message"].text())


def _policy_key(node: Node) -> PolicyKey:
    m = node.fields(("anchor", "key"), ("not_after",), closed=False)
    return PolicyKey(anchor=m["anchor"].text(), key=m["key"].text(), not_after=_read_time(m, "not_after"))


def _text(members: dict[str, Node], key: str) -> str | None:
    return members[key].text() if key in members and members[key].value is not None else None


def _read_time(members: dict[str, Node], key: str) -> datetime | None:
    text = _text(members, key)
    return None if text is None else parse_time(text)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _cut(text: str) -> str:
    return printable(text, limit=_TEXT_LIMIT)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
