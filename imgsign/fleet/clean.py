"""clean(): which signatures of an image are no longer wanted, and taking them away.

Chosen are signatures of one's own keys, proven by verifying them; those of others only where that was asked
for. Criteria narrow the choice, all of them must hold. Attestations and SBOMs are never chosen.

``superseded`` means: another signature that stays, of the same key and format, says at least as much: for
each name the same annotations, no lower sequence, no earlier time, no earlier end.

Refused is what would turn an image that the policy allows into one that it denies, under the name it was
asked for or any name that a chosen signature was made for. Where evidence cannot be seen whole, nothing is
chosen. Taking away is done as carefully as adding: :mod:`imgsign.stores.deleting`, ``stores/rewrite``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime, timedelta

from imgsign.claim import Candidate, Claim, Defect, Subject, Tag
from imgsign.decision import Decision, Evidence
from imgsign.errors import InvalidEnvelope, InvalidReference, NotFound, Unavailable, UntrustedSigner, UsageError
from imgsign.evaluate import evaluate
from imgsign.formats import FORMATS, simple
from imgsign.gather import gather
from imgsign.intoto import COSIGN_SIGN
from imgsign.keys import PublicKey
from imgsign.oci import Artifact, Image, Manifest
from imgsign.policy.model import Policy
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.resolve import Target, children
from imgsign.stores import Store, registry_of
from imgsign.stores.deleting import delete_manifest, unlist
from imgsign.stores.layout import LayoutStore
from imgsign.stores.listing import EditList
from imgsign.stores.remote import RemoteStore
from imgsign.tagged import layers_json, relayer
from imgsign.trust import TrustedKey, TrustStore
from imgsign.wire import dump_json

_ROUNDS = 5  # times a list of signatures may change under our hands


@record
class Choice:
    """What is no longer wanted. ``keys`` are one's own; ``others`` lets signatures of other keys be chosen too."""

    keys: tuple[PublicKey, ...] = ()
    formats: tuple[str, ...] = ()
    older_than: timedelta | None = None
    superseded: bool = False
    invalid: bool = False
    others: bool = False

    @property
    def narrows(self) -> bool:
        """Whether anything but the key is asked for."""
        return bool(self.formats or self.older_than or self.superseded or self.invalid)


@record
class Item:
    """One signature of one manifest; ``key`` is the fingerprint of the own key that made it."""

    image: Digest
    found: Candidate | Defect
    key: str | None
    signed_at: datetime | None

    @property
    def where(self) -> str:
        """Its place, as all commands write it."""
        return str(self.found.place)


@record
class Plan:
    """What would be taken away, and how many signatures would stay."""

    items: tuple[Item, ...]
    stays: int
    judged: bool


def make_plan(
    target: Target, choice: Choice, judge: tuple[Policy, TrustStore] | None, pool: Executor, *, now: datetime
) -> Plan:
    """Choose signatures of an image, and of each platform of an index.

    Raises:
        UsageError: what was asked contradicts itself, or an allowed image would be denied.
        Unavailable: not everything that is attached can be seen.
    """
    _check_choice(choice, judge)
    store = registry_of(target.store)
    root = store.fetch(target.what)
    below = [m for m, _ in children(store, root, skip_attestations=True)] if root.is_index else []
    chosen: list[Item] = []
    stays = 0
    for manifest in (*below, root):
        evidence = _evidence(store, manifest, pool)
        decision = (
            None if judge is None else evaluate(*judge, Image(name=target.name, manifest=manifest), evidence, now=now)
        )
        items = _choose(manifest.digest, evidence, choice, decision, now)
        if judge is not None:
            _refuse_denial(judge, target, manifest, evidence, items, now)
        chosen.extend(items)
        stays += len(evidence.candidates) + len(evidence.defects) - len(items)
    return Plan(items=tuple(chosen), stays=stays, judged=judge is not None)


def carry_out(target: Target, plan: Plan) -> None:
    """Take away what was planned, image by image.

    Raises:
        CannotDelete: the registry does not delete.
        RegistryError: it failed on the way; running the same command again goes on.
    """
    store = registry_of(target.store)
    for image in dict.fromkeys(i.image for i in plan.items):
        items = [i for i in plan.items if i.image == image]
        layers: dict[str, set[int]] = {}
        gone: list[Digest] = []
        for item in items:
            place = item.found.place
            if isinstance(place, Tag):
                layers.setdefault(place.name, set()).add(place.index or 0)
            elif place.manifest is not None and place.manifest not in gone:
                gone.append(place.manifest)
        _remove_referrers(store, image, gone)
        for tag, indexes in layers.items():
            _remove_layers(store, tag, indexes, {i.found for i in items if isinstance(i.found, simple.SimpleCandidate)})


def _check_choice(choice: Choice, judge: tuple[Policy, TrustStore] | None) -> None:
    if not choice.keys and not choice.others:
        raise UsageError("whose signatures? no key was given", hint="-k KEY.pub: your own; --others: those of anybody")
    if choice.others and not choice.narrows:
        raise UsageError(
            "--others alone would take away every signature", hint="add --invalid, --older-than or --format"
        )
    if choice.superseded and not choice.keys:
        raise UsageError("--superseded is known of own signatures only", hint="-k KEY.pub")
    if choice.invalid and judge is None:
        raise UsageError("--invalid needs a policy", hint="--policy FILE")
    for name in choice.formats:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}", hint=f"use one of {', '.join(FORMATS)}")


def _evidence(store: Store, manifest: Manifest, pool: Executor) -> Evidence:
    """Gather everything; the list under the signature tag must be the same before and after."""
    tag = f"{manifest.digest.tag}.sig"
    before = _digest_at(store, tag)
    *_, evidence = gather(store, manifest.digest, FORMATS.values(), pool=pool)
    if evidence.faults:
        fault = evidence.faults[0]
        raise Unavailable(f"cannot see all that is attached to {manifest.digest}: {fault.message}", hint=fault.hint)
    if _digest_at(store, tag) != before:
        raise Unavailable(f"tag {tag} is being changed at this moment", hint="run the same command again")
    return evidence


def _digest_at(store: Store, tag: str) -> Digest | None:
    try:
        return store.fetch(tag).digest
    except NotFound:
        return None


def _choose(image: Digest, evidence: Evidence, choice: Choice, decision: Decision | None, now: datetime) -> list[Item]:
    own = {id(c): claim for c in evidence.candidates if (claim := _own_claim(c, choice.keys)) is not None}
    names = {k.digest: k.fingerprint for k in choice.keys}
    found: list[Item] = []
    for candidate in evidence.candidates:
        claim = own.get(id(candidate))
        subjects = _subjects(candidate, claim)
        if subjects is None or (claim is None and not choice.others):
            continue
        times = [s.claimed_at for s in subjects if s.digest == image and s.claimed_at is not None]
        key = None if claim is None else names.get(claim.signer.spki or "")
        item = Item(image=image, found=candidate, key=key, signed_at=max(times, default=None))
        if _matches(item, choice, decision, now):
            found.append(item)
    if choice.others and choice.invalid and choice.older_than is None:
        defects = (Item(image=image, found=d, key=None, signed_at=None) for d in evidence.defects)
        found += [i for i in defects if i.found.format is not None and _matches(i, choice, decision, now)]
    if choice.superseded:
        found = [i for i in found if _is_superseded(i, found, own, evidence, image)]
    return _whole_manifests(found, evidence)


def _matches(item: Item, choice: Choice, decision: Decision | None, now: datetime) -> bool:
    if choice.formats and item.found.format not in choice.formats:
        return False
    if choice.older_than is not None and (item.signed_at is None or item.signed_at > now - choice.older_than):
        return False
    return not (choice.invalid and decision is not None and _counts(item, decision))


def _counts(item: Item, decision: Decision) -> bool:
    """Whether it counts for anything under the policy: ``evaluate`` names each as ``PLACE (FORMAT)``."""
    return any(c.passed and (c.about == item.where or c.about.startswith(f"{item.where} (")) for c in decision.checks)


def _own_claim(candidate: Candidate, keys: Iterable[PublicKey]) -> Claim | None:
    for key in keys:
        try:
            return candidate.verify(TrustedKey(key=key))
        except (UntrustedSigner, InvalidEnvelope):
            continue
    return None


def _subjects(candidate: Candidate, claim: Claim | None) -> tuple[Subject, ...] | None:
    """What it is about; ``None`` for an attestation, whoever made it. Unverified where ``claim`` is ``None``."""
    if claim is not None:
        return claim.subjects if claim.predicate_type in (None, COSIGN_SIGN) else None
    try:
        predicate_type, subjects = candidate.untrusted_content()
    except InvalidEnvelope:
        return ()
    return subjects if predicate_type in (None, COSIGN_SIGN) else None


def _is_superseded(
    item: Item, chosen: Sequence[Item], own: dict[int, Claim], evidence: Evidence, image: Digest
) -> bool:
    """Whether a better one stands; of two that say the same, the first in the list stays."""
    claim = own.get(id(item.found))
    if claim is None:
        return False
    order = [id(c) for c in evidence.candidates]
    for other in evidence.candidates:
        better = own.get(id(other))
        if better is None or other is item.found:
            continue
        if (better.signer.spki, better.format) != (claim.signer.spki, claim.format):
            continue
        if not _says_as_much(better, claim, image):
            continue
        if not _says_as_much(claim, better, image) or order.index(id(other)) < order.index(id(item.found)):
            return True
    return False


def _says_as_much(better: Claim, claim: Claim, image: Digest) -> bool:
    return all(
        any(_covers(b, s) for b in better.subjects if b.digest == image) for s in claim.subjects if s.digest == image
    )


def _covers(better: Subject, subject: Subject) -> bool:
    if (better.name, dict(better.annotations)) != (subject.name, dict(subject.annotations)):
        return False
    if subject.claimed_at is not None and (better.claimed_at is None or better.claimed_at < subject.claimed_at):
        return False
    if subject.sequence is not None and (better.sequence is None or better.sequence < subject.sequence):
        return False
    if better.expires_at is None:
        return True
    return subject.expires_at is not None and better.expires_at >= subject.expires_at


def _whole_manifests(chosen: list[Item], evidence: Evidence) -> list[Item]:
    """Leave out what shares a referrer with something that stays: a referrer is taken away whole."""
    picked = {id(i.found) for i in chosen}
    found: tuple[Candidate | Defect, ...] = (*evidence.candidates, *evidence.defects)
    shared = {c.place.manifest for c in found if id(c) not in picked and not isinstance(c.place, Tag)}
    return [i for i in chosen if isinstance(i.found.place, Tag) or i.found.place.manifest not in shared]


def _refuse_denial(
    judge: tuple[Policy, TrustStore],
    target: Target,
    manifest: Manifest,
    evidence: Evidence,
    items: Sequence[Item],
    now: datetime,
) -> None:
    gone = {id(i.found) for i in items}
    left = replace(
        evidence,
        candidates=tuple(c for c in evidence.candidates if id(c) not in gone),
        defects=tuple(d for d in evidence.defects if id(d) not in gone),
    )
    names: dict[Reference | None, None] = {target.name: None}
    for item in items:
        if not isinstance(item.found, Defect):
            names.update(dict.fromkeys(_names(item.found)))
    for name in names:
        image = Image(name=name, manifest=manifest)
        if evaluate(*judge, image, evidence, now=now).allowed and not evaluate(*judge, image, left, now=now).allowed:
            raise UsageError(
                f"without these signatures {image} would be denied; nothing was removed",
                hint="choose fewer: --superseded, --older-than, --format; or sign it first",
            )


def _names(candidate: Candidate) -> list[Reference]:
    found = []
    try:
        _, subjects = candidate.untrusted_content()
    except InvalidEnvelope:
        return []
    for subject in subjects:
        try:
            found.append(Reference.parse(subject.name or ""))
        except InvalidReference:
            continue
    return found


def _remove_referrers(store: Store, image: Digest, gone: Sequence[Digest]) -> None:
    if not gone:
        return
    if isinstance(store, LayoutStore):
        store.forget(gone)
        if _digest_at(store, image.tag) is not None:
            store.rewrite(image.tag, EditList(image, (), drop=gone, where=str(store)))
        return
    remote = _remote(store)
    for digest in gone:
        delete_manifest(remote, digest)
    unlist(remote, image, gone)


def _remove_layers(store: Store, tag: str, indexes: set[int], chosen: set[simple.SimpleCandidate]) -> None:
    """Take signatures out of a list that others may be writing to; an empty list is deleted."""
    try:
        standing = store.fetch(tag)
    except NotFound:
        return
    layers = layers_json(standing)
    # Places are numbers: what lies there now must be what was judged.
    if max(indexes) >= len(layers) or not all(_is_at(standing, c) for c in chosen):
        raise Unavailable(f"tag {tag} has been changed meanwhile", hint="run the same command again")
    drop = {dump_json(layers[i]) for i in indexes}

    def edit(current: Artifact | None) -> Artifact | None:
        listed = [] if current is None else layers_json(current.manifest)
        kept = [v for v in listed if dump_json(v) not in drop]
        return None if current is None or not kept or len(kept) == len(listed) else relayer(current.manifest, kept)

    for _ in range(_ROUNDS):
        try:
            current = store.fetch(tag)
        except NotFound:
            return
        listed = layers_json(current)
        if not any(dump_json(v) in drop for v in listed):
            return
        if any(dump_json(v) not in drop for v in listed):
            store.rewrite(tag, edit)
        elif isinstance(store, LayoutStore):
            store.forget([current.digest])
        else:
            delete_manifest(_remote(store), current.digest)
    raise Unavailable(f"tag {tag} does not come to rest: others are changing it", hint="run the same command again")


def _is_at(standing: Manifest, candidate: simple.SimpleCandidate) -> bool:
    place = candidate.place
    index = place.index if isinstance(place, Tag) and place.index is not None else 0
    return standing.layers[index].digest == Digest.of(candidate.payload, standing.layers[index].digest.algorithm)


def _remote(store: Store) -> RemoteStore:
    if not isinstance(store, RemoteStore):
        raise UsageError("signatures can be removed from a registry or an OCI layout only")
    return store
