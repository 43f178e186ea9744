"""The patterns of ``${name#p}`` and ``${name/p/r}``: ``*`` any text, ``?`` one character, ``\\`` escapes; pure.

As BuildKit's convertShellPatternToRegex, but matched without a regular expression: a pattern is a list of
pieces between stars, and each piece is sought once: work is the value's length times the pattern's.
"""

from __future__ import annotations

_ANY = ""  # a token: any one character
_Piece = tuple[str, ...]


class PatternFault(Exception):  # never leaves imgsign.images.dockerfile
    """A pattern that BuildKit refuses, or (``limit``) too much work."""

    def __init__(self, message: str, *, limit: bool = False) -> None:
        super().__init__(message)
        self.message, self.limit = message, limit


def remove_prefix(value: str, pattern: str, *, greedy: bool) -> str:
    """Cut the shortest or (``greedy``) longest prefix that the pattern matches."""
    end = _anchored(value, _parse(value, pattern), greedy=greedy)
    return value if end is None else value[end:]


def remove_suffix(value: str, pattern: str, *, greedy: bool) -> str:
    """Cut the shortest or (``greedy``) longest suffix that the pattern matches."""
    pieces = [piece[::-1] for piece in reversed(_parse(value, pattern))]
    end = _anchored(value[::-1], pieces, greedy=greedy)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """Replace the first or all matches, leftmost and longest; an empty match right after another does not count."""
    pieces = _parse(value, pattern)
    if everywhere and "$" in replacement:
        raise PatternFault("a replacement with $ for all matches", limit=True)  # Go expands it as a template
    if not everywhere:
        found = _leftmost(value, pieces, 0)
        return value if found is None else value[: found[0]] + replacement + value[found[1] :]
    result: list[str] = []
    last = position = 0
    while position <= len(value) and (found := _leftmost(value, pieces, position)) is not None:
        start, end = found
        result.append(value[last:start])
        if end > last or start == 0:
            result.append(replacement)
        last = end
        position = end if end > position else position + 1
    return "".join(result) + value[last:]


def _parse(value: str, pattern: str) -> list[_Piece]:
    if "\n" in value:
        raise PatternFault("a value with line breaks", limit=True)  # * and ? do not match them
    pieces: list[list[str]] = [[]]
    characters = iter(pattern.removeprefix("\ufeff"))
    for character in characters:
        if character == "*":
            pieces.append([])
        elif character == "?":
            pieces[-1].append(_ANY)
        elif character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in "}/*?\\":
                raise PatternFault(f"invalid pattern ({pattern}) in substitution")
            pieces[-1].append(escaped)
        else:
            pieces[-1].append(character)
    return [tuple(piece) for piece in pieces]


def _anchored(value: str, pieces: list[_Piece], *, greedy: bool) -> int | None:
    """The end of a match at 0."""
    return _end(value, pieces, 0, greedy=greedy) if _fits(value, pieces[0], 0) else None


def _leftmost(value: str, pieces: list[_Piece], start: int) -> tuple[int, int] | None:
    at = _find(value, pieces[0], start)
    if at is None:
        return None
    # The earliest first piece leaves most room for the others: if they do not fit here, they fit nowhere.
    end = _end(value, pieces, at, greedy=True)
    return None if end is None else (at, end)


def _end(value: str, pieces: list[_Piece], start: int, *, greedy: bool) -> int | None:
    position = start + len(pieces[0])
    for number, piece in enumerate(pieces[1:], 1):
        last = greedy and number == len(pieces) - 1
        at = _find_last(value, piece, position) if last else _find(value, piece, position)
        if at is None:
            return None
        position = at + len(piece)
    return position


def _fits(value: str, piece: _Piece, at: int) -> bool:
    return at + len(piece) <= len(value) and all(t in (_ANY, value[at + i]) for i, t in enumerate(piece))


def _find(value: str, piece: _Piece, start: int) -> int | None:
    if _ANY not in piece:
        at = value.find("".join(piece), start)
        return at if at >= 0 else None
    return next((at for at in range(start, len(value) - len(piece) + 1) if _fits(value, piece, at)), None)


def _find_last(value: str, piece: _Piece, start: int) -> int | None:
    return next((at for at in range(len(value) - len(piece), start - 1, -1) if _fits(value, piece, at)), None)
