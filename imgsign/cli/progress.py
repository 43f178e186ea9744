"""A progress line on a terminal: how much, how fast, how long still. Nothing when standard error is piped."""

from __future__ import annotations

import sys
import threading
import time

_INTERVAL = 0.2  # seconds between two drawings
_WIDTH = 24  # characters of the bar


class Bar:
    """Counts bytes from several threads; use it in a ``with`` statement, so that the line is cleared."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._start = self._drawn = time.monotonic()
        self._total = self._done = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown and self._total:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def expect(self, size: int) -> None:
        """Say how many bytes are to come."""
        self._total = size
        self._start = time.monotonic()

    def __call__(self, count: int) -> None:
        """Count bytes that have come (fewer than none: they turned out bad)."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._shown and self._total and now - self._drawn >= _INTERVAL:
                self._drawn = now
                sys.stderr.write("\r\x1b[K" + line(self._what, self._done, self._total, now - self._start))
                sys.stderr.flush()


class Tally:
    """Counts things of which ``total`` are to come; use it in a ``with`` statement, so that the line is cleared."""

    def __init__(self, what: str, unit: str) -> None:
        self._what = what
        self._unit = unit
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._start = self._drawn = time.monotonic()
        self.total = self.done = 0

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Make room for a line of text; the next count draws it again."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = 0.0

    def expect(self, total: int) -> None:
        """Say how many are to come, from now."""
        self.total = total
        self._start = time.monotonic()

    def count(self, more: str = "") -> None:
        """One is done; ``more`` is shown behind."""
        self.done += 1
        now = time.monotonic()
        if self._shown and self.total and now - self._drawn >= _INTERVAL:
            self._drawn = now
            text = count_line(self._what, self.done, self.total, now - self._start, self._unit)
            sys.stderr.write(f"\r\x1b[K{text}  {more}".rstrip())
            sys.stderr.flush()


def count_line(what: str, done: int, total: int, seconds: float, unit: str) -> str:
    """Write one line: ``auditing [####    ]  25 %  500 of 2000 images  95/s  16 s left``."""
    share = min(done / total, 1.0)
    rate = done / seconds if seconds > 0 else 0.0
    left = f"{_span((total - done) / rate)} left" if rate > 0 and done < total else ""
    bar = "#" * int(share * _WIDTH)
    return f"{what} [{bar:<{_WIDTH}}] {share:4.0%}  {done} of {total} {unit}  {rate:.0f}/s  {left}".rstrip()


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def line(what: str, done: int, total: int, seconds: float) -> str:
    """Write one line: ``pulling [####    ]  25 %  12.0 of 48.0 MB  6.0 MB/s  6 s left``."""
    done = max(done, 0)
    share = min(done / total, 1.0)
    rate = done / seconds if seconds > 0 else 0.0
    left = f"{(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
    bar = "#" * int(share * _WIDTH)
    sizes = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
    return f"{what} [{bar:<{_WIDTH}}] {share:4.0%}  {sizes}  {rate / 1e6:.1f} MB/s  {left}".rstrip()
