"""Where a pull may put an image; each fills :class:`imgsign.workflow.Destination`."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from imgsign.oci import Artifact, Manifest
from imgsign.stores import Store
from imgsign.stores.blobfiles import Progress, quiet
from imgsign.stores.layout import LayoutStore


class LayoutDestination:
    """An OCI layout directory, made if absent; the image is listed under ``tag``, or without one."""

    keeps_signatures = True

    def __init__(self, directory: Path, tag: str | None = None, progress: Progress = quiet) -> None:
        self._store = LayoutStore(directory)
        self._tag = tag
        self._progress = progress
        self._signatures: list[tuple[Manifest, str | None]] = []

    def open(self) -> None:
        """Make the layout, or see that it is one."""
        self._store.make()

    def put(self, source: Store, manifest: Manifest, pool: Executor | None) -> None:
        """Copy a manifest and what it names."""
        self._store.put(source, manifest, pool, self._progress)

    def keep(self, signature: Artifact, tag: str | None) -> None:
        """Write a signature; it is listed with the image."""
        self._store.put_artifact(signature)
        self._signatures.append((signature.manifest, tag))

    def finish(self, manifest: Manifest) -> None:
        """Sync, then list the signatures and the image."""
        self._store.finish([*self._signatures, (manifest, self._tag)])
