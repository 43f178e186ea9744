"""Word expansion of Dockerfiles: quotes, escapes and ``${…}``, as BuildKit's frontend/dockerfile/shell/lex.go; pure.

    $name ${name}                         the value
    ${name-w} ${name:-w}                  w if unset (or empty)       ${name+w} ${name:+w}   w if set (and not empty)
    ${name?m} ${name:?m}                  refuse if unset (or empty)
    ${name#p} ${name##p} ${name%p} ${name%%p}   cut the shortest or longest prefix or suffix
    ${name/p/r} ${name//p/r}              replace the first match or all

Words nest. Inside ``'…'`` nothing is special, inside ``"…"`` only ``$``, ``"`` and the escape token.

Where BuildKit takes an unset variable as empty, :meth:`Shell.word` says which names were missing, so that the
caller can refuse; a default that was not needed misses nothing. Bounded: nesting, length and total work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imgsign.images.dockerfile.glob import PatternFault, remove_prefix, remove_suffix, replace
from imgsign.images.dockerfile.words import Bounded, ExpansionFault, Words
from imgsign.record import record

MAX_NESTING = 32  # of ${…}
MAX_WORK = 500_000  # characters looked at by all expansions of one lexer; a real file needs some thousand
_SPECIAL = "@*#?-$!0"


@record(kw_only=False)
class Unknown:
    """The value of a variable that is set, but not known here; ``why`` finishes the sentence "NAME …"."""

    why: str


@record(kw_only=False)
class Expanded:
    """``missing``: what the text depends on and is not known, one sentence each; ``used``: all names looked up."""

    text: str
    missing: tuple[str, ...]
    used: frozenset[str]


@dataclass(slots=True)
class Shell:
    """One lexer; not for use from two threads. ``work`` adds up over all its calls."""

    escape: str
    variables: Mapping[str, str | Unknown] = field(default_factory=dict)
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_unset: bool = False
    work: int = 0
    _text: str = ""
    _at: int = 0
    _depth: int = 0
    _buffer: list[str] = field(default_factory=list)
    _missing: list[str] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)

    def word(self, text: str) -> Expanded:
        """Expand a word (Lex.ProcessWord)."""
        result, _ = self._run(text)
        return Expanded(result, tuple(dict.fromkeys(self._missing)), frozenset(self._used))

    def words(self, text: str) -> list[str]:
        """Expand a text and split it at blanks (Lex.ProcessWords)."""
        return self._run(text)[1]

    def _run(self, text: str) -> tuple[str, list[str]]:
        self._text, self._at, self._depth = text, 1 if text.startswith("\ufeff") else 0, 0
        self._missing, self._used = [], set()
        self._spend(len(text))
        return self._until("", self.raw_escapes)

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise ExpansionFault("expansions that take too much work", limit=True)

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _next(self) -> str:
        character = self._peek()
        self._at += 1 if character else 0
        return character

    def _until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        # NOTE: BuildKit's nested calls share one buffer of the word in progress, and so do these: it
        # decides what is a heredoc after ${…}.
        before, self.raw_escapes = self.raw_escapes, raw_escapes
        self._buffer.clear()
        result = Bounded()
        words = Words(self._buffer)
        while character := self._peek():
            if character == stop:
                self._at += 1
                self.raw_escapes = before
                return result.text(), words.all()
            if character == "$":
                piece = self._dollar()
                words.add_split(piece)
            elif character == "<":
                piece = self._less()
                words.add(piece)
            elif character in "'\"":
                piece = self._single() if character == "'" else self._double()
                words.add(piece)
            else:
                piece = self._plain(words)
            result.add(piece)
        if stop:
            raise ExpansionFault(f"unexpected end of statement while looking for matching {stop}")
        self.raw_escapes = before
        return result.text(), words.all()

    def _plain(self, words: Words) -> str:
        character = self._next()
        if character != self.escape:
            words.add_split(character)
            return character
        piece = character if self.raw_escapes else ""
        following = self._next()
        for added in (piece, following):
            if added:
                words.add(added)
        return piece + following

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ExpansionFault("unexpected end of statement while looking for matching single-quote")
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{inner}'" if self.raw_quotes else inner

    def _double(self) -> str:
        self._at += 1
        result = Bounded()
        quote = '"' if self.raw_quotes else ""
        result.add(quote)
        while character := self._peek():
            if character == '"':
                self._at += 1
                result.add(quote)
                return result.text()
            if character == "$":
                result.add(self._dollar())
                continue
            self._at += 1
            if character == self.escape:
                if self.raw_escapes:
                    result.add(character)
                if not self._peek():
                    continue
                if self._peek() in ('"', "$", self.escape):
                    character = self._next()
            result.add(character)
        raise ExpansionFault("unexpected end of statement while looking for matching double-quote")

    def _less(self) -> str:
        self._at += 1
        if self._peek() != "<":
            return "<"
        self._at += 1
        start = self._at
        while self._peek() and self._peek() in "\t\r ":
            self._at += 1
        return "<<" + self._text[start : self._at]

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            return self._value(name, f"${name}")
        self._at += 1
        if not self._peek():
            raise ExpansionFault("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise ExpansionFault("syntax error: bad substitution")
        name = self._name()
        operator = self._next()
        if operator == "}":
            return self._value(name, f"${{{name}}}")
        if not operator:
            raise ExpansionFault("syntax error: missing '}'")
        if operator not in ":+-?#%/":
            raise ExpansionFault(f"unsupported modifier ({operator}) in substitution")
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ExpansionFault(f"more than {MAX_NESTING} nested substitutions", limit=True)
        replaced = self._replacement(name) if operator == "/" else self._conditional(name, operator)
        self._depth -= 1
        self._spend(len(replaced))
        return replaced

    def _value(self, name: str, written: str) -> str:
        value = self._look_up(name)
        if value is None:
            if self.keep_unset:
                return written
            self._missing.append(f"{name} has no value")
            return ""
        self._spend(len(value))
        return value

    def _look_up(self, name: str) -> str | None:
        self._used.add(name)
        value = self.variables.get(name)
        if isinstance(value, Unknown):
            self._missing.append(f"{name} {value.why}")
            return ""
        return value

    def _conditional(self, name: str, operator: str) -> str:
        colon = operator == ":"
        kind = self._next() if colon else operator
        if colon and kind in "#%":
            raise ExpansionFault(f"unsupported modifier (:{kind}) in substitution")
        before = len(self._missing)
        word = self._inner("}", raw_escapes=kind in "#%" and kind != "")
        needed = self._missing[before:]
        del self._missing[before:]
        value = self._look_up(name)
        if len(self._missing) > before:
            return ""  # set to something unknown: every outcome is
        if value is None and self.keep_unset:
            return f"${{{name}{':' if colon else ''}{kind}{word}}}"
        absent = value is None or (colon and value == "")
        if kind == "-":
            self._missing.extend(needed if absent else ())
            return word if absent or value is None else value
        if kind == "+":
            self._missing.extend(() if absent else needed)
            return "" if absent else word
        if kind == "?":
            if absent or value is None:
                raise ExpansionFault(f"{name}: {word or 'is not allowed to be unset'}")
            return value
        if not kind or kind not in "#%":
            raise ExpansionFault(f"unsupported modifier ({operator}{kind if colon else ''}) in substitution")
        self._missing.extend(needed)
        if value is None:
            self._missing.append(f"{name} has no value")
            return ""
        greedy = word.startswith(kind)
        self._spend(len(value) * (len(word) + 1))
        cut = remove_suffix if kind == "%" else remove_prefix
        return _matching(lambda: cut(value, word[1:] if greedy else word, greedy=greedy))

    def _replacement(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._at += 1 if everywhere else 0
        pattern = self._inner("/", raw_escapes=True)
        replacement = self._inner("}", raw_escapes=True)
        value = self._look_up(name)
        if value is None:
            if self.keep_unset:
                return f"${{{name}/{pattern}/{replacement}}}"
            self._missing.append(f"{name} has no value")
            return ""
        self._spend((len(value) + 1) * (len(pattern) + len(replacement) + 1))
        return _matching(lambda: replace(value, pattern, replacement, everywhere=everywhere))

    def _inner(self, stop: str, *, raw_escapes: bool) -> str:
        try:
            return self._until(stop, raw_escapes)[0]
        except ExpansionFault as e:
            if not e.limit and not self._peek():
                raise ExpansionFault(f"syntax error: missing '{stop}'") from e
            raise

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first and first in _SPECIAL:
            self._at += 1
        else:
            while (character := self._peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self._at += 1
        return self._text[start : self._at]


def _matching(run: Callable[[], str]) -> str:
    try:
        return run()
    except PatternFault as e:
        raise ExpansionFault(e.message, limit=e.limit) from e
