"""Collects what a scan of a Dockerfile finds, with its places; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imgsign.images import Found, Problem, Scan, Spot
from imgsign.images.dockerfile.arguments import Pin
from imgsign.images.dockerfile.contexts import Contexts, hides_image, image_of
from imgsign.images.dockerfile.marked import Marked, Places, Unreadable
from imgsign.record import record
from imgsign.wire import printable

_SHOWN = 240  # characters of one message


@record(kw_only=False)
class Place:
    """Where a reference stands: its word (``None``: not in the file), its path, what it is for."""

    word: Marked | None
    path: str
    role: str
    subject: str | None = None


@dataclass(slots=True)
class Report:
    """The growing result."""

    places: Places
    contexts: Contexts
    found: list[Found] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, text: str, contexts: Mapping[str, str]) -> Report:
        return cls(Places(text), Contexts.of(contexts))

    def image(self, place: Place, text: str, pin: Pin) -> None:
        """Add an image, or what a named context puts in its place."""
        standing = self.contexts.find(text)
        for value in standing.values if standing is not None else ():
            self.context(place, value)
        if standing is not None and standing.whole:
            return
        self._add(place, text, pin)

    def context(self, place: Place, value: str) -> None:
        """Add what a named context brings in at a place."""
        text = image_of(value)
        if text:
            self._add(place, text, Pin(None, unpinnable="a named context stands in for it"))
        elif hides_image(value):
            scheme = value.partition(":")[0]
            hint = "name the image with docker-image:// to have it judged"
            message = f"a named context of kind {scheme}: stands here, and its image cannot be judged"
            self.problem("unread-context", message, place, hint=hint)
        elif text is None:
            self.notes.append("a named context that is no image was not looked at")

    def problem(self, code: str, message: str, place: Place, *, hint: str | None = None) -> None:
        """Add a problem at a place."""
        spot = self._spot(place.word)
        self._problem(code, message, spot, place.path, hint, place.subject)

    def fault(self, fault: Unreadable, path: str = "", subject: str | None = None) -> None:
        """Add a place that could not be read."""
        spot = self.places.spot(fault.start, fault.end)
        self._problem(fault.code, fault.message, spot, path, fault.hint, subject)

    def _problem(self, code: str, message: str, spot: Spot, path: str, hint: str | None, subject: str | None) -> None:
        # Foreign text is in all of them: it must neither be long nor reach a terminal as it is.
        self.problems.append(
            Problem(
                code=code,
                message=printable(message, limit=_SHOWN),
                spot=spot,
                path=path,
                hint=None if hint is None else printable(hint, limit=_SHOWN),
                subject=None if subject is None else printable(subject, limit=_SHOWN),
            )
        )

    def result(self) -> Scan:
        """Return all of it in the order of the file."""
        return Scan(
            found=tuple(sorted(self.found, key=lambda f: f.spot)),
            problems=tuple(sorted(self.problems, key=lambda p: p.spot)),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _add(self, place: Place, text: str, pin: Pin) -> None:
        where = self._spot(pin.where) if pin.where is not None else None
        self.found.append(
            Found(
                text=text,
                path=place.path,
                role=place.role,
                spot=self._spot(place.word),
                pin=where,
                unpinnable=pin.unpinnable,
                replacement=pin.replacement,
                subject=None if place.subject is None else printable(place.subject, limit=_SHOWN),
            )
        )

    def _spot(self, word: Marked | None) -> Spot:
        return self.places.spot(word.start, word.end) if word is not None and word.text else self.places.spot(0, 0)
