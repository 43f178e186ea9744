"""``imgsign verify``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
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
    OptionalReferences,
    Output,
    PolicyFile,
    PublicKeys,
    Quiet,
    SignedName,
    Timeout,
    TrustedRealm,
    check_output,
    choose_policy,
    read_targets,
    registries,
)
from imgsign.errors import UsageError
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.decision import Decision
    from imgsign.errors import ImgsignError
    from imgsign.policy.model import Policy
    from imgsign.resolve import Target
    from imgsign.trust import TrustStore

THREADS = 8  # requests under way at once: enough to hide a registry's latency, few enough for its limits


def command(
    refs: OptionalReferences = None,
    policy: PolicyFile = None,
    key: PublicKeys = None,
    name: SignedName = "exact",
    evidence: Annotated[
        str | None,
        typer.Option(
            "--evidence",
            metavar="DIR",
            help="Instead of images: judge again what 'imgsign evidence save' kept, by the policy kept with it or by "
            "--policy.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="With --evidence: the time to judge at.", show_default=False),
    ] = None,
    output: Output = "text",
    quiet: Quiet = False,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Judge images by a key policy.

    Each image gets one line if it is allowed; if not, every signature found is listed with the reason
    why it does not count. '-' reads references from standard input, one a line.

    Exit code: 0 all allowed, 1 one or more denied, 3 some could not be decided.
    """
    as_json = check_output(output)
    if evidence is not None or at is not None:
        if evidence is not None and (refs or key or identity is not None or name != "exact"):
            raise UsageError("--evidence goes with --at and --policy only: it says by itself which image it is of")
        from imgsign.cli.replay import replay_result

        # IMGSIGN_POLICY is for images: which policy judges evidence is said here or by the evidence.
        given = policy if policy != os.environ.get("IMGSIGN_POLICY") else None
        saved, decision, trust = replay_result(evidence, at, given)
        return _show(iter([(saved, decision)]), trust, as_json=as_json, quiet=quiet, count=1)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    targets = read_targets(refs or (), locate, identity)
    chosen, trust = choose_policy(policy, key, name)
    return _show(_judge(targets, chosen, trust), trust, as_json=as_json, quiet=quiet, count=len(targets))


Result = tuple["Target | str", "Decision | ImgsignError"]


def _judge(targets: list[Target], policy: Policy, trust: TrustStore) -> Iterator[Result]:
    """Judge many images side by side, or one with its requests side by side; results in the given order."""
    from imgsign.errors import ImgsignError
    from imgsign.workflow import verify

    now = datetime.now(UTC)
    alone = len(targets) == 1

    def judge(target: Target) -> Decision | ImgsignError:
        try:
            return verify(target, policy, trust, now=now, pool=pool if alone else None)
        except ImgsignError as e:
            return e

    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        if alone:
            yield targets[0], judge(targets[0])
        else:
            yield from zip(targets, pool.map(judge, targets), strict=True)


def _show(results: Iterator[Result], trust: TrustStore, *, as_json: bool, quiet: bool, count: int) -> int:
    """Print results as they come and find the exit code: any conclusive denial is 1, else any doubt 3."""
    from imgsign.cli import render
    from imgsign.decision import Decision

    words: list[str] = []
    rows: list[dict[str, object]] = []
    for target, result in results:
        if isinstance(result, Decision):
            words.append(render.decision_word(result))
            if as_json:
                rows.append(render.decision_json(str(target), result, trust))
            elif not quiet:
                print(render.decision_text(result, trust))
            elif result.allowed:
                print(render.pinned(result))
            else:
                print(render.decision_text(result, trust), file=sys.stderr)
        else:
            words.append("error")
            if as_json:
                rows.append(render.error_json(str(target), result))
            else:
                print(f"error: {target}: {printable(result.message)}", file=sys.stderr)
                if result.hint is not None:
                    print(f"hint: {printable(result.hint)}", file=sys.stderr)
    if as_json:
        print(render.document(rows))
    elif count > 1 and not quiet:
        print(", ".join(f"{words.count(w)} {w}" for w in ("allowed", "denied", "undecided", "error") if w in words))
    if "denied" in words:
        return DENIED
    return UNDECIDED if set(words) - {"allowed"} else OK
