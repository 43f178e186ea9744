"""OCI image layouts: a directory that holds what a registry's repository holds, signatures included.

Source: image-spec v1.1.1 image-layout.md; distribution-spec v1.1.1 "Referrers Tag Schema". Tags are the
``org.opencontainers.image.ref.name`` annotations of ``index.json``. Referrers are the manifests listed
there (with or without a tag) that name a subject, and those that an index under the fallback tag lists;
cosign's ``.sig`` tags are tags like any other. So an image can be signed before it is pushed.

``index.json`` is replaced last and in one step, after everything it reaches is on disk, under a lock: an
interrupted pull leaves a valid layout without the new image. Refused: links and special files, an
``index.json`` or a blob over its limit, digests that are not digests (``..`` in one is not).

What is read from a layout is as untrusted as what a registry sends: every manifest and blob is hashed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

from imgsign.errors import (
    ContentMismatch,
    DestinationError,
    InvalidManifest,
    NotFound,
    TooLarge,
    Unavailable,
    UsageError,
)
from imgsign.oci import MANIFEST_LIMIT, MANIFEST_TYPES, OCI_INDEX, Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores import Edit, Store
from imgsign.stores.blobfiles import PIECE, BlobFiles, Progress, quiet, sync_path
from imgsign.wire import Node, load_json, quote

REF_NAME = "org.opencontainers.image.ref.name"
INDEX_LIMIT = 4 * 1024 * 1024  # bytes of index.json; as for any manifest
_LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_ATTACHED = (".sig", ".att", ".sbom")
# image-spec annotations.md, grammar of "org.opencontainers.image.ref.name"
_REF = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@/+]|--)[A-Za-z0-9]+)*")
_REF_LIMIT = 255  # characters
SCHEME = "oci:"


def parse_location(text: str) -> tuple[Path, str | None]:
    """Split ``oci:DIR[:TAG]``; the last colon separates unless a slash follows it.

    Raises:
        UsageError: another scheme, no directory, or not a tag.
    """
    rest = text.removeprefix(SCHEME)
    if not text.startswith(SCHEME) or not rest:
        raise UsageError(f"not an OCI layout: {quote(text)}", hint="write it as oci:DIR or oci:DIR:TAG")
    directory, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return Path(rest), None
    if not directory:
        raise UsageError(f"{quote(text)} names no directory", hint="write it as oci:DIR:TAG")
    if not 0 < len(tag) <= _REF_LIMIT or _REF.fullmatch(tag) is None:
        raise UsageError(f"not a tag of an OCI layout: {quote(tag)}")
    return Path(directory), tag


class LayoutStore:
    """An OCI layout as a :class:`imgsign.stores.Store`, and as the place a pull writes to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = BlobFiles(directory / "blobs")

    def __str__(self) -> str:
        return f"{SCHEME}{self.directory}"

    # Reading

    def fetch(self, what: str | Digest) -> Manifest:
        """See :class:`imgsign.stores.Store`; ``what`` is a tag of ``index.json`` or a digest."""
        with disk(self.directory):
            listed = self._find_tag(what) if isinstance(what, str) else self._find_digest(what)
            digest = what if listed is None else listed.digest
            if isinstance(digest, str):
                raise NotFound(f"{self} has no tag {quote(digest)}", hint=self._tags_hint())
            raw = self._blobs.read(digest, limit=MANIFEST_LIMIT)
        if Digest.of(raw, digest.algorithm) != digest:
            raise ContentMismatch(f"manifest {digest} in {self} is not what its digest says")
        media_type = None if listed is None else listed.media_type
        return Manifest.parse(raw, media_type or _written_type(raw), algorithm=digest.algorithm)

    def only_image(self) -> str | Digest:
        """What ``oci:DIR`` without a tag means: the one image of the layout.

        Raises:
            UsageError: there are several, or none.
        """
        with disk(self.directory):
            images = [d for d in self._descriptors() if self._is_image(d)]
        if len({d.digest for d in images}) == 1:
            return images[0].annotations.get(REF_NAME) or images[0].digest
        count = "no image" if not images else f"{len(images)} images"
        raise UsageError(f"{self} holds {count}, and no tag was given", hint=self._tags_hint())

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        """See :class:`imgsign.stores.Store`."""
        if descriptor.size > limit:
            raise TooLarge(f"blob {descriptor.digest} of {descriptor.size} bytes is over the limit of {limit}")
        with disk(self.directory):
            return Blob.checked(descriptor, self._blobs.read(descriptor.digest, limit=limit))

    def stream(self, descriptor: Descriptor, *, start: int = 0) -> Iterator[bytes]:
        """See :class:`imgsign.stores.Store`."""
        with disk(self.directory), os.fdopen(self._blobs.open(descriptor.digest), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != descriptor.size:
                raise ContentMismatch(f"blob {descriptor.digest} in {self} has {size} bytes, not {descriptor.size}")
            file.seek(start)
            left = descriptor.size - start
            while left > 0 and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        """See :class:`imgsign.stores.Store`."""
        seen: set[Digest] = set()
        with disk(self.directory):
            listed = self._descriptors()
        for descriptor in (*listed, *self._fallback(subject)):
            if descriptor.digest in seen or descriptor.digest == subject:
                continue
            seen.add(descriptor.digest)
            try:
                manifest = self.fetch(descriptor.digest)
            except (NotFound, InvalidManifest, ContentMismatch, TooLarge):
                if descriptor not in listed:
                    yield descriptor  # the fallback tag says it is one: the caller will say what is wrong with it
                continue
            if manifest.subject is not None and manifest.subject.digest == subject:
                yield _described(manifest)

    def has(self, descriptor: Descriptor) -> bool:
        """See :class:`imgsign.stores.Store`."""
        return self._blobs.stands(descriptor)

    # Writing

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """See :class:`imgsign.stores.Store`."""
        with disk(self.directory):
            self._put_artifact(artifact)
            self._blobs.sync()
            with self._lock():
                self._list([(artifact.manifest, tag)])
        return artifact.manifest.descriptor

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """See :class:`imgsign.stores.Store`; the lock makes it exact."""
        with disk(self.directory), self._lock():
            try:
                current = Artifact(manifest=self.fetch(tag))
            except NotFound:
                current = None
            artifact = edit(current)
            if artifact is None:
                if current is None:
                    raise Unavailable(f"nothing was stored under {quote(tag)}")
                return current.manifest.descriptor
            self._put_artifact(artifact)
            self._blobs.sync()
            self._list([(artifact.manifest, tag)])
            return artifact.manifest.descriptor

    def make(self) -> None:
        """Make the layout if it is not there.

        Raises:
            DestinationError: the directory holds something else, or cannot be written.
        """
        marker = self.directory / "oci-layout"
        with disk(self.directory):
            if marker.exists():
                self._read_index()
                return
            if self.directory.exists() and any(self.directory.iterdir()):
                raise DestinationError(
                    f"{str(self.directory)!r} is not empty and not an OCI layout", hint="name a new directory"
                )
            (self.directory / "blobs").mkdir(parents=True, exist_ok=True)
            empty = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
            _replace(self.directory / "index.json", _dump(empty))
            _replace(marker, _LAYOUT_FILE)  # last: a directory with it is a complete layout

    def put(self, source: Store, manifest: Manifest, pool: Executor | None, progress: Progress = quiet) -> None:
        """Copy the blobs a manifest names, several at a time with a pool, then the manifest itself."""
        wanted = {d.digest: d for d in (*((manifest.config,) if manifest.config else ()), *manifest.layers)}
        with disk(self.directory):
            if pool is None:
                for descriptor in wanted.values():
                    self._copy(source, descriptor, progress)
            else:
                futures = [pool.submit(self._copy, source, d, progress) for d in wanted.values()]
                try:
                    for future in futures:
                        future.result()
                finally:
                    for future in futures:
                        future.cancel()
            self._blobs.put(manifest.descriptor, manifest.raw)

    def put_artifact(self, artifact: Artifact) -> None:
        """Write a signature's bytes; nothing lists them yet."""
        with disk(self.directory):
            self._put_artifact(artifact)

    def finish(self, listed: Sequence[tuple[Manifest, str | None]]) -> None:
        """Sync everything, then list manifests under their tags, in one step."""
        with disk(self.directory):
            self._blobs.sync()
            with self._lock():
                self._list(listed)

    def _copy(self, source: Store, descriptor: Descriptor, progress: Progress) -> None:
        if self._blobs.stands(descriptor):
            progress(descriptor.size)
        else:
            self._blobs.fill(descriptor, partial(_stream, source, descriptor), progress)

    def _put_artifact(self, artifact: Artifact) -> None:
        for blob in artifact.blobs:
            self._blobs.put(blob.descriptor, blob.raw)
        self._blobs.put(artifact.manifest.descriptor, artifact.manifest.raw)

    # index.json

    def _descriptors(self) -> list[Descriptor]:
        """The entries of ``index.json`` that are descriptors of manifests; anything else is skipped."""
        found = []
        for node in self._read_index()[1]:
            with suppress(InvalidManifest):
                found.append(Descriptor.parse(node))
        return found

    def _find_tag(self, tag: str) -> Descriptor | None:
        return next((d for d in self._descriptors() if d.annotations.get(REF_NAME) == tag), None)

    def _find_digest(self, digest: Digest) -> Descriptor | None:
        return next((d for d in self._descriptors() if d.digest == digest), None)

    def _is_image(self, descriptor: Descriptor) -> bool:
        name = descriptor.annotations.get(REF_NAME, "")
        if name.endswith(_ATTACHED) or descriptor.media_type not in MANIFEST_TYPES:
            return False
        if re.fullmatch(r"sha(?:256|384|512)-[a-f0-9]{64}", name):
            return False
        with suppress(NotFound, InvalidManifest, ContentMismatch, TooLarge):
            return self.fetch(descriptor.digest).subject is None
        return True

    def _tags_hint(self) -> str | None:
        with suppress(DestinationError, OSError):
            tags = [d.annotations[REF_NAME] for d in self._descriptors() if REF_NAME in d.annotations]
            shown = [t for t in tags if not t.endswith(_ATTACHED)][:8]
            return f"it has: {', '.join(map(quote, shown))}" if shown else None
        return None

    def _fallback(self, subject: Digest) -> tuple[Descriptor, ...]:
        try:
            index = self.fetch(subject.tag)
        except (NotFound, InvalidManifest, ContentMismatch, TooLarge):
            return ()
        return index.manifests if index.is_index and index.digest != subject else ()

    def _read_index(self) -> tuple[dict[str, object], list[Node]]:
        path = self.directory / "index.json"
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as e:
            raise DestinationError(f"{str(self.directory)!r} is not an OCI layout: it has no index.json") from e
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DestinationError(f"{str(path)!r} is not a regular file")
            raw = file.read(INDEX_LIMIT + 1)
        try:
            node = load_json(raw, limit=INDEX_LIMIT, error=InvalidManifest)
            members = node.fields(("manifests",), ("schemaVersion", "mediaType", "annotations"), closed=False)
            entries = list(members["manifests"].items())
        except InvalidManifest as e:
            raise DestinationError(f"{str(path)!r} cannot be read: {e.message}") from e
        return cast(dict[str, object], node.value), entries

    def _list(self, listed: Sequence[tuple[Manifest, str | None]]) -> None:
        """Write entries into ``index.json``: each replaces the same tag, or the same untagged manifest."""
        index, nodes = self._read_index()
        entries = [n.value for n in nodes]
        for manifest, tag in listed:
            entry = _described(manifest).to_json()
            annotations = dict(manifest.annotations) if manifest.subject is not None else {}
            if tag is not None:
                annotations[REF_NAME] = tag
            entry.pop("annotations", None)
            if annotations:
                entry["annotations"] = annotations
            entries = [e for e in entries if not _gives_way(e, tag, str(manifest.digest))]
            entries.append(entry)
        _replace(self.directory / "index.json", _dump({**index, "manifests": entries}))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the layout's lock while ``index.json`` is read, changed and replaced."""
        handle = os.open(self.directory / "oci-layout", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _stream(source: Store, descriptor: Descriptor, start: int) -> Iterator[bytes]:
    return source.stream(descriptor, start=start)


def _described(manifest: Manifest) -> Descriptor:
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


def _written_type(raw: bytes) -> str | None:
    """The media type a manifest names itself; one that names none and is not listed cannot be told apart."""
    members = load_json(raw, limit=MANIFEST_LIMIT, error=InvalidManifest).fields((), ("mediaType",), closed=False)
    return members["mediaType"].text() if "mediaType" in members else None


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("utf-8")


def _replace(path: Path, raw: bytes) -> None:
    """Replace a small file in one step, on disk before it is visible."""
    handle, temporary = tempfile.mkstemp(prefix=".imgsign-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_path(path.parent)


@contextmanager
def disk(directory: Path) -> Iterator[None]:
    """Turn an operating system error into one line that names the place."""
    try:
        yield
    except OSError as e:
        raise DestinationError(f"cannot use {str(directory)!r}: {(e.strerror or str(e)).lower()}") from e
