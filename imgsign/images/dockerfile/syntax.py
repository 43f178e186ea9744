"""The image that is the build program: ``# syntax=`` in all spellings, and BUILDKIT_SYNTAX; pure.

BuildKit's parser/directives.go (DetectSyntax) and builder/build.go: after an optional byte order mark and an
optional ``#!`` line, directives with ``#``, else with ``//``, else the whole file as a JSON object with a string
``syntax``. Leading blanks are not trimmed here, unlike in the Dockerfile parser. The value up to the first
space is the reference. The build argument BUILDKIT_SYNTAX wins; ``dockerfile.v0`` there means the one built in.
"""

from __future__ import annotations

import json

from imgsign.images.dockerfile.marked import Marked, Unreadable
from imgsign.images.dockerfile.source import MAX_LINE, directive
from imgsign.record import record

BUILT_IN = "dockerfile.v0"


@record(kw_only=False)
class Syntax:
    """``written`` is ``None`` where the text has no place of its own; ``foreign``: the file is no Dockerfile."""

    text: str
    written: Marked | None
    foreign: bool = False


def detect_syntax(text: str) -> Syntax | None:
    """Find the frontend that a file names.

    Raises:
        Unreadable: for JSON nested too deep to look into.
    """
    start = 1 if text.startswith("\ufeff") else 0
    if text.startswith("#!", start):
        end = text.find("\n", start)
        start = end + 1 if end >= 0 else len(text)
    for comment in ("#", "//"):
        written = _among_directives(text, start, comment)
        if written is not None:
            return Syntax(written.text, written, foreign=comment == "//")
    return _of_json(text[start:])


def argument_syntax(value: str) -> str | None:
    """The frontend that BUILDKIT_SYNTAX names; ``None`` for the one built in."""
    reference = value.strip().partition(" ")[0]
    return None if reference == BUILT_IN else reference


def _among_directives(text: str, start: int, comment: str) -> Marked | None:
    seen: set[str] = set()
    while start < len(text):
        end = text.find("\n", start)
        end = end if end >= 0 else len(text)
        found = directive(text, start, end, comment) if end - start <= MAX_LINE else None
        if found is None or found[0] in seen:
            return None
        if found[0] == "syntax":
            return found[1].partition(" ")[0]
        seen.add(found[0])
        start = end + 1
    return None


def _of_json(text: str) -> Syntax | None:
    if not text.lstrip("\t\n\r ").startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    except RecursionError:
        raise Unreadable("foreign-frontend", "JSON nested too deep", 0, 0) from None
    named = value.get("syntax") if isinstance(value, dict) else None
    return Syntax(named, None, foreign=True) if isinstance(named, str) else None
