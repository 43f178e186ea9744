"""One line of what ``doctor`` found out."""

from __future__ import annotations

from enum import Enum

from imgsign.errors import ImgsignError
from imgsign.record import record
from imgsign.wire import printable


class State(Enum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@record
class Finding:
    """One line; ``hint`` is the next step where it is not good."""

    label: str
    text: str
    state: State = State.OK
    hint: str | None = None


def bad(label: str, error: ImgsignError) -> Finding:
    """Make a finding of what went wrong."""
    return Finding(label=label, text=printable(error.message), state=State.BAD, hint=error.hint)
