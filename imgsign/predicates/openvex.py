"""OpenVEX documents: which vulnerabilities matter for the image. Source: OpenVEX 0.2.0 specification.

Checked: ``@context`` is OpenVEX's, and there is a list of ``statements``. Not checked: the statements. The
type's URI is the one cosign writes; OpenVEX's own name for it has a version behind it and is another type.
"""

from __future__ import annotations

from imgsign.predicates.kind import PredicateKind
from imgsign.wire import Node


def _check(predicate: Node) -> None:
    top = predicate.fields(("@context", "statements"), closed=False)
    context = top["@context"].text()
    if not context.startswith("https://openvex.dev/ns"):
        top["@context"].refuse("not the context of OpenVEX")
    top["statements"].items()


KIND = PredicateKind(
    alias="openvex",
    uri="https://openvex.dev/ns",
    title="OpenVEX document",
    members=frozenset(("@context", "statements")),
    check=_check,
)
