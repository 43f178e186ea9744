"""Texts that a lexer puts together: one that stays within a bound, and words split at blanks; pure."""

from __future__ import annotations

from imgsign.images.dockerfile.marked import SPACE

MAX_RESULT = 65_536  # characters of one expanded word


class ExpansionFault(Exception):  # never leaves imgsign.images.dockerfile
    """A word that BuildKit refuses, or (``limit``) one that is too large to expand."""

    def __init__(self, message: str, *, limit: bool = False) -> None:
        super().__init__(message)
        self.message, self.limit = message, limit


class Bounded:
    """A text in pieces that stays under :data:`MAX_RESULT`."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def add(self, piece: str) -> None:
        self._length += len(piece)
        if self._length > MAX_RESULT:
            raise ExpansionFault(f"an expansion to more than {MAX_RESULT} characters", limit=True)
        self._pieces.append(piece)

    def text(self) -> str:
        return "".join(self._pieces)


class Words:
    """Words in progress, split at unquoted blanks."""

    __slots__ = ("_buffer", "_found", "_inside")

    def __init__(self, buffer: list[str]) -> None:
        self._buffer = buffer
        self._found: list[str] = []
        self._inside = False

    def add(self, piece: str) -> None:
        if piece:
            self._buffer.append(piece)
        self._inside = True

    def add_split(self, piece: str) -> None:
        for character in piece:
            if character not in SPACE:
                self._buffer.append(character)
                self._inside = True
            elif self._inside and self._buffer:
                self._found.append("".join(self._buffer))
                self._buffer.clear()
                self._inside = False

    def all(self) -> list[str]:
        if self._buffer:
            self._found.append("".join(self._buffer))
            self._buffer.clear()
            self._inside = False
        return self._found
