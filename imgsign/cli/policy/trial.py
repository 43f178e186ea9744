"""``imgsign policy test``: a person's own cases, kept beside the policy.

``cases.toml`` is a list::

    [[case]]
    name = "release 1.4 is allowed"
    evidence = "app-1.4"                # a directory of 'imgsign evidence save', from the list's directory
    at = 2026-11-24T00:00:00Z           # left out: when it was saved
    verdict = "allowed"                 # allowed | denied | undecided
    code = "too-old"                    # left out, or one code that must be among what failed
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from imgsign.cli import DENIED, OK
from imgsign.cli.options import PolicyFile, choose_policy
from imgsign.errors import InvalidPolicy
from imgsign.record import record
from imgsign.wire import format_time, printable, quote

LIST_LIMIT = 1024 * 1024
CASES_LIMIT = 10_000
VERDICTS = ("allowed", "denied", "undecided")


@record
class Case:
    """One expectation."""

    name: str
    evidence: Path
    at: datetime | None
    verdict: str
    code: str | None


def command(
    cases: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A directory with cases.toml, or that file.", show_default=False),
    ],
    policy: PolicyFile = None,
) -> int:
    """Judge saved evidence by a policy and compare each verdict with the expected one.

    Exit code: 0 all are as expected, 1 some are not.
    """
    from imgsign.comparing import codes, reason, word
    from imgsign.evidence import replay
    from imgsign.evidence_files import load

    path = Path(cases) / "cases.toml" if Path(cases).is_dir() else Path(cases)
    chosen, trust = choose_policy(policy if policy is not None else os.environ.get("IMGSIGN_POLICY"), None, "exact")
    failed = 0
    listed = read_cases(path)
    for case in listed:
        saved = load(case.evidence)
        now = case.at or saved.judged_at
        decision = replay(saved, chosen, trust, now=now)
        found = word(decision)
        good = found == case.verdict and (case.code is None or case.code in codes(decision))
        failed += not good
        expected = case.verdict if case.code is None else f"{case.verdict} ({case.code})"
        more = "" if good else f": expected {expected}, is {found}: {printable(reason(decision))} at {format_time(now)}"
        print(f"{'ok    ' if good else 'FAILED'}  {printable(case.name)}{more}")
    print(f"{len(listed) - failed} of {len(listed)} cases as expected")
    return DENIED if failed else OK


def read_cases(path: Path) -> tuple[Case, ...]:
    """Read a list of cases.

    Raises:
        InvalidPolicy: it is not one.
    """
    from imgsign.load import read_file
    from imgsign.wire import Node, load_toml

    def case(node: Node) -> Case:
        members = node.fields(("name", "evidence", "verdict"), ("at", "code"))
        verdict = members["verdict"].text()
        if verdict not in VERDICTS:
            members["verdict"].refuse(f"unknown verdict {quote(verdict)}", hint=f"use one of {', '.join(VERDICTS)}")
        return Case(
            name=members["name"].text(),
            evidence=path.parent / members["evidence"].text(),
            at=members["at"].moment() if "at" in members else None,
            verdict=verdict,
            code=members["code"].text() if "code" in members else None,
        )

    try:
        listed = load_toml(read_file(path, LIST_LIMIT), limit=LIST_LIMIT).fields(("case",))["case"]
        found = tuple(case(n) for n in listed.items(limit=CASES_LIMIT))
        if not found:
            listed.refuse("no case")
    except InvalidPolicy as e:
        raise InvalidPolicy(f"cases {quote(str(path))}: {e.message}", hint=e.hint) from e
    return found
