"""``imgsign policy import``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from imgsign.cli import OK, UNDECIDED
from imgsign.cli.policy.subjects import read_list
from imgsign.errors import UsageError
from imgsign.wire import printable, quote


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON or YAML.", show_default=False)],
    dialect: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="DIALECT",
            help="containers (policy.json), cluster-image-policy, kyverno or notation. Default: told by what it holds.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="Where to write; '-' is standard output.")
    ] = "-",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.", show_default=False)] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="LIST",
            help="A file of image references, one a line: patterns are expanded to the repositories of these.",
            show_default=False,
        ),
    ] = None,
    unsafe_drop_transparency_log: Annotated[
        bool,
        typer.Option(
            "--unsafe-drop-transparency-log",
            help="Carry rules that also ask for an entry in a transparency log, without that.",
            show_default=False,
        ),
    ] = False,
) -> int:
    """Turn another tool's policy into one of imgsign's.

    The report says what became of every part. It never allows more than it did there: what cannot be
    carried rejects.

    Exit code: 0 all was carried, 3 something was refused: look for 'refused' in the report.
    """
    from imgsign.importing import import_policy
    from imgsign.load import read_file
    from imgsign.policy.imports import IMPORTS, Wanted
    from imgsign.policy.imports.draft import REFUSED
    from imgsign.policy.parse import POLICY_LIMIT
    from imgsign.signers.disk import NewFile, write_files

    if dialect is not None and dialect not in IMPORTS:
        raise UsageError(f"unknown dialect {quote(dialect)}", hint=f"use one of {', '.join(IMPORTS)}")
    wanted = Wanted(
        against=() if against is None else read_list(against), unsafe_drop_logs=unsafe_drop_transparency_log
    )
    found = import_policy(read_file(Path(file), POLICY_LIMIT), Path(file).name, dialect=dialect, wanted=wanted)
    for row in found.rows:
        print(row, file=sys.stderr)
    refused = sum(row.outcome == REFUSED for row in found.rows)
    print(f"{refused} of {len(found.rows)} refused" if refused else f"{found.dialect}: all carried", file=sys.stderr)
    if out == "-":
        print(found.text, end="")
    else:
        write_files(NewFile(Path(out), found.text.encode("utf-8"), 0o644), force=force)
        print(f"policy  {printable(out)}", file=sys.stderr)
    return OK if found.complete else UNDECIDED
