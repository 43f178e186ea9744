"""Vulnerability scans: what a scanner found, and when. Source: cosign ``specs/COSIGN_VULN_ATTESTATION_SPEC.md``.

Checked: there is a ``scanner``, and ``metadata`` has the two times of the scan, so that a policy can ask for
its age. Not checked: the result itself, whose shape is each scanner's own.
"""

from __future__ import annotations

from imgsign.predicates.kind import PredicateKind
from imgsign.wire import Node

_TIMES = ("scanStartedOn", "scanFinishedOn")


def _check(predicate: Node) -> None:
    top = predicate.fields(("scanner", "metadata"), closed=False)
    top["scanner"].entries()
    times = top["metadata"].fields(_TIMES, closed=False)
    for name in _TIMES:
        times[name].moment()


KIND = PredicateKind(
    alias="vuln",
    uri="https://cosign.sigstore.dev/attestation/vuln/v1",
    title="vulnerability scan",
    members=frozenset(("scanner", "metadata", *_TIMES)),
    check=_check,
)
