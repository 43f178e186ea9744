"""What ``--against LIST`` names: image references, and directories of saved evidence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imgsign.cli.options import LINE_LIMIT, LINES_LIMIT
from imgsign.errors import ImgsignError, UsageError
from imgsign.wire import printable, quote

if TYPE_CHECKING:
    from imgsign.comparing import Judges
    from imgsign.evidence import Saved
    from imgsign.stores import Locate

LIST_LIMIT = 16 * 1024 * 1024


def read_list(name: str) -> tuple[str, ...]:
    """Read a list, one entry a line, ``-`` from standard input; blank lines and those that begin with # are skipped.

    Raises:
        UsageError: it is empty or too long.
    """
    from imgsign.load import read_file

    text = (
        sys.stdin.read(LIST_LIMIT + 1) if name == "-" else read_file(Path(name), LIST_LIMIT).decode("utf-8", "replace")
    )
    found = tuple(t for line in text.splitlines() if (t := line.strip()) and not t.startswith("#"))
    if len(text) > LIST_LIMIT or len(found) > LINES_LIMIT or any(len(t) > LINE_LIMIT for t in found):
        raise UsageError(f"{quote(name)}: more than {LINES_LIMIT} lines, or a line that is too long")
    if not found:
        raise UsageError(f"{quote(name)} lists no image")
    return found


def subjects(
    listed: tuple[str, ...], policies: tuple[Judges, ...], locate: Locate
) -> Iterator[tuple[str, Saved | None]]:
    """Yield each entry with its evidence; ``None`` for an image that could not be read, which is told here."""
    from imgsign.cli.options import parse_target
    from imgsign.comparing import gather_subject
    from imgsign.evidence_files import DOCUMENT, load
    from imgsign.reference import Reference
    from imgsign.resolve import target_of

    now = datetime.now(UTC)
    for text in listed:
        try:
            if (Path(text) / DOCUMENT).is_file():
                yield text, load(Path(text))
            else:
                # A file means the same everywhere: no default registry of this shell.
                layout = text.startswith("oci:")
                target = parse_target(text, locate) if layout else target_of(Reference.parse(text), locate)
                yield text, gather_subject(target, policies, now=now)
        except ImgsignError as e:
            print(f"error: {printable(text)}: {printable(e.message)}", file=sys.stderr)
            yield text, None
