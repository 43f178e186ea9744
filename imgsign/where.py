"""Does a verified predicate meet the conditions of a ``where``? Pure; the conditions are :mod:`imgsign.policy.match`.

A condition holds if at least one value at its path passes all of its tests. A missing member, a step that
does not fit (a name on a list, a number on an object), ``null`` and a value of another kind all fail: the
signer said nothing of the kind that was asked for. Lists are searched only where the path says ``[]``.

Each path visits each value of the predicate at most once, so the work is bounded by its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import assert_never

from imgsign.errors import Malformed
from imgsign.policy.match import (
    After,
    Any,
    Before,
    Compared,
    Condition,
    Exists,
    MaxAge,
    OneOf,
    Prefix,
    Relation,
    Step,
    Test,
    Within,
    show,
)
from imgsign.record import record
from imgsign.wire import parse_time

_SHOWN = 3  # values of a list that a message shows


@record(kw_only=False)
class Holds:
    """The conditions hold, and go on holding until this time; ``None`` is for ever."""

    until: datetime | None


@record(kw_only=False)
class Fails:
    """The first condition that does not hold, and why."""

    code: str
    message: str


def judge_where(
    conditions: tuple[Condition, ...], predicate: object, *, now: datetime, skew: timedelta
) -> Holds | Fails:
    """Judge the conditions by the decoded JSON of one predicate, of which nothing they name is left out.

    ``skew`` is how far the signer's clock may run ahead.
    """
    ends: list[datetime] = []
    for condition in conditions:
        found = _judge(condition, predicate, now, skew)
        if isinstance(found, Fails):
            return found
        if found.until is not None:
            ends.append(found.until)
    return Holds(min(ends, default=None))


def _judge(condition: Condition, predicate: object, now: datetime, skew: timedelta) -> Holds | Fails:
    seen: list[object] = []
    best: Holds | None = None
    for value in values_at(condition.path.steps, predicate):
        seen.append(value)
        found = _passes_all(condition.tests, value, now, skew)
        if found is not None and (found.until is None):
            return found
        if found is not None and found.until is not None and (best is None or _later(found, best)):
            best = found
    if best is not None:
        return best
    if not seen:
        return Fails("where-missing", f"its predicate has no {condition.path}, {condition} needed")
    shown = ", ".join(show(v) for v in seen[:_SHOWN]) + (" …" if len(seen) > _SHOWN else "")
    return Fails("where-mismatch", f"its predicate's {condition.path} is {shown}, {condition} needed")


def values_at(steps: tuple[Step, ...], value: object) -> Iterator[object]:
    """Yield every value at a path that is there and not ``null``, in the order of the document."""
    if not steps:
        if value is not None:
            yield value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if isinstance(value, dict) and step in value:
            yield from values_at(rest, value[step])
    elif isinstance(value, list):
        if isinstance(step, Any):
            for element in value:
                yield from values_at(rest, element)
        elif step < len(value):
            yield from values_at(rest, value[step])


def _passes_all(tests: tuple[Test, ...], value: object, now: datetime, skew: timedelta) -> Holds | None:
    """All tests on one value: until when, or ``None`` if one fails."""
    ends: list[datetime] = []
    for test in tests:
        found = _passes(test, value, now, skew)
        if found is None:
            return None
        if found.until is not None:
            ends.append(found.until)
    return Holds(min(ends, default=None))


def _passes(test: Test, value: object, now: datetime, skew: timedelta) -> Holds | None:
    match test:
        case OneOf():
            return _held(any(_equal(value, wanted) for wanted in test.values))
        case Prefix():
            return _held(isinstance(value, str) and value.startswith(test.text))
        case Exists():
            return _held(value is not None)
        case Compared():
            return _held(_compares(test, value))
        case After():
            moment = _moment(value)
            return _held(moment is not None and moment > test.moment)
        case Before():
            moment = _moment(value)
            return _held(moment is not None and moment < test.moment)
        case MaxAge():
            moment = _moment(value)
            if moment is None or now - moment >= test.span or moment > now + skew:
                return None
            return Holds(moment + test.span)
        case Within():
            found = judge_where(test.conditions, value, now=now, skew=skew)
            return found if isinstance(found, Holds) else None
        case _:
            assert_never(test)


def _equal(value: object, wanted: object) -> bool:
    """Equal in kind and value: true is not 1, "1" is not 1, 1.0 is 1."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, str) or isinstance(wanted, str):
        return isinstance(value, str) and isinstance(wanted, str) and value == wanted
    return isinstance(value, (int, float)) and value == wanted


def _compares(test: Compared, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    match test.relation:
        case Relation.AT_LEAST:
            return value >= test.bound
        case Relation.AT_MOST:
            return value <= test.bound
        case Relation.ABOVE:
            return value > test.bound
        case Relation.BELOW:
            return value < test.bound
        case _:
            assert_never(test.relation)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_time(value)
    except Malformed:
        return None


def _held(holds: bool) -> Holds | None:
    return Holds(None) if holds else None


def _later(found: Holds, other: Holds) -> bool:
    return other.until is not None and (found.until is None or found.until > other.until)
