"""Compose's interpolation of values, as compose-go's template/template.go; pure.

    $NAME ${NAME}                        the value
    ${NAME-w} ${NAME:-w}                 w if unset (or empty)     ${NAME+w} ${NAME:+w}   w if set (and not empty)
    ${NAME?m} ${NAME:?m}                 refuse if unset (or empty)
    $$                                   $

Words nest. A ``$`` before anything else stands for itself; ``${`` of another form is refused. Compose takes an
unset variable as empty and warns; here the result says which were missing, and a word that was not needed
misses nothing. Bounded: length and nesting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgsign.record import record

MAX_NESTING = 32
MAX_RESULT = 1024 * 1024  # characters

# NOTE: Go matches [a-z] without regard to case, by Unicode folding: the long s and the Kelvin sign are letters too.
_NAME = re.compile("[_A-Za-z\u017f\u212a][_A-Za-z0-9\u017f\u212a]*")


class InvalidTemplate(Exception):  # never leaves imgsign.images.compose
    """A text that Compose refuses to interpolate."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@record(kw_only=False)
class Interpolated:
    """``missing`` are the names that the text depends on and that have no known value."""

    text: str
    missing: tuple[str, ...] = ()


def interpolate(text: str, environment: Mapping[str, str | None]) -> Interpolated:
    """Replace the variables of a text; a name whose value is ``None`` is set, but to something not known.

    Raises:
        InvalidTemplate: for what Compose refuses.
    """
    missing: list[str] = []
    return Interpolated(_substitute(text, environment, missing, 0), tuple(dict.fromkeys(missing)))


def _substitute(text: str, environment: Mapping[str, str | None], missing: list[str], depth: int) -> str:
    if depth > MAX_NESTING:
        raise InvalidTemplate(f"more than {MAX_NESTING} nested substitutions")
    result: list[str] = []
    length = position = 0
    line_end = last = -1  # of the line in work: where it ends, and its last closing brace
    while True:
        dollar = text.find("$", position)
        piece = text[position:] if dollar < 0 else text[position:dollar]
        if dollar > line_end:
            line_end = text.find("\n", dollar)
            line_end = line_end if line_end >= 0 else len(text)
            last = text.rfind("}", dollar, line_end)
        if dollar >= 0:
            value, position = _one(text, dollar, last, environment, missing, depth)
            piece += value
        length += len(piece)
        if length > MAX_RESULT:
            raise InvalidTemplate(f"it becomes longer than {MAX_RESULT} characters")
        result.append(piece)
        if dollar < 0:
            return "".join(result)


def _one(
    text: str, dollar: int, last: int, environment: Mapping[str, str | None], missing: list[str], depth: int
) -> tuple[str, int]:
    """Replace what stands at a ``$``: the value, and where the text goes on. ``last`` is the line's last ``}``."""
    after = dollar + 1
    if text.startswith("$", after):
        return "$", after + 1
    if not text.startswith("{", after):
        name = _NAME.match(text, after)
        return ("$", after) if name is None else (_look_up(name[0], environment, missing), name.end())
    name = _NAME.match(text, after + 1)
    if name is None:
        raise InvalidTemplate("'${' without a name")
    if text.startswith("}", name.end()):
        return _look_up(name[0], environment, missing), name.end() + 1
    operator = text[name.end() : name.end() + 2]
    operator = operator if operator[:1] == ":" else operator[:1]
    if operator.lstrip(":") not in ("-", "+", "?") or operator == ":" or last < name.end():
        raise InvalidTemplate(f"'${{{name[0]}' is not followed by }}, :-, -, :+, +, :? or ?")
    end = _closing(text, dollar, last)
    word = text[name.end() + len(operator) : end]
    return _conditional(name[0], operator, word, environment, missing, depth), end + 1


def _closing(text: str, start: int, last: int) -> int:
    """The brace that closes the first one; like compose-go, the last of the line if none does."""
    opened, position = 0, start
    while position <= last:
        if text[position] == "}":
            opened -= 1
            if opened == 0:
                return position
        elif text[position] == "{":
            opened += 1
            position += 1  # as compose-go: the character after an opening brace is not looked at
        position += 1
    return last


def _look_up(name: str, environment: Mapping[str, str | None], missing: list[str]) -> str:
    value = environment.get(name)
    if value is None:
        missing.append(name)
        return ""
    return value


def _conditional(
    name: str, operator: str, word: str, environment: Mapping[str, str | None], missing: list[str], depth: int
) -> str:
    value = environment.get(name)
    if name in environment and value is None:
        missing.append(name)  # set to something unknown: every outcome is
        return ""
    absent = value is None or (operator.startswith(":") and value == "")
    match operator[-1]:
        case "-":
            return _substitute(word, environment, missing, depth + 1) if absent or value is None else value
        case "+":
            return (value or "") if absent else _substitute(word, environment, missing, depth + 1)
        case _:
            if absent or value is None:
                raise InvalidTemplate(f"required variable {name} is missing a value")
            return value
