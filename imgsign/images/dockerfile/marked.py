"""A text that knows where each of its characters stands in the file, and what to raise at such a place; pure."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

from imgsign.images import Spot
from imgsign.record import record

BLANK = "\t\v\f\r "  # Go's [\t\v\f\r ], which separates words
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go's unicode.IsSpace holds; Python's str.isspace has more."""


class Unreadable(Exception):  # never leaves imgsign.images.dockerfile
    """A place from which the file cannot be read on; ``start`` and ``end`` are offsets."""

    def __init__(self, code: str, message: str, start: int, end: int, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.start, self.end, self.hint = code, message, start, end, hint


@record(kw_only=False)
class Marked:
    """A text with the file's offset of each of its characters."""

    text: str
    at: Sequence[int]

    def cut(self, start: int, end: int | None = None) -> Marked:
        return Marked(self.text[start:end], self.at[start:end])

    def strip(self, characters: str = SPACE) -> Marked:
        start = len(self.text) - len(self.text.lstrip(characters))
        return self.cut(start, max(start, len(self.text.rstrip(characters))))

    def partition(self, separator: str) -> tuple[Marked, str, Marked]:
        head, found, _ = self.text.partition(separator)
        return self.cut(0, len(head)), found, self.cut(len(head) + len(found))

    def words(self) -> list[Marked]:
        """Split at runs of :data:`BLANK`, as Go's ``[\\t\\v\\f\\r ]+``."""
        found: list[Marked] = []
        position = 0
        while position < len(self.text):
            start = position
            while position < len(self.text) and self.text[position] not in BLANK:
                position += 1
            found.append(self.cut(start, position))
            while position < len(self.text) and self.text[position] in BLANK:
                position += 1
        return found

    @property
    def start(self) -> int:
        return self.at[0]

    @property
    def end(self) -> int:
        return self.at[-1] + 1


@dataclass(slots=True)
class Places:
    """Makes spots of offsets."""

    text: str
    _starts: list[int] = field(default_factory=list)

    def spot(self, start: int, end: int) -> Spot:
        if not self._starts:
            self._starts = [0]
            position = self.text.find("\n")
            while position >= 0:
                self._starts.append(position + 1)
                position = self.text.find("\n", position + 1)
        line = bisect.bisect_right(self._starts, start)
        return Spot(start, end, line, start - self._starts[line - 1] + 1)


def lower(text: str) -> str:
    """Lower case as Go's strings.ToLower: one character becomes one character."""
    return text.lower() if text.isascii() else "".join("i" if c == "\u0130" else c.lower() for c in text)
