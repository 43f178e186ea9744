"""``imgsign policy check``."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import DENIED, OK
from imgsign.cli.options import Output, check_output
from imgsign.errors import InvalidPolicy, Malformed, UsageError
from imgsign.wire import format_time, parse_duration, printable

if TYPE_CHECKING:
    from imgsign.policy.model import Policy
    from imgsign.policy.review import Doubt
    from imgsign.trust import TrustedKey, TrustStore


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TOML or JSON.", show_default=False)],
    soon: Annotated[
        str, typer.Option("--soon", metavar="DURATION", help="Warn of keys that end within this time.")
    ] = "30d",
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings are an exit code of 1.", show_default=False)
    ] = False,
    output: Output = "text",
) -> int:
    """Read a policy and all its keys, show what it asks for, and warn of what is doubtful.

    Exit code: 0 it can be used, 1 with --strict and a warning, 3 it cannot be used.
    """
    from imgsign.load import load_policy
    from imgsign.policy.review import review

    as_json = check_output(output)
    try:
        span = parse_duration(soon)
    except Malformed as e:
        raise UsageError(f"--soon: {e.message}", hint=e.hint) from e
    path = Path(file)
    try:
        policy, trust = load_policy(path, environ=os.environ)
    except InvalidPolicy as e:
        where = e.__cause__.path if isinstance(e.__cause__, Malformed) else None
        line = None if where is None else _line(path, where)
        if line is None:
            raise
        raise InvalidPolicy(f"{e.message} (line {line})", hint=e.hint) from e
    doubts = review(policy, trust, now=datetime.now(UTC), soon=span)
    lines = _lines(path)
    if as_json:
        print(json.dumps(_document(policy, trust, doubts, lines), indent=2))
    else:
        print("\n".join(_table(path, policy, trust)))
        for doubt in doubts:
            print(f"warning: {_where(doubt, lines)}{doubt.path}: {printable(doubt.message)}", file=sys.stderr)
    return DENIED if strict and doubts else OK


def _lines(path: Path) -> dict[str, int]:
    from imgsign.load import read_file
    from imgsign.policy.lines import lines_of
    from imgsign.policy.parse import POLICY_LIMIT

    return lines_of(read_file(path, POLICY_LIMIT).decode("utf-8"), json=path.suffix == ".json")


def _line(path: Path, where: str) -> int | None:
    from imgsign.policy.lines import line_of

    return line_of(_lines(path), where)


def _where(doubt: Doubt, lines: dict[str, int]) -> str:
    from imgsign.policy.lines import line_of

    line = line_of(lines, doubt.path)
    return "" if line is None else f"line {line}: "


def _table(path: Path, policy: Policy, trust: TrustStore) -> list[str]:
    from imgsign.policy.write import requirement_value, toml_inline

    keys = sum(len(a.keys) for a in trust.anchors.values())
    shown = [f"policy  {printable(str(path))}: {len(policy.scopes)} scopes, {len(trust.anchors)} anchors, {keys} keys"]
    for scope, rule in policy.scopes.items():
        shown.append(f"scope   {scope}")
        shown += [f"          {toml_inline(requirement_value(r))}" for r in rule.require]
    shown.append(f"scope   (default)\n          {policy.default.require[0]}")
    for name, anchor in trust.anchors.items():
        shown.append(f"anchor  {printable(name)}")
        shown += [f"          {_key(k)}" for k in anchor.keys]
    return shown


def _key(trusted: TrustedKey) -> str:
    words = [trusted.key.fingerprint, trusted.key.scheme.title]
    if trusted.not_before is not None:
        words.append(f"from {format_time(trusted.not_before)}")
    if trusted.not_after is not None:
        words.append(f"until {format_time(trusted.not_after)}")
    if trusted.hash is not None:
        words.append(f"with {trusted.hash}")
    return "  ".join(words)


def _document(policy: Policy, trust: TrustStore, doubts: tuple[Doubt, ...], lines: dict[str, int]) -> dict[str, object]:
    from imgsign.policy.lines import line_of
    from imgsign.policy.write import policy_value

    return {
        "format": 1,
        "policy": policy_value(policy),
        "keys": {name: [k.key.fingerprint for k in anchor.keys] for name, anchor in trust.anchors.items()},
        "warnings": [
            {"code": d.code, "path": d.path, "line": line_of(lines, d.path), "message": d.message} for d in doubts
        ],
    }
