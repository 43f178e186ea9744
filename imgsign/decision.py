"""What is gathered before a judgement and what comes out of it; pure data.

:class:`Evidence` is everything found for one image, :class:`Decision` the answer with its reasons. The
judgement between them is :func:`imgsign.evaluate.evaluate`, the only code that may make a positive one.
"""

from __future__ import annotations

import enum
from dataclasses import InitVar
from datetime import datetime
from typing import NoReturn

from imgsign.claim import Candidate, Claim, Defect, Place
from imgsign.oci import Artifact, Image
from imgsign.record import record

SEAL = object()
"""Handed to ``Decision`` by ``evaluate`` alone (a test reads the sources for it)."""


class Verdict(enum.Enum):
    """The two answers."""

    ALLOW = "allowed"
    DENY = "denied"


@record
class Fault:
    """Evidence that could not be gathered: ``about`` says which, ``message`` why."""

    about: str
    message: str
    hint: str | None = None


@record
class Opened:
    """One place after its requests: an artifact, or a defect; faults either way. Neither: nothing is there."""

    place: Place
    artifact: Artifact | None = None
    defect: Defect | None = None
    faults: tuple[Fault, ...] = ()


@record
class Evidence:
    """All that was gathered for one image. Order carries no meaning.

    ``opened`` is what it was read from: nothing judges by it, but who keeps it can read it again
    (:mod:`imgsign.evidence`).
    """

    candidates: tuple[Candidate, ...] = ()
    defects: tuple[Defect, ...] = ()
    faults: tuple[Fault, ...] = ()
    opened: tuple[Opened, ...] = ()


@record
class Check:
    """One thing that was looked at: ``code`` is stable and documented, ``about`` the place or requirement.

    ``group`` is the requirement the check belongs to (``signed-by release``), ``None`` for the image as
    a whole.
    """

    code: str
    passed: bool
    about: str
    message: str
    hint: str | None = None
    group: str | None = None


@record
class Decision:
    """The verdict on one image under one policy at one time.

    ``claims`` are the verified claims a positive verdict rests on, with the anchor each counted for.
    ``valid_until``: a positive verdict holds for every time in [now, valid_until); ``None`` is for ever.
    """

    verdict: Verdict
    image: Image
    scope: str | None
    checks: tuple[Check, ...]
    claims: tuple[tuple[str, Claim], ...] = ()
    faults: tuple[Fault, ...] = ()
    valid_until: datetime | None = None
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not SEAL:
            raise TypeError("a Decision is made by imgsign.evaluate.evaluate only")

    def __bool__(self) -> NoReturn:
        # NOTE: `if verify(...):` would be true for a denial too.
        raise TypeError("a Decision has no truth value; compare decision.verdict, or use require_allowed")

    @property
    def allowed(self) -> bool:
        """Whether the verdict is ALLOW."""
        return self.verdict is Verdict.ALLOW

    @property
    def inconclusive(self) -> bool:
        """Whether this is a denial that missing evidence might have turned: gates deny, the CLI exits 3."""
        return self.verdict is Verdict.DENY and bool(self.faults)
