"""One JSON line a decision on standard output, and the last of them for the decision page.

Lines are written by a thread of their own, some times a second: a reader that stops reading (a log driver, a
full disk) must not stop admission. What it does not take in time is dropped and counted, and the count is a
metric; nothing else is lost, also not at the end of the process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

RECENT = 500
"""Decisions kept for the page."""

WAITING = 20_000
"""Lines that may wait for standard output: some 20 MiB."""

_EVERY = 0.1  # seconds between two writes


class Audit:
    """Takes lines from any thread and writes them in order."""

    def __init__(self, out: BinaryIO, *, dropped: Callable[[], None] = lambda: None) -> None:
        """Write to ``out``; ``dropped`` is called for each line that found no room."""
        self._out = out
        self._dropped = dropped
        self._lines: deque[bytes] = deque()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line, without its line break."""
        if len(self._lines) >= WAITING:
            self._dropped()
            return
        self._lines.append(line)

    def close(self, seconds: float) -> None:
        """Write what is left, as long as that takes no longer than this."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._end.wait(_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        batch = []
        while self._lines:
            batch.append(self._lines.popleft())
        if not batch:
            return
        try:
            self._out.write(b"\n".join(batch) + b"\n")
            self._out.flush()
        except (OSError, ValueError):  # nobody reads any more, or it is closed
            for _ in batch:
                self._dropped()
