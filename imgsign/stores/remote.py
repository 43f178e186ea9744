"""A repository at a registry, over the distribution API.

Source: distribution-spec v1.1.1. Split by concept: :mod:`~imgsign.stores.manifests`,
:mod:`~imgsign.stores.uploads`, :mod:`~imgsign.stores.referrers` (reading the list),
:mod:`~imgsign.stores.listing` (getting onto it), :mod:`~imgsign.stores.rewrite` (tags with several
writers); HTTP itself is in :mod:`imgsign.transport`.

The registry is not trusted: every byte returned is hashed (but for :meth:`RemoteStore.stream`, whose
caller does), no header decides anything, every size is a limit. It can still withhold what it has.

When :meth:`RemoteStore.push` returns, the manifest is stored, and if it has a subject, the registry's
own list of referrers names it, or the fallback tag did so at two looks some time apart: see
:mod:`imgsign.stores.rewrite` for what that is worth.

Not done: chunked uploads. Listing, copying and deleting are :mod:`~imgsign.stores.catalog`,
:mod:`~imgsign.stores.copying` and :mod:`~imgsign.stores.deleting`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from imgsign.errors import ContentMismatch, InvalidDigest, RegistryError, TooLarge, Unavailable
from imgsign.oci import Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest, Repository
from imgsign.stores import Edit, Piece, Room
from imgsign.stores.listing import EditList, entry_of, is_listed, unlisted
from imgsign.stores.manifests import Manifests
from imgsign.stores.referrers import list_referrers
from imgsign.stores.rewrite import Rewrite
from imgsign.stores.uploads import has_blob, push_blob
from imgsign.transport import Body, Reply, Request, Transport
from imgsign.transport.replies import ERROR_LIMIT
from imgsign.wire import quote

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)


class RemoteStore:
    """One repository at a registry: fills :class:`imgsign.stores.Store`; thread-safe."""

    def __init__(self, repository: Repository, transport: Transport) -> None:
        """Nothing is requested yet. ``transport`` and ``manifests`` are for the modules named above."""
        self.repository = repository
        self.transport = transport
        self.manifests = Manifests(repository, transport)

    def fetch(self, what: str | Digest) -> Manifest:
        """Get one manifest by tag or digest: see :meth:`imgsign.stores.Store.fetch`."""
        found = self.manifests.get(what)
        return Manifest.parse(found.untrusted_raw, found.media_type, algorithm=found.digest.algorithm)

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        """Get a blob into memory, checked: see :meth:`imgsign.stores.Store.blob`."""
        if descriptor.size > limit:
            raise TooLarge(f"blob {descriptor.digest} has {descriptor.size} bytes, more than the limit of {limit}")
        try:
            reply = self.transport.call(self._blob_request(descriptor, limit=max(descriptor.size, ERROR_LIMIT)))
        except TooLarge as e:
            raise self._wrong_size(descriptor, "more") from e
        try:
            if len(reply.raw) > descriptor.size:
                raise self._wrong_size(descriptor, "more")
            return Blob.checked(descriptor, reply.raw)
        except ContentMismatch:
            reply.refuse_page(f"blob {descriptor.digest} of {self.repository.path}")
            raise

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        """Yield a blob's bytes from ``start``, unhashed: see :meth:`imgsign.stores.Store.stream`.

        A connection that breaks in between raises ``Unavailable``; nothing is resumed here.
        """
        left = descriptor.size - start
        if start < 0 or left < 0:
            raise ValueError(f"start {start} is outside of a blob of {descriptor.size} bytes")
        if start and not left:
            return
        with self._open_blob(descriptor, start) as body:
            # Some servers ignore Range: then the bytes before `start` come again.
            skip = start if body.status == 200 else 0
            for piece in body.pieces(skip + left + 1, None if skip else room):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                wanted = piece[skip : skip + left]
                surplus = len(piece) - skip - len(wanted)
                skip = 0
                left -= len(wanted)
                if wanted:
                    yield wanted
                if surplus:
                    raise self._wrong_size(descriptor, "more")
            if left:
                raise self._wrong_size(descriptor, "fewer")

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there (HEAD)."""
        return has_blob(self.repository, self.transport, descriptor)

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield what is listed for a subject: see :mod:`imgsign.stores.referrers`."""
        return list_referrers(self.manifests, subject)

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        """Store blobs, then the manifest, then see to it that its subject lists it.

        A manifest pushed under a ``tag`` is found by that and not listed otherwise than the registry does.

        Raises:
            RegistryError: nothing or not all was stored; an error after the manifest was stored says so
                and names its digest.
        """

        def store() -> Reply:
            for blob in artifact.blobs:
                push_blob(self.repository, self.transport, blob)
            return self.manifests.put(artifact.manifest, tag)

        reply = self.transport.retry(store)
        subject = artifact.manifest.subject
        if subject is not None and tag is None:
            promised = _parse_digest(reply.headers.get("oci-subject", "")) == subject.digest
            self._list(artifact.manifest, subject.digest, promised=promised)
        return artifact.manifest.descriptor

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        """Change what a tag holds until it stands: see :mod:`imgsign.stores.rewrite`."""
        return self._rewrite(tag, edit, None)

    def list_all(self, subject: Digest, stored: Sequence[Manifest]) -> None:
        """See to it that a subject lists manifests that were stored already: one change for all of them."""
        lacking = unlisted(self.manifests, subject, stored)
        if lacking:
            edit = EditList(subject, [entry_of(m) for m in lacking], where=str(self.repository))
            self._rewrite(subject.tag, edit, lacking[-1].digest)

    def _list(self, manifest: Manifest, subject: Digest, *, promised: bool) -> None:
        try:
            if is_listed(self.manifests, subject, manifest.digest, promised=promised):
                return
        except RegistryError as e:
            raise type(e)(
                f"stored as {manifest.digest} but perhaps not listed: {e.message}; run the same command again",
                status=e.status,
                codes=e.codes,
                url=e.url,
                hint=e.hint,
            ) from e
        edit = EditList(subject, [entry_of(manifest)], where=str(self.repository))
        self._rewrite(subject.tag, edit, manifest.digest)

    def _rewrite(self, tag: str, edit: Edit, stored: Digest | None) -> Descriptor:
        def push(blob: Blob) -> None:
            push_blob(self.repository, self.transport, blob)

        return Rewrite(self.manifests, tag, edit, push_blob=push, stored=stored).run()

    def _blob_request(self, descriptor: Descriptor, *, limit: int = 0) -> Request:
        return Request(
            repository=self.repository,
            target=f"blobs/{descriptor.digest}",
            what=f"blob {descriptor.digest} of {self.repository.path}",
            limit=limit,
        )

    def _open_blob(self, descriptor: Descriptor, start: int) -> Body:
        """Open a blob; the answer is 200 with all of it, or 206 with what begins at ``start``."""
        request = self._blob_request(descriptor)
        if not start:
            return self.transport.open(request)
        try:
            body = self.transport.open(
                replace(request, headers={"Range": f"bytes={start}-"}, expect=frozenset({200, 206}))
            )
        except RegistryError as e:
            if e.status == 416:
                raise self._wrong_size(descriptor, "fewer") from e
            raise
        if body.status == 206:
            self._check_range(body, descriptor, start)
        return body

    def _check_range(self, body: Body, descriptor: Descriptor, start: int) -> None:
        """Refuse a part other than the one asked for (RFC 9110 §14.4); more or fewer bytes show later."""
        match = _CONTENT_RANGE.fullmatch(body.headers.get("content-range", "").strip())
        if match is not None and int(match[1]) == start:
            if match[3] in ("*", str(descriptor.size)):
                return
            body.close()
            raise self._wrong_size(descriptor, "more" if int(match[3]) > descriptor.size else "fewer")
        body.close()
        raise Unavailable(
            f"{self.repository.registry} answers bytes {start}- of blob {descriptor.digest} with "
            f"{quote(body.headers.get('content-range', 'no range'))}",
            status=body.status,
        )

    def _wrong_size(self, descriptor: Descriptor, more_or_fewer: str) -> ContentMismatch:
        return ContentMismatch(
            f"blob {descriptor.digest} in {self.repository} has {more_or_fewer} bytes "
            f"than the {descriptor.size} of its descriptor"
        )


def _parse_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return None
