"""Where image references hide in files that people deploy and build from; pure: text in, places out.

One kind of file is one module: ``kubernetes`` (manifests and kustomizations), ``dockerfile``, ``compose``.
Each returns a :class:`Scan`. A scanner never skips in silence: what it cannot resolve to one reference (a
build argument without value, an unset variable, a template that was not rendered) is a :class:`Problem`,
and a problem is never a pass.

Nothing is judged here and nothing is fetched: whether a text is a valid reference, and what a policy says
of it, is asked by who called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imgsign.record import record

__all__ = ["Build", "Found", "Problem", "Scan", "Spot"]


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """A stretch of a file's text: character offsets, half open; ``line`` and ``column`` (of ``start``) count from 1."""

    start: int
    end: int
    line: int
    column: int


@record
class Found:
    """One image reference in a file.

    ``text`` is the reference after expansion, as the program that reads the file would see it. ``path`` says
    where it stands in the file's own terms (``spec.containers[0].image``, ``FROM 2``), ``role`` what it is for
    (``container``, ``base``, ``copy``, ``mount``, ``syntax``, ``cache``, ``volume``, ``model``, …). ``spot`` is
    where a person looks. ``pin`` is the stretch that ``--pin`` may replace by the pinned reference; ``None`` if
    no replacement there would do, and then ``unpinnable`` says why. ``replacement`` is what to write at
    ``pin``, with ``{reference}`` for the pinned reference and ``{digest}`` for the digest alone.
    ``subject`` names the object it belongs to (``Deployment shop/web``, ``service web``), if any.
    """

    text: str
    path: str
    role: str
    spot: Spot
    pin: Spot | None = None
    unpinnable: str | None = None
    replacement: str = "{reference}"
    subject: str | None = None


@record
class Problem:
    """Something that hides an image, or may: an error of the check, never a pass. ``code`` is stable."""

    code: str
    message: str
    spot: Spot
    path: str = ""
    hint: str | None = None
    subject: str | None = None


@record
class Build:
    """A Dockerfile that a file names: ``dockerfile`` relative to ``context``, both as written after expansion.

    ``inline`` is its text if the file holds it; ``contexts`` are named contexts (name -> value). An argument of
    ``None`` is given, but its value is not known.
    """

    context: str
    dockerfile: str | None
    spot: Spot
    inline: str | None = None
    target: str | None = None
    arguments: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    contexts: Mapping[str, str] = field(default_factory=dict, hash=False)
    subject: str | None = None


@record
class Scan:
    """All that one file holds, in the order of the file. ``notes`` are lines for people (things not looked at)."""

    found: tuple[Found, ...] = ()
    problems: tuple[Problem, ...] = ()
    builds: tuple[Build, ...] = ()
    notes: tuple[str, ...] = ()
