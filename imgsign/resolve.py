"""Resolving: from a reference to the manifests below it, by requests to one store.

Shared by :mod:`imgsign.workflow` and :mod:`imgsign.signing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from imgsign.errors import UsageError
from imgsign.oci import Descriptor, Manifest
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.stores import Locate, Store, registry_of

INDEX_DEPTH = 3  # index in index in index: deeper ones do not occur
INDEX_CHILDREN = 256  # manifests reachable from one index


@record
class Target:
    """One image to work on: where it is kept, what to ask for there, and what it is called.

    ``name`` is ``None`` for an image in an OCI layout without an identity. ``place`` names the store for
    people and tells two stores apart: a repository, or ``oci:DIR``.
    """

    name: Reference | None
    store: Store
    what: str | Digest
    place: str

    def __str__(self) -> str:
        if self.name is not None:
            return str(self.name)
        return f"{self.place}@{self.what}" if isinstance(self.what, Digest) else f"{self.place}:{self.what}"


def target_of(reference: Reference | Target, locate: Locate) -> Target:
    """Find the target of a reference: the digest decides what is fetched, the tag only names."""
    if isinstance(reference, Target):
        return reference
    named = reference.tag_or_latest()
    what = named.digest if named.digest is not None else named.tag or "latest"
    return Target(name=named, store=locate(named.repository), what=what, place=str(named.repository))


def written_target_of(reference: Reference | Target, locate: Locate) -> Target:
    """Find the target of a reference that is to be signed: at its registry alone, since a mirror may lag."""
    target = target_of(reference, locate)
    return replace(target, store=registry_of(target.store))


def children(store: Store, index: Manifest, *, skip_attestations: bool) -> Iterator[tuple[Manifest, Descriptor]]:
    """Yield every manifest below an index, each digest once, deepest first.

    Raises:
        UsageError: deeper than INDEX_DEPTH or more than INDEX_CHILDREN.
    """
    seen: set[Digest] = set()

    def walk(parent: Manifest, depth: int) -> Iterator[tuple[Manifest, Descriptor]]:
        for listed in parent.manifests:
            platform = listed.platform
            if skip_attestations and platform is not None and (platform.os, platform.architecture) == ("unknown",) * 2:
                continue
            if listed.digest in seen:
                continue
            seen.add(listed.digest)
            if len(seen) > INDEX_CHILDREN:
                raise UsageError(f"index {index.digest} has more than {INDEX_CHILDREN} manifests")
            child = store.fetch(listed.digest)
            if child.is_index:
                if depth >= INDEX_DEPTH:
                    raise UsageError(f"index {index.digest} is nested deeper than {INDEX_DEPTH}")
                yield from walk(child, depth + 1)
            yield child, listed

    return walk(index, 1)


def default_locate() -> Locate:
    """Find stores by the environment of this process: for programs that pass no ``locate``."""
    import os

    from imgsign.stores.locate import Registries

    return Registries(os.environ)


def wall_clock() -> datetime:
    """The time now, aware UTC: for programs that pass no ``now``."""
    return datetime.now(UTC)
