"""What a process has learnt about hosts, and the turns its threads take; shared by all threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from imgsign.errors import Unavailable

REPROBE = 3600.0
"""Seconds after which a host is asked again whether it has a referrers API: servers live long and registries
are upgraded, or were only being upgraded when they seemed to have none."""


class Memory:
    """Facts by registry, as references name it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Remember nothing yet."""
        self._clock = clock
        self._speak_tls: set[str] = set()
        self._without_referrers: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self._locks: dict[tuple[str, ...], threading.Lock] = {}
        self._guard = threading.Lock()

    def speaks_tls(self, registry: str) -> bool:
        """Whether a registry that may be asked over http has answered that it wants https."""
        return registry in self._speak_tls

    def note_tls(self, registry: str) -> None:
        """Remember that a registry wants https."""
        self._speak_tls.add(registry)

    def lacks_referrers(self, registry: str) -> bool:
        """Whether a registry was found to have no referrers API, not too long ago."""
        found_at = self._without_referrers.get(registry)
        return found_at is not None and self._clock() - found_at < REPROBE

    def note_no_referrers(self, registry: str) -> None:
        """Remember that a registry has no referrers API."""
        self._without_referrers[registry] = self._clock()

    def hold(self, registry: str, seconds: float) -> None:
        """Let nobody ask a registry for so long: it has told one of us that it is too busy (429)."""
        self._held[registry] = max(self._held.get(registry, 0.0), self._clock() + seconds)

    def held(self, registry: str) -> float:
        """Return for how many seconds more nobody is to ask a registry."""
        until = self._held.get(registry)
        return 0.0 if until is None else max(until - self._clock(), 0.0)

    @contextlib.contextmanager
    def turn(self, *name: str, left: float) -> Iterator[None]:
        """Hold the lock of that name; ``left`` is how many seconds to wait for it, or infinity.

        Raises:
            Unavailable: if another thread holds it for longer.
        """
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=-1 if left == float("inf") else left):
            raise Unavailable("the deadline has passed while waiting for another thread")
        try:
            yield
        finally:
            lock.release()
