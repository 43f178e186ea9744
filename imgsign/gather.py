"""Gathering all evidence for one image: bounded, in rounds, nothing judged.

:func:`gather` yields growing evidence; the caller evaluates each and stops at ALLOW, so that an image
with 500 other referrers costs no more than its good one. What is wrong with one candidate (404, too
large, another digest, bad JSON) is a ``Defect`` of that candidate; what failed on the way (transport,
401, 403, 429, 5xx, deadline, a passed cap) is a ``Fault``: never "there is nothing".

A store with mirrors is several sources (:func:`imgsign.stores.sources`): the mirrors' evidence comes first,
the registry's after it, so that who stops at ALLOW never asks the registry for what a mirror had.

Requests per image on a quiet repository: one listing or fallback tag (both until the host is known to
have no referrers API), one ``.sig`` tag, and per signature a manifest and a blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TypeVar

from imgsign.claim import Candidate, Defect, Format, Place, Referrers, Tag
from imgsign.decision import Evidence, Fault, Opened
from imgsign.errors import ContentMismatch, ImgsignError, Malformed, NotFound, RegistryError, TooLarge
from imgsign.intoto import COSIGN_SIGN
from imgsign.oci import Artifact, Blob, Descriptor, Manifest
from imgsign.policy.model import Settings
from imgsign.record import record
from imgsign.reference import Digest
from imgsign.stores import Store, sources

T = TypeVar("T")

_FIRST_ROUND = 8  # artifacts opened before the first judgement: what an ordinary image has
_NEXT_ROUNDS = 64
MIB = 1024 * 1024
_SMALL = MIB  # bytes; a signature takes some KiB


@record
class Limits:
    """What one image may cost; a passed limit is a Fault, a blob over its limit a Defect ``too-large``.

    ``referrers``: listed descriptors looked at. ``blob``: bytes of one blob. ``attestation``: the same where
    attestations are wanted, since one with an SBOM takes tens of MiB. ``total``: bytes of all blobs of one
    source, however many are fetched side by side. Signatures in one artifact are bounded by the formats.
    """

    referrers: int = 1000
    blob: int = 8 * MIB
    attestation: int = 64 * MIB
    total: int = 128 * MIB

    def settled(self, settings: Settings) -> Limits:
        """These limits, but for those that a policy sets."""
        return Limits(
            referrers=settings.referrers or self.referrers,
            blob=settings.blob or self.blob,
            attestation=settings.attestation or self.attestation,
            total=settings.total or self.total,
        )

    def blob_for(self, wanted: frozenset[str]) -> int:
        """Bytes of one blob where these predicate types are wanted."""
        return max(self.blob, self.attestation) if wanted - SIGNATURES else self.blob


SIGNATURES = frozenset((COSIGN_SIGN,))
"""What is wanted where nothing but signatures is."""

GATE_LIMITS = Limits(attestation=8 * MIB)
"""For gates that judge many images at once, in memory that others need: what a policy sets still wins."""


class _Budget:
    """Bytes that may still be fetched from one source; taken before they are asked for, by any thread.

    A quarter is kept for small blobs, so that a few large ones, which anybody may push, leave room for
    signatures.
    """

    def __init__(self, total: int) -> None:
        self._left = total
        self._kept = total // 4
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Take ``size`` bytes if they are left."""
        with self._lock:
            if size > self._left - (self._kept if size > _SMALL else 0):
                return False
            self._left -= size
            return True


@record
class _Search:
    """What is looked for, and what it may cost."""

    formats: tuple[Format, ...]
    wanted: frozenset[str]
    limits: Limits
    pool: Executor | None


@dataclass(slots=True)
class Pile:
    """Evidence about one image as it grows; ``formats`` read what is opened."""

    formats: Sequence[Format]
    image: Digest
    candidates: list[Candidate] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    known: set[Digest] = field(default_factory=set)

    def add(self, opened: Opened) -> None:
        """Read what one place had."""
        self.faults.extend(opened.faults)
        if opened.defect is not None:
            self.defects.append(opened.defect)
        if opened.artifact is not None or opened.defect is not None or opened.faults:
            self.opened.append(opened)
        if opened.artifact is None:
            return
        if not opened.artifact.missing and not opened.faults:
            self.known.add(opened.artifact.manifest.digest)
        for format in self.formats:
            for found in format.read(opened.artifact, opened.place, self.image):
                if isinstance(found, Defect):
                    self.defects.append(found)
                else:
                    self.candidates.append(found)

    def evidence(self) -> Evidence:
        """All there is so far."""
        return Evidence(
            candidates=tuple(self.candidates),
            defects=tuple(self.defects),
            faults=tuple(self.faults),
            opened=tuple(self.opened),
        )


def gather(
    store: Store,
    image: Digest,
    formats: Iterable[Format],
    *,
    wanted: frozenset[str] = SIGNATURES,
    limits: Limits | None = None,
    pool: Executor | None = None,
) -> Iterator[Evidence]:
    """Yield ever more evidence for one image; the last element is all there is.

    Args:
        store: Where to look.
        image: The digest of the image's manifest.
        formats: Whose places are looked at.
        wanted: Predicate types that are looked for: what seems to be one of them is opened first, and
            attestations are fetched at their size only if there is one beside that of signatures.
        limits: Bounds on what is fetched.
        pool: Runs requests side by side; without one they run in turn.
    """
    search = _Search(formats=tuple(formats), wanted=wanted, limits=limits or Limits(), pool=pool)
    pile = Pile(search.formats, image)
    for source in sources(store):
        # Each source has limits of its own: what a mirror piles up must not crowd out the registry.
        yield from _gather_from(source, image, search, pile)


def _gather_from(store: Store, image: Digest, search: _Search, pile: Pile) -> Iterator[Evidence]:
    """Add what one source has to the pile, in rounds; what another one had already is not read again."""
    formats, limits, pool = search.formats, search.limits, search.pool
    budget = _Budget(limits.total)
    places = tuple({p: None for f in formats for p in f.places(image)})
    tags = [p for p in places if isinstance(p, Tag)]
    jobs: list[Callable[[], Opened]] = [partial(_open, store, p, search, budget, frozenset(pile.known)) for p in tags]
    listing: list[Descriptor] = []
    if any(isinstance(p, Referrers) for p in places):
        jobs.append(partial(_list, store, image, limits, listing))
    for opened in _run(jobs, pool):
        pile.add(opened)
    new = [d for d in listing if d.digest not in pile.known]
    waiting = sorted(new, key=lambda d: not any(f.likely(d, search.wanted) for f in formats))
    size = _FIRST_ROUND
    while True:
        batch, waiting = waiting[:size], waiting[size:]
        size = _NEXT_ROUNDS
        work = [partial(_open, store, Referrers(d.digest), search, budget) for d in batch]
        for opened in _run(work, pool):
            pile.add(opened)
        yield pile.evidence()
        if not waiting:
            return


def _list(store: Store, image: Digest, limits: Limits, found: list[Descriptor]) -> Opened:
    """Collect the listing; what was listed before a failure is kept, the failure becomes a Fault."""
    faults: tuple[Fault, ...] = ()
    try:
        for descriptor in store.referrers(image):
            if len(found) >= limits.referrers:
                faults = (Fault(about="referrers", message=f"more than {limits.referrers} referrers are listed"),)
                break
            found.append(descriptor)
    except ImgsignError as e:
        faults = (Fault(about="referrers", message=e.message, hint=e.hint),)
    return Opened(place=Referrers(), faults=faults)


def _open(
    store: Store, place: Place, search: _Search, budget: _Budget, known: frozenset[Digest] = frozenset()
) -> Opened:
    """Fetch the artifact at a place, unless it is a known one, and those of its blobs that some format wants."""
    try:
        manifest = store.fetch(_what(place))
    except NotFound as e:
        if isinstance(place, Tag):
            return Opened(place=place)
        return Opened(place=place, defect=Defect(place=place, code="dangling", reason=f"is listed, but {e.message}"))
    except (ContentMismatch, TooLarge, Malformed) as e:
        return Opened(place=place, defect=Defect(place=place, code=_code(e), reason=e.message))
    except RegistryError as e:
        return Opened(place=place, faults=(Fault(about=str(place), message=e.message, hint=e.hint),))
    if manifest.digest in known:
        return Opened(place=place)
    return _open_blobs(store, place, manifest, search, budget)


def _open_blobs(store: Store, place: Place, manifest: Manifest, search: _Search, budget: _Budget) -> Opened:
    bare = Artifact(manifest=manifest)
    wanted = {(d.digest, d.size): d for f in search.formats for d in f.wanted(bare, place)}
    limit = search.limits.blob_for(search.wanted)
    blobs: list[Blob] = []
    missing: list[tuple[Digest, str]] = []
    large: set[Digest] = set()
    faults: list[Fault] = []
    for descriptor in wanted.values():
        if descriptor.size > limit:  # one that is too large is its own fault, and costs nothing
            text = f"blob {descriptor.digest} of {descriptor.size} bytes is over the limit of {limit}"
            missing.append((descriptor.digest, text))
            large.add(descriptor.digest)
            continue
        if not budget.take(descriptor.size):
            text = f"signatures are over the limit of {search.limits.total} bytes; not read"
            faults.append(Fault(about=str(place), message=text))
            break
        try:
            blobs.append(store.blob(descriptor, limit=limit))
        except (NotFound, ContentMismatch, TooLarge) as e:
            missing.append((descriptor.digest, e.message))
        except RegistryError as e:
            missing.append((descriptor.digest, "could not be fetched"))
            faults.append(Fault(about=str(place), message=e.message, hint=e.hint))
    artifact = Artifact(manifest=manifest, blobs=tuple(blobs), missing=tuple(missing), too_large=frozenset(large))
    return Opened(place=place, artifact=artifact, faults=tuple(faults))


def _run(jobs: Sequence[Callable[[], T]], pool: Executor | None) -> Iterator[T]:
    if pool is None or len(jobs) < 2:
        return (job() for job in jobs)
    return (future.result() for future in [pool.submit(job) for job in jobs])


def _what(place: Place) -> str | Digest:
    if isinstance(place, Tag):
        return place.name
    if place.manifest is None:
        raise ValueError("a listing is not one artifact")
    return place.manifest


def _code(error: ImgsignError) -> str:
    if isinstance(error, ContentMismatch):
        return "content-mismatch"
    return "too-large" if isinstance(error, TooLarge) else "malformed"
