"""The text of matches, paths and ``where`` conditions -> :mod:`imgsign.policy.match`.

    ANNOTATION = "text" | ["text", …]             exactly one of these
               | { prefix = "text/" } | { exists = true }
    WHERE      = { "PATH" = MATCH, … }            every path must have a value that matches
    MATCH      = SCALAR | [SCALAR, …]             exactly one of these, of the same kind
               | { TEST = …, … }                  all of these, by one and the same value
    SCALAR     = "text" | number | true | false
    TEST       = one-of = [SCALAR, …] | prefix = "text/" | exists = true
               | at-least, at-most, above, below = number
               | after, before = time | max-age = "7d"
               | where = WHERE                    an object that alone meets all of it
    PATH       = STEP *("." STEP)
    STEP       = NAME *("[" [NUMBER] "]")         a member; [0] the first element of a list, [] any one
    NAME       = any characters; "." "[" "]" and "\\" are written with a "\\" before them

Lists are never searched unless ``[]`` says so. Two conditions with ``[]`` may be met by two elements; what
one element has to meet alone stands in one ``where`` test: ``"materials[]" = { where = { … } }``.

Refused: a prefix that ends in a letter or digit (it would accept a longer name too), NaN and infinity,
empty lists and tables, deeper than :data:`WHERE_DEPTH`, more than :data:`CONDITIONS_LIMIT` in one place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from imgsign.policy.match import (
    After,
    Any,
    Before,
    Compared,
    Condition,
    Exists,
    MaxAge,
    OneOf,
    Path,
    Prefix,
    Relation,
    Scalar,
    Step,
    Test,
    TextMatch,
    Within,
)
from imgsign.wire import Node, parse_duration, quote

WHERE_DEPTH = 4  # where in where: a document whose elements have elements
CONDITIONS_LIMIT = 64  # conditions in one where, values in one list, steps of one path

_NAME = re.compile(r"(?:[^\\.\[\]]|\\[\\.\[\]])+")
_ELEMENT = re.compile(r"\[(0|[1-9][0-9]{0,8})?\]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_texts(node: Node) -> tuple[str, ...]:
    """Read one string or a list of at least one."""
    if isinstance(node.value, str):
        return (node.text(),)
    found = tuple(n.text() for n in node.items())
    if not found:
        node.refuse("empty list")
    return found


def parse_annotation(node: Node) -> TextMatch:
    """Read what an annotation must be."""
    if not isinstance(node.value, dict):
        return parse_texts(node)
    members = node.fields((), ("prefix", "exists"))
    if len(members) != 1:
        node.refuse("expected one of 'prefix' and 'exists'")
    return _prefix(members["prefix"]) if "prefix" in members else _exists(members["exists"])


def parse_where(node: Node, depth: int = 1) -> tuple[Condition, ...]:
    """Read a table of conditions."""
    if depth > WHERE_DEPTH:
        node.refuse(f"where in where, deeper than {WHERE_DEPTH}")
    found = node.entries()
    if not found:
        node.refuse("empty where would accept anything", hint="leave it out if that is meant")
    if len(found) > CONDITIONS_LIMIT:
        node.refuse(f"more than {CONDITIONS_LIMIT} conditions")
    return tuple(Condition(path=parse_path(text, sub), tests=_tests(sub, depth)) for text, sub in found.items())


def parse_path(text: str, node: Node) -> Path:
    """Read a path; ``node`` is only where errors are."""
    steps = _steps(text)
    if not steps:
        node.refuse(f"not a path: {quote(text)}", hint=r"write it as a.b, a[].b or a[0]; a dot in a name is \.")
    if len(steps) > CONDITIONS_LIMIT:
        node.refuse(f"path of more than {CONDITIONS_LIMIT} steps")
    return Path(text, steps)


def _steps(text: str) -> tuple[Step, ...]:
    """Split a path by its grammar; empty if it is none."""
    steps: list[Step] = []
    position = 0
    while name := _NAME.match(text, position):
        steps.append(_ESCAPED.sub(r"\1", name[0]))
        position = name.end()
        while element := _ELEMENT.match(text, position):
            steps.append(Any.ELEMENT if element[1] is None else int(element[1]))
            position = element.end()
        if position == len(text):
            return tuple(steps)
        if text[position] != ".":
            break
        position += 1
    return ()


def _tests(node: Node, depth: int) -> tuple[Test, ...]:
    if not isinstance(node.value, dict):
        return (_one_of(node),)
    members = node.fields((), ("where", *_TESTS))
    if not members:
        node.refuse("empty match would accept anything", hint="write { exists = true } if that is meant")
    found: list[Test] = [_TESTS[key](sub) for key, sub in members.items() if key != "where"]
    if "where" in members:
        found.append(Within(parse_where(members["where"], depth + 1)))
    return tuple(found)


def _one_of(node: Node) -> OneOf:
    values = node.items(limit=CONDITIONS_LIMIT) if isinstance(node.value, list) else (node,)
    if not values:
        node.refuse("empty list")
    return OneOf(tuple(_scalar(v) for v in values))


def _list_of(node: Node) -> OneOf:
    node.items()
    return _one_of(node)


def _scalar(node: Node) -> Scalar:
    if isinstance(node.value, bool):
        return node.value
    return node.text() if isinstance(node.value, str) else _number(node)


def _number(node: Node) -> int | float:
    if isinstance(node.value, float) and math.isfinite(node.value):
        return node.value
    if isinstance(node.value, float) or not isinstance(node.value, int) or isinstance(node.value, bool):
        node.refuse("expected a number, a text or a boolean")
    return node.integer(low=-(2**63), high=2**63 - 1)


def _prefix(node: Node) -> Prefix:
    text = node.text()
    if not text or text[-1].isalnum():
        hint = f"end it where the name ends, such as {quote(text + '/')}"
        node.refuse(f"prefix {quote(text)} accepts longer names too", hint=hint)
    return Prefix(text)


def _exists(node: Node) -> Exists:
    if node.boolean() is not True:
        node.refuse("expected true", hint="a policy cannot ask for absence: whoever removes things would meet it")
    return Exists()


def _compared(relation: Relation) -> Callable[[Node], Test]:
    def parse(node: Node) -> Compared:
        if isinstance(node.value, (str, bool)):
            node.refuse("expected a number")
        return Compared(relation, _number(node))

    return parse


_TESTS: dict[str, Callable[[Node], Test]] = {
    "one-of": _list_of,
    "prefix": _prefix,
    "exists": _exists,
    **{relation.value: _compared(relation) for relation in Relation},
    "after": lambda node: After(node.moment()),
    "before": lambda node: Before(node.moment()),
    "max-age": lambda node: MaxAge(parse_duration(node.text(), error=node.error, path=node.path)),
}
