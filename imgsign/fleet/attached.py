"""Collecting an image and everything attached to it, level by level and bounded: what a copy has to carry.

Attached to a manifest are its referrers (API and fallback tag merged), and cosign's ``.sig``, ``.att`` and
``.sbom`` tags; what is attached to those is attached too. A listed thing that is not there or not what its
digest says is left behind with a note: anybody who can push can list such things. What cannot be asked
(401, 429, timeouts) is an error: a copy must not lose signatures because a registry was tired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from imgsign.errors import NotFound, TooLarge
from imgsign.oci import Manifest
from imgsign.reference import Digest
from imgsign.resolve import INDEX_CHILDREN, children
from imgsign.stores import Store
from imgsign.stores.copying import UNUSABLE, Cargo

SUFFIXES = (".sig", ".att", ".sbom")
"""cosign's tags; docker-style names are ``sha256-<hex>`` and one of these."""

DEPTH_LIMIT = 4
"""Things on things: the signature of an SBOM of an image is at 2."""

ATTACHED_LIMIT = 5000
BYTES_LIMIT = 128 * 1024 * 1024
"""Bytes of all manifests together, which are kept in memory."""


@dataclass(slots=True)
class _Found:
    """What is attached to one manifest."""

    referrers: list[Manifest] = field(default_factory=list)
    tagged: list[tuple[str, Manifest]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class _Budget:
    def __init__(self) -> None:
        self.seen: set[Digest] = set()
        self._left = BYTES_LIMIT

    def spend(self, manifest: Manifest) -> None:
        self.seen.add(manifest.digest)
        self._left -= len(manifest.raw)
        if self._left < 0 or len(self.seen) > ATTACHED_LIMIT + INDEX_CHILDREN:
            raise TooLarge(
                f"more than {ATTACHED_LIMIT} things or {BYTES_LIMIT} bytes of manifests are attached to the image"
            )


def collect(store: Store, root: Manifest, pool: Executor) -> tuple[Cargo, list[str]]:
    """Collect an image with all platforms and all that is attached; also say what has to be left behind.

    Raises:
        RegistryError: something could not be asked, or there is too much of it.
        UsageError: the index is too deep or too wide.
    """
    budget = _Budget()
    below = [m for m, _ in children(store, root, skip_attestations=False)] if root.is_index else []
    images = list({m.digest: m for m in (*below, root)}.values())
    for manifest in images:
        budget.spend(manifest)
    referrers: list[Manifest] = []
    tagged: list[tuple[str, Manifest]] = []
    left: list[str] = []
    frontier = images
    for _ in range(DEPTH_LIMIT):
        following: list[Manifest] = []
        for found in _each(partial(_attached_to, store), frontier, pool):
            left.extend(found.left)
            for manifest in found.referrers:
                if manifest.digest not in budget.seen:
                    budget.spend(manifest)
                    referrers.append(manifest)
                    following.append(manifest)
            for tag, manifest in found.tagged:
                if manifest.digest not in budget.seen:
                    budget.spend(manifest)
                    following.append(manifest)
                tagged.append((tag, manifest))
        frontier = following
        if not frontier:
            break
    cargo = Cargo(images=tuple(images), referrers=tuple(referrers), tagged=tuple(dict.fromkeys(tagged)))
    return cargo, left


def count_attached(store: Store, manifest: Manifest) -> int:
    """How many things are attached to one manifest itself."""
    found = _attached_to(store, manifest)
    return sum(m.subject is not None for m in found.referrers) + len(found.tagged)


def _attached_to(store: Store, subject: Manifest) -> _Found:
    found = _Found()
    for listed in store.referrers(subject.digest):
        try:
            manifest = store.fetch(listed.digest)
            # A list may name anything; only what says itself that it belongs here goes along.
            if manifest.subject is None or manifest.subject.digest != subject.digest:
                found.left.append(f"referrer {listed.digest} is left behind: it does not refer to {subject.digest}")
                continue
            if manifest.is_index:
                found.referrers.extend(m for m, _ in children(store, manifest, skip_attestations=False))
            found.referrers.append(manifest)
        except UNUSABLE as e:
            found.left.append(f"referrer {listed.digest} is left behind: {e.message}")
        if len(found.referrers) > ATTACHED_LIMIT:
            raise TooLarge(f"more than {ATTACHED_LIMIT} referrers of {subject.digest}")
    for suffix in SUFFIXES:
        tag = f"{subject.digest.tag}{suffix}"
        try:
            found.tagged.append((tag, store.fetch(tag)))
        except NotFound:
            continue
        except UNUSABLE as e:
            found.left.append(f"tag {tag} is left behind: {e.message}")
    return found


def _each(work: Callable[[Manifest], _Found], items: Iterable[Manifest], pool: Executor) -> Iterable[_Found]:
    # Submitted from the thread that waits: nothing in the pool waits for the pool.
    return [future.result() for future in [pool.submit(work, item) for item in items]]
