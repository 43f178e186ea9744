"""check(): each image that files name, judged once and reported at every place it stands.

References in files are read as the programs that read the files do: a short name is Docker Hub's. Each distinct
one is asked about once (:func:`imgsign.workflow.verify`), side by side. What a file hides stays a
:class:`Problem` of it (:mod:`imgsign.scanning`) beside the verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from datetime import datetime

from imgsign.decision import Decision
from imgsign.errors import ImgsignError, InvalidReference, UsageError
from imgsign.images import Found, Problem
from imgsign.policy.model import Policy
from imgsign.record import record
from imgsign.reference import Reference
from imgsign.scanning import File
from imgsign.stores import Locate
from imgsign.trust import TrustStore
from imgsign.workflow import verify

IMAGES_LIMIT = 10_000  # distinct references of one run

Result = Decision | ImgsignError
"""A verdict, or why there is none."""


@record
class Judged:
    """One place of an image; ``reference`` is ``None`` if the text is no reference."""

    file: File
    found: Found
    reference: Reference | None
    result: Result


@record
class Report:
    """All that a run found, in the order of the files."""

    files: tuple[File, ...]
    places: tuple[Judged, ...]

    @property
    def problems(self) -> Iterator[tuple[File, Problem]]:
        """What hides images, file by file."""
        return ((f, p) for f in self.files for p in f.scan.problems)

    @property
    def notes(self) -> Iterator[tuple[File, str]]:
        """Lines for people: things not looked at."""
        return ((f, n) for f in self.files for n in f.scan.notes)


def judge(
    files: Iterable[File],
    policy: Policy,
    trust: TrustStore,
    *,
    locate: Locate,
    now: datetime,
    pool: Executor,
) -> Report:
    """Judge every distinct reference once, side by side in ``pool``.

    Raises:
        UsageError: more than IMAGES_LIMIT distinct references.
    """
    files = tuple(files)
    places = [(file, found, _parse(found.text)) for file in files for found in file.scan.found]
    wanted = {str(p): p for _, _, p in places if isinstance(p, Reference)}
    if len(wanted) > IMAGES_LIMIT:
        raise UsageError(f"more than {IMAGES_LIMIT} images")

    def ask(reference: Reference) -> Result:
        try:
            return verify(reference, policy, trust, locate=locate, now=now)
        except ImgsignError as e:
            return e

    results = dict(zip(wanted, pool.map(ask, wanted.values()), strict=True))
    judged = [
        Judged(file=file, found=found, reference=parsed, result=results[str(parsed)])
        if isinstance(parsed, Reference)
        else Judged(file=file, found=found, reference=None, result=parsed)
        for file, found, parsed in places
    ]
    return Report(files=files, places=tuple(judged))


def _parse(text: str) -> Reference | InvalidReference:
    """Parse a reference as a container runtime does, with its default tag."""
    try:
        return Reference.parse(text).tag_or_latest()
    except InvalidReference as e:
        return e
