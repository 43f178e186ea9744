"""Flags of Dockerfile instructions: ``--name=value`` and the comma-separated fields of ``--mount``; pure.

BuildKit's instructions/bflag.go and commands_runmount.go, and the CSV reader they use. An unknown flag is
refused: a newer one may name an image.
"""

from __future__ import annotations

from imgsign.images.dockerfile.marked import Marked, Unreadable, lower
from imgsign.images.dockerfile.source import Instruction

_ONE = frozenset(("from", "platform", "chown", "chmod", "checksum", "network", "security"))
_SWITCH = frozenset(("link", "parents", "keep-git-dir", "unpack"))
_KNOWN = {
    "from": frozenset(("platform",)),
    "copy": frozenset(("chown", "from", "chmod", "link", "exclude", "parents")),
    "add": frozenset(("chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude")),
    "run": frozenset(("mount", "network", "security", "device")),
    "onbuild": frozenset[str](),
}


def read_flags(instruction: Instruction) -> list[tuple[str, Marked]]:
    """Return the flags that have a value, in order.

    Raises:
        Unreadable: for an unknown, repeated or valueless flag.
    """
    known = _KNOWN.get(instruction.word)
    if known is None:
        return []
    found: list[tuple[str, Marked]] = []
    seen: set[str] = set()
    for flag in instruction.flags:
        head, equals, value = flag.partition("=")
        name = head.text[2:]
        where = flag.start, flag.end
        if name not in known:
            raise Unreadable("bad-flag", f"{instruction.word.upper()} has no flag {head.text[:40]!r}", *where)
        if name in seen and (name in _ONE or name in _SWITCH):
            raise Unreadable("bad-flag", f"duplicate flag --{name}", *where)
        seen.add(name)
        if not equals and name not in _SWITCH:
            raise Unreadable("bad-flag", f"missing a value on flag --{name}", *where)
        found.append((name, value))
    return found


def mount_from(value: Marked) -> Marked | None:
    """Return what a ``--mount`` takes its files from, if that is not the build context.

    Raises:
        Unreadable: for a value that is no CSV, and for a variable there, which BuildKit does not expand.
    """
    source = None
    for field in _fields(value):
        key, equals, item = field.partition("=")
        if not equals or lower(key.text) != "from":
            continue
        dollar = item.text.find("$")
        if dollar >= 0 and dollar != len(item.text) - 1:
            message = "'from' of a mount does not support variable expansion"
            raise Unreadable("bad-mount", message, item.start, item.end, hint="define a stage with FROM and name that")
        source = item
    return source if source is not None and source.text else None


def _fields(value: Marked) -> list[Marked]:
    """Split one CSV record (RFC 4180); bare quotes are refused."""
    text, found, position = value.text, list[Marked](), 0
    if not text:
        return []
    while True:
        if not text.startswith('"', position):
            comma = text.find(",", position)
            end = comma if comma >= 0 else len(text)
            if '"' in text[position:end]:
                raise Unreadable("bad-mount", "a bare quote in a mount", value.start, value.end)
            found.append(value.cut(position, end))
            if comma < 0:
                return found
            position = comma + 1
            continue
        kept, position = _quoted(value, position + 1)
        found.append(Marked("".join(text[i] for i in kept), [value.at[i] for i in kept]))
        if position == len(text):
            return found
        if text[position] != ",":
            raise Unreadable("bad-mount", "text after a quoted field of a mount", value.start, value.end)
        position += 1


def _quoted(value: Marked, position: int) -> tuple[list[int], int]:
    text, kept = value.text, list[int]()
    while (end := text.find('"', position)) >= 0:
        kept.extend(range(position, end))
        if not text.startswith('"', end + 1):
            return kept, end + 1
        kept.append(end)
        position = end + 2
    raise Unreadable("bad-mount", "an unterminated quote in a mount", value.start, value.end)
