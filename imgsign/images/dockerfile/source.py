"""A Dockerfile's text as instructions, each character with its place in the file; pure.

Follows BuildKit's frontend/dockerfile/parser (parser.go, split_command.go, line_parsers.go), read at 73ed682:

    line         := up to "\\n", at most 65,535 bytes; a byte order mark before the first is dropped
    directive    := "#" name "=" value       syntax, escape, check; only before anything else, each once
    comment      := blanks "#" …              dropped, also inside a continued instruction
    continuation := escape blanks end-of-line not when the character before is the escape token too
    instruction  := word 1*blank *("--" flag) rest
    heredoc      := [digits] "<<" ["-"] word  in RUN, COPY, ADD and ONBUILD of these, unless rest is a JSON list

An empty line inside a continued instruction is skipped (BuildKit warns). The body of a heredoc is data.

Refused (:class:`Unreadable`): what BuildKit refuses there, a text over :data:`MAX_TEXT`, too many
instructions, and characters outside ASCII inside a flag, which BuildKit reads byte by byte.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from imgsign.images.dockerfile.heredoc import heredocs
from imgsign.images.dockerfile.marked import BLANK, SPACE, Marked, Unreadable, lower
from imgsign.images.dockerfile.words import ExpansionFault
from imgsign.record import record

MAX_TEXT = 1024 * 1024  # characters; the largest of real files are under 100 KiB
MAX_LINE = 65_535  # bytes; Go's bufio.MaxScanTokenSize less the line break
MAX_INSTRUCTIONS = 20_000

_HEREDOC_IN = frozenset(("add", "copy", "run"))


@record
class Instruction:
    """``word`` is lower case; ``line`` the joined line, ``rest`` what follows the flags; ``trigger`` is ONBUILD's."""

    word: str
    flags: tuple[Marked, ...]
    rest: Marked
    line: Marked
    start: int
    trigger: Instruction | None = None


@dataclass(slots=True)
class Source:
    """Reads instructions one after the other; ``escape`` is known once the first was read."""

    text: str
    escape: str = "\\"
    _position: int = 0
    _directives_over: bool = False
    _seen: set[str] = field(default_factory=set)

    def instructions(self) -> Iterator[Instruction]:
        """Yield the instructions.

        Raises:
            Unreadable: at the first place where BuildKit stops too, after what was yielded before.
        """
        if len(self.text) > MAX_TEXT:
            raise Unreadable("too-large", f"more than {MAX_TEXT} characters", 0, 0)
        self._position = 1 if self.text.startswith("\ufeff") else 0
        count = 0
        while (physical := self._next_line()) is not None:
            joined = self._join(*physical)
            if joined is None:
                continue
            count += 1
            if count > MAX_INSTRUCTIONS:
                raise Unreadable("too-large", f"more than {MAX_INSTRUCTIONS} instructions", *physical)
            found = _instruction(joined, self.escape, physical)
            self._skip_heredocs(found, physical)
            yield found
        if count == 0:
            raise Unreadable("no-stage", "file with no instructions", 0, 0)

    def _next_line(self) -> tuple[int, int] | None:
        start = self._position
        if start >= len(self.text):
            return None
        end = self.text.find("\n", start)
        self._position = end + 1 if end >= 0 else len(self.text)
        end = end if end >= 0 else len(self.text)
        if end - start > MAX_LINE or (
            end - start > MAX_LINE // 4 and len(self.text[start:end].encode("utf-8", "surrogatepass")) > MAX_LINE
        ):
            raise Unreadable("too-large", f"a line of more than {MAX_LINE} bytes", start, end)
        while end > start and self.text[end - 1] == "\r":
            end -= 1
        return start, end

    def _join(self, start: int, end: int) -> Marked | None:
        start = end - len(self.text[start:end].lstrip(SPACE))
        self._read_directive(start, end)
        if start == end or self.text[start] == "#":
            return None
        end, more = self._continued(start, end)
        pieces = [(start, end)]
        while more and (physical := self._next_line()) is not None:
            start, end = physical
            bare = self.text[start:end].lstrip(SPACE)
            if not bare or bare.startswith("#"):
                continue
            end, more = self._continued(start, end)
            pieces.append((start, end))
        if len(pieces) == 1:
            return Marked(self.text[start:end], range(start, end))
        at = array("L")
        for piece in pieces:
            at.extend(range(*piece))
        return Marked("".join(self.text[a:b] for a, b in pieces), at)

    def _continued(self, start: int, end: int) -> tuple[int, bool]:
        last = start + len(self.text[start:end].rstrip("\t ")) - 1
        if last < start or self.text[last] != self.escape or (last > start and self.text[last - 1] == self.escape):
            return end, False
        return last, True

    def _read_directive(self, start: int, end: int) -> None:
        if self._directives_over:
            return
        found = directive(self.text, start, end, "#")
        if found is None:
            self._directives_over = True
            return
        name, value = found
        if name in self._seen:
            raise Unreadable("bad-directive", f"only one {name} directive can be used", start, end)
        self._seen.add(name)
        if name == "escape":
            if value.text not in ("\\", "`"):
                raise Unreadable("bad-directive", "the escape token is neither \\ nor `", value.start, value.end)
            self.escape = value.text

    def _skip_heredocs(self, instruction: Instruction, physical: tuple[int, int]) -> None:
        if "<<" not in instruction.line.text or not _holds_heredocs(instruction):
            return
        try:
            documents = heredocs(instruction.line.text)
        except ExpansionFault as e:
            raise Unreadable("bad-heredoc", e.message, *physical) from e
        for name, chomp in documents:
            while (body := self._next_line()) is not None:
                line = self.text[slice(*body)]
                if (line.lstrip("\t") if chomp else line) == name:
                    break
            else:
                raise Unreadable("bad-heredoc", "unterminated heredoc", *physical)


def directive(text: str, start: int, end: int, comment: str) -> tuple[str, Marked] | None:
    """Read one directive of the lines ``# name = value``; ``None`` ends the search (parser/directives.go)."""
    if not text.startswith(comment, start, end):
        return None
    line = Marked(text[start:end], range(start, end)).cut(len(comment)).strip(SPACE)
    name, equals, value = line.partition("=")
    key = name.text.rstrip("\t\n\f\r ")
    value = value.strip("\t\n\f\r ")
    if not equals or not value.text or not key.isascii() or not key.isalnum() or not key[0].isalpha():
        return None
    return (key.lower(), value) if key.lower() in ("syntax", "escape", "check") else None


def split_command(line: Marked, escape: str) -> tuple[str, tuple[Marked, ...], Marked]:
    """Split a joined line into instruction word, flags and rest (parser/split_command.go)."""
    line = line.strip()
    length = 0
    while length < len(line.text) and line.text[length] not in BLANK:
        length += 1
    after = length
    while after < len(line.text) and line.text[after] in BLANK:
        after += 1
    flags, position = _flags(line, after, escape)
    return lower(line.text[:length]), tuple(flags), line.cut(position).strip()


def json_list(rest: Marked) -> bool:
    """Whether an instruction's rest is a JSON list of strings.

    Raises:
        Unreadable: for a list of other things, which BuildKit refuses.
    """
    if not rest.text.lstrip(SPACE).startswith("["):
        return False
    try:
        value = json.loads(rest.text, parse_constant=_no_constant)
    except ValueError:
        return False
    except RecursionError:
        raise Unreadable("bad-instruction", "JSON nested too deep", rest.start, rest.end) from None
    if not all(isinstance(item, str) for item in value):
        message = "when using JSON array syntax, arrays must be comprised of strings only"
        raise Unreadable("bad-instruction", message, rest.start, rest.end)
    return True


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _instruction(line: Marked, escape: str, physical: tuple[int, int]) -> Instruction:
    word, flags, rest = split_command(line, escape)
    trigger = None
    start = line.start if line.text else physical[0]
    if word == "onbuild" and rest.text:
        trigger = _trigger(rest, escape)
    return Instruction(word=word, flags=flags, rest=rest, line=line, start=start, trigger=trigger)


def _trigger(line: Marked, escape: str) -> Instruction:
    word, flags, rest = split_command(line, escape)
    return Instruction(word=word, flags=flags, rest=rest, line=line, start=line.start)


def _holds_heredocs(instruction: Instruction) -> bool:
    inner = instruction.trigger if instruction.word == "onbuild" else instruction
    return inner is not None and inner.word in _HEREDOC_IN and not json_list(inner.rest)


def _flags(line: Marked, position: int, escape: str) -> tuple[list[Marked], int]:
    """Read ``--name=value`` words from ``position``; quotes and escapes are removed; a lone ``--`` ends them."""
    text, flags = line.text, list[Marked]()
    while True:
        while position < len(text) and text[position] in SPACE:
            position += 1
        if not text.startswith("--", position):
            return flags, position
        kept: list[int] = []
        quote, blank_ok = "", False
        while position < len(text):
            character = text[position]
            if not character.isascii():
                at = line.at[position]
                raise Unreadable("bad-flag", "a flag with characters outside ASCII", at, at + 1)
            if not quote and character in SPACE:
                break
            if character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote, blank_ok = character, True
            elif character == escape:
                position += 1
                if position < len(text):
                    kept.append(position)
            else:
                kept.append(position)
            position += 1
        flag = Marked("".join(text[i] for i in kept), [line.at[i] for i in kept])
        if flag.text == "--":
            return flags, position
        if flag.text or blank_ok:
            flags.append(flag)
