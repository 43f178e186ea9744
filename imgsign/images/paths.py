"""Paths into parsed data: ``spec.templates[].container.image``, as tables and ``--image-path`` write them.

Grammar:

    pattern := step *("." step)
    step    := key *("[]")
    key     := one or more of A-Z a-z 0-9 _ - / and "*"     "*" stands for any text within one key

``[]`` is every element of a list. A pattern that meets something else than it says (a text where it wants a
list) matches nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from imgsign.errors import Malformed
from imgsign.wire import quote

__all__ = ["Path", "Step", "matches", "parse_pattern", "shown"]

Step = str | int
Path = tuple[Step, ...]

_PATTERN = re.compile(r"[A-Za-z0-9_/*-]+(?:\[\])*(?:\.[A-Za-z0-9_/*-]+(?:\[\])*)*")
_SIMPLE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@cache
def parse_pattern(text: str) -> tuple[str, ...]:
    """Split a pattern into keys and ``[]``.

    Raises:
        Malformed: if it does not follow the grammar.
    """
    if len(text) > 512 or _PATTERN.fullmatch(text) is None:
        raise Malformed(f"not a path: {quote(text)}", hint="write it as spec.containers[].image")
    steps: list[str] = []
    for part in text.split("."):
        key = part.rstrip("[]")
        steps.extend([key, *("[]",) * ((len(part) - len(key)) // 2)])
    return tuple(steps)


def matches(data: object, pattern: str) -> Iterator[tuple[Path, object]]:
    """Yield every place of the data that a pattern names, with what stands there."""
    yield from _below(data, parse_pattern(pattern), ())


def _below(data: object, steps: tuple[str, ...], path: Path) -> Iterator[tuple[Path, object]]:
    if not steps:
        yield path, data
        return
    step, rest = steps[0], steps[1:]
    if step == "[]":
        if isinstance(data, list):
            for number, item in enumerate(data):
                yield from _below(item, rest, (*path, number))
    elif isinstance(data, dict):
        if "*" not in step:
            if step in data:
                yield from _below(data[step], rest, (*path, step))
            return
        for key, value in data.items():
            if isinstance(key, str) and _like(key, step):
                yield from _below(value, rest, (*path, key))


def _like(key: str, pattern: str) -> bool:
    """Match with ``*``, each part at its first place: linear, whatever a file's keys are."""
    first, *middle, last = pattern.split("*")
    if len(key) < len(first) + len(last) or not (key.startswith(first) and key.endswith(last)):
        return False
    at, end = len(first), len(key) - len(last)
    for part in middle:
        at = key.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def shown(path: Path) -> str:
    """Write a path for people: ``spec.containers[0].image``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _SIMPLE.fullmatch(step) else quote(step))
    return text or "$"
