"""``imgsign clean``."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli.options import (
    SYSTEM_POLICY,
    TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    PolicyFile,
    Timeout,
    TrustedRealm,
    choose_policy,
    parse_target,
    registries,
)
from imgsign.errors import Malformed, UsageError
from imgsign.wire import format_time, parse_duration, printable

if TYPE_CHECKING:
    from imgsign.fleet.clean import Plan

THREADS = 8


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Image reference, or oci:DIR[:TAG].", show_default=False)],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", "-k", metavar="KEY", help="A public key of yours. Repeatable.", show_default=False),
    ] = None,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Where a newer one of the same key and format says at least as much.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="DURATION", help="Made before that: 90d.", show_default=False)
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="bundle|simple", help="Repeatable.", show_default=False),
    ] = None,
    invalid: Annotated[bool, typer.Option("--invalid", help="What does not count under the policy.")] = False,
    others: Annotated[bool, typer.Option("--others", help="Also signatures that none of your keys made.")] = False,
    policy: PolicyFile = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove. Without it, only show what would be.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show; the default.")] = False,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show, and with --yes remove, signatures of an image and its platforms that are no longer wanted.

    Only those that your own keys made, unless --others is given; never attestations or SBOMs. Criteria narrow
    the choice. Where a policy is given, nothing is removed that would make an allowed image denied.

    Exit code: 0 shown or removed, 2 refused, 3 the registry could not be read or does not delete.
    """
    from imgsign.fleet.clean import Choice, carry_out, make_plan
    from imgsign.load import load_public_key

    if yes and dry_run:
        raise UsageError("--yes and --dry-run exclude each other")
    keys = tuple(load_public_key(k, environ=os.environ, base=None) for k in key or ())
    choice = Choice(
        keys=keys, formats=tuple(format or ()), older_than=None if older_than is None else _age(older_than),
        superseded=superseded, invalid=invalid, others=others,
    )  # fmt: skip
    target = parse_target(ref, registries(insecure_http, timeout, trusted_realm, mirror=None, ca=ca), identity)
    judge = choose_policy(policy, None, "exact") if policy is not None or Path(SYSTEM_POLICY).exists() else None
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        plan = make_plan(target, choice, judge, pool, now=datetime.now(UTC))
    if yes:
        carry_out(target, plan)
    _show(plan, done=yes)
    return 0


def _age(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except Malformed as e:
        raise UsageError(f"--older-than: {e.message}", hint=e.hint) from e


def _show(plan: Plan, *, done: bool) -> None:
    verb = "removed" if done else "would remove"
    for item in plan.items:
        whose = f"key {item.key}" if item.key is not None else "not of your keys"
        when = "" if item.signed_at is None else f", signed {format_time(item.signed_at)}"
        kind = item.found.format or "unknown"
        print(printable(f"{verb} {item.where} ({kind})  {whose}{when}", limit=2000))
    left = "1 signature stays" if plan.stays == 1 else f"{plan.stays} signatures stay"
    count = "nothing" if not plan.items else str(len(plan.items))
    print(f"{verb} {count}; {left}", file=sys.stderr)
    if not plan.judged:
        print("note: no policy was given, so nobody checked that the image stays allowed", file=sys.stderr)
    if plan.items and not done:
        print("hint: add --yes to remove them", file=sys.stderr)
