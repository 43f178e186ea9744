"""What a docker engine says while it pulls, as the bytes of a :data:`~imgsign.stores.blobfiles.Progress`.

Source: moby ``pkg/jsonmessage``: ``{"id": …, "status": …, "progressDetail": {"current": …, "total": …}}``.
"""

from __future__ import annotations

from imgsign.oci import Manifest
from imgsign.stores.blobfiles import Progress
from imgsign.wire import Node


class LayerProgress:
    """Turns an engine's lines of progress into bytes; what it says is only shown, never relied on."""

    def __init__(self, image: Manifest, progress: Progress) -> None:
        # moby names a layer by the first 12 digits of its digest (pkg/stringid).
        self._sizes = {layer.digest.hex[:12]: layer.size for layer in image.layers}
        self._done = dict.fromkeys(self._sizes, 0)
        self._config_size = 0 if image.config is None else image.config.size
        self._progress = progress

    def seen(self, line: Node) -> None:
        """Take note of one line; anything unknown in it is skipped, a wrong type is ``Malformed``."""
        members = line.entries()
        layer = members["id"].value if "id" in members else None
        status = members["status"].value if "status" in members else None
        if not isinstance(layer, str) or layer not in self._sizes:
            return
        if status == "Downloading" and "progressDetail" in members:
            current = members["progressDetail"].entries().get("current")
            if current is not None and isinstance(current.value, int):
                self._move(layer, max(0, min(current.value, self._sizes[layer])))
        elif status in ("Download complete", "Already exists", "Pull complete"):
            self._move(layer, self._sizes[layer])

    def complete(self) -> None:
        """Count everything as there, the config too, of which an engine says nothing."""
        for layer, size in self._sizes.items():
            self._move(layer, size)
        self._progress(self._config_size)

    def forget(self) -> None:
        """Take back what was counted: the pull came to nothing."""
        for layer in self._sizes:
            self._move(layer, 0)

    def _move(self, layer: str, done: int) -> None:
        if done != self._done[layer]:
            self._progress(done - self._done[layer])
            self._done[layer] = done
