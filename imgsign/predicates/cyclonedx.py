"""CycloneDX documents as JSON: what is in the image. Source: CycloneDX 1.6 JSON schema, ``bomFormat``.

Checked: ``bomFormat`` and that ``specVersion`` is a text. Not checked: that the list is complete or right.
"""

from __future__ import annotations

from imgsign.predicates.kind import PredicateKind
from imgsign.wire import Node


def _check(predicate: Node) -> None:
    top = predicate.fields(("bomFormat", "specVersion"), closed=False)
    if top["bomFormat"].text() != "CycloneDX":
        top["bomFormat"].refuse("expected 'CycloneDX'")
    top["specVersion"].text()


KIND = PredicateKind(
    alias="cyclonedx",
    uri="https://cyclonedx.org/bom",
    title="CycloneDX document",
    members=frozenset(("bomFormat", "specVersion")),
    check=_check,
)
