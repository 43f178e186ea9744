"""Stores: the bytes of one repository at one place. A place is never a name.

:class:`Store` is the protocol every place fills: a registry (:mod:`imgsign.stores.remote`), and by and
by an OCI layout, an archive, an engine. Everything a store returns has been hashed: a ``Manifest``'s
descriptor is computed from the bytes received, a ``Blob`` has been compared with its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from imgsign.oci import Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest, Repository

Edit = Callable[[Artifact | None], Artifact | None]
"""What a tag should hold next, given what it holds now; ``None``: it is already as wanted."""


Piece = bytes | memoryview
"""Some bytes of a stream; a ``memoryview`` is good only until the next one is asked for."""

Room = Callable[[], memoryview]
"""Asked for a place to put the next bytes of a stream, so that they need not be copied there."""


class Store(Protocol):
    """One repository at one place.

    Every method may raise ``RegistryError``: ``NotFound`` only for a definite "not there", everything
    else that fails as another class.
    """

    def fetch(self, what: str | Digest) -> Manifest:
        """Get one manifest by tag or digest: one request, the digest computed here.

        Raises:
            NotFound: it is definitely not there.
            ContentMismatch: the bytes have another digest than asked for, or than the registry declared.
            InvalidManifest: the bytes are not one unambiguous manifest.
            TooLarge: more than ``oci.MANIFEST_LIMIT`` bytes.
        """
        ...

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        """Get a blob of at most ``limit`` bytes into memory, checked.

        Raises:
            TooLarge: its descriptor says more than ``limit``; nothing is requested then.
        """
        ...

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        """Yield the blob's bytes from offset ``start``, in large pieces, at most ``size - start`` of them.

        A piece is ``bytes``, or the beginning of what ``room`` returned last: a store may use it or not.

        NOT hashed: the caller hashes, since it may know the bytes before ``start``. Fewer or more bytes
        than the descriptor says raise ``ContentMismatch`` at the end.
        """
        ...

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield descriptors listed for a subject, each digest once, page by page as consumed.

        What the referrers API and the fallback tag list is merged. A definite 404 is an empty list.
        """
        ...

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there (HEAD)."""
        ...

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """Store blobs, then the manifest by digest or under ``tag``; list it as referrer if it has a subject.

        Returns only when a later reader will find it: see :mod:`imgsign.stores.remote`.
        """
        ...

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """Read what a tag holds, store what ``edit`` makes of it, and see to it that it stays.

        For places where several signers append to one tag. ``edit`` is called again on everything read
        back, until it answers ``None`` twice in a row; it must keep what others have added. The artifact
        it is given has a manifest only, no blobs.
        """
        ...


class Locate(Protocol):
    """Finds the store of a repository."""

    def __call__(self, repository: Repository) -> Store: ...


@runtime_checkable
class Several(Protocol):
    """A store that is several places: see :mod:`imgsign.stores.mirrored`."""

    @property
    def sources(self) -> tuple[Store, ...]:
        """Where signatures are looked for, in order; the last one's failures are the store's."""
        ...

    @property
    def registry(self) -> Store:
        """The registry of the name alone: where one writes, and reads what one is about to sign."""
        ...

    def attached(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield the referrers of a subject that was judged; what fails is reported while some place answers."""
        ...

    def newest(self, tag: str) -> Manifest:
        """Get what a signature's tag holds, from the registry rather than from a mirror that may lag."""
        ...

    def doubt(self, descriptor: Descriptor) -> bool:
        """Take note that what was streamed of a blob is not it; whether another place may have it."""
        ...


def sources(store: Store) -> tuple[Store, ...]:
    """Where to look for the signatures of an image, in order: what one place lacks another may have."""
    return store.sources if isinstance(store, Several) else (store,)


def attached(store: Store, subject: Digest) -> Iterator[Descriptor]:
    """Yield the referrers of a subject that was judged, to take them along."""
    return store.attached(subject) if isinstance(store, Several) else store.referrers(subject)


def newest(store: Store, tag: str) -> Manifest:
    """Get what a signature's tag holds, from the most authoritative place that has it."""
    return store.newest(tag) if isinstance(store, Several) else store.fetch(tag)


def doubt(store: Store, descriptor: Descriptor) -> bool:
    """Tell a store that the bytes it streamed were wrong; ``True``: it is worth streaming them again."""
    return isinstance(store, Several) and store.doubt(descriptor)


def registry_of(store: Store) -> Store:
    """The place of a store that is written to."""
    return store.registry if isinstance(store, Several) else store
