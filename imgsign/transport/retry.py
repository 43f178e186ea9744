"""When a request is tried again, and how long one waits before it.

Sources: RFC 9110 §10.2.3 (Retry-After), §15.5.9 (408), §15.6 (5xx), RFC 6585 §4 (429); the numbers are
in the range of what go-containerregistry and oras-go do.

Only what is safe to repeat is repeated: reads, and the PUT of a manifest, which is named by its bytes.
Waiting is bounded three times over: by the number of tries, by :data:`RETRY_AFTER_LIMIT`, and by the
deadline, which the caller of :func:`delay` applies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgsign.errors import Unavailable

TRIES = 4
"""Times a repeatable request is sent; go-containerregistry 3, oras-go 5."""

TIMEOUT_COST = 2
"""A timeout has already been waited for: it counts as so many tries."""

RETRY_AFTER_LIMIT = 60.0
"""Seconds of ``Retry-After`` one waits; who asks for more is not asked again (containers/image: 60 s)."""

PATIENT_LIMIT = 6 * 3600.0
"""The same for work that may take its time: Docker Hub's limits are counted over six hours."""

_BASE = 0.25  # seconds before the second try, doubled for each further one (oras-go)
_BUSY_BASE = 1.0  # the same where the registry said that it is too busy (429)
_CEILING = 8.0  # seconds
_PATIENT_CEILING = 60.0  # seconds between two tries of patient work that is told to wait without for how long

_TEMPORARY = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
"""Statuses worth another try; 499 and 522 are what proxies say (go-containerregistry)."""


class Transient(Unavailable):
    """A failure after which the same request may succeed; ``wait`` is what the registry asked for, in seconds."""

    wait: float | None = None
    cost: int = 1


def is_temporary(status: int) -> bool:
    """Whether a status is worth another try."""
    return status in _TEMPORARY


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds ``Retry-After`` asks for, in either of its forms; ``None`` if absent or unreadable.

    A date counts from the response's own ``Date``, so that a wrong clock on this side does not matter.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        then, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    seconds = (then.replace(tzinfo=then.tzinfo or UTC) - now.replace(tzinfo=now.tzinfo or UTC)).total_seconds()
    return max(seconds, 0.0)


def delay(failure: Transient, tries: int, *, patient: bool = False) -> float | None:
    """Return how many seconds to wait after so many tries; ``None``: the registry asks for too much.

    ``patient``: by the limits for work that may take its time, where the registry is only too busy (429).
    """
    patient = patient and failure.status == 429
    if failure.wait is not None and failure.wait > (PATIENT_LIMIT if patient else RETRY_AFTER_LIMIT):
        return None
    base = _BUSY_BASE if failure.status == 429 else _BASE
    backoff = jitter(min(_PATIENT_CEILING if patient else _CEILING, base * 2 ** min(tries - 1, 16)))
    return max(backoff, failure.wait or 0.0)


def jitter(seconds: float) -> float:
    """Return a random time between half of ``seconds`` and all of it, so that clients do not march in step."""
    import random

    return seconds * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, protects nothing
