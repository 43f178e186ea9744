"""SPDX documents as JSON: what is in the image. Source: SPDX 2.3 (``spdxVersion``) and 3.0 (``@context``).

Checked: which of the two it is. Not checked: that the list is complete or right. cosign's older form, a
string that holds a document in tag-value form, is read but not written.
"""

from __future__ import annotations

from imgsign.predicates.kind import PredicateKind
from imgsign.wire import Node


def _check(predicate: Node) -> None:
    top = predicate.fields((), ("spdxVersion", "@context", "@graph"), closed=False)
    if "spdxVersion" in top:
        if not top["spdxVersion"].text().startswith("SPDX-"):
            top["spdxVersion"].refuse("not a version of SPDX")
    elif not {"@context", "@graph"} <= top.keys():
        predicate.refuse("not an SPDX document: neither 'spdxVersion' nor '@context' and '@graph'")


KIND = PredicateKind(
    alias="spdx",
    uri="https://spdx.dev/Document",
    title="SPDX document",
    members=frozenset(("spdxVersion", "@context", "@graph")),
    check=_check,
)
