"""What the webhook remembers: verdicts, tags that were resolved a moment ago, and work that is under way.

A verdict is kept under (policy digest, trust digest, image digest, reference): never under a tag alone, so a
changed policy, a changed key and a moved tag each find nothing. Its life is min(TTL, valid_until - now); a
conclusive denial lives some seconds, so that a signature made just now is soon seen; an inconclusive one is
not kept at all. Entries are bounded by count, the one used longest ago goes first.

:class:`Flights` makes one piece of work of many equal wishes: the first who asks does it, the others get
the same future.

Everything is of one process and thread-safe; replicas share nothing.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRIES = 32_768
"""Verdicts kept by default: some 1.5 KiB each, so 50 MiB; a large cluster runs some thousand images."""


class VerdictKey(NamedTuple):
    """All that a verdict depends on besides the time; ``reference`` is the name with its tag."""

    policy: str
    trust: str
    image: str
    reference: str


class Bounded(Generic[K, V]):
    """A mapping whose entries end after a time each, and of which only so many are kept."""

    def __init__(self, entries: int, clock: Callable[[], float]) -> None:
        """Keep at most ``entries``; ``clock`` counts seconds and never goes back."""
        if entries < 1:
            raise ValueError("a cache keeps at least one entry")
        self._entries = entries
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self.evictions = 0

    def get(self, key: K) -> V | None:
        """Return what is kept and has not ended."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if self._clock() >= found[0]:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: K, value: V, seconds: float) -> None:
        """Keep a value for so long; none at all if that is not more than 0."""
        if not seconds > 0:
            return
        with self._lock:
            self._kept[key] = self._clock() + seconds, value
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
                self.evictions += 1

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def life(
    *, allowed: bool, inconclusive: bool, valid_until: datetime | None, now: datetime, ttl: float, negative_ttl: float
) -> float:
    """Return for how many seconds a verdict may be used again; 0 is not at all."""
    if inconclusive:
        return 0.0
    if not allowed:
        return negative_ttl
    left = math.inf if valid_until is None else (valid_until - now).total_seconds()
    return max(0.0, min(ttl, left))


class Flights(Generic[K, V]):
    """Work under way, one piece for each key."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._lock = threading.Lock()
        self._under_way: dict[K, Future[V]] = {}

    def join(self, key: K) -> tuple[Future[V], bool]:
        """Return the future of a key's work, and whether it is new: then the caller must see it done."""
        with self._lock:
            future = self._under_way.get(key)
            if future is not None:
                return future, False
            future = Future()
            self._under_way[key] = future
        # Before anybody waits: whoever is told the result asks the cache from then on.
        future.add_done_callback(lambda _: self._forget(key))
        return future, True

    def _forget(self, key: K) -> None:
        with self._lock:
            self._under_way.pop(key, None)

    def __len__(self) -> int:
        return len(self._under_way)
