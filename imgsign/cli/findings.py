"""What ``imgsign check`` found, as rows that every output renders; and the text and JSON of them.

Reports of a pipeline are read by programs that act on lines: GitHub's runner takes ``::error …`` at the start of
a line, and ``##[error]`` anywhere in it, for a command. :func:`line_safe` breaks the latter up in every output, and
no line begins with foreign text (a file name is shown with ``./`` if it begins oddly).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imgsign.cli import render
from imgsign.decision import Decision
from imgsign.errors import InvalidReference
from imgsign.record import record
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.checking import Judged, Report
    from imgsign.images import Spot
    from imgsign.trust import TrustStore

ALLOWED, DENIED, UNDECIDED, ERROR = "allowed", "denied", "undecided", "error"

REASONS_SHOWN = 3  # of the signatures that do not count, in a message of one line


@record
class Finding:
    """One place in one file: an image with its verdict, or something that hides one.

    All text is printable. ``code`` is stable; ``message`` one line; ``image`` the reference as written (``None``
    for a problem); ``lines`` the report of the decision without its first line; ``row`` its JSON.
    """

    file: str
    spot: Spot
    end: tuple[int, int]
    verdict: str
    code: str
    message: str
    hint: str | None
    image: str | None
    subject: str | None
    path: str
    role: str | None
    head: str
    lines: tuple[str, ...]
    unsigned: bool
    row: dict[str, object]

    @property
    def where(self) -> str:
        """``file:line:column``."""
        return f"{self.file}:{self.spot.line}:{self.spot.column}"

    @property
    def title(self) -> str:
        """The image, or what kind of problem it is, and whose: one short line."""
        return " in ".join(t for t in (self.image or self.code, self.subject) if t)


def line_safe(text: str) -> str:
    """Break up what GitHub's runner would take for a command in the middle of a line."""
    return text.replace("##[", "# #[")


def shown_name(name: str) -> str:
    """Write a file's name so that no line that begins with it can be a command."""
    safe = line_safe(printable(name, limit=4096))
    return safe if re.match(r"[A-Za-z0-9./_~-]", safe) else f"./{safe}"


def findings(report: Report, trust: TrustStore) -> list[Finding]:
    """All places of a report in the order of the files and their text."""
    order = {id(f): i for i, f in enumerate(report.files)}
    texts = {id(f): f.raw.decode("utf-8", "replace") for f in report.files}
    found: list[tuple[tuple[int, Spot], Finding]] = []
    for place in report.places:
        found.append(((order[id(place.file)], place.found.spot), _judged(place, trust, texts[id(place.file)])))
    for file, problem in report.problems:
        finding = _finding(
            file=shown_name(file.name),
            spot=problem.spot,
            text=texts[id(file)],
            verdict=ERROR,
            code=problem.code,
            message=problem.message,
            hint=problem.hint,
            subject=problem.subject,
            path=problem.path,
            row=_problem_row(problem.hint),
        )
        found.append(((order[id(file)], problem.spot), finding))
    return [f for _, f in sorted(found, key=lambda pair: pair[0])]


def _judged(place: Judged, trust: TrustStore, text: str) -> Finding:
    result, found = place.result, place.found
    if isinstance(result, Decision):
        verdict = render.decision_word(result)
        head, *lines = render.decision_text(result, trust).split("\n")
        row = render.decision_json(found.text, result, trust)
        code, message, unsigned = _reason(result, head)
        hint = row["hint"]
    else:
        verdict, lines, unsigned = ERROR, [], False
        code = "invalid-reference" if isinstance(result, InvalidReference) else "image-not-read"
        message, hint = result.message, result.hint
        head = f"error {printable(found.text)}: {printable(message)}"
        row = render.error_json(found.text, result)
    return _finding(
        file=shown_name(place.file.name),
        spot=found.spot,
        text=text,
        verdict=verdict,
        code=code,
        message=message,
        hint=hint if isinstance(hint, str) else None,
        image=found.text,
        subject=found.subject,
        path=found.path,
        role=found.role,
        head=head,
        lines=tuple(lines),
        unsigned=unsigned,
        row=row,
    )


def _finding(
    *,
    file: str,
    spot: Spot,
    text: str,
    verdict: str,
    code: str,
    message: str,
    hint: str | None,
    subject: str | None,
    path: str,
    row: dict[str, object],
    image: str | None = None,
    role: str | None = None,
    head: str = "",
    lines: tuple[str, ...] = (),
    unsigned: bool = False,
) -> Finding:
    """Make everything printable."""
    message = line_safe(printable(message))
    return Finding(
        file=file,
        spot=spot,
        end=_end(text, spot),
        verdict=verdict,
        code=code,
        message=message,
        hint=None if hint is None else line_safe(printable(hint)),
        image=None if image is None else line_safe(printable(image)),
        subject=None if subject is None else line_safe(printable(subject)),
        path=line_safe(printable(path)),
        role=role,
        head=line_safe(head) or f"error {code}: {message}",
        lines=tuple(line_safe(line) for line in lines),
        unsigned=unsigned,
        row=row,
    )


def _end(text: str, spot: Spot) -> tuple[int, int]:
    """Line and column just behind a spot."""
    if spot.end <= spot.start:
        return spot.line, spot.column + 1
    inside = text[spot.start : spot.end]
    breaks = inside.count("\n")
    if not breaks:
        return spot.line, spot.column + len(inside)
    return spot.line + breaks, len(inside) - inside.rfind("\n")


def _reason(decision: Decision, head: str) -> tuple[str, str, bool]:
    """The code and the one line that say why, and whether it was accepted without a signature."""
    if decision.allowed:
        accepted = next((c for c in decision.checks if c.code == "accepted-unsigned"), None)
        unsigned = accepted is not None and not decision.claims
        return ("accepted-unsigned" if unsigned else "allowed"), head, unsigned
    failed = [c for c in decision.checks if not c.passed]
    summaries = [c for c in failed if c.about == c.group]
    if decision.inconclusive:
        about = [f"{f.about}: {f.message}" for f in decision.faults[:REASONS_SHOWN]]
        return "undecided", "; ".join(about) or "nothing was proven either way", False
    parts = [f"{c.group}: {c.message}" for c in summaries]
    parts += [f"{c.about}: {c.message}" for c in failed if c.about != c.group][:REASONS_SHOWN]
    return (summaries[0].code if summaries else DENIED), "; ".join(parts) or "denied", False


def _problem_row(hint: str | None) -> dict[str, object]:
    empty: dict[str, object] = dict.fromkeys(("reference", "digest", "image", "scope", "valid_until"))
    return {**empty, "verdict": ERROR, "signers": [], "checks": [], "faults": [], "hint": hint}


def count(rows: list[Finding]) -> dict[str, int]:
    """How many of each verdict."""
    return {v: n for v in (ALLOWED, DENIED, UNDECIDED, ERROR) if (n := sum(r.verdict == v for r in rows))}


def summary(rows: list[Finding], files: int) -> str:
    """One line: how many of each verdict, in how many files."""
    found = count(rows)
    words = ", ".join(f"{n} {word}" for word, n in found.items()) or "no images"
    return f"{words} in {files} file{'s' if files != 1 else ''}"


def text_lines(rows: list[Finding], files: int) -> Iterator[str]:
    """The report for people: each place a line; why an image is not allowed is told once."""
    told: dict[tuple[str, ...], str] = {}
    for row in rows:
        inside = "" if row.verdict == ALLOWED or row.subject is None else f"  in {row.subject}"
        inside += "  (by shape)" if row.role == "by shape" else ""
        yield f"{row.where}: {row.head}{inside}"
        if row.verdict == ALLOWED:
            continue
        hint = [f"hint: {row.hint}"] if row.hint is not None and f"hint: {row.hint}" not in row.lines else []
        reasons = (row.head, *row.lines, *hint)
        if len(reasons) > 1 and reasons in told:
            yield f"  as at {told[reasons]}"
            continue
        told[reasons] = row.where
        yield from reasons[1:]
    yield summary(rows, files)


def json_rows(rows: list[Finding]) -> Iterator[dict[str, object]]:
    """Results of ``--output json``: those of ``verify``, with the place."""
    for row in rows:
        yield {
            "file": row.file,
            "line": row.spot.line,
            "column": row.spot.column,
            "end_line": row.end[0],
            "end_column": row.end[1],
            "path": row.path,
            "role": row.role,
            "object": row.subject,
            "code": row.code,
            "message": row.message,
            **row.row,
        }
