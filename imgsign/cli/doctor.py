"""``imgsign doctor``."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import OK, UNDECIDED
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    InsecureHttp,
    Mirror,
    Output,
    Timeout,
    TrustedRealm,
    check_output,
    parse_reference,
    registries,
)
from imgsign.errors import UsageError

if TYPE_CHECKING:
    from imgsign.doctor import Finding
    from imgsign.reference import Reference


def command(
    ref: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="The image that makes trouble.", show_default=False)
    ] = None,
    output: Output = "text",
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
    containerd: Annotated[
        bool,
        typer.Option("--containerd", help="Instead of REF: will this node's containerd ask imgsign-containerd?"),
    ] = False,
    containerd_config: Annotated[
        str, typer.Option("--containerd-config", metavar="FILE", help="With --containerd: containerd's configuration.")
    ] = "/etc/containerd/config.toml",
) -> int:
    """Show how an image's registry is reached from here, and what is wrong on the way.

    One page without secrets, to be pasted into a ticket: configuration files, where credentials are from,
    mirrors, proxy, TLS, what the registry answers and grants, the image, how signatures are found, clocks
    and rate limits. Lines that begin with '!' are what stops a verification, '-' what is worth knowing.

    Exit code: 0 all that is needed works, 3 otherwise.
    """
    from imgsign import doctor

    as_json = check_output(output)
    if containerd:
        return _containerd(ref, containerd_config, as_json=as_json)
    if ref is None:
        raise UsageError("no image was given", hint="imgsign doctor REF, or imgsign doctor --containerd")
    reference = parse_reference(ref)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    findings = doctor.examine(
        reference, transport=locate.transport, hosts=locate.hosts, environ=os.environ, now=datetime.now(UTC)
    )
    healthy = doctor.is_healthy(findings)
    print(document(reference, findings) if as_json else text(findings))
    return OK if healthy else UNDECIDED


def _containerd(ref: str | None, config: str, *, as_json: bool) -> int:
    """Look at this node instead of an image."""
    from pathlib import Path

    from imgsign.doctor import is_healthy
    from imgsign.node.doctor import examine, run_program

    if ref is not None:
        raise UsageError("REF and --containerd exclude each other")
    findings = examine(Path(config), run=run_program, environ=os.environ)
    print(document(None, findings) if as_json else text(findings))
    return OK if is_healthy(findings) else UNDECIDED


def text(findings: tuple[Finding, ...]) -> str:
    """One line a finding, its hint below it."""
    from imgsign.doctor import State

    marks = {State.OK: " ", State.NOTE: "-", State.BAD: "!"}
    lines = []
    for found in findings:
        lines.append(f"{marks[found.state]} {found.label:<12} {found.text}")
        if found.hint is not None:
            lines.append(f"  {'':<12} hint: {found.hint}")
    return "\n".join(lines)


def document(reference: Reference | None, findings: tuple[Finding, ...]) -> str:
    """The same for programs; keys are added, never changed. ``reference`` is null for a node."""
    from imgsign.doctor import is_healthy

    rows = [{"label": f.label, "state": f.state.value, "text": f.text, "hint": f.hint} for f in findings]
    body = {
        "format": 1,
        "reference": None if reference is None else str(reference),
        "healthy": is_healthy(findings),
        "findings": rows,
    }
    return json.dumps(body, indent=2)
