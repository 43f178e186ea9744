"""``.env`` files, as compose-go's dotenv (parser.go) reads them; pure.

    [export] NAME=value      unquoted: to the end of the line, " #" starts a comment; interpolated
    NAME: value              the same
    NAME='value'             as it stands, \\' is a quote; may span lines
    NAME="value"             \\n \\t \\$ … are escapes, then interpolated; may span lines
    NAME                     taken from the environment, nothing if it is not there

A value may use names of lines before it and of the environment, which goes first. Compose takes a missing one
as empty: here the value is then not known (``None``), and what depends on it is a problem of the file that
uses it. Refused: names with other characters, unterminated quotes, more than :data:`MAX_TEXT`.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field

from imgsign.images import Problem, Spot
from imgsign.images.compose.interpolate import InvalidTemplate, interpolate
from imgsign.record import record

MAX_TEXT = 256 * 1024  # characters

_SPACE = "\t\v\f\r \x85\xa0"
_ESCAPE = re.compile(r"\\(?:0[0-9]{0,3}|[abcfnrtv$\"\\])")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\", "$": "$$"}


@record(kw_only=False)
class EnvFile:
    """``values``: ``None`` for what is set, but not known here."""

    values: Mapping[str, str | None]
    problems: tuple[Problem, ...] = ()


class _Invalid(Exception):
    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message, self.at = message, at


def parse_env_file(text: str, *, environment: Mapping[str, str | None] | None = None) -> EnvFile:
    """Read a file; ``environment`` is what its lines may use, and what names alone take their value from.

    A file that cannot be read to its end gives what stands before the fault, and a problem.
    """
    parser = _Parser(text, environment or {})
    try:
        parser.run()
    except _Invalid as e:
        line = text.count("\n", 0, e.at) + 1
        spot = Spot(e.at, e.at, line, e.at - (text.rfind("\n", 0, e.at) + 1) + 1)
        return EnvFile(parser.values, (Problem(code="env-file", message=e.message, spot=spot),))
    return EnvFile(parser.values)


@dataclass(slots=True)
class _Parser:
    text: str
    environment: Mapping[str, str | None]
    values: dict[str, str | None] = field(default_factory=dict)
    _at: int = 0

    def run(self) -> None:
        if len(self.text) > MAX_TEXT:
            raise _Invalid(f"more than {MAX_TEXT} characters", 0)
        self._at = 1 if self.text.startswith("\ufeff") else 0
        while self._statement():
            name, alone = self._name()
            if " " in name:
                raise _Invalid("a name cannot contain a space", self._at)
            if not alone:
                self.values[name] = self._value()
            elif name and name in self.environment:
                self.values[name] = self.environment[name]

    def _statement(self) -> bool:
        """Go to the next name; false at the end."""
        while self._at < len(self.text):
            character = self.text[self._at]
            if character == "#":
                end = self.text.find("\n", self._at)
                self._at = end if end >= 0 else len(self.text)
            elif not character.isspace():
                return True
            else:
                self._at += 1
        return False

    def _name(self) -> tuple[str, bool]:
        if self.text.startswith("export", self._at) and self.text[self._at + 6 : self._at + 7] in tuple("\t\n\f\r "):
            self._at += 6
            self._skip()
        start = position = self._at
        while position < len(self.text):
            character = self.text[position]
            if character in "=:\n":
                break
            if character not in _SPACE and character not in "_.-[]" and not character.isalnum():
                raise _Invalid(f"unexpected character {character!r} in a variable's name", position)
            position += 1
        self._at = min(position + 1, len(self.text))
        if position == len(self.text):
            if start == position:
                raise _Invalid("export without a name", start)
            return "", True  # as compose-go: what ends with the file and not with a line break has no name
        self._skip()
        return self.text[start:position].rstrip(), self.text[position] == "\n"

    def _skip(self) -> None:
        while self._at < len(self.text) and self.text[self._at] in _SPACE:
            self._at += 1

    def _value(self) -> str | None:
        quote = self.text[self._at : self._at + 1]
        if quote in ("'", '"'):
            raw = self._quoted(quote)
            return raw if quote == "'" else self._expand(_ESCAPE.sub(_unescape, raw))
        end = self.text.find("\n", self._at)
        end = end if end >= 0 else len(self.text)
        raw, self._at = self.text[self._at : end], min(end + 1, len(self.text))
        return self._expand(raw.partition(" #")[0].rstrip())

    def _quoted(self, quote: str) -> str:
        start, escaped = self._at, False
        kept: list[str] = []
        for position in range(start + 1, len(self.text)):
            character = self.text[position]
            if character == quote and not escaped:
                self._at = position + 1
                return "".join(kept)
            if character == "\\" and not escaped:
                escaped = True
                continue
            if escaped and character != quote:
                kept.append("\\")
            kept.append(character)
            escaped = False
        raise _Invalid("unterminated quoted value", start)

    def _expand(self, value: str) -> str | None:
        try:
            found = interpolate(value, ChainMap(dict(self.environment), self.values))
        except InvalidTemplate as e:
            raise _Invalid(e.message, self._at) from e
        return None if found.missing else found.text


def _unescape(match: re.Match[str]) -> str:
    escape = match[0][1:]
    if escape in _PLAIN:
        return _PLAIN[escape]
    digits = escape[1:]
    if len(digits) == 3 and all(d in "01234567" for d in digits) and int(digits, 8) < 256:
        return chr(int(digits, 8))
    return match[0]
