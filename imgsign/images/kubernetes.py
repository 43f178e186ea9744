"""Images in Kubernetes manifests: YAML or JSON text, as ``kubectl apply`` and ``helm template`` handle it.

Looked at: every document; ``List`` and typed lists; the built-in kinds (:mod:`imgsign.images.workloads`); the
custom resources of :mod:`imgsign.images.crds`; anything else that has containers (role ``by shape``); and what
``image_paths`` names. A kustomization goes to :mod:`imgsign.images.kustomize`.

A :class:`Problem`, never a pass: an image that is empty, not a string, or made at run time (``{{…}}``,
``$(…)``); an object without a kind; a manifest inside a text; with ``strict`` a key ``image`` in a kind that is
not known. Noted only: such keys without ``strict``, and that the data of ConfigMaps is not searched.

Pinning writes the reference between the quotes it stands in. A value that aliases share is pinned for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgsign.images import Problem, Scan, Spot, kustomize, yamltext
from imgsign.images.objects import Collected, look
from imgsign.images.paths import Path
from imgsign.images.yamltext import Node, Scalar, Table

__all__ = ["scan"]


def scan(text: str, *, image_paths: Mapping[str, Sequence[str]] | None = None, strict: bool = False) -> Scan:
    """Find the images of a manifest file.

    ``image_paths``: patterns (:mod:`imgsign.images.paths`) by kind, or by ``Kind.group``.
    """
    reading = yamltext.read(text)
    into = Collected(text, reading, image_paths or {}, strict=strict)
    documents = _Documents(into)
    for root in reading.roots:
        if not (isinstance(root, Scalar) and root.kind == "null"):
            documents.take(root)
    if not documents.count and not reading.problems:
        hint = "if this is the output of a program, it may have failed before it printed anything"
        empty = Problem(code="empty", message="nothing to check: no document", spot=Spot(0, 0, 1, 1), hint=hint)
        return Scan(problems=(empty,))
    return Scan(
        found=tuple(into.found),
        problems=tuple(sorted((*reading.problems, *into.problems), key=lambda p: p.spot)),
        notes=tuple(dict.fromkeys(into.notes)),
    )


class _Documents:
    """Takes documents and lists apart into objects."""

    def __init__(self, into: Collected) -> None:
        self.count = 0
        self._into = into

    def take(self, root: Node) -> None:
        """Look at one document."""
        self.count += 1
        if not isinstance(root, Table):
            self._into.refuse(root, (), "not-an-object", "not a Kubernetes object", None)
            return
        data = yamltext.plain(root)
        if isinstance(data, dict):
            self._object(root, data, (), "", "")

    def _object(self, root: Table, data: dict[str, object], at: Path, kind: str, group: str) -> None:
        """Look at an object; ``kind`` and ``group`` are what a typed list says of its items."""
        kind = _text(data.get("kind")) or kind
        version = _text(data.get("apiVersion"))
        group = version.rpartition("/")[0] if version else group
        if group == kustomize.GROUP and not at:
            part = kustomize.scan_root(self._into.text, self._into.reading, root)
            self._into.found += part.found
            self._into.problems += part.problems
            self._into.notes += part.notes
            return
        if _is_list(kind, items := data.get("items")) and isinstance(items, list):
            below = kind.removesuffix("List")
            for number, item in enumerate(items):
                where: Path = (*at, "items", number)
                if isinstance(item, dict):
                    self._object(root, item, where, below, group if below else "")
                else:
                    self._into.refuse(root, where, "not-an-object", "not a Kubernetes object", None)
            return
        if not kind:
            hint = "the values of a Helm chart cannot be checked: helm template … | imgsign check -"
            self._into.refuse(root, at, "no-kind", "not a Kubernetes object: it has no kind", None, hint)
            return
        look(self._into, root, data, at, kind, group)


def _is_list(kind: str, items: object) -> bool:
    """Whether an object is a list of objects; an ``AllowList`` of addresses is none."""
    if not isinstance(items, list) or not kind.endswith("List"):
        return False
    return kind == "List" or all(isinstance(i, dict) for i in items)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
