"""What a signing step leaves behind in a GitHub job: outputs for later steps, and a summary for people.

Source: GitHub Actions, "Workflow commands": files named by ``GITHUB_OUTPUT`` and ``GITHUB_STEP_SUMMARY`` are
appended to; a value of several lines stands between two lines of a delimiter that nothing in it may equal.
Every value written here was parsed by us (references, digests, fingerprints): none holds a line break, a
backtick or a bar.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imgsign.errors import UsageError
from imgsign.wire import format_time

if TYPE_CHECKING:
    from imgsign.signing import Signed

OUTPUT_VARIABLE = "GITHUB_OUTPUT"
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def fill_job(results: Sequence[Signed], environ: Mapping[str, str]) -> None:
    """Append the outputs ``digest``, ``images`` and ``signatures``, a line each value, and a table.

    Raises:
        UsageError: this is no step of a GitHub job.
    """
    if not environ.get(OUTPUT_VARIABLE):
        raise UsageError(f"{OUTPUT_VARIABLE} is not set", hint="--output github is for a step of a GitHub job")
    whole = [r for r in results if r.platform is None]
    values = {
        "digest": [str(r.digest) for r in whole],
        "images": [str(r.reference) for r in whole],
        "signatures": [s for r in whole for s in r.stored],
    }
    delimiter = secrets.token_hex(16)
    lines = [f"{name}<<{delimiter}\n{_lines(found)}{delimiter}\n" for name, found in values.items()]
    _append(environ[OUTPUT_VARIABLE], "".join(lines))
    if environ.get(SUMMARY_VARIABLE):
        _append(environ[SUMMARY_VARIABLE], _table(whole))


def _lines(values: Sequence[str]) -> str:
    return "".join(f"{v}\n" for v in dict.fromkeys(values))


def _table(results: Sequence[Signed]) -> str:
    rows = ["### Signed images\n\n| name | digest | signatures | key | until |\n|---|---|---|---|---|\n"]
    for result in results:
        names = ", ".join(f"`{n}`" for n in result.names)
        stored = ", ".join(f"`{s}`" for s in result.stored)
        until = "" if result.expires_at is None else format_time(result.expires_at)
        rows.append(f"| {names} | `{result.digest}` | {stored} | `{result.key.fingerprint}` | {until} |\n")
    return "".join(rows)


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)
