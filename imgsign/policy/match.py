"""What a policy may ask of a signed value: a closed set of tests, as parsed values.

An annotation is text and has one :data:`TextMatch`. A ``where`` condition names values in a predicate by
a :class:`Path` and has one or more :data:`Test`, all of which one value must pass. The text of both is
read by :mod:`imgsign.policy.parse_match`; predicates are judged by :mod:`imgsign.where`.

Every test asks for the presence of something; there is none that a missing value passes, and none for
"no element" or "every element" of a list. Nothing here runs code: no expressions, no regular expressions.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import datetime, timedelta

from imgsign.record import record
from imgsign.wire import format_time, quote

Scalar = str | bool | int | float


@record(kw_only=False)
class Prefix:
    """Text that begins with ``text``, which ends in a character that is no letter or digit.

    Otherwise ``https://github.com/acme`` would accept ``https://github.com/acme-evil`` too.
    """

    text: str

    def __str__(self) -> str:
        return f"something under {quote(self.text)}"


@record(kw_only=False)
class Exists:
    """Any value but ``null``."""

    def __str__(self) -> str:
        return "any value"


TextMatch = tuple[str, ...] | Prefix | Exists
"""What an annotation must be: one of these texts, or as the class says."""


@record(kw_only=False)
class OneOf:
    """Equal, in kind and value, to one of these; a whole number equals itself written as 1.0."""

    values: tuple[Scalar, ...]

    def __str__(self) -> str:
        return " or ".join(show(v) for v in self.values)


class Relation(enum.Enum):
    """How a number must compare."""

    AT_LEAST = "at-least"
    AT_MOST = "at-most"
    ABOVE = "above"
    BELOW = "below"


@record(kw_only=False)
class Compared:
    """A JSON number on the right side of a bound; digits in a string are no number."""

    relation: Relation
    bound: int | float

    def __str__(self) -> str:
        return f"a number {self.relation.value.replace('-', ' ')} {self.bound}"


@record(kw_only=False)
class After:
    """An RFC 3339 time later than this one."""

    moment: datetime

    def __str__(self) -> str:
        return f"a time after {format_time(self.moment)}"


@record(kw_only=False)
class Before:
    """An RFC 3339 time earlier than this one."""

    moment: datetime

    def __str__(self) -> str:
        return f"a time before {format_time(self.moment)}"


@record(kw_only=False)
class MaxAge:
    """An RFC 3339 time less than ``span`` ago, and not in the future by more than clocks differ."""

    span: timedelta

    def __str__(self) -> str:
        return f"a time less than {self.span} ago"


@record(kw_only=False)
class Within:
    """An object that alone meets all of these conditions; paths start from it."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return "an element with " + ", ".join(f"{c.path} {_all(c.tests)}" for c in self.conditions)


Test = OneOf | Prefix | Exists | Compared | After | Before | MaxAge | Within


class Any(enum.Enum):
    """Stands in a path for any one element of a list."""

    ELEMENT = "[]"


Step = str | int | Any
"""One step of a path: a member's name, an element's number from 0, or any element."""


@record(kw_only=False)
class Path:
    """Where in a predicate a value is; ``text`` as the policy says it."""

    text: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return quote(self.text)


@record(kw_only=False)
class Condition:
    """At least one value at ``path`` must pass all tests."""

    path: Path
    tests: tuple[Test, ...]

    @property
    def names(self) -> Iterator[str]:
        """The names of all members that the condition looks at: nothing else need be read."""
        yield from (s for s in self.path.steps if isinstance(s, str))
        for test in self.tests:
            if isinstance(test, Within):
                for condition in test.conditions:
                    yield from condition.names

    def __str__(self) -> str:
        return _all(self.tests)


def show(value: object) -> str:
    """Write a value as a policy does, cut and safe to print."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, (int, float)):
        return quote(str(value))[1:-1]
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "null"


def _all(tests: tuple[Test, ...]) -> str:
    return " and ".join(str(t) for t in tests)
