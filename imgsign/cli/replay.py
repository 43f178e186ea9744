"""``imgsign verify --evidence DIR --at TIME``: judging again what was saved."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from imgsign.errors import Malformed, UsageError
from imgsign.wire import format_time, parse_time, printable

if TYPE_CHECKING:
    from imgsign.decision import Decision
    from imgsign.trust import TrustStore


def replay_result(evidence: str | None, at: str | None, policy: str | None) -> tuple[str, Decision, TrustStore]:
    """Return the reference, the decision and the trust it was made with; notes go to standard error."""
    from imgsign.evidence import difference, replay
    from imgsign.evidence_files import load
    from imgsign.load import load_policy

    if evidence is None:
        raise UsageError("--at goes with --evidence; what is at a registry is judged now")
    saved = load(Path(evidence))
    if at is None:
        hint = f"--at {format_time(saved.judged_at)} is when it was saved"
        raise UsageError("--evidence needs a time to judge at", hint=hint)
    try:
        now = parse_time(at)
    except Malformed as e:
        raise UsageError(f"--at: {e.message}", hint=f"such as {format_time(saved.judged_at)}") from e
    if policy is None:
        print("note: judged by the policy that was saved with the evidence", file=sys.stderr)
        chosen, trust = saved.policy, saved.trust
    else:
        chosen, trust = load_policy(Path(policy), environ=os.environ)
    if (found := difference(saved)) is not None:
        print(f"note: {printable(found)}", file=sys.stderr)
    return saved.reference, replay(saved, chosen, trust, now=now), trust
