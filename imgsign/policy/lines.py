"""Where in the text of a policy a value stands: its path, as errors name it -> its line.

Only for text that a parser has accepted: this reads no values, it counts lines. TOML v1.0.0 and JSON. A path that
is not there gives the line of what is nearest above it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from imgsign.wire import quote

_SKIP = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)+")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}' + r"|'''.*?'{3,5}", re.DOTALL)
_SCALAR = re.compile(r"[^,\]\}\n#]*")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def lines_of(text: str, *, json: bool = False) -> dict[str, int]:
    """Map every path to the line, from 1, where its key or element begins."""
    reader = _Reader(text)
    if json:
        reader.skip()
        reader.value("")
    else:
        reader.document()
    return reader.found


def line_of(lines: dict[str, int], path: str) -> int | None:
    """The line of a path, or of the nearest thing above it."""
    path = path.removeprefix("$").removeprefix(".")
    while path:
        if path in lines:
            return lines[path]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""
    return None


@dataclass(slots=True)
class _Reader:
    text: str
    at: int = 0
    found: dict[str, int] = field(default_factory=dict)

    def document(self) -> None:
        """Read TOML: headers, and keys below the last one."""
        table = ""
        while True:
            self.skip()
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                while self.text[self.at] == "[":
                    self.at += 1
                table = self.key("")
                while self.text[self.at : self.at + 1] == "]":
                    self.at += 1
            else:
                self.pair(table)

    def skip(self) -> None:
        """Pass blanks, line ends, commas and comments."""
        if (found := _SKIP.match(self.text, self.at)) is not None:
            self.at = found.end()

    def blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found is not None else self.at

    def key(self, path: str) -> str:
        """Read a dotted key; every part of it has a path of its own."""
        while True:
            self.blank()
            found = next(m for p in (_BARE, _BASIC, _LITERAL) if (m := p.match(self.text, self.at)) is not None)
            name = found[0] if found.re is _BARE else _unescaped(found[0])
            shown = name if _PLAIN.fullmatch(name) else quote(name)
            path = f"{path}.{shown}" if path else shown
            self.found.setdefault(path, self.text.count("\n", 0, self.at) + 1)
            self.at = found.end()
            self.blank()
            if self.text[self.at : self.at + 1] != ".":
                return path
            self.at += 1

    def pair(self, path: str) -> None:
        """Read ``key = value``, or JSON's ``"key": value``."""
        below = self.key(path)
        self.at += 1
        self.skip()
        self.value(below)

    def value(self, path: str) -> None:
        """Pass a value and note what is in it."""
        opener = self.text[self.at : self.at + 1]
        if opener in ("{", "["):
            closer = "}" if opener == "{" else "]"
            self.at += 1
            number = 0
            self.skip()
            while self.at < len(self.text) and self.text[self.at] != closer:
                if opener == "{":
                    self.pair(path)
                else:
                    self.found.setdefault(f"{path}[{number}]", self.text.count("\n", 0, self.at) + 1)
                    self.value(f"{path}[{number}]")
                    number += 1
                self.skip()
            self.at += 1
            return
        for pattern in (_LONG, _BASIC, _LITERAL, _SCALAR):
            if (found := pattern.match(self.text, self.at)) is not None:
                self.at = found.end()
                return


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_SHORT = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def _unescaped(text: str) -> str:
    body = text[1:-1]
    if text[0] == "'":
        return body

    def char(m: re.Match[str]) -> str:
        digits = m[1] or m[2]
        return chr(int(digits, 16)) if digits else _SHORT.get(m[3], m[3])

    return _ESCAPE.sub(char, body)
