"""The progress line: what it says, and that pipes never see it."""

from __future__ import annotations

import io
import sys

import pytest

from imgsign.cli.progress import Bar, line


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 100_000_000, 0.0, "pulling [                        ]   0%  0.0 of 100.0 MB  0.0 MB/s"),
        (
            25_000_000,
            100_000_000,
            5.0,
            "pulling [######                  ]  25%  25.0 of 100.0 MB  5.0 MB/s  15 s left",
        ),
        (100_000_000, 100_000_000, 5.0, "pulling [########################] 100%  100.0 of 100.0 MB  20.0 MB/s"),
        (110, 100, 1.0, "pulling [########################] 100%  0.0 of 0.0 MB  0.0 MB/s"),
        (-5, 100, 1.0, "pulling [                        ]   0%  0.0 of 0.0 MB  0.0 MB/s"),
    ],
)
def test_line_says_share_sizes_rate_and_time_left(done: int, total: int, seconds: float, text: str) -> None:
    assert line("pulling", done, total, seconds) == text


def test_nothing_is_drawn_when_standard_error_is_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    with Bar("pulling") as bar:
        bar.expect(10)
        bar(10)
    assert piped.getvalue() == ""


def test_terminal_sees_the_line_and_loses_it_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    moments = iter([0.0, 0.0, 1.0, 2.0])
    monkeypatch.setattr("time.monotonic", lambda: next(moments))
    with Bar("pulling") as bar:
        bar.expect(10_000_000)
        bar(5_000_000)
    assert " 50%  5.0 of 10.0 MB  5.0 MB/s  1 s left" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
