"""``index.json`` of an OCI layout: what it lists, and changing that without losing anybody's entry.

Source: image-spec v1.1.1 image-layout.md "index.json File". Tags are the
``org.opencontainers.image.ref.name`` annotations of its entries.

Every change is made under a lock of the directory, to what is read at that moment, and replaces the file
in one step; entries that this program does not understand are kept as they are. Refused: an
``index.json`` that is a link or a special file, over its limit, or no JSON object with a list.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from imgsign.errors import DestinationError, InvalidManifest
from imgsign.oci import OCI_INDEX, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores.replacing import replacing
from imgsign.wire import Node, dump_json, load_json

REF_NAME = "org.opencontainers.image.ref.name"
INDEX_LIMIT = 4 * 1024 * 1024  # bytes of index.json; as for any manifest
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_OURS = frozenset({"blobs", "index.json", ".index.json.part", ".oci-layout.part"})
"""What :meth:`LayoutIndex.make` leaves if it is interrupted: its next run goes on there."""


class LayoutIndex:
    """The index of one layout; nothing is kept in memory, since others change it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "index.json"

    def descriptors(self) -> list[Descriptor]:
        """List the entries that are descriptors of manifests; anything else is skipped."""
        found = []
        for node in self._read()[1]:
            with suppress(InvalidManifest):
                found.append(Descriptor.parse(node))
        return found

    def find(self, what: str | Digest) -> Descriptor | None:
        """Return the entry of a tag, or the first of a digest."""
        if isinstance(what, str):
            return next((d for d in self.descriptors() if d.annotations.get(REF_NAME) == what), None)
        return next((d for d in self.descriptors() if d.digest == what), None)

    def make(self) -> None:
        """Make an empty layout if there is none.

        Raises:
            DestinationError: the directory holds something else.
        """
        marker = self._directory / "oci-layout"
        self._directory.mkdir(parents=True, exist_ok=True)
        with self.lock():
            names = {path.name for path in self._directory.iterdir()}
            if marker.name not in names and names - _OURS:
                raise DestinationError(
                    f"{str(self._directory)!r} is not empty and not an OCI layout", hint="name a new directory"
                )
            if marker.name in names or self._path.name in names:
                self._read()
            else:
                (self._directory / "blobs").mkdir(exist_ok=True)
                _replace(self._path, dump_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}))
            if marker.name not in names:
                _replace(marker, LAYOUT_FILE)  # last: a directory with it is a complete layout

    def add(self, listed: Sequence[tuple[Manifest, str | None]]) -> None:
        """Write entries: each replaces the same tag, or the same untagged manifest. Call it under :meth:`lock`."""
        index, nodes = self._read()
        entries = [n.value for n in nodes]
        for manifest, tag in listed:
            entries = [e for e in entries if not _gives_way(e, tag, str(manifest.digest))]
            entries.append(entry_of(manifest, tag))
        raw = dump_json({**index, "manifests": entries})
        if len(raw) > INDEX_LIMIT:
            raise DestinationError(f"{str(self._path)!r} is full: it would be over the limit of {INDEX_LIMIT} bytes")
        _replace(self._path, raw)

    def remove(self, gone: Container[Digest]) -> None:
        """Take out every entry of these manifests, tagged or not. Call it under :meth:`lock`."""
        index, nodes = self._read()
        entries = []
        for node in nodes:
            try:
                if Descriptor.parse(node).digest in gone:
                    continue
            except InvalidManifest:
                pass  # not understood, so kept
            entries.append(node.value)
        _replace(self._path, dump_json({**index, "manifests": entries}))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the layout's lock while its index is read, changed and replaced: that of the directory itself."""
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> tuple[dict[str, object], list[Node]]:
        """Return the members of the index, and its entries."""
        if self._path.is_symlink():
            raise DestinationError(f"{str(self._path)!r} is a symbolic link")
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as e:
            raise DestinationError(f"{str(self._directory)!r} is not an OCI layout: it has no index.json") from e
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DestinationError(f"{str(self._path)!r} is not a regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                raw = file.read(INDEX_LIMIT + 1)
        finally:
            os.close(handle)
        try:
            node = load_json(raw, limit=INDEX_LIMIT, error=InvalidManifest)
            members = node.fields(("manifests",), ("schemaVersion", "mediaType", "annotations"), closed=False)
            entries = list(members["manifests"].items())
        except InvalidManifest as e:
            raise DestinationError(f"{str(self._path)!r} cannot be read: {e.message}") from e
        return cast(dict[str, object], node.value), entries


def entry_of(manifest: Manifest, tag: str | None) -> dict[str, object]:
    """The entry that lists a manifest, under a tag or without one."""
    entry = described(manifest).to_json()
    annotations = dict(manifest.annotations) if manifest.subject is not None else {}
    if tag is not None:
        annotations[REF_NAME] = tag
    entry.pop("annotations", None)
    if annotations:
        entry["annotations"] = annotations
    return entry


def described(manifest: Manifest) -> Descriptor:
    """The descriptor a listing gives of a manifest, with its type and annotations."""
    artifact_type = manifest.artifact_type
    if artifact_type is None and manifest.config is not None and manifest.subject is not None:
        artifact_type = manifest.config.media_type
    return Descriptor(
        media_type=manifest.descriptor.media_type,
        digest=manifest.digest,
        size=manifest.descriptor.size,
        annotations=manifest.annotations,
        artifact_type=artifact_type,
    )


def _gives_way(other: object, tag: str | None, digest: str) -> bool:
    if not isinstance(other, dict):
        return False
    annotations = other.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name == tag if tag is not None else name is None and other.get("digest") == digest


def _replace(path: Path, raw: bytes) -> None:
    """Replace a small file in one step, on disk before it is visible."""
    with replacing(path) as handle:
        os.fchmod(handle, 0o644)
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(raw)
