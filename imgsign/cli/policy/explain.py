"""``imgsign policy explain``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import DENIED, OK, UNDECIDED
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    Mirror,
    PolicyFile,
    Timeout,
    TrustedRealm,
    choose_policy,
    parse_target,
    registries,
)
from imgsign.errors import UsageError
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.decision import Decision
    from imgsign.policy.model import Policy
    from imgsign.reference import Repository


def command(
    ref: Annotated[str | None, typer.Argument(metavar="REF", help="As for verify.", show_default=False)] = None,
    policy: PolicyFile = None,
    evidence: Annotated[
        str | None,
        typer.Option("--evidence", metavar="DIR", help="Instead of REF: saved evidence.", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="With --evidence: the time to judge at.", show_default=False),
    ] = None,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show which rule is about an image, what it asks for, and which signatures count for each part of it.

    Exit code: that of verify.
    """
    if (ref is None) == (evidence is None):
        raise UsageError("expected one of REF and --evidence DIR")
    if evidence is not None:
        from imgsign.cli.replay import replay_result

        given = policy if policy != os.environ.get("IMGSIGN_POLICY") else None
        _, decision, _ = replay_result(evidence, at, given)
        chosen = _policy_of(evidence, given)
    else:
        from imgsign.workflow import judge_all

        if at is not None:
            raise UsageError("--at goes with --evidence; what is at a registry is judged now")
        locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
        target = parse_target(str(ref), locate, identity)
        chosen, trust = choose_policy(policy, None, "exact")
        with ThreadPoolExecutor(max_workers=8) as pool:
            decision = judge_all(target, chosen, trust, now=datetime.now(UTC), pool=pool)
    name = decision.image.name
    print("\n".join(_scopes(chosen, None if name is None else name.repository)))
    print("\n".join(_rule(chosen, decision)))
    return OK if decision.allowed else UNDECIDED if decision.inconclusive else DENIED


def _policy_of(evidence: str, given: str | None) -> Policy:
    from pathlib import Path

    from imgsign.evidence_files import load
    from imgsign.load import load_policy

    return load(Path(evidence)).policy if given is None else load_policy(Path(given), environ=os.environ)[0]


def _scopes(policy: Policy, repository: Repository | None) -> list[str]:
    """The scopes that could cover the image, the most specific first, and the one that does."""
    from imgsign.reference import scopes

    chosen = policy.rule_for(repository).scope
    found = []
    for scope in (*(scopes(repository) if repository is not None else ("*",)), None):
        state = "this rule" if scope == chosen else "not in the policy"
        if scope is None or scope in policy.scopes:
            state = "this rule" if scope == chosen else "not looked at: a more specific scope was found"
        found.append(f"scope   {scope or '(default)'}: {state}")
    return found


def _rule(policy: Policy, decision: Decision) -> list[str]:
    from imgsign.cli.render import decision_word
    from imgsign.policy.write import requirement_value, toml_inline

    name = decision.image.name
    rule = policy.rule_for(None if name is None else name.repository)
    groups = list(dict.fromkeys(c.group for c in decision.checks))
    shown = []
    for required, group in zip(rule.require, groups, strict=True):
        checks = [c for c in decision.checks if c.group == group]
        met = all(c.passed for c in checks if c.about == group)
        shown.append(f"\n{'met' if met else 'NOT MET'}  {toml_inline(requirement_value(required))}")
        for check in checks:
            if check.about == group:
                shown.append(f"  {printable(check.message)}")
                continue
            mark = "counts" if check.passed else "does not count"
            shown.append(f"  {mark}: {printable(check.about)}: {printable(check.message)}")
    shown += [f"  not known: {printable(f.about)}: {printable(f.message)}" for f in decision.faults]
    shown.append(f"\n{decision_word(decision)}  {decision.image}")
    hint = next((c.hint for c in decision.checks if c.hint is not None and not c.passed), None)
    if hint is not None and not decision.allowed:
        shown.append(f"hint: {printable(hint)}")
    return shown
