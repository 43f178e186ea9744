"""New policies and certificates, taken up by the running process: looked for every two seconds, never by signal.

A signal would have to be sent by somebody; the files change by themselves. What changed is loaded whole and
checked before it takes the place of the old; what cannot be used changes nothing, and is said three times: in
the log (once a change), in a metric, and in the detail of ``/readyz`` until it is repaired. The process stays
ready: yesterday's policy is better than none, and all replicas would leave at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from imgsign.admission.mounted import Signature
from imgsign.errors import ImgsignError
from imgsign.wire import printable

EVERY = 2.0
"""Seconds between two looks; the kubelet itself needs up to a minute to show a change."""

V = TypeVar("V")


@dataclass(eq=False)
class Watched(Generic[V]):
    """One thing that is loaded from files, and taken up when they change.

    ``look`` says which versions of files there are, ``load`` reads them, ``take`` uses what was read, ``tell``
    is told of each attempt: ``None``, or why the old one is kept.
    """

    what: str
    look: Callable[[], Signature]
    load: Callable[[], V]
    take: Callable[[V], None]
    tell: Callable[[str, str | None], None]
    trouble: str | None = None
    _seen: Signature | None = field(default=None)

    def first(self) -> V:
        """Load it for the first time; what fails is the caller's.

        Raises:
            ImgsignError: it cannot be used.
        """
        seen = self.look()
        found = self.load()
        self.take(found)
        self._remember(seen)
        self.tell(self.what, None)
        return found

    def poll(self) -> bool:
        """Look whether it changed, and take up what can be used; true if something new is in force."""
        seen = self.look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.take(self.load())
            self._remember(seen)
        except Exception as e:  # noqa: BLE001  # whatever is wrong with the new one, the old one serves on
            hint = f" (hint: {e.hint})" if isinstance(e, ImgsignError) and e.hint is not None else ""
            message = e.message if isinstance(e, ImgsignError) else f"{type(e).__name__}"
            self.trouble = printable(f"{self.what}: {message}{hint}; the last good one stays in force", limit=2048)
            self.tell(self.what, self.trouble)
            return False
        self.trouble = None
        self.tell(self.what, None)
        return True

    def _remember(self, before: Signature) -> None:
        """Take note of files that are watched only since they were read; a change meanwhile is seen the next time."""
        after = self.look()
        self._seen = after if set(before) <= set(after) else before


class Reloader:
    """Polls what is watched in a thread of its own."""

    def __init__(self, watched: tuple[Watched[object], ...], *, every: float = EVERY) -> None:
        """Begin with :meth:`start`."""
        self._watched = watched
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the newest files are not used for."""
        return tuple(w.trouble for w in self._watched if w.trouble is not None)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._end.wait(self._every):
            for watched in self._watched:
                watched.poll()
