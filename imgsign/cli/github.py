"""GitHub Actions: workflow commands that become annotations, and the job summary.

Source: actions/toolkit ``command.ts`` and the runner's ``ActionCommand``: a command is a line that begins with
``::`` after blanks, or holds ``##[``. Data escape ``%``, CR and LF; properties also ``:`` and ``,``. Every line
printed here begins with our own text. GitHub shows ten annotations of a kind a step: denials come first.

The summary is Markdown: foreign text is written as character references, so that it is only ever text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgsign.cli.findings import ALLOWED, DENIED, Finding, line_safe, summary

SUMMARY_LIMIT = 900 * 1024  # bytes; GitHub refuses the whole summary of a step above 1 MiB


def lines(rows: list[Finding], paths: dict[str, str]) -> Iterator[str]:
    """One annotation for each place that is not allowed, denials first, and a summary.

    ``paths``: where the files are in the repository, by the name they were given as.
    """
    failed = sorted((r for r in rows if r.verdict != ALLOWED), key=lambda r: r.verdict != DENIED)
    for row in failed:
        hint = "" if row.hint is None else f"\nhint: {row.hint}"
        yield command("error", row, paths[row.file], f"{row.verdict} {row.title}: {row.message}{hint}")
    yield f"imgsign: {line_safe(summary(rows, len(paths)))}"


def command(name: str, row: Finding, path: str, message: str) -> str:
    """Write one command at the place of a finding."""
    properties = {
        "file": path,
        "line": str(row.spot.line),
        "endLine": str(row.end[0]),
        "col": str(row.spot.column),
        "endColumn": str(row.end[1]),
        "title": f"imgsign: {row.verdict}",
    }
    if path == "-":  # standard input: no file of the repository
        properties = {"title": properties["title"]}
    shown = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return line_safe(f"::{name} {shown}::{_data(message)}")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def job_summary(rows: list[Finding], files: int, *, limit: int = SUMMARY_LIMIT) -> str:
    """A table of at most ``limit`` bytes, what is not allowed first."""
    head = f"### imgsign check\n\n{markdown(summary(rows, files))}\n"
    if not rows:
        return head
    head += "\n| | image | place | reason |\n|---|---|---|---|\n"
    ordered = sorted(rows, key=lambda r: (r.verdict == ALLOWED, r.verdict != DENIED))
    parts = [head]
    left = limit - len(head.encode()) - 64  # room for the last line
    for number, row in enumerate(ordered):
        cells = (row.verdict, row.image or row.code, row.where, "" if row.verdict == ALLOWED else row.message)
        line = "| " + " | ".join(markdown(c) for c in cells) + " |\n"
        left -= len(line.encode())
        if left < 0:
            parts.append(f"\n{len(ordered) - number} more\n")
            break
        parts.append(line)
    return "".join(parts)


def markdown(text: str) -> str:
    """Write text so that neither Markdown nor HTML sees anything in it."""
    return re.sub(r"[^A-Za-z0-9 ./-]", lambda m: f"&#{ord(m[0])};", text)
