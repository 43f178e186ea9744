"""Which kind of file a text is: by its name, and for YAML by what it holds.

A name alone is not believed where the program that reads the file does not go by it: ``kubectl`` deploys a
``compose.yaml`` that holds a Deployment, so an object with ``apiVersion`` and ``kind`` is one whatever its name.
"""

from __future__ import annotations

import enum
import re

from imgsign.images import kustomize, yamltext
from imgsign.images.yamltext import Table

__all__ = ["FileKind", "detect"]


class FileKind(enum.Enum):
    """The kinds of files that are understood; the value is what ``--as`` takes."""

    KUBERNETES = "kubernetes"
    KUSTOMIZATION = "kustomization"
    COMPOSE = "compose"
    DOCKERFILE = "dockerfile"


_DOCKERFILE = re.compile(r"(?:.*\.)?(?:dockerfile|containerfile)(?:\..*)?", re.IGNORECASE | re.DOTALL)
_COMPOSE = re.compile(r"(?:docker-|podman-)?compose.*\.ya?ml", re.IGNORECASE | re.DOTALL)
_KUSTOMIZATION = re.compile(r"kustomization(?:\.ya?ml)?", re.IGNORECASE)
_YAML = re.compile(r".*\.(?:ya?ml|json)", re.IGNORECASE | re.DOTALL)
_FROM = re.compile(r"^[ \t]*FROM[ \t]", re.IGNORECASE | re.MULTILINE)


def detect(name: str, text: str) -> FileKind | None:
    """Find the kind of a file by the last part of its name and its text; ``None`` if it is none of them."""
    base = name.rpartition("/")[2]
    if _DOCKERFILE.fullmatch(base) is not None and not _YAML.fullmatch(base):
        return FileKind.DOCKERFILE
    keys: set[str] = set()
    versions: set[str] = set()
    for root in (roots := yamltext.read(text).roots):
        if isinstance(root, Table):
            keys |= root.entries.keys()
            version = yamltext.plain(root.entries["apiVersion"]) if "apiVersion" in root.entries else ""
            versions.add(version.rpartition("/")[0] if isinstance(version, str) else "")
    if kustomize.GROUP in versions and len(roots) == 1:
        return FileKind.KUSTOMIZATION
    if {"apiVersion", "kind"} <= keys:
        return FileKind.KUBERNETES
    if _KUSTOMIZATION.fullmatch(base) is not None:
        return FileKind.KUSTOMIZATION
    if _COMPOSE.fullmatch(base) is not None or ("services" in keys and "kind" not in keys):
        return FileKind.COMPOSE
    if _YAML.fullmatch(base) is not None or "kind" in keys:
        return FileKind.KUBERNETES
    return FileKind.DOCKERFILE if _FROM.search(text) is not None else None
