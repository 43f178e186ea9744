"""Reading one large JSON object without building its largest member.

An attestation of 30 MB is a statement whose predicate is 30 MB. Whether it counts stands in a few hundred
bytes around the predicate, so the predicate is checked to be JSON by the same strict rules as everything
(:mod:`imgsign.wire`: no duplicate keys, no NaN) and forgotten, object by object; only where it lies is kept.

Source: RFC 8259 §4 (objects). Only the top level is walked here; every value is read by the standard
library's decoder. Not checked in what is skipped: depth up to the decoder's own limit, and lone surrogates.
"""

from __future__ import annotations

import re
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in name, not in typeshed
from typing import cast

from imgsign.errors import Malformed
from imgsign.record import record
from imgsign.wire import Node, check_value, decode_text, decoded, load_json, quote, strict_decoder

_BLANK = re.compile(r"[ \t\n\r]*")


@record(kw_only=False)
class Outline:
    """An object without its member ``skip``; ``start`` and ``end`` are the bytes that member's value takes."""

    node: Node
    start: int | None
    end: int | None


def load_outline(raw: bytes, *, skip: str, limit: int, error: type[Malformed] = Malformed) -> Outline:
    """Parse one JSON object of at most ``limit`` bytes but for the value of its member ``skip``.

    Raises:
        Malformed: (as ``error``) as :func:`imgsign.wire.load_json` does.
    """
    text = decode_text(raw, limit=limit, error=error)
    if _after_blanks(text, 0, "{") is None:
        return Outline(load_json(raw, limit=limit, error=error), None, None)  # not an object: as it is
    members, span = decoded(error, lambda: _walk(text, skip, error))
    check_value(members, raw, error)
    if span is None:
        return Outline(Node(members, "$", error), None, None)
    if text.isascii():
        return Outline(Node(members, "$", error), *span)
    start = len(text[: span[0]].encode("utf-8"))
    return Outline(Node(members, "$", error), start, len(raw) - len(text[span[1] :].encode("utf-8")))


def _walk(text: str, skip: str, error: type[Malformed]) -> tuple[dict[str, object], tuple[int, int] | None]:
    keep, blind = strict_decoder(error, None), strict_decoder(error, frozenset())
    members: dict[str, object] = {}
    span = None
    position = _expect(text, 0, "{")
    if (end := _after_blanks(text, position, "}")) is None:
        while True:
            key, position = cast(tuple[str, int], scanstring(text, _expect(text, position, '"'), True))
            if key in members or (key == skip and span is not None):
                raise error(f"duplicate key {quote(key)}")
            position = _blanks(text, _expect(text, position, ":"))
            if key == skip:
                end_of_value = blind.raw_decode(text, position)[1]
                span = (position, end_of_value)
            else:
                members[key], end_of_value = keep.raw_decode(text, position)
            if (next_member := _after_blanks(text, end_of_value, ",")) is None:
                end = _expect(text, end_of_value, "}")
                break
            position = next_member
    if (rest := _blanks(text, end)) != len(text):
        raise JSONDecodeError("Extra data", text, rest)
    return members, span


def _blanks(text: str, position: int) -> int:
    if text[position : position + 1] not in " \t\n\r":
        return position
    match = _BLANK.match(text, position)
    return position if match is None else match.end()


def _after_blanks(text: str, position: int, char: str) -> int | None:
    """The position behind ``char`` if it is what comes next."""
    if text.startswith(char, position):
        return position + 1
    position = _blanks(text, position)
    return position + 1 if text.startswith(char, position) else None


def _expect(text: str, position: int, char: str) -> int:
    found = _after_blanks(text, position, char)
    if found is None:
        raise JSONDecodeError(f"Expecting {char!r}", text, _blanks(text, position))
    return found
