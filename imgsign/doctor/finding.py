"""One line of what ``doctor`` found out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from imgsign.errors import ImgsignError
from imgsign.wire import printable


class State(Enum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line; ``hint`` is the next step where it is not good."""

    label: str
    text: str
    state: State = State.OK
    hint: str | None = None


def bad(label: str, error: ImgsignError) -> Finding:
    """Make a finding of what went wrong."""
    return Finding(label=label, text=printable(error.message), state=State.BAD, hint=error.hint)
