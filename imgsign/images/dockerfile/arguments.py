"""Arguments before the first FROM: their values, and which default may be edited to pin an image; pure.

BuildKit's dockerfile2llb/convert.go (buildMetaArgs) and platform.go (defaultArgs): a build argument counts if
its name is declared, or predefined; a default may use what stands before it. The predefined ones but
TARGETSTAGE depend on the machine that builds and are unknown here unless given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from imgsign.images.dockerfile.marked import Marked, Unreadable
from imgsign.images.dockerfile.shell import Expanded, Shell, Unknown
from imgsign.images.dockerfile.words import ExpansionFault
from imgsign.record import record

_PLATFORM = ("BUILD", "TARGET")
_PARTS = ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
_FROM_ARGUMENT = re.compile(r"([^$\"'\\`]*)\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_TAG = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})(?:@[a-z0-9]+:[0-9a-f]+)?")


@record(kw_only=False)
class Pin:
    """Where and as what a pinned reference may be written, or why nowhere."""

    where: Marked | None
    replacement: str = "{reference}"
    unpinnable: str | None = None


@dataclass(slots=True)
class Arguments:
    """The scope of FROM lines. ``uses`` counts FROM words and defaults that look a name up."""

    given: Mapping[str, str | None]
    shell: Shell
    values: dict[str, str | Unknown]
    defaults: dict[str, Marked] = field(default_factory=dict)
    undefined: set[str] = field(default_factory=set)
    uses: Counter[str] = field(default_factory=Counter)

    @classmethod
    def start(cls, given: Mapping[str, str | None], escape: str, target: str) -> Arguments:
        """Make the scope that holds before the first line."""
        values: dict[str, str | Unknown] = {
            f"{side}{part}": Unknown("depends on the platform") for side in _PLATFORM for part in _PARTS
        }
        values["TARGETSTAGE"] = target or "default"
        values.update({name: _known(given[name]) for name in values if name in given})
        return cls(given, Shell(escape, values), values)

    def declare(self, word: Marked) -> None:
        """Take one word of an ARG instruction.

        Raises:
            Unreadable: for a word without a name, or a default that does not expand.
        """
        name, equals, default = word.partition("=")
        if not name.text:
            raise Unreadable("bad-argument", "ARG names can not be blank", word.start, word.end)
        if name.text in self.given:
            self.values[name.text] = _known(self.given[name.text])
            self.defaults.pop(name.text, None)
        elif not equals:
            self.undefined.add(name.text)
        else:
            expanded = self.expand(default, word)
            self.values[name.text] = expanded.text
            if expanded.missing:  # only the root of a chain is told, or a long one would grow with every step
                self.values[name.text] = Unknown(f"cannot be made: {expanded.missing[0].rpartition(': ')[2]}")
            self.defaults[name.text] = default

    def expand(self, word: Marked, blamed: Marked | None = None) -> Expanded:
        """Expand a word in this scope.

        Raises:
            Unreadable: for what BuildKit refuses, and for what takes too much work.
        """
        try:
            expanded = self.shell.word(word.text)
        except ExpansionFault as e:
            at = blamed or word
            raise Unreadable("too-large" if e.limit else "bad-expansion", e.message, at.start, at.end) from e
        self.uses.update(expanded.used)
        return expanded

    def hint(self, names: frozenset[str]) -> str | None:
        """What to type for names without a value."""
        wanting = sorted(n for n in names if not isinstance(self.values.get(n), str) and n.isidentifier())
        declared = [n for n in wanting if n in self.undefined or n in self.values]
        if declared:
            return "give " + " ".join(f"--build-arg {n}=…" for n in declared[:4])
        return f"declare ARG {wanting[0]} before the first FROM" if wanting else None

    def pin(self, word: Marked, text: str, platforms: str, inherited: set[str]) -> Pin:
        """Say where a FROM word that became ``text`` can be pinned."""
        if "$" not in word.text:
            return literal_pin(word, text)
        match = _FROM_ARGUMENT.fullmatch(word.text)
        if match is None:
            return _no("only a part of it comes from an argument")
        before, name = match[1], match[2] or match[3]
        default = self.defaults.get(name)
        if default is None:
            return _no(f"the value of {name} is not in the file")
        if name in inherited or self.uses[name] > 1 or re.search(rf"\${{?{name}\b", platforms):
            return _no(f"{name} is used at more places than this one")
        value = self.values[name]
        pin = literal_pin(default, value if isinstance(value, str) else "")
        if pin.where is None or not before:
            return pin
        if not before.endswith(":") or "@" in before or (tag := _TAG.fullmatch(pin.where.text)) is None:
            return _no(f"{name} is neither the whole reference nor its tag")
        return Pin(pin.where, replacement=f"{tag[1]}@{{digest}}")


def _known(value: str | None) -> str | Unknown:
    return Unknown("is given a value that is not known here") if value is None else value


def literal_pin(word: Marked, text: str) -> Pin:
    """Pin where a word stands as it reads, with or without quotes around it, on one line."""
    for quote in ("", '"', "'"):
        if word.text == f"{quote}{text}{quote}" and text:
            inner = word.cut(len(quote), len(quote) + len(text))
            if inner.end - inner.start == len(text):
                return Pin(inner)
            return _no("it is written over several lines or with escapes")
    return _no("it is written with quotes or escapes inside")


def _no(why: str) -> Pin:
    return Pin(None, unpinnable=why)
