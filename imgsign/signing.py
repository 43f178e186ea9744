"""sign(): resolve, look, draft, sign, push, read back.

The order is the point: every name becomes a digest of bytes hashed here; what stands already is left
alone; everything is signed before anything is pushed, children before their index; and nothing is
reported that has not been read back and verified as a verifier would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import Protocol

from imgsign.claim import (
    RESERVED_PREFIX,
    SEQUENCE_MAX,
    Claim,
    Defect,
    Draft,
    Format,
    Subject,
    Tag,
    Unsigned,
)
from imgsign.decision import Evidence
from imgsign.errors import (
    ContentMismatch,
    InvalidEnvelope,
    NotFound,
    Unavailable,
    UntrustedSigner,
    UsageError,
)
from imgsign.evaluate import CLOCK_SKEW
from imgsign.formats import FORMATS
from imgsign.gather import Limits, gather
from imgsign.intoto import COSIGN_SIGN
from imgsign.keys import PublicKey
from imgsign.oci import Artifact, Descriptor, Manifest, Platform
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.resolve import Target, children, default_locate, wall_clock, written_target_of
from imgsign.signers import Signer
from imgsign.stores import Locate
from imgsign.tagged import append_layer
from imgsign.trust import TrustedKey
from imgsign.wire import quote

ANNOTATIONS_LIMIT = 64
LIFETIME_SHARE = 2 / 3
"""A standing signature is left alone while it has this much of the asked lifetime left."""


@record
class Signed:
    """One signature that stands, over one manifest in one repository.

    ``names`` are the names it covers. ``created`` is false if a valid one stood already, or in a dry
    run. ``platform`` is set for the children of an index. ``stored`` says where it and the others of this key
    and format are, as they read back: ``repo@digest`` of a referrer, ``repo:tag`` of a signature tag.
    ``predicate_type`` says what is attested.
    """

    place: str
    names: tuple[Reference, ...]
    digest: Digest
    format: str
    key: PublicKey
    created: bool
    expires_at: datetime | None
    platform: Platform | None = None
    stored: tuple[str, ...] = ()
    predicate_type: str = COSIGN_SIGN

    @property
    def reference(self) -> Reference:
        """The first name of this place, pinned to the digest."""
        own = next((n for n in self.names if str(n.repository) == self.place), self.names[0])
        return own.at(self.digest)


class Pending(Protocol):
    """Remembers signatures that were stored but perhaps not listed, for the next run to list again."""

    def add(self, place: str, image: Digest, stored: Digest) -> None: ...
    def remove(self, place: str, image: Digest, stored: Digest) -> None: ...
    def find(self, place: str, image: Digest) -> tuple[Digest, ...]: ...


@record
class SignOptions:
    """What to say in a signature and how to make it.

    ``lifetime`` ends in the signed expiry. ``expect``: the digest every reference must have, which ends
    the race with whoever moves the tag. ``force`` adds a signature even where a valid one stands. With another
    ``predicate_type`` than that of signatures it is an attestation: see :mod:`imgsign.attesting`.
    """

    formats: tuple[str, ...] = ("bundle",)
    annotations: Mapping[str, str] | None = None
    lifetime: timedelta | None = None
    sequence: int | None = None
    expect: Digest | None = None
    index_only: bool = False
    force: bool = False
    dry_run: bool = False
    predicate_type: str = COSIGN_SIGN
    predicate: bytes = field(default=b"{}", repr=False)


@record
class _Item:
    """One manifest to sign under some names, in every place it was named in."""

    descriptor: Descriptor
    names: tuple[Reference, ...]
    places: tuple[Target, ...]


@record
class _Work:
    """One (item, format): which places lack it, the drafts that would fill the lack, and what is stored where."""

    item: _Item
    format: Format
    lacking: tuple[Target, ...]
    drafts: tuple[Unsigned, ...]
    stored: Mapping[str, tuple[str, ...]]  # by place


def sign(
    references: Sequence[Reference | Target],
    signer: Signer,
    options: SignOptions | None = None,
    *,
    locate: Locate | None = None,
    now: datetime | None = None,
    pool: Executor | None = None,
    pending: Pending | None = None,
) -> tuple[Signed, ...]:
    """Sign images under the names they are referred to by, and attach the signatures beside them.

    References of one digest share one bundle. An index is signed with all its children, children first.
    Returns only when every signature has been read back from where it was stored, and verified.

    Raises:
        UsageError: options that contradict each other or the image.
        RegistryError: the image or the place for its signature could not be read or written.
        SignerError: the key could not sign.
    """
    options = options or SignOptions()
    locate = locate or default_locate()
    now = (now or wall_clock()).replace(microsecond=0)
    _check_options(options)
    formats = tuple(FORMATS[name] for name in options.formats)
    # (1) Resolve every name to the digest of bytes hashed here.
    items: list[_Item] = []
    for manifest, names, places in _resolve([written_target_of(r, locate) for r in references], options):
        items.extend(_items(manifest, names, places, options))
    # (2) See what stands already; draft what is missing.
    work: list[_Work] = []
    for item in items:
        if pending is not None and not options.dry_run:
            for place in item.places:
                _list_again(place, item, signer.public_key, pending)
        for format in formats:
            work.append(_plan(item, format, signer.public_key, options, now, pool))
    # (3) Sign everything before anything is pushed: a locked key must not leave half a release signed.
    if not options.dry_run:
        signatures = [[signer.sign(d.message, d.scheme) for d in w.drafts] for w in work]
        # (4) Push: children come before their index in `items`, so the index is signed last.
        for task, made in zip(work, signatures, strict=True):
            for place in task.lacking:
                _push(place, task, made, pending)
        # (5) Read back what a verifier will see.
        work = [_read_back(task, signer.public_key, options, now, pool) for task in work]
    return tuple(r for task in work for r in _report(task, signer.public_key, options))


def export(
    reference: Reference | Target,
    key: PublicKey,
    options: SignOptions | None = None,
    *,
    locate: Locate | None = None,
    now: datetime | None = None,
) -> bytes:
    """Return the bytes a private key elsewhere has to sign; :func:`attach` takes the signature.

    Raises:
        UsageError: there would be several messages to sign: an index with its children, or two formats.
    """
    options = options or SignOptions()
    _check_options(options)
    target = written_target_of(reference, locate or default_locate())
    now = (now or wall_clock()).replace(microsecond=0)
    drafts: list[Unsigned] = []
    for manifest, names, places in _resolve([target], options):
        for item in _items(manifest, names, places, options):
            for name in options.formats:
                drafts.extend(FORMATS[name].draft(item.descriptor, _draft(item.names, options, now), key))
    if len(drafts) != 1:
        raise UsageError(
            f"{len(drafts)} messages would have to be signed, and one can be exported",
            hint="use --index-only, and one --format",
        )
    return drafts[0].message


def attach(
    reference: Reference | Target,
    message: bytes,
    signature: bytes,
    key: PublicKey,
    *,
    locate: Locate | None = None,
    pool: Executor | None = None,
) -> Signed:
    """Attach a signature made elsewhere over a message of :func:`export`; verified first, read back after.

    Raises:
        InvalidEnvelope: the message is none of imgsign's, or about another image.
        UntrustedSigner: the signature is not of this key over this message.
    """
    target = written_target_of(reference, locate or default_locate())
    image = target.store.fetch(target.what).descriptor
    key.verify(signature, message)
    format = FORMATS["bundle" if message.startswith(b"DSSEv1 ") else "simple"]
    unsigned = format.resume(message, image, key)
    draft = unsigned.draft
    if target.name is not None and target.name.name not in draft.names:
        signed = ", ".join(str(n) for n in draft.names)
        raise UsageError(
            f"the payload names {signed}, not {target.name.name}", hint=f"imgsign attach {draft.names[0]} …"
        )
    item = _Item(descriptor=image, names=draft.names, places=(target,))
    work = _Work(item=item, format=format, lacking=(target,), drafts=(unsigned,), stored={})
    _push(target, work, [signature], None)
    lifetime = None if draft.expires_at is None else draft.expires_at - draft.signed_at
    said = SignOptions(annotations=draft.annotations, lifetime=lifetime, sequence=draft.sequence)
    (result,) = _report(_read_back(work, key, said, draft.signed_at, pool), key, said)
    return result


def _draft(names: tuple[Reference, ...], options: SignOptions, now: datetime) -> Draft:
    return Draft(
        names=names,
        annotations=options.annotations or {},
        signed_at=now,
        expires_at=None if options.lifetime is None else now + options.lifetime,
        sequence=options.sequence,
        predicate_type=options.predicate_type,
        predicate=options.predicate,
    )


def _check_options(options: SignOptions) -> None:
    if not options.formats:
        raise UsageError("no signature format was asked for")
    attests = options.predicate_type != COSIGN_SIGN
    for name in options.formats:
        known = {f.name for f in FORMATS.values() if (f.attests if attests else f.signs)}
        if name not in known:
            raise UsageError(f"unknown format {quote(name)}", hint=f"use one of {', '.join(sorted(known))}")
    annotations = options.annotations or {}
    if len(annotations) > ANNOTATIONS_LIMIT:
        raise UsageError(f"more than {ANNOTATIONS_LIMIT} annotations")
    for key, value in annotations.items():
        try:
            (key + value).encode("utf-8")
        except UnicodeEncodeError as e:
            raise UsageError(f"annotation {quote(key)} is not UTF-8") from e
        if not key or key.lower().startswith(RESERVED_PREFIX):
            raise UsageError(f"annotation key {quote(key)} is reserved", hint="keys under imgsign. are imgsign's own")
    if options.sequence is not None and not 0 <= options.sequence <= SEQUENCE_MAX:
        raise UsageError(f"sequence {options.sequence} is out of range")


def _resolve(
    targets: Sequence[Target], options: SignOptions
) -> list[tuple[Manifest, tuple[Reference, ...], tuple[Target, ...]]]:
    """Fetch each target once and group names and places by digest, in the order they were given."""
    found: dict[Digest, tuple[Manifest, dict[Reference, None], dict[str, Target]]] = {}
    for target in dict.fromkeys(targets):
        if target.name is None:
            raise UsageError(f"the image in {target.place} has no name to sign", hint="--identity registry/repo:tag")
        manifest = target.store.fetch(target.what)
        if options.expect is not None and manifest.digest != options.expect:
            pinned = f"{target.name.name}@{options.expect}"
            raise ContentMismatch(
                f"{target.name} is {manifest.digest}, expected {options.expect}: the tag has moved, or was never this",
                hint=f"to sign what was built under that name: imgsign sign {pinned}",
            )
        _, names, places = found.setdefault(manifest.digest, (manifest, {}, {}))
        names[target.name.name] = None
        places.setdefault(target.place, target)
    return [(manifest, tuple(names), tuple(places.values())) for manifest, names, places in found.values()]


def _items(
    manifest: Manifest, names: tuple[Reference, ...], places: tuple[Target, ...], options: SignOptions
) -> Iterable[_Item]:
    if manifest.is_index and not options.index_only:
        try:
            below = list(children(places[0].store, manifest, skip_attestations=True))
        except NotFound as e:
            raise NotFound(
                f"{names[0]} lists a child that is not there: {e.message}",
                hint="push all platforms, or sign the index alone with --index-only",
            ) from e
        for child, listed in below:
            described = Descriptor(
                media_type=child.descriptor.media_type,
                digest=child.digest,
                size=child.descriptor.size,
                platform=listed.platform,
            )
            yield _Item(descriptor=described, names=names, places=places)
    yield _Item(descriptor=manifest.descriptor, names=names, places=places)


def _plan(
    item: _Item, format: Format, key: PublicKey, options: SignOptions, now: datetime, pool: Executor | None
) -> _Work:
    lacking: list[Target] = []
    missing: set[Reference] = set()
    stored: dict[str, tuple[str, ...]] = {}
    for place in item.places:
        claims = _standing(place, item, format, key, options, pool)
        stored[place.place] = _where(place, claims)
        names = item.names if options.force else _uncovered(claims, item, options, now)
        if names:
            lacking.append(place)
            missing.update(names)
    drafts: tuple[Unsigned, ...] = ()
    if lacking:
        draft = _draft(tuple(n for n in item.names if n in missing), options, now)
        drafts = format.draft(item.descriptor, draft, key)
    return _Work(item=item, format=format, lacking=tuple(lacking), drafts=drafts, stored=stored)


def _standing(
    place: Target, item: _Item, format: Format, key: PublicKey, options: SignOptions, pool: Executor | None
) -> list[Claim]:
    """What stands of this key and format at a place and says what is to be said, verified.

    Raises:
        Unavailable: if not all of it can be seen.
    """
    wanted = frozenset((options.predicate_type,))
    *_, evidence = gather(place.store, item.descriptor.digest, (format,), wanted=wanted, pool=pool)
    if evidence.faults:
        fault = evidence.faults[0]
        raise Unavailable(f"cannot see which signatures stand already: {fault.message}", hint=fault.hint)
    claims = [c for c in _own_claims(evidence, key) if _says(c, options)]
    return [c for c in claims if any(s.digest == item.descriptor.digest for s in c.subjects)]


def _where(place: Target, claims: list[Claim]) -> tuple[str, ...]:
    """Where claims are stored, as references."""
    found: dict[str, None] = {}
    for claim in claims:
        at = claim.place
        found[f"{place.place}:{at.name}" if isinstance(at, Tag) else f"{place.place}@{at.manifest}"] = None
    return tuple(found)


def _uncovered(
    claims: list[Claim], item: _Item, options: SignOptions, now: datetime, made_at: datetime | None = None
) -> tuple[Reference, ...]:
    """The names that no standing signature covers as asked (made at ``made_at``)."""
    subjects = [s for c in claims for s in c.subjects if s.digest == item.descriptor.digest]
    if made_at is not None:
        subjects = [s for s in subjects if s.claimed_at == made_at]
    return tuple(n for n in item.names if not any(_covers(s, n, options, now) for s in subjects))


def _own_claims(evidence: Evidence, key: PublicKey) -> list[Claim]:
    found = []
    for candidate in evidence.candidates:
        try:
            found.append(candidate.verify(TrustedKey(key=key)))
        except (UntrustedSigner, InvalidEnvelope):
            continue
    return found


def _says(claim: Claim, options: SignOptions) -> bool:
    """Whether a claim is a signature where one is made, or attests the very same."""
    if claim.predicate_type is None or options.predicate_type == COSIGN_SIGN:
        return claim.predicate_type in (None, COSIGN_SIGN) and options.predicate_type == COSIGN_SIGN
    same_type = claim.predicate_type == options.predicate_type
    return same_type and claim.predicate is not None and claim.predicate.raw == options.predicate


def _covers(subject: Subject, name: Reference, options: SignOptions, now: datetime) -> bool:
    """Whether a signed subject already says what signing now would say."""
    if subject.name != str(name) or dict(subject.annotations) != dict(options.annotations or {}):
        return False
    if subject.sequence != options.sequence or subject.claimed_at is None or subject.claimed_at > now + CLOCK_SKEW:
        return False
    if options.lifetime is None or subject.expires_at is None:
        return options.lifetime is None and subject.expires_at is None
    return subject.expires_at - now >= options.lifetime * LIFETIME_SHARE


def _push(place: Target, work: _Work, signatures: list[bytes], pending: Pending | None) -> None:
    image = work.item.descriptor.digest
    at = work.format.places(image)[0]
    if isinstance(at, Tag):
        # Made once and not in each edit: an edit must be quick, and the envelope of an SBOM takes its time.
        layers = [
            work.format.attach(unsigned, signature, previous=None).blobs[-1]
            for unsigned, signature in zip(work.drafts, signatures, strict=True)
        ]

        def edit(current: Artifact | None) -> Artifact | None:
            made = current
            for layer in layers:
                made = append_layer(made, layer)
            return None if made is current else made

        place.store.rewrite(at.name, edit)
        return
    for unsigned, signature in zip(work.drafts, signatures, strict=True):
        artifact = work.format.attach(unsigned, signature, previous=None)
        if pending is not None:
            pending.add(place.place, image, artifact.manifest.digest)
        place.store.push(artifact)
        if pending is not None:
            pending.remove(place.place, image, artifact.manifest.digest)


def _list_again(place: Target, item: _Item, key: PublicKey, pending: Pending) -> None:
    """Finish what an earlier run could not: list a signature of ours that is stored but perhaps unlisted."""
    image, store = item.descriptor.digest, place.store
    for digest in pending.find(place.place, image):
        try:
            manifest = store.fetch(digest)
            config = () if manifest.config is None else (manifest.config,)
            blobs = tuple(store.blob(d, limit=Limits().attestation) for d in (*config, *manifest.layers))
        except NotFound:
            pending.remove(place.place, image, digest)
            continue
        artifact = Artifact(manifest=manifest, blobs=blobs)
        read = [c for f in FORMATS.values() for p in f.places(image) for c in f.read(artifact, p, image)]
        if _own_claims(Evidence(candidates=tuple(c for c in read if not isinstance(c, Defect))), key):
            store.push(artifact)
        pending.remove(place.place, image, digest)


def _read_back(work: _Work, key: PublicKey, options: SignOptions, now: datetime, pool: Executor | None) -> _Work:
    """See that what was pushed is found again; returns where.

    Raises:
        Unavailable: it is not.
    """
    made = {n for d in work.drafts for n in d.draft.names}
    stored = dict(work.stored)
    for place in work.lacking:
        claims = _standing(place, work.item, work.format, key, options, pool)
        stored[place.place] = _where(place, claims)
        missing = [n for n in _uncovered(claims, work.item, options, now, made_at=now) if n in made]
        if missing:
            raise Unavailable(
                f"the signature of {missing[0]} was stored in {place.place} but does not read back",
                hint="run the same command again",
            )
    return replace(work, stored=stored)


def _report(work: _Work, key: PublicKey, options: SignOptions) -> Iterable[Signed]:
    for place in work.item.places:
        yield Signed(
            place=place.place,
            names=work.item.names,
            digest=work.item.descriptor.digest,
            format=work.format.name,
            key=key,
            created=place in work.lacking,
            expires_at=work.drafts[0].draft.expires_at if place in work.lacking else None,
            platform=work.item.descriptor.platform,
            stored=work.stored.get(place.place, ()),
            predicate_type=options.predicate_type,
        )
