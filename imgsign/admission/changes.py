"""What of an updated object stood in the old one as it is; pure.

Containers are the same by their name within their list, as Kubernetes merges them; the place in the list means
nothing, since people reorder and insert. What stood there was admitted then, or is older than the webhook.
"""

from __future__ import annotations

from imgsign.images.workloads import ImagePlace, Path, ShapeProblem, Walked

MISSING = object()
"""Stands for a value that is not there; equal to nothing else."""


def unchanged_images(walked: Walked, before: Walked) -> frozenset[Path]:
    """Find the images whose text stands at the same container of the old object; a name given twice is no name."""
    old: dict[tuple[str, str], str | None] = {}
    for w in before:
        if isinstance(w, ImagePlace) and w.name:
            key = (w.role, w.name)
            old[key] = None if key in old else w.text
    return frozenset([w.path for w in walked if isinstance(w, ImagePlace) and old.get((w.role, w.name)) == w.text])


def is_old_problem(problem: ShapeProblem, document: object, old: object) -> bool:
    """Whether what could not be read stands in the old object as it is: then it is no news either."""
    value = value_at(document, problem.path)
    return value is not MISSING and value == value_at(old, problem.path)


def value_at(document: object, path: Path) -> object:
    """Return the value at a path, or :data:`MISSING`."""
    value = document
    for step in path:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return MISSING
    return value
