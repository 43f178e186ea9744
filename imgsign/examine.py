"""What is attached to an image, for people: the tree of referrers and tags, and each signature's content.

Nothing here is a judgement. Listings and contents are the registry's word and whoever pushed them; what
counts is said only by :func:`imgsign.evaluate.evaluate`, whose checks the command line puts beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from imgsign.claim import Candidate, Subject
from imgsign.errors import ImgsignError, InvalidEnvelope, NotFound
from imgsign.intoto import COSIGN_SIGN
from imgsign.oci import INDEX_TYPES, Descriptor, Manifest, Platform
from imgsign.predicates import shown_type
from imgsign.record import record
from imgsign.reference import Digest
from imgsign.stores import Store

DEPTH_LIMIT = 4  # referrers of referrers: a signature of an SBOM is at 2
NODES_LIMIT = 2000  # nodes of one tree

_BUNDLE = "application/vnd.dev.sigstore.bundle"
_PREDICATE = "dev.sigstore.bundle.predicateType"
_TAGS = {".sig": "signature", ".att": "attestation", ".sbom": "SBOM"}  # cosign's tags; an SBOM's is never signed
_KINDS = (
    ("application/vnd.cncf.notary.signature", "notation signature"),
    ("application/spdx", "SBOM (SPDX)"),
    ("text/spdx", "SBOM (SPDX)"),
    ("application/vnd.cyclonedx", "SBOM (CycloneDX)"),
    ("application/vnd.syft", "SBOM (Syft)"),
    ("application/vnd.in-toto", "in-toto attestation"),
    ("application/vnd.dsse", "DSSE envelope"),
)


@record
class Node:
    """One attached thing: ``kind`` in words, ``where`` it lies, what hangs on it, or why that is not known."""

    kind: str
    where: str
    digest: Digest | None = None
    size: int | None = None
    platform: Platform | None = None
    children: tuple[Node, ...] = ()
    problem: str | None = None


@dataclass(slots=True)
class _Budget:
    """Nodes that may still be made, and digests that were seen: a listing may name its own ancestors."""

    left: int = NODES_LIMIT
    seen: set[Digest] = field(default_factory=set)


def tree(store: Store, image: Manifest) -> Node:
    """Collect what is attached to an image, and to each platform of an index, recursively and bounded."""
    return _grow(store, "image", image, None, 1, _Budget())


def _grow(store: Store, kind: str, manifest: Manifest, platform: Platform | None, depth: int, budget: _Budget) -> Node:
    found: list[Node] = []
    problem = None
    try:
        found.extend(_referrer_nodes(store, manifest.digest, depth, budget))
    except ImgsignError as e:
        problem = e.message
    if depth == 1 or platform is not None:
        found.extend(_tag_nodes(store, manifest.digest))
    if depth == 1 and manifest.is_index:
        found.extend(_platform_nodes(store, manifest, budget))
    return Node(
        kind=kind if not manifest.is_index else "index",
        where=str(manifest.digest),
        digest=manifest.digest,
        size=manifest.descriptor.size,
        platform=platform,
        children=tuple(found),
        problem=problem,
    )


def _referrer_nodes(store: Store, subject: Digest, depth: int, budget: _Budget) -> Iterable[Node]:
    for listed in store.referrers(subject):
        if listed.digest in budget.seen:
            continue
        budget.seen.add(listed.digest)
        budget.left -= 1
        if budget.left < 0:
            raise NotFound(f"more than {NODES_LIMIT} things are attached; the rest is not shown")
        children: tuple[Node, ...] = ()
        problem = None
        if depth < DEPTH_LIMIT:
            try:
                children = tuple(_referrer_nodes(store, listed.digest, depth + 1, budget))
            except ImgsignError as e:
                problem = e.message
        yield Node(
            kind=kind_of(_labelled(store, listed)),
            where=f"referrer {listed.digest}",
            digest=listed.digest,
            size=listed.size,
            children=children,
            problem=problem,
        )


def _labelled(store: Store, listed: Descriptor) -> Descriptor:
    """A bundle's descriptor with its manifest's annotations, which a listing by go-containerregistry leaves out."""
    if not (listed.artifact_type or "").startswith(_BUNDLE) or _PREDICATE in listed.annotations:
        return listed
    try:
        return replace(listed, annotations=store.fetch(listed.digest).annotations)
    except ImgsignError:
        return listed  # what is wrong with it is for 'inspect' to say


def _tag_nodes(store: Store, image: Digest) -> Iterable[Node]:
    for suffix, word in _TAGS.items():
        tag = f"{image.tag}{suffix}"
        kind = f"{word}, cosign tag"
        try:
            manifest = store.fetch(tag)
        except NotFound:
            continue
        except ImgsignError as e:
            yield Node(kind=kind, where=tag, problem=e.message)
            continue
        count = len(manifest.layers)
        yield Node(
            kind=f"{count} {word}{'' if count == 1 else 's'}, cosign tag",
            where=tag,
            digest=manifest.digest,
            size=manifest.descriptor.size,
        )


def _platform_nodes(store: Store, index: Manifest, budget: _Budget) -> Iterable[Node]:
    for listed in index.manifests:
        if budget.left <= 0:
            return
        budget.left -= 1
        where = str(listed.digest)
        if listed.media_type in INDEX_TYPES:
            yield Node(kind="index", where=where, digest=listed.digest, platform=listed.platform)
            continue
        try:
            child = store.fetch(listed.digest)
        except ImgsignError as e:
            yield Node(kind="image", where=where, digest=listed.digest, platform=listed.platform, problem=e.message)
            continue
        yield _grow(store, "image", child, listed.platform or Platform(os="?", architecture="?"), 2, budget)


def kind_of(listed: Descriptor) -> str:
    """Say in words what a listed descriptor says it is; nobody has checked."""
    kind = listed.artifact_type or listed.media_type
    if kind.startswith(_BUNDLE):
        predicate = listed.annotations.get(_PREDICATE)
        if predicate is None:
            return "sigstore bundle"
        if predicate == COSIGN_SIGN:
            return "signature (sigstore bundle)"
        return f"attestation {shown_type(predicate)} (sigstore bundle)"
    return next((words for prefix, words in _KINDS if kind.startswith(prefix)), kind)


@record
class Content:
    """What one candidate says, unverified; ``problem`` if it says nothing that can be read."""

    candidate: Candidate
    predicate_type: str | None = None
    subjects: tuple[Subject, ...] = ()
    problem: str | None = None


def content_of(candidate: Candidate) -> Content:
    """Read a candidate without any check of who made it."""
    try:
        predicate_type, subjects = candidate.untrusted_content()
    except InvalidEnvelope as e:
        return Content(candidate=candidate, problem=e.message)
    return Content(candidate=candidate, predicate_type=predicate_type, subjects=subjects)
