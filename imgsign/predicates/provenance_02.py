"""SLSA provenance v0.2: how the image was built, as many builders still write it. Source: slsa.dev/provenance/v0.2.

Checked: ``builder.id`` and ``buildType`` are texts. Not checked: that the builder tells the truth.
"""

from __future__ import annotations

from imgsign.predicates.kind import PredicateKind
from imgsign.wire import Node


def _check(predicate: Node) -> None:
    top = predicate.fields(("builder", "buildType"), closed=False)
    top["builder"].fields(("id",), closed=False)["id"].text()
    top["buildType"].text()


KIND = PredicateKind(
    alias="slsa-provenance-0.2",
    uri="https://slsa.dev/provenance/v0.2",
    title="SLSA provenance v0.2",
    members=frozenset(("builder", "id", "buildType")),
    check=_check,
)
