"""Other tools' policies -> an imgsign policy and a report of every field; pure.

One dialect is one module, one line in :data:`IMPORTS`. What a dialect makes is never more permissive than its
source: a condition that cannot be carried makes the rule ``reject``, an alternative that cannot be carried is
left out, and both are told. What the source left open is written with ``unsafe``.

Outcome words of the report: ``carried`` as it was; ``stricter`` than it was; ``left-out`` since it is not about
images in registries, or without effect; ``refused``: it cannot be carried, and the rule says ``reject`` instead.
Two are for a person to think about: ``wider``: the rule asks for the same, but of more names than its pattern
(a scope has no shape for the difference; never where it asks for nothing); ``dropped``: the person said
``--unsafe-drop-transparency-log``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imgsign.policy.imports import cluster_image_policy, containers, kyverno, notation
from imgsign.policy.imports.draft import Drafted, Row, Wanted
from imgsign.wire import Node

__all__ = ["IMPORTS", "Drafted", "Row", "Wanted", "dialect_of"]

IMPORTS: dict[str, Callable[[Sequence[Node], Wanted], Drafted]] = {
    "containers": containers.convert,
    "cluster-image-policy": cluster_image_policy.convert,
    "kyverno": kyverno.convert,
    "notation": notation.convert,
}
"""Each dialect's converter: the documents of a file -> what to write."""


def dialect_of(document: Node) -> str | None:
    """Tell a dialect by what only it has; ``None``: none of them."""
    members = document.entries() if isinstance(document.value, dict) else {}
    kind = members["kind"].value if "kind" in members else None
    if kind == "ClusterImagePolicy":
        return "cluster-image-policy"
    if kind in ("ClusterPolicy", "Policy"):
        return "kyverno"
    if "trustPolicies" in members:
        return "notation"
    return "containers" if "default" in members else None
