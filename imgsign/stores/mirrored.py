"""A repository at its mirrors and its registry, as one store.

A mirror is only a place: names, policy and signatures are about the logical name, and nothing a mirror
says is believed without a digest.

- What a tag means is asked of the registry, or of a mirror that is configured as allowed to say it.
- Bytes with a digest come from whichever place has them, mirrors first; they are hashed wherever they
  come from.
- Signatures are looked for at the mirrors first and then at the registry: absence at a mirror is not
  absence (pull-through caches keep neither referrers nor ``.sig`` tags up to date), and presence is no
  proof. See :attr:`MirroredStore.sources`; ``gather`` stops at the first source that suffices.
- Everything is written to the registry of the name, and read back from there by what writes it.

A mirror that fails, lies or lacks something is passed over and reported by ``note``, one line for each
mirror and kind of fault; the registry's failure is the store's, except that signatures which a mirror has
are taken along without it. A mirror whose bytes were not those of their digest is not asked for content again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from imgsign.errors import AuthenticationFailed, ContentMismatch, ImgsignError, NotFound, RegistryError, Unavailable
from imgsign.oci import Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores import Edit, Piece, Room, Store
from imgsign.transport import Transport
from imgsign.transport.places import Place, Places
from imgsign.wire import printable

Note = Callable[[str], None]

LISTED_LIMIT = 250
"""Referrers taken from the list of one mirror: more must not crowd out what the registry lists."""

_SAID = 300  # characters of a failure in a note


class _Site:
    """One place with its store, and what has been reported about it."""

    def __init__(self, place: Place, store: Store, note: Note) -> None:
        self.place = place
        self.store = store
        self.is_out = False
        self.resolved = False
        self._note = note
        self._is_alone = False
        self._reported: set[str] = set()

    def report(self, kind: str, what: str) -> None:
        """Say once for each kind of fault that the mirror was passed over."""
        if kind not in self._reported:
            self._reported.add(kind)
            self._note(f"mirror {self.place} was passed over: {printable(what, limit=_SAID)}")

    def report_error(self, error: ImgsignError) -> None:
        """Report what went wrong; a mirror that lies or does not answer is not asked again."""
        self.is_out = self.is_out or isinstance(error, (ContentMismatch, Unavailable, AuthenticationFailed))
        self.report(type(error).__name__, error.message)

    def may_give(self, what: str | Digest) -> bool:
        """Whether it is to be asked what a tag means, or for content by digest.

        A tag-only mirror is asked for the content of what it has named.
        """
        allowed = self.place.by_tag if isinstance(what, str) else self.place.by_digest or self.resolved
        return allowed and not self.is_out


class MirroredStore:
    """Mirrors and a registry: fills :class:`imgsign.stores.Store` and ``Several``; thread-safe."""

    def __init__(
        self, places: Places, transport: Transport, make: Callable[[Place, Transport], Store], note: Note
    ) -> None:
        """Make the stores of all places by ``make``; nothing is requested yet."""
        self.places = places
        self._mirrors = tuple(_Site(p, make(p, transport), note) for p in places.mirrors)
        self._primary = make(places.primary, transport)
        self.registry = self._primary if places.primary == places.registry else make(places.registry, transport)
        self._note = note
        self._is_alone = False
        self._lock = threading.Lock()
        self._absent: dict[str, set[_Site]] = {}
        self.listed: dict[Digest, dict[_Site, set[Digest]]] = {}
        """What each mirror listed, to compare with what the registry does."""
        self._streamed: dict[Digest, set[_Site]] = {}

    # Reading

    def fetch(self, what: str | Digest) -> Manifest:
        """Get a manifest: by tag from who may resolve it, by digest from anyone that has it."""
        lacking: list[tuple[_Site, NotFound]] = []
        for site in self._mirrors:
            if not site.may_give(what):
                continue
            try:
                found = site.store.fetch(what)
            except NotFound as e:
                lacking.append((site, e))
            except ImgsignError as e:
                site.report_error(e)
            else:
                site.resolved = site.resolved or isinstance(what, str)
                break
        else:
            found = self._primary.fetch(what)
        for site, error in lacking:  # a mirror lags only behind what is there
            site.report_error(error)
        return found

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        """Get a blob into memory, checked, from anyone that has it."""
        for site in self._mirrors:
            if site.may_give(descriptor.digest):
                try:
                    return site.store.blob(descriptor, limit=limit)
                except ImgsignError as e:
                    site.report_error(e)
        return self._primary.blob(descriptor, limit=limit)

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        """Yield a blob's bytes, unhashed; where one place stops, the next goes on.

        The caller hashes, and tells :meth:`doubt` if the bytes were wrong.
        """
        for site in self._mirrors:
            if not site.may_give(descriptor.digest):
                continue
            try:
                for piece in site.store.stream(descriptor, start=start, room=room):
                    with self._lock:
                        self._streamed.setdefault(descriptor.digest, set()).add(site)
                    start += len(piece)
                    yield piece
                return
            except RegistryError as e:
                site.report_error(e)
            if start == descriptor.size and start:
                return
        yield from self._primary.stream(descriptor, start=start, room=room)

    def doubt(self, descriptor: Descriptor) -> bool:
        """Pass over the mirrors that a wrong blob came from; whether there were any."""
        with self._lock:
            suspects = self._streamed.pop(descriptor.digest, set())
        for site in suspects:
            site.report_error(ContentMismatch(f"blob {descriptor.digest} is not what its digest says"))
        return bool(suspects)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the registry has the blob: asked by those who are about to write."""
        return self.registry.has(descriptor)

    # Signatures

    @property
    def sources(self) -> tuple[Store, ...]:
        """The mirrors in order, then the registry; each takes bytes by digest from anywhere."""
        return (*(_Source(self, site.store, site) for site in self._mirrors), _Source(self, self._primary, None))

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield what any place lists, each digest once; the registry's failure is raised at the end."""
        seen: set[Digest] = set()
        for source in self.sources:
            for descriptor in source.referrers(subject):
                if descriptor.digest not in seen:
                    seen.add(descriptor.digest)
                    yield descriptor

    # Signatures that are taken along with an image, which has been judged by then

    def attached(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield what any place lists; a failing registry is only reported while a mirror answers."""
        try:
            yield from self.referrers(subject)
        except RegistryError as e:
            self._go_on_without_registry(e)

    def newest(self, tag: str) -> Manifest:
        """Get what the registry has under a signature's tag; what a mirror has if the registry has or says nothing.

        A mirror may have kept the tag as it was before a signature was added or replaced.

        Raises:
            NotFound: no place that answers has it.
            RegistryError: the registry's, if no mirror answers.
        """
        *mirrors, registry = self.sources
        try:
            return registry.fetch(tag)
        except RegistryError as e:
            for source in mirrors:
                with suppress(NotFound):  # also made of a mirror's failure, which is reported
                    found = source.fetch(tag)
                    why = "has none" if isinstance(e, NotFound) else "fails"
                    self._note(f"signatures of {tag} are those of a mirror, since the registry {why}")
                    return found
            if isinstance(e, NotFound):
                raise
            self._go_on_without_registry(e)
            raise NotFound(e.message) from e

    def _go_on_without_registry(self, error: RegistryError) -> None:
        if all(site.is_out for site in self._mirrors):
            raise error
        if not self._is_alone:
            self._is_alone = True
            self._note(f"signatures were taken along from mirrors only: {printable(error.message, limit=_SAID)}")

    # Writing

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """Write to the registry."""
        return self.registry.push(artifact, tag=tag)

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """Change a tag at the registry."""
        return self.registry.rewrite(tag, edit)

    def note_absent(self, site: _Site, tag: str) -> None:
        """Remember that a mirror has nothing under a signature's tag."""
        with self._lock:
            self._absent.setdefault(tag, set()).add(site)

    def note_present(self, tag: str) -> None:
        """Report the mirrors that lack what the registry has under a signature's tag."""
        with self._lock:
            lacking = self._absent.pop(tag, set())
        for site in lacking:
            site.report("signatures", "it lacks signatures that the registry has")


class _Source:
    """What one place says is attached to an image; the bytes are the whole store's.

    ``site`` is ``None`` for the registry. A mirror's failures are reported and become "nothing there".
    """

    def __init__(self, whole: MirroredStore, store: Store, site: _Site | None) -> None:
        self._whole = whole
        self._store = store
        self._site = site

    def fetch(self, what: str | Digest) -> Manifest:
        """Get what a signature's tag holds at this place, or a manifest by digest from any."""
        if isinstance(what, Digest):
            return self._whole.fetch(what)
        if self._site is None:
            found = self._store.fetch(what)
            self._whole.note_present(what)
            return found
        if self._site.is_out:
            raise NotFound(f"mirror {self._site.place} is not asked any more")
        try:
            return self._store.fetch(what)
        except NotFound:
            self._whole.note_absent(self._site, what)
            raise
        except ImgsignError as e:
            self._site.report_error(e)
            raise NotFound(e.message) from e

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield what this place lists."""
        if self._site is not None:
            yield from self._mirrored_referrers(subject, self._site)
            return
        listed = self._whole.listed.get(subject, {})
        for descriptor in self._store.referrers(subject):
            for site, digests in listed.items():
                if descriptor.digest not in digests:
                    site.report("signatures", "it lacks signatures that the registry has")
            yield descriptor

    def _mirrored_referrers(self, subject: Digest, site: _Site) -> Iterator[Descriptor]:
        if site.is_out:
            return
        digests: set[Digest] = set()
        try:
            for descriptor in self._store.referrers(subject):
                if len(digests) == LISTED_LIMIT:
                    site.report("referrers", f"it lists more than {LISTED_LIMIT} referrers of {subject}")
                    return
                digests.add(descriptor.digest)
                yield descriptor
        except ImgsignError as e:
            site.report_error(e)
            return
        self._whole.listed.setdefault(subject, {})[site] = digests

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        """Get a blob from any place."""
        return self._whole.blob(descriptor, limit=limit)

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        """Stream a blob from any place."""
        return self._whole.stream(descriptor, start=start, room=room)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the registry has the blob."""
        return self._whole.has(descriptor)

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """Write to the registry."""
        return self._whole.push(artifact, tag=tag)

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """Change a tag at the registry."""
        return self._whole.rewrite(tag, edit)
