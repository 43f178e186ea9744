"""``imgsign policy diff``."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import DENIED, OK, UNDECIDED
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    InsecureHttp,
    Mirror,
    Output,
    Timeout,
    TrustedRealm,
    check_output,
    registries,
)
from imgsign.cli.policy.subjects import read_list, subjects
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.comparing import Judges
    from imgsign.stores import Locate

Against = Annotated[
    str,
    typer.Option(
        "--against",
        metavar="LIST",
        help="A file of image references and directories of saved evidence, one a line; '-' is standard input.",
        show_default=False,
    ),
]


def command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A policy.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another one.", show_default=False)],
    against: Against,
    output: Output = "text",
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show which images change their verdict from one policy to another, and why.

    Both judge the same bytes: what a registry has now, or saved evidence at the time it was saved.

    Exit code: 0 no verdict changes, 1 some do, 3 an image could not be read.
    """
    from imgsign.load import load_policy

    as_json = check_output(output)
    policies = load_policy(Path(old), environ=os.environ), load_policy(Path(new), environ=os.environ)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    return show_changes(read_list(against), *policies, locate, as_json=as_json)


def show_changes(
    listed: tuple[str, ...], old: Judges, new: Judges, locate: Locate, *, as_json: bool, at: datetime | None = None
) -> int:
    """Print every image whose verdict changes, by a time to come if one is given; returns the exit code."""
    from imgsign.comparing import compare

    rows = []
    unread = 0
    for _, saved in subjects(listed, (old, new), locate):
        if saved is None:
            unread += 1
            continue
        change = compare(saved, old, new, now=max(saved.judged_at, at or saved.judged_at))
        rows.append(change)
        if not as_json and change.old != change.new:
            print(f"{printable(change.reference)}  {change.old} -> {change.new}  {printable(change.why)}")
    changed = [c for c in rows if c.old != c.new]
    if as_json:
        results = [{"reference": c.reference, "old": c.old, "new": c.new, "why": printable(c.why)} for c in rows]
        print(json.dumps({"format": 1, "results": results}, indent=2))
    else:
        print(f"{len(changed)} of {len(rows)} images change" + (f", {unread} could not be read" if unread else ""))
    return UNDECIDED if unread else DENIED if changed else OK
