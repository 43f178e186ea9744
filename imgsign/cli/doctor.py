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

if TYPE_CHECKING:
    from imgsign.doctor import Finding
    from imgsign.reference import Reference


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="The image that makes trouble.", show_default=False)],
    output: Output = "text",
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show how an image's registry is reached from here, and what is wrong on the way.

    One page without secrets, to be pasted into a ticket: configuration files, where credentials are from,
    mirrors, proxy, TLS, what the registry answers and grants, the image, how signatures are found, clocks
    and rate limits. Lines that begin with '!' are what stops a verification, '-' what is worth knowing.

    Exit code: 0 all that is needed works, 3 otherwise.
    """
    from imgsign import doctor

    as_json = check_output(output)
    reference = parse_reference(ref)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    findings = doctor.examine(
        reference, transport=locate.transport, hosts=locate.hosts, environ=os.environ, now=datetime.now(UTC)
    )
    healthy = doctor.is_healthy(findings)
    print(document(reference, findings) if as_json else text(findings))
    return OK if healthy else UNDECIDED


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


def document(reference: Reference, findings: tuple[Finding, ...]) -> str:
    """The same for programs; keys are added, never changed."""
    from imgsign.doctor import is_healthy

    rows = [{"label": f.label, "state": f.state.value, "text": f.text, "hint": f.hint} for f in findings]
    body = {"format": 1, "reference": str(reference), "healthy": is_healthy(findings), "findings": rows}
    return json.dumps(body, indent=2)
