"""SLSA provenance v1: how the image was built. Source: slsa.dev/spec/v1.0/provenance.

Checked: ``buildDefinition.buildType`` and ``runDetails.builder.id`` are texts, the two members that say what
was done and by whom. Not checked: that the builder tells the truth, and any SLSA level.
"""

from __future__ import annotations

from imgsign.predicates.kind import PredicateKind
from imgsign.wire import Node


def _check(predicate: Node) -> None:
    top = predicate.fields(("buildDefinition", "runDetails"), closed=False)
    top["buildDefinition"].fields(("buildType",), closed=False)["buildType"].text()
    details = top["runDetails"].fields(("builder",), closed=False)
    details["builder"].fields(("id",), closed=False)["id"].text()


KIND = PredicateKind(
    alias="slsa-provenance",
    uri="https://slsa.dev/provenance/v1",
    title="SLSA provenance v1",
    members=frozenset(("buildDefinition", "buildType", "runDetails", "builder", "id")),
    check=_check,
)
