"""The forms of ``imgsign check --output``, and where GitHub and GitLab want to find files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imgsign.cli.findings import shown_name
from imgsign.errors import UsageError
from imgsign.wire import quote

if TYPE_CHECKING:
    from imgsign.checking import Report
    from imgsign.cli.findings import Finding
    from imgsign.scanning import File

Show = Callable[["list[Finding]", "Report", int], str]
"""Rows, the report they are of, and the exit code, to the text for standard output."""


def _show_text(rows: list[Finding], report: Report, code: int) -> str:
    from imgsign.cli.findings import text_lines

    return "\n".join(text_lines(rows, len({f.name for f in report.files})))


def _show_json(rows: list[Finding], report: Report, code: int) -> str:
    from imgsign.cli import render
    from imgsign.cli.findings import json_rows

    return render.document(json_rows(rows)).replace("##[", "#\\u0023[")


def _show_sarif(rows: list[Finding], report: Report, code: int) -> str:
    from imgsign import __version__
    from imgsign.cli import sarif

    return sarif.document(
        rows, {shown_name(f.name): sarif.uri_of(_relative(f)) for f in report.files}, __version__, code
    )


def _show_github(rows: list[Finding], report: Report, code: int) -> str:
    from imgsign.cli import github

    count = len({f.name for f in report.files})
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if place:
        _append(Path(place), lambda limit: github.job_summary(rows, count, limit=limit), github.SUMMARY_LIMIT)
    return "\n".join(github.lines(rows, {shown_name(f.name): _relative(f) for f in report.files}))


def _show_junit(rows: list[Finding], report: Report, code: int) -> str:
    from imgsign.cli import junit

    return junit.document(rows, [shown_name(f.name) for f in report.files])


OUTPUTS: dict[str, Show] = {
    "text": _show_text,
    "json": _show_json,
    "sarif": _show_sarif,
    "github": _show_github,
    "junit": _show_junit,
}


def output_named(name: str) -> Show:
    """Find an output by its name."""
    show = OUTPUTS.get(name)
    if show is None:
        raise UsageError(f"unknown output {quote(name)}", hint=f"use one of {', '.join(OUTPUTS)}")
    return show


def _append(place: Path, text: Callable[[int], str], limit: int) -> None:
    """Append to the job summary what still fits; other steps' words are kept."""
    try:
        with place.open("ab") as out:
            room = limit - out.tell()
            if room > 1024:
                out.write(text(room).encode())
    except OSError as e:
        reason = (e.strerror or "failed").lower()
        print(f"note: cannot write the job summary {quote(str(place))}: {reason}", file=sys.stderr)


def _relative(file: File) -> str:
    """Where a file is in the repository: relative to the checkout if it is known, else to this directory."""
    if file.path is None:
        return file.name
    here = Path.cwd().resolve()
    real = Path(os.path.realpath(file.path))
    roots = [Path(r).resolve() for n in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR") if (r := os.environ.get(n))]
    for root in (*(r for r in roots if here.is_relative_to(r)), here):
        if real.is_relative_to(root):
            return real.relative_to(root).as_posix()
    return real.as_posix()
