"""``imgsign tree``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    Mirror,
    Output,
    Timeout,
    TrustedRealm,
    check_output,
    choose_policy,
    parse_target,
    registries,
)
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.decision import Decision
    from imgsign.examine import Node

THREADS = 8


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Image reference, or oci:DIR[:TAG].", show_default=False)],
    policy: Annotated[
        str | None,
        typer.Option("--policy", "-p", metavar="FILE", help="Mark what counts under this policy.", show_default=False),
    ] = None,
    output: Output = "text",
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show what is attached to an image: signatures, attestations, SBOMs, and what hangs on those.

    Everything is shown as the registry lists it, and marked 'unverified', unless a policy says that it
    counts. The exit code does not judge: use 'imgsign verify' for that.
    """
    from imgsign import examine

    as_json = check_output(output)
    target = parse_target(ref, registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca), identity)
    decision = None
    root = examine.tree(target.store, target.store.fetch(target.what))
    if policy is not None:
        from imgsign.workflow import judge_all

        chosen, trust = choose_policy(policy, None, "exact")
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            decision = judge_all(target, chosen, trust, now=datetime.now(UTC), pool=pool)
    if as_json:
        print(json.dumps(_as_json(root, decision), indent=2))
    else:
        print(f"{target}")
        print("\n".join(_lines(root, decision, "", top=True)))
        if not root.children:
            print("└─ nothing is attached")
    return 0


def marks(place: str, decision: Decision | None) -> str:
    """Whether what lies at a place counts, by the checks of a decision; ``place`` may hold several."""
    if decision is None:
        return "unverified"
    checks = [c for c in decision.checks if c.about == place or c.about.startswith((f"{place} (", f"{place}["))]
    if good := [c for c in checks if c.passed]:
        groups = ", ".join(dict.fromkeys(str(c.group) for c in good))
        return f"counts for {groups}"
    if checks:
        return "does not count: " + "; ".join(dict.fromkeys(c.message for c in checks))
    return "unverified"


def _lines(node: Node, decision: Decision | None, indent: str, *, top: bool = False) -> Iterator[str]:
    if top:
        yield f"{printable(node.kind)} {node.where}"
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        branch, more = ("└─ ", "   ") if last else ("├─ ", "│  ")
        platform = "" if child.platform is None else f" {printable(str(child.platform))}"
        mark = "" if child.kind in ("image", "index") else f"  {printable(marks(child.where, decision))}"
        yield f"{indent}{branch}{printable(child.kind)}{platform}  {child.where}{mark}"
        yield from _lines(child, decision, indent + more)
    if node.problem is not None:
        yield f"{indent}!  {printable(node.problem)}"


def _as_json(node: Node, decision: Decision | None) -> dict[str, object]:
    return {
        "kind": node.kind,
        "where": node.where,
        "digest": None if node.digest is None else str(node.digest),
        "size": node.size,
        "platform": None if node.platform is None else str(node.platform),
        "verdict": marks(node.where, decision) if node.kind not in ("image", "index") else None,
        "problem": node.problem,
        "children": [_as_json(c, decision) for c in node.children],
    }
