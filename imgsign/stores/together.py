"""Copies side by side, where the first failure ends them all.

Without that, one blob that is not there would be reported only after all the others have been fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait

from imgsign.stores import Piece


class Stopped(Exception):
    """Work was given up because other work failed, whose error is the one that counts."""


class Stop:
    """Tells all workers of one :func:`run_all` that there is no point in going on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on the checks raise."""
        self._event.set()

    def check(self) -> None:
        """Raise ``Stopped`` once there is no point in going on."""
        if self._event.is_set():
            raise Stopped

    def checked(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield pieces until then."""
        for piece in pieces:
            self.check()
            yield piece


def run_all(tasks: Sequence[Callable[[Stop], None]], pool: Executor | None) -> None:
    """Do all tasks, side by side with a pool; returns or raises only when none is under way any more.

    Raises:
        Exception: what the first task that failed raised, in the order given.
    """
    stop = Stop()
    if pool is None:
        for task in tasks:
            task(stop)
        return
    futures = [pool.submit(task, stop) for task in tasks]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        stop.set()  # also for Ctrl-C
        for future in futures:
            future.cancel()
        wait(futures)
    errors = [e for e in (f.exception() for f in futures if not f.cancelled()) if e is not None]
    if errors:
        raise next((e for e in errors if not isinstance(e, Stopped)), errors[0])
