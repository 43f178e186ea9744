"""An OCI layout as the place a pull puts an image; fills :class:`imgsign.workflow.Destination`."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from imgsign.oci import Artifact, Descriptor, Manifest, Platform
from imgsign.platforms import choose
from imgsign.stores import Store
from imgsign.stores.blobfiles import Progress, quiet
from imgsign.stores.layout import LayoutStore


class LayoutDestination:
    """An OCI layout directory, made if absent; the image is listed under ``tag``, or without one.

    All of an index is taken unless a ``platform`` is named; then only that child is stored and listed,
    since an index without its children would be a layout with holes.
    """

    keeps_signatures = True
    notes: tuple[str, ...] = ()  # nothing to say: a layout gets all that was asked for

    def __init__(
        self,
        directory: Path,
        tag: str | None = None,
        platform: Platform | None = None,
        progress: Progress = quiet,
    ) -> None:
        self._store = LayoutStore(directory)
        self._tag = tag
        self._platform = platform
        self._progress = progress
        self._signatures: list[tuple[Manifest, str | None]] = []
        self._last: Manifest | None = None

    def __str__(self) -> str:
        return str(self._store)

    def choose(self, index: Manifest) -> Descriptor | None:
        """Return the child for the platform that was named, if one was."""
        return None if self._platform is None else choose(index, self._platform)

    def open(self) -> None:
        """Make the layout, or see that it is one."""
        self._store.make()

    def put(self, source: Store, manifest: Manifest, pool: Executor | None) -> None:
        """Copy a manifest and what it names."""
        self._store.put(source, manifest, pool, self._progress)
        self._last = manifest

    def keep(self, signature: Artifact, tag: str | None) -> None:
        """Write a signature; it is listed with the image."""
        self._store.put_artifact(signature)
        self._signatures.append((signature.manifest, tag))

    def finish(self, manifest: Manifest) -> None:
        """Sync, then list the signatures and the image: the judged one, or the child that was taken of it."""
        listed = manifest if self._last is None else self._last
        self._store.finish([*self._signatures, (listed, self._tag)])
