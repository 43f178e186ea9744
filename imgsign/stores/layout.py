"""OCI image layouts: a directory that holds what a registry's repository holds, signatures included.

Source: image-spec v1.1.1 image-layout.md; distribution-spec v1.1.1 "Referrers Tag Schema". Referrers are
the manifests listed in ``index.json`` (with or without a tag) that name a subject, and those that an
index under the fallback tag lists; cosign's ``.sig`` tags are tags like any other. So an image can be
signed before it is pushed.

``index.json`` (:mod:`imgsign.stores.layout_index`) is replaced last and in one step, after everything it
reaches is on disk: an interrupted pull leaves a valid layout without the new image. Refused: links and
special files, an ``index.json`` or a blob over its limit, digests that are not digests (``..`` in one is
not).

What is read from a layout is as untrusted as what a registry sends: every manifest and blob is hashed.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from imgsign.errors import (
    ContentMismatch,
    DestinationError,
    InvalidManifest,
    NotFound,
    TooLarge,
    Unavailable,
    UsageError,
)
from imgsign.oci import MANIFEST_LIMIT, MANIFEST_TYPES, Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores import Edit, Piece, Room, Store, doubt
from imgsign.stores.appending import PIECE
from imgsign.stores.blobfiles import BlobFiles, Progress, quiet
from imgsign.stores.layout_index import REF_NAME, LayoutIndex, described
from imgsign.stores.together import Stop, run_all
from imgsign.wire import load_json, quote

SCHEME = "oci:"
_ATTACHED = (".sig", ".att", ".sbom")
# image-spec annotations.md, grammar of "org.opencontainers.image.ref.name"
_REF = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@/+]|--)[A-Za-z0-9]+)*")
_REF_LIMIT = 255  # characters
_SUBJECTS_LIMIT = 20_000  # manifests whose subject is remembered: bytes of a digest do not change


def parse_location(text: str, scheme: str = SCHEME) -> tuple[Path, str | None]:
    """Split ``oci:DIR[:TAG]``; the last colon separates unless a slash follows it.

    Raises:
        UsageError: another scheme, no directory, or not a tag.
    """
    rest = text.removeprefix(scheme)
    if not text.startswith(scheme) or not rest:
        raise UsageError(f"not an OCI layout: {quote(text)}", hint=f"write it as {scheme}PATH or {scheme}PATH:TAG")
    directory, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return Path(rest), None
    if not directory:
        raise UsageError(f"{quote(text)} names no directory", hint=f"write it as {scheme}PATH:TAG")
    if not 0 < len(tag) <= _REF_LIMIT or _REF.fullmatch(tag) is None:
        raise UsageError(f"not a tag of an OCI layout: {quote(tag)}")
    return Path(directory), tag


class LayoutStore:
    """An OCI layout as a :class:`imgsign.stores.Store`, and as the place a pull writes to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = BlobFiles(directory / "blobs")
        self._index = LayoutIndex(directory)
        self._subjects: dict[Digest, tuple[Digest | None, Descriptor]] = {}

    def __str__(self) -> str:
        return f"{SCHEME}{self.directory}"

    # Reading

    def fetch(self, what: str | Digest) -> Manifest:
        """See :class:`imgsign.stores.Store`; ``what`` is a tag of ``index.json`` or a digest."""
        with disk(self.directory):
            listed = self._index.find(what)
        digest = what if listed is None else listed.digest
        if isinstance(digest, str):
            raise NotFound(f"{self} has no tag {quote(digest)}", hint=self._tags_hint())
        return self._load(digest, None if listed is None else listed.media_type)

    def only_image(self) -> str | Digest:
        """What ``oci:DIR`` without a tag means: the one image of the layout.

        Raises:
            UsageError: there are several, or none.
        """
        with disk(self.directory):
            listed = self._index.descriptors()
        named: dict[Digest, list[Descriptor]] = {}
        for descriptor in filter(_may_be_image, listed):
            named.setdefault(descriptor.digest, []).append(descriptor)
        # Each manifest is read once, however often a hostile index lists it.
        images = [same for same in named.values() if not self._is_referrer(same[0])]
        if len(images) == 1:
            (same,) = images
            return next((d.annotations[REF_NAME] for d in same if REF_NAME in d.annotations), same[0].digest)
        count = "no image" if not images else f"{len(images)} images"
        raise UsageError(f"{self} holds {count}, and no tag was given", hint=self._tags_hint())

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        """See :class:`imgsign.stores.Store`."""
        if descriptor.size > limit:
            raise TooLarge(f"blob {descriptor.digest} of {descriptor.size} bytes is over the limit of {limit}")
        with disk(self.directory):
            return Blob.checked(descriptor, self._blobs.read(descriptor.digest, limit=limit))

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
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
        with disk(self.directory):
            listed = _by_digest(self._index.descriptors())
        for descriptor in _by_digest((*listed.values(), *self._fallback(subject))).values():
            if descriptor.digest == subject:
                continue
            try:
                named, found = self._refers(descriptor)
            except (NotFound, InvalidManifest, ContentMismatch, TooLarge):
                if descriptor.digest not in listed:
                    yield descriptor  # the fallback tag says it is one: the caller will say what is wrong with it
                continue
            if named == subject:
                yield found

    def has(self, descriptor: Descriptor) -> bool:
        """See :class:`imgsign.stores.Store`."""
        return self._blobs.stands(descriptor)

    # Writing

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """See :class:`imgsign.stores.Store`."""
        with disk(self.directory):
            self._put_artifact(artifact)
            self._blobs.sync()
            with self._index.lock():
                self._index.add([(artifact.manifest, tag)])
        return artifact.manifest.descriptor

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """See :class:`imgsign.stores.Store`; the lock makes it exact."""
        with disk(self.directory), self._index.lock():
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
            self._index.add([(artifact.manifest, tag)])
            return artifact.manifest.descriptor

    def forget(self, gone: Sequence[Digest]) -> None:
        """List these manifests no longer, under any tag; their bytes stay in the directory."""
        with disk(self.directory), self._index.lock():
            self._index.remove(frozenset(gone))

    def make(self) -> None:
        """Make the layout if it is not there.

        Raises:
            DestinationError: the directory holds something else, or cannot be written.
        """
        with disk(self.directory):
            self._index.make()

    def put(self, source: Store, manifest: Manifest, pool: Executor | None, progress: Progress = quiet) -> None:
        """Copy the blobs a manifest names, several at a time with a pool, then the manifest itself.

        Returns or raises only when nothing is under way any more; what came of a blob is kept.
        """
        wanted = {d.digest: d for d in (*((manifest.config,) if manifest.config else ()), *manifest.layers)}
        with disk(self.directory):
            run_all([partial(self._bring, source, d, progress) for d in wanted.values()], pool)
            self._blobs.put(manifest.descriptor, manifest.raw)

    def put_artifact(self, artifact: Artifact) -> None:
        """Write a signature's bytes; nothing lists them yet."""
        with disk(self.directory):
            self._put_artifact(artifact)

    def finish(self, listed: Sequence[tuple[Manifest, str | None]]) -> None:
        """Sync everything, then list manifests under their tags, in one step."""
        with disk(self.directory):
            self._blobs.sync()
            with self._index.lock():
                self._index.add(listed)

    def _bring(self, source: Store, wanted: Descriptor, progress: Progress, stop: Stop) -> None:
        self._copy(source, wanted, progress, stop)

    def take(self, source: Store, wanted: Descriptor, progress: Progress, stop: Stop) -> bool:
        """Copy one blob unless it stands; returns whether anything had to be fetched. Nothing lists it yet."""
        with disk(self.directory):
            return self._copy(source, wanted, progress, stop)

    def _copy(self, source: Store, wanted: Descriptor, progress: Progress, stop: Stop) -> bool:
        stop.check()
        if self._blobs.stands(wanted):
            progress(wanted.size)
            return False
        try:
            self._blobs.fill(
                wanted, lambda at, room: stop.checked(source.stream(wanted, start=at, room=room)), progress
            )
        except ContentMismatch:
            if not doubt(source, wanted):
                raise
            return self._copy(source, wanted, progress, stop)
        return True

    def _put_artifact(self, artifact: Artifact) -> None:
        for blob in artifact.blobs:
            self._blobs.put(blob.descriptor, blob.raw)
        self._blobs.put(artifact.manifest.descriptor, artifact.manifest.raw)

    def _load(self, digest: Digest, media_type: str | None) -> Manifest:
        """Read a manifest of the media type its listing gives, else of the one it names itself."""
        with disk(self.directory):
            raw = self._blobs.read(digest, limit=MANIFEST_LIMIT)
        if Digest.of(raw, digest.algorithm) != digest:
            raise ContentMismatch(f"manifest {digest} in {self} is not what its digest says")
        return Manifest.parse(raw, media_type or _written_type(raw), algorithm=digest.algorithm)

    def _refers(self, listed: Descriptor) -> tuple[Digest | None, Descriptor]:
        """The subject a manifest names, and how a listing describes it; each manifest is read once."""
        known = self._subjects.get(listed.digest)
        if known is None:
            manifest = self._load(listed.digest, listed.media_type)
            known = None if manifest.subject is None else manifest.subject.digest, described(manifest)
            if len(self._subjects) < _SUBJECTS_LIMIT:
                self._subjects[listed.digest] = known
        return known

    def _is_referrer(self, listed: Descriptor) -> bool:
        with suppress(NotFound, InvalidManifest, ContentMismatch, TooLarge):
            return self._load(listed.digest, listed.media_type).subject is not None
        return False

    def _tags_hint(self) -> str | None:
        with suppress(DestinationError, OSError):
            tags = [d.annotations[REF_NAME] for d in self._index.descriptors() if REF_NAME in d.annotations]
            shown = [t for t in tags if not t.endswith(_ATTACHED)][:8]
            return f"it has: {', '.join(map(quote, shown))}" if shown else None
        return None

    def _fallback(self, subject: Digest) -> tuple[Descriptor, ...]:
        try:
            index = self.fetch(subject.tag)
        except (NotFound, InvalidManifest, ContentMismatch, TooLarge):
            return ()
        return index.manifests if index.is_index and index.digest != subject else ()


def _by_digest(listed: Iterable[Descriptor]) -> dict[Digest, Descriptor]:
    """The first descriptor of each digest: a hostile index may list one manifest a thousand times."""
    found: dict[Digest, Descriptor] = {}
    for descriptor in listed:
        found.setdefault(descriptor.digest, descriptor)
    return found


def _may_be_image(listed: Descriptor) -> bool:
    """Whether a listing may be of an image: not of a signature or a list of referrers, by media type and tag."""
    name = listed.annotations.get(REF_NAME, "")
    if name.endswith(_ATTACHED) or listed.media_type not in MANIFEST_TYPES:
        return False
    return re.fullmatch(r"sha(?:256|384|512)-[a-f0-9]{64}", name) is None


def _written_type(raw: bytes) -> str | None:
    """The media type a manifest names itself; one that names none and is not listed cannot be told apart."""
    members = load_json(raw, limit=MANIFEST_LIMIT, error=InvalidManifest).fields((), ("mediaType",), closed=False)
    return members["mediaType"].text() if "mediaType" in members else None


@contextmanager
def disk(directory: Path) -> Iterator[None]:
    """Turn an operating system error into one line that names the place."""
    try:
        yield
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DestinationError(
            f"cannot use {str(directory)!r}: {(e.strerror or str(e)).lower()}",
            hint="free some space and run the same command again" if full else None,
        ) from e
