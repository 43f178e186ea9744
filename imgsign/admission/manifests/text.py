"""Writing foreign text into YAML 1.2 so that it stays one value; pure."""

from __future__ import annotations

import textwrap


def quoted(text: str) -> str:
    """A double-quoted scalar (YAML 1.2 §7.3.1): any text, on one line."""
    return '"' + "".join(map(_escaped, text)) + '"'


def block(text: str, indent: int) -> str:
    """A literal block (§8.1.2) for readable text, indented; a quoted scalar for what a block would change."""
    plain = all(c == "\n" or (c.isprintable() and c != "\ufeff") for c in text)
    if not text or not plain or text[0] in " \n" or not text.endswith("\n") or text.endswith("\n\n"):
        return quoted(text)
    if any(line != line.rstrip() for line in text.splitlines()):
        return quoted(text)  # a block keeps trailing blanks, but editors do not
    return "|\n" + textwrap.indent(text, " " * indent).rstrip("\n")


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable() and char != "\ufeff":
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
