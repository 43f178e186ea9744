"""``imgsign evidence``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from imgsign.cli import OK
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
from imgsign.wire import format_time, printable

app = typer.Typer(
    name="evidence",
    help="Keep what a judgement was made of.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Keep what a judgement was made of."""


@app.command()
def save(
    ref: Annotated[str, typer.Argument(metavar="REF", help="As for verify.", show_default=False)],
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A new directory.", show_default=False)],
    policy: PolicyFile = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            help="Also what this policy does not ask for, so that other policies can be tried on it.",
            show_default=False,
        ),
    ] = False,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Save everything that a judgement of one image reads: policy, keys, signatures, and what failed.

    'imgsign verify --evidence DIR --at TIME' makes the same decision from it, without a registry. The exit code says
    whether it was saved; the verdict is printed.
    """
    from imgsign.cli import render
    from imgsign.evidence import collect
    from imgsign.evidence_files import save as write
    from imgsign.intoto import COSIGN_SIGN
    from imgsign.predicates import BY_URI

    target = parse_target(ref, registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca), identity)
    given = policy if policy is not None else os.environ.get("IMGSIGN_POLICY")
    chosen, trust = choose_policy(given, None, "exact")
    wanted = frozenset((COSIGN_SIGN, *BY_URI)) if everything else None
    saved, decision = collect(target, chosen, trust, now=datetime.now(UTC), everything=wanted)
    write(saved, Path(directory))
    print(render.decision_text(decision, trust))
    print(f"saved  {printable(directory)}")
    print(f"next   imgsign verify --evidence {printable(directory)} --at {format_time(saved.judged_at)}")
    return OK
