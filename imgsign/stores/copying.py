"""A whole image with everything attached, written into a store so that it can be killed at any point.

:class:`Cargo` says what is to be there; each kind of place writes it its own way. Everywhere children come
before parents, referrers after their subject, and what a tag points to before the tag, which is last.
Digests never change: manifests are stored as the bytes they were received as.

A registry: blobs side by side in one flat pool (there already, mounted, or sent), manifests, referrers, one
change of the fallback tag for each subject (where the registry does not list by itself), cosign's tags,
the image's tag. A layout: :class:`LayoutWriter`. A tar of a layout: :mod:`imgsign.stores.oci_archive`.

What is attached was attached by anybody who can push. A blob of it that is missing or wrong leaves that one
thing behind, with a note, and does not stop the image; a blob of the image does.

cosign's tags hold lists. Where the destination's list has entries that ours lacks, both are joined, since
replacing it would remove somebody's signatures; only then does such a tag get another digest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from imgsign.errors import ContentMismatch, InvalidManifest, NotFound, TooLarge
from imgsign.formats import simple
from imgsign.oci import Artifact, Descriptor, Manifest
from imgsign.record import record
from imgsign.reference import Digest, Repository
from imgsign.stores import Store
from imgsign.stores.blobfiles import Progress
from imgsign.stores.layout import LayoutStore
from imgsign.stores.remote import RemoteStore
from imgsign.stores.together import Stop, run_all
from imgsign.stores.transfer import Passing
from imgsign.stores.uploads import Way, send_blob
from imgsign.tagged import layers_json, relayer
from imgsign.wire import dump_json

UNUSABLE = (NotFound, ContentMismatch, TooLarge, InvalidManifest)
"""What may be wrong with one attached thing without being the fault of anything else."""

_FOREIGN = ("foreign", "nondistributable")  # layers that registries need not have (image-spec layer.md)


@record
class Cargo:
    """An image and what is attached to it.

    ``images``: children before parents, the image itself last. ``referrers``: subjects before what refers
    to them, children of an index before it. ``tagged``: cosign's tags with what they hold.
    """

    images: tuple[Manifest, ...]
    referrers: tuple[Manifest, ...] = ()
    tagged: tuple[tuple[str, Manifest], ...] = ()

    @property
    def root(self) -> Manifest:
        """The image itself."""
        return self.images[-1]

    @property
    def attached(self) -> tuple[Manifest, ...]:
        """All that is attached, in order."""
        return (*self.referrers, *(m for _, m in self.tagged))

    def size(self) -> int:
        """Bytes of all blobs, each counted once."""
        return sum(d.size for d in blobs_of((*self.images, *self.attached)))


@dataclass(slots=True)
class Result:
    """What came of a copy; ``left`` says of what was left behind why, ``moved`` which tag pointed elsewhere."""

    ways: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))
    sent_bytes: int = 0
    left: list[str] = field(default_factory=list)
    moved: list[tuple[str, Digest]] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)


class Writer(Protocol):
    """A place that takes a cargo; ``store`` reads what stands there afterwards."""

    @property
    def store(self) -> Store: ...

    def write(self, source: Store, cargo: Cargo, tag: str | None, pool: Executor, progress: Progress) -> Result:
        """Write everything, the image's tag last."""
        ...


def blobs_of(manifests: Iterable[Manifest]) -> tuple[Descriptor, ...]:
    """Configs and layers, each digest once."""
    found = {d.digest: d for m in manifests for d in (*((m.config,) if m.config else ()), *m.layers)}
    return tuple(found.values())


def may_be_absent(blob: Descriptor) -> bool:
    """Whether a layer may be kept elsewhere than in registries."""
    return any(word in blob.media_type for word in _FOREIGN)


class _Blobs:
    """Which blobs could be had, and how; filled from several threads."""

    def __init__(self, put: Callable[[Descriptor, Stop], Way], result: Result) -> None:
        self._put = put
        self._result = result
        self._lock = threading.Lock()
        self.bad: dict[Digest, str] = {}

    def copy(self, blob: Descriptor, needed: bool, stop: Stop) -> None:
        stop.check()
        try:
            way = self._put(blob, stop)
        except UNUSABLE as e:
            if needed and not (may_be_absent(blob) and isinstance(e, NotFound)):
                raise
            with self._lock:
                self.bad[blob.digest] = e.message
            return
        with self._lock:
            self._result.ways[way] += 1
            self._result.sent_bytes += blob.size if way is Way.SENT else 0

    def run(self, cargo: Cargo, pool: Executor) -> Cargo:
        """Copy all blobs side by side; returns the cargo without what cannot be had."""
        needed = blobs_of(cargo.images)
        own = {d.digest for d in needed}
        more = [d for d in blobs_of(cargo.attached) if d.digest not in own]
        tasks = [partial(self.copy, d, True) for d in needed] + [partial(self.copy, d, False) for d in more]
        run_all(tasks, pool)
        return without_bad(cargo, self.bad, self._result)


def without_bad(cargo: Cargo, bad: dict[Digest, str], result: Result) -> Cargo:
    """Leave behind what is attached and lacks a blob, or a child that was left behind."""
    if not bad:
        return cargo
    gone = dict(bad)

    def stays(manifest: Manifest, where: str) -> bool:
        named = (*blobs_of((manifest,)), *manifest.manifests)
        why = next((gone[d.digest] for d in named if d.digest in gone), None)
        if why is not None:
            gone[manifest.digest] = why
            result.left.append(f"{where} is left behind: {why}")
        return why is None

    return Cargo(
        images=cargo.images,
        referrers=tuple(m for m in cargo.referrers if stays(m, f"referrer {m.digest}")),
        tagged=tuple((t, m) for t, m in cargo.tagged if stays(m, f"tag {t}")),
    )


class RegistryWriter:
    """Writes into a repository; ``mount``: another one of the same registry that holds the blobs."""

    def __init__(self, store: RemoteStore, mount: Repository | None = None) -> None:
        self.store = store
        self._mount = mount if mount != store.repository else None

    def write(self, source: Store, cargo: Cargo, tag: str | None, pool: Executor, progress: Progress) -> Result:
        """See :class:`Writer`."""
        result = Result()
        _note_move(self.store, cargo, tag, result)

        def put(blob: Descriptor, stop: Stop) -> Way:
            body = Passing(source, blob, progress, stop)
            way = send_blob(self.store.repository, self.store.transport, blob, body, mount=self._mount)
            if way is not Way.SENT:
                progress(blob.size)
            return way

        cargo = _Blobs(put, result).run(cargo, pool)
        # Children before parents: what is no index first, side by side, then the indexes in their order.
        for group in _in_order((*cargo.images, *cargo.referrers)):
            run_all([partial(self._put, m) for m in group], pool)
        by_subject: dict[Digest, list[Manifest]] = {}
        for manifest in cargo.referrers:
            if manifest.subject is not None:
                by_subject.setdefault(manifest.subject.digest, []).append(manifest)
        run_all([partial(self._list, s, found) for s, found in by_subject.items()], pool)
        run_all([partial(self._put_tagged, t, m, result) for t, m in cargo.tagged], pool)
        if tag is not None:
            self.store.transport.retry(lambda: self.store.manifests.put(cargo.root, tag))
        return result

    def _put(self, manifest: Manifest, stop: Stop) -> None:
        stop.check()
        self.store.transport.retry(lambda: self.store.manifests.put(manifest))

    def _list(self, subject: Digest, stored: Sequence[Manifest], stop: Stop) -> None:
        stop.check()
        self.store.list_all(subject, stored)

    def _put_tagged(self, tag: str, manifest: Manifest, result: Result, stop: Stop) -> None:
        stop.check()
        try:
            standing = self.store.fetch(tag)
        except NotFound:
            standing = None
        except InvalidManifest as e:
            result.left.append(f"tag {tag} is left behind: what the destination has there is {e.message}")
            return
        if standing is not None and standing.digest == manifest.digest:
            return
        if standing is not None and joined(standing, manifest) is not None:
            self.store.rewrite(tag, _join(manifest))
            result.joined.append(tag)
            return
        if standing is not None and not _is_list(standing):
            result.moved.append((tag, standing.digest))
        self.store.transport.retry(lambda: self.store.manifests.put(manifest, tag))


class LayoutWriter:
    """Writes into an OCI layout; everything becomes visible in one change of its ``index.json``."""

    def __init__(self, store: LayoutStore) -> None:
        self.store = store

    def write(self, source: Store, cargo: Cargo, tag: str | None, pool: Executor, progress: Progress) -> Result:
        """See :class:`Writer`."""
        result = Result()
        self.store.make()
        _note_move(self.store, cargo, tag, result)

        def put(blob: Descriptor, stop: Stop) -> Way:
            return Way.SENT if self.store.take(source, blob, progress, stop) else Way.THERE

        cargo = _Blobs(put, result).run(cargo, pool)
        listed: list[tuple[Manifest, str | None]] = []
        for manifest in (*cargo.images, *cargo.referrers):
            self.store.put_artifact(Artifact(manifest=manifest))
        listed.extend((m, None) for m in cargo.referrers if m.subject is not None)
        for name, manifest in cargo.tagged:
            standing_there = self._fetch(name)
            artifact = None if standing_there is None else joined(standing_there, manifest)
            if artifact is not None:
                result.joined.append(name)
            elif standing_there is not None and standing_there.digest != manifest.digest and not _is_list(manifest):
                result.moved.append((name, standing_there.digest))
            artifact = artifact or Artifact(manifest=manifest)
            self.store.put_artifact(artifact)
            listed.append((artifact.manifest, name))
        self.store.finish([*listed, (cargo.root, tag)])
        return result

    def _fetch(self, tag: str) -> Manifest | None:
        try:
            return self.store.fetch(tag)
        except UNUSABLE:
            return None


def joined(standing: Manifest, ours: Manifest) -> Artifact | None:
    """Join two lists of layers under one of cosign's tags; ``None`` if ours has all, or they are no lists.

    What stands comes first, so that places in it stay what they were.
    """
    if not (_is_list(standing) and _is_list(ours)):
        return None
    theirs = layers_json(standing)
    known, own = ({dump_json(v) for v in values} for values in (theirs, layers_json(ours)))
    if known <= own:
        return None
    new = [v for v in layers_json(ours) if dump_json(v) not in known]
    return relayer(standing, [*theirs, *new]) if new else Artifact(manifest=standing)


def _join(ours: Manifest) -> Callable[[Artifact | None], Artifact | None]:
    def edit(current: Artifact | None) -> Artifact | None:
        if current is None:
            return Artifact(manifest=ours)
        wanted = joined(current.manifest, ours) or Artifact(manifest=ours)
        return None if wanted.manifest.digest == current.manifest.digest else wanted

    return edit


def _is_list(manifest: Manifest) -> bool:
    """Whether it is one of cosign's lists of signatures or attestations, whose order carries no meaning."""
    return not manifest.is_index and bool(manifest.layers) and all(_is_entry(d) for d in manifest.layers)


def _is_entry(layer: Descriptor) -> bool:
    return layer.media_type in (simple.LAYER_TYPE, "application/vnd.dsse.envelope.v1+json")


def _note_move(store: Store, cargo: Cargo, tag: str | None, result: Result) -> None:
    """Take note of what the image's tag points to now, if that is something else."""
    if tag is None:
        return
    try:
        standing = store.fetch(tag).digest
    except NotFound:
        return
    if standing != cargo.root.digest:
        result.moved.append((tag, standing))


def _in_order(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Group manifests so that none names another of its own group or of a later one as child or subject."""
    level: dict[Digest, int] = {}
    groups: list[list[Manifest]] = []
    for manifest in manifests:
        named = [d.digest for d in manifest.manifests]
        if manifest.subject is not None:
            named.append(manifest.subject.digest)
        place = 1 + max((level.get(d, -1) for d in named), default=-1)
        place = max(place, level.get(manifest.digest, 0))
        level[manifest.digest] = place
        while len(groups) <= place:
            groups.append([])
        groups[place].append(manifest)
    return iter(g for g in groups if g)
