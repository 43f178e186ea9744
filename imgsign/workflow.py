"""verify() and pull(); sign() is :mod:`imgsign.signing`. Everything else serves these three.

They do their input and output through the objects they are given: ``locate`` finds the store of a
repository, ``now`` is the time (aware UTC). Only an absent ``locate`` or ``now`` is filled in from the
environment and the clock, so that a program needs ten lines.

Order matters here and is numbered in the code: the policy's scope is found before any request, and
nothing is written at a destination before the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from itertools import islice
from typing import Protocol

from imgsign.claim import Referrers, Tag
from imgsign.decision import Decision, Evidence
from imgsign.errors import ContentMismatch, Denied, InvalidManifest, NotFound, TooLarge, UsageError
from imgsign.evaluate import Verifications, evaluate
from imgsign.formats import FORMATS
from imgsign.gather import Limits, gather
from imgsign.keys import PublicKey
from imgsign.oci import Artifact, Descriptor, Image, Manifest
from imgsign.policy.model import NameRule, Policy, Reject, Rule, SignedBy
from imgsign.reference import Digest, Reference
from imgsign.resolve import INDEX_DEPTH, Target, children, default_locate, target_of, wall_clock
from imgsign.stores import Locate, Store
from imgsign.trust import Keys, TrustedKey, TrustStore


def verify(
    reference: Reference | Target,
    policy: Policy,
    trust: TrustStore,
    *,
    locate: Locate | None = None,
    now: datetime | None = None,
    pool: Executor | None = None,
    limits: Limits | None = None,
) -> Decision:
    """Judge one image by the policy; the decision pins the digest of the bytes that were hashed.

    Raises:
        RegistryError: the image itself could not be read. What fails about signatures is in the decision.
    """
    now = now or wall_clock()
    target = target_of(reference, locate or default_locate())
    # (1) The scope first: a rejected name costs no request.
    rule = policy.rule_for(None if target.name is None else target.name.repository)
    if any(isinstance(r, Reject) for r in rule.require):
        return evaluate(policy, trust, Image(name=target.name, manifest=None), Evidence(), now=now)
    # (2) Resolve.
    manifest = target.store.fetch(target.what)
    # (3) Gather and judge.
    return verify_manifest(target, manifest, policy, trust, now=now, pool=pool, limits=limits)


def verify_manifest(
    target: Target,
    manifest: Manifest,
    policy: Policy,
    trust: TrustStore,
    *,
    now: datetime,
    pool: Executor | None = None,
    limits: Limits | None = None,
) -> Decision:
    """Judge an image whose manifest was fetched already: gather in rounds, judge each, stop at ALLOW."""
    image = Image(name=target.name, manifest=manifest)
    if not policy.rule_for(None if target.name is None else target.name.repository).needs_evidence:
        return evaluate(policy, trust, image, Evidence(), now=now)
    memo = Verifications()
    decision = None
    for evidence in gather(target.store, manifest.digest, FORMATS.values(), limits=limits, pool=pool):
        decision = evaluate(policy, trust, image, evidence, now=now, verifications=memo)
        if decision.allowed:
            break
    if decision is None:
        raise RuntimeError("gather yields at least once")
    return decision


def gather_all(target: Target, *, pool: Executor | None = None) -> tuple[Manifest, Evidence]:
    """Fetch an image and all the evidence there is, judged or not."""
    manifest = target.store.fetch(target.what)
    *_, evidence = gather(target.store, manifest.digest, FORMATS.values(), pool=pool)
    return manifest, evidence


def judge_evidence(
    target: Target, manifest: Manifest, evidence: Evidence, policy: Policy, trust: TrustStore, *, now: datetime
) -> Decision:
    """Judge evidence that was gathered already, all of it, not only until it suffices."""
    return evaluate(policy, trust, Image(name=target.name, manifest=manifest), evidence, now=now)


def judge_all(
    target: Target, policy: Policy, trust: TrustStore, *, now: datetime, pool: Executor | None = None
) -> Decision:
    """Gather everything and judge it, so that each signature has its check."""
    manifest, evidence = gather_all(target, pool=pool)
    return judge_evidence(target, manifest, evidence, policy, trust, now=now)


def check_allowed(decision: Decision) -> None:
    """Raise ``Denied`` unless the decision allows."""
    if not decision.allowed:
        hint = next((c.hint for c in decision.checks if c.hint is not None), None)
        raise Denied(f"denied {decision.image}", decision, hint=hint)


def require_allowed(decision: Decision) -> Reference:
    """Return ``repo:tag@digest`` of an allowed image, pinned to the judged digest.

    Raises:
        Denied: the decision is a denial.
        UsageError: the image has no name.
    """
    check_allowed(decision)
    image = decision.image
    if image.name is None or image.digest is None:
        raise UsageError("the image has no name", hint="give its name with --identity registry/repo:tag")
    return image.name.at(image.digest)


class Destination(Protocol):
    """A local place that takes one image; nothing of it is visible before ``finish``."""

    def open(self) -> None:
        """Make ready to write; called only once the image is allowed."""
        ...

    def put(self, source: Store, manifest: Manifest, pool: Executor | None) -> None:
        """Store a manifest and, for an image, its config and layers; each checked while it streams."""
        ...

    @property
    def keeps_signatures(self) -> bool:
        """Whether signatures can be stored beside the image."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know after ``finish``, one line each."""
        ...

    def choose(self, index: Manifest) -> Descriptor | None:
        """Which child of an index it takes; ``None`` takes all of it."""
        ...

    def keep(self, signature: Artifact, tag: str | None) -> None:
        """Store one signature, under its tag if it has one."""
        ...

    def finish(self, manifest: Manifest) -> None:
        """Make the image visible; ``manifest`` is the judged one, an index even where a child was taken."""
        ...


def pull(
    reference: Reference | Target,
    policy: Policy,
    trust: TrustStore,
    destination: Destination,
    *,
    locate: Locate | None = None,
    now: datetime | None = None,
    pool: Executor | None = None,
    expect: Callable[[int], None] = lambda size: None,
) -> Decision:
    """Verify, then copy the judged content, every byte hashed on the way.

    ``expect`` is told how many bytes of configs and layers are to come, once that is known.

    Raises:
        Denied: nothing was written then.
        RegistryError: content could not be had, or is not what its digest says.
        DestinationError: the place could not be written.
    """
    target = target_of(reference, locate or default_locate())
    decision = verify(target, policy, trust, now=now, pool=pool)
    check_allowed(decision)
    manifest = decision.image.manifest
    if manifest is None:
        raise RuntimeError("an allowed image has a manifest")
    content = _content(target.store, manifest, destination)
    destination.open()
    expect(sum({d.digest: d.size for m in content for d in (*_config_of(m), *m.layers)}.values()))
    for member in content:
        destination.put(target.store, member, pool)
        _keep_signatures(target.store, member, destination)
    destination.finish(manifest)
    return decision


def _content(store: Store, manifest: Manifest, destination: Destination) -> list[Manifest]:
    """What a destination takes of a judged image: of an index its choice, or all of it, children first."""
    depth = 0
    while manifest.is_index:
        chosen = destination.choose(manifest)
        if chosen is None:
            return [*(c for c, _ in children(store, manifest, skip_attestations=False)), manifest]
        depth += 1
        if depth > INDEX_DEPTH:
            raise UsageError(f"index {manifest.digest} is nested deeper than {INDEX_DEPTH}")
        manifest = store.fetch(chosen.digest)
    return [manifest]


def _config_of(manifest: Manifest) -> tuple[Descriptor, ...]:
    return () if manifest.config is None else (manifest.config,)


def _keep_signatures(store: Store, manifest: Manifest, destination: Destination) -> None:
    """Take along what is attached and looks like a signature, judged or not: the next verifier judges it.

    One that is not there or not what its digest says is left behind; a failing registry is an error.
    """
    if not destination.keeps_signatures:
        return
    places = dict.fromkeys(p for f in FORMATS.values() for p in f.places(manifest.digest))
    listed: list[tuple[str | Digest, str | None]] = [(p.name, p.name) for p in places if isinstance(p, Tag)]
    if any(isinstance(p, Referrers) for p in places):
        listed.extend((d.digest, None) for d in islice(store.referrers(manifest.digest), Limits().referrers))
    for what, tag in listed:
        try:
            found = store.fetch(what)
            place = Referrers(found.digest) if tag is None else Tag(tag)
            wanted = {d.digest: d for f in FORMATS.values() for d in f.wanted(Artifact(manifest=found), place)}
            if not wanted:
                continue
            blobs = tuple(store.blob(d, limit=Limits().blob) for d in (*_config_of(found), *wanted.values()))
        except (NotFound, ContentMismatch, TooLarge, InvalidManifest):
            continue
        destination.keep(Artifact(manifest=found, blobs=blobs), tag)


def key_policy(
    keys: Sequence[PublicKey], name: NameRule = NameRule.EXACT, *, anchor: str = "key"
) -> tuple[Policy, TrustStore]:
    """The policy that ``verify --key`` means: one of these keys signed it, whatever the scope."""
    required = SignedBy(anchors=(anchor,), name=name)
    policy = Policy(default=Rule(scope=None, require=(Reject(),)), scopes={"*": Rule(scope="*", require=(required,))})
    trusted = Keys(name=anchor, keys=tuple(TrustedKey(key=k) for k in keys))
    return policy, TrustStore(anchors={anchor: trusted})
