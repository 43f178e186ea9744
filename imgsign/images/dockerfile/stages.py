"""The stages of a Dockerfile and what each of them names, still unresolved; pure.

BuildKit's frontend/dockerfile/instructions/parse.go. A stage keeps its FROM word and every ``COPY --from=``
and ``RUN --mount=from=`` in it, those of ONBUILD triggers marked as such. Arguments before the first FROM are
kept in order; of those inside a stage only the names.

Refused here: instructions that BuildKit does not know, FROM of other than one or three words, bad stage
names, chained ONBUILD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from imgsign.images.dockerfile.flags import mount_from, read_flags
from imgsign.images.dockerfile.marked import SPACE, Marked, Unreadable, lower
from imgsign.images.dockerfile.source import Instruction, Source, split_command
from imgsign.record import record

MAX_STAGES = 1_000
MAX_NAMED = 2_000  # places that name a stage or an image
MAX_FAULTS = 200

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_WITH_IMAGES = ("add", "copy", "onbuild", "run")
_WITHOUT = ("arg", "cmd", "entrypoint", "env", "expose", "healthcheck", "label", "maintainer", "shell", "stopsignal")
_OTHERS = frozenset((*_WITH_IMAGES, *_WITHOUT, "user", "volume", "workdir"))


@record(kw_only=False)
class Named:
    """A word that names a stage or an image; ``role`` is ``copy`` or ``mount``."""

    word: Marked
    role: str
    onbuild: bool


@dataclass(slots=True)
class Stage:
    """``base`` is the FROM word before expansion; ``platform`` the text of its flag, if any."""

    number: int
    name: str
    base: Marked
    platform: str
    named: list[Named] = field(default_factory=list)

    @property
    def subject(self) -> str:
        return f"stage {self.name or self.number}"


@dataclass(slots=True)
class Outline:
    """All that was read, and the fault that ended the reading or was met on the way."""

    stages: list[Stage] = field(default_factory=list)
    arguments: list[Marked] = field(default_factory=list)
    inherited: set[str] = field(default_factory=set)
    faults: list[Unreadable] = field(default_factory=list)
    escape: str = "\\"
    _count: int = 0

    def read(self, text: str) -> None:
        """Read a whole file; a fault in one instruction does not hide the next."""
        source = Source(text)
        try:
            for instruction in source.instructions():
                self.escape = source.escape
                try:
                    self._take(instruction)
                except Unreadable as e:
                    self.faults.append(e)
                    if e.code == "too-large":
                        return
                    if len(self.faults) == MAX_FAULTS:
                        message = f"more than {MAX_FAULTS} faults: not read on"
                        raise Unreadable("too-large", message, e.start, e.end) from e
            if not self.stages and not self.faults:
                raise Unreadable("no-stage", "no FROM: the file builds nothing", 0, 0)
        except Unreadable as e:
            self.faults.append(e)

    def _take(self, instruction: Instruction) -> None:
        if instruction.word == "from":
            self.stages.append(self._stage(instruction))
            return
        if instruction.word not in _OTHERS:
            where = instruction.start, instruction.start + len(instruction.word)
            shown = instruction.word[:40].upper()
            raise Unreadable("unknown-instruction", f"unknown instruction {shown!r}", *where)
        if not self.stages:
            if instruction.word != "arg":
                where = instruction.start, instruction.line.end
                raise Unreadable("no-stage", f"{instruction.word.upper()} before the first FROM", *where)
            self.arguments.extend(_argument_words(instruction.rest, self.escape))
        elif instruction.word == "arg":
            words = _argument_words(instruction.rest, self.escape)
            self.inherited.update(word.text for word in words if "=" not in word.text)
        elif instruction.word == "onbuild":
            self._take_trigger(instruction)
        else:
            self._take_named(instruction, onbuild=False)

    def _stage(self, instruction: Instruction) -> Stage:
        number = len(self.stages)
        words = instruction.rest.words()
        where = instruction.start, instruction.line.end
        if number == MAX_STAGES:
            raise Unreadable("too-large", f"more than {MAX_STAGES} stages", *where)
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].text.casefold() != "as"):
            raise Unreadable("bad-from", "FROM requires either one or three words", *where)
        name = lower(words[2].text) if len(words) == 3 else ""
        # A stage that cannot be read still counts, or every later number would be off by one.
        stage = Stage(number, name, words[0], "")
        try:
            if name and _STAGE_NAME.fullmatch(name) is None:
                raise Unreadable("bad-from", "invalid name for a build stage", words[2].start, words[2].end)
            stage.platform = "".join(value.text for _, value in read_flags(instruction))
        except Unreadable as e:
            self.faults.append(e)
        return stage

    def _take_named(self, instruction: Instruction, *, onbuild: bool) -> None:
        for flag, value in read_flags(instruction):
            if instruction.word == "copy" and flag == "from" and value.text:
                self._add(Named(value, "copy", onbuild))
            elif instruction.word == "run" and flag == "mount":
                word = mount_from(value)
                if word is not None:
                    self._add(Named(word, "mount", onbuild))

    def _add(self, named: Named) -> None:
        self._count += 1
        if self._count > MAX_NAMED:
            message = f"more than {MAX_NAMED} images named"
            raise Unreadable("too-large", message, named.word.start, named.word.end)
        self.stages[-1].named.append(named)

    def _take_trigger(self, instruction: Instruction) -> None:
        read_flags(instruction)
        trigger = instruction.trigger
        where = instruction.start, instruction.line.end
        if trigger is None:
            raise Unreadable("bad-onbuild", "ONBUILD requires an instruction", *where)
        if trigger.word in ("onbuild", "from", "maintainer"):
            raise Unreadable("bad-onbuild", f"{trigger.word.upper()} isn't allowed as an ONBUILD trigger", *where)
        if trigger.word not in _OTHERS:
            raise Unreadable("unknown-instruction", f"unknown instruction {trigger.word[:40].upper()!r}", *where)
        # It is read again in the build that comes after, and there with the default escape token.
        word, flags, rest = split_command(trigger.line, "\\")
        read = Instruction(word=word, flags=flags, rest=rest, line=trigger.line, start=trigger.start)
        self._take_named(read, onbuild=True)


def _argument_words(rest: Marked, escape: str) -> list[Marked]:
    """Split ARG's words at blanks; quotes and escapes stay in them (line_parsers.go, parseWords)."""
    text, found, position = rest.text, list[Marked](), 0
    while position < len(text):
        if text[position] in SPACE:
            position += 1
            continue
        kept: list[int] = []
        quote = ""
        while position < len(text) and (quote or text[position] not in SPACE):
            character = text[position]
            if character == escape and quote != "'":
                if position + 1 < len(text):
                    kept.extend((position, position + 1))
                position += 2
                continue
            if not quote and character in "'\"":
                quote = character
            elif character == quote:
                quote = ""
            kept.append(position)
            position += 1
        if kept:
            found.append(Marked("".join(text[i] for i in kept), [rest.at[i] for i in kept]))
    return found
