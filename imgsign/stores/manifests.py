"""Manifests of one repository over the distribution API.

Sources: distribution-spec v1.1.1 "Pulling manifests", "Pushing Manifests".

The only digest that counts is computed here from the bytes received. ``Docker-Content-Digest`` is
compared with it and never used in its place; nothing is said by HEAD.

All four media types are asked for at once: docker-registry answers 404 to a client that does not accept
what is stored, and converts a manifest list for one that does not know lists, to another digest.
"""

from __future__ import annotations

from dataclasses import field
from http import HTTPStatus

from imgsign.errors import ContentMismatch, InvalidDigest, RegistryError
from imgsign.oci import MANIFEST_LIMIT, MANIFEST_TYPES, Manifest
from imgsign.record import record
from imgsign.reference import Digest, Reference, Repository
from imgsign.transport import Access, Reply, Request, Transient, Transport
from imgsign.transport.retry import TRIES
from imgsign.wire import quote

_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_STORED = frozenset({200, 201, 202, 204})  # the specification says 201; go-containerregistry takes others too


_BLOB_CODES = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


class BlobUnknown(Transient):
    """The registry misses a blob or child of the manifest it was to store.

    That can pass: docker-registry 2.8.2 says so of a blob that is there while others store the same blob.
    """


@record
class Received:
    """A manifest as received, not parsed: bytes that have the ``digest``, and how long they took in seconds."""

    untrusted_raw: bytes = field(repr=False)
    media_type: str | None
    digest: Digest
    took: float


class Manifests:
    """Reads and writes the manifests of one repository."""

    def __init__(self, repository: Repository, transport: Transport) -> None:
        self.repository = repository
        self.transport = transport

    def get(self, what: str | Digest) -> Received:
        """Get a manifest by tag or digest with one GET.

        Raises:
            ContentMismatch: the bytes have another digest than was asked for, or than the registry declares.
            NotFound, TooLarge, RegistryError: as they say.
        """
        reply = self.transport.call(
            Request(
                repository=self.repository,
                target=self._target(what),
                what=f"manifest {what} of {self.repository.path}",
                headers=_ACCEPT,
                limit=MANIFEST_LIMIT,
            )
        )
        return self._received(what, reply)

    def look(self, tag: str) -> tuple[Received | None, float]:
        """See once what a tag holds, on the way to writing it; also how long that took. ``None``: a definite 404.

        Raises:
            Transient: nothing is tried again here.
            ContentMismatch, TooLarge, RegistryError: as for :meth:`get`.
        """
        reply = self.transport.call(
            Request(
                repository=self.repository,
                target=self._target(tag),
                what=f"manifest {tag} of {self.repository.path}",
                headers=_ACCEPT,
                limit=MANIFEST_LIMIT,
                access=Access.PUSH,
                expect=frozenset({HTTPStatus.OK, HTTPStatus.NOT_FOUND}),
                tries=1,
            )
        )
        if reply.status == HTTPStatus.NOT_FOUND:
            return None, reply.took
        return self._received(tag, reply), reply.took

    def put(self, manifest: Manifest, tag: str | None = None, *, send_before: float | None = None) -> Reply:
        """Store a manifest by its digest or under a tag; with ``send_before`` in one try, or not at all.

        Raises:
            BlobUnknown: see there; what is missing should be stored again first.
            ContentMismatch: if the registry says that it stored something else.
        """
        where = manifest.digest if tag is None else tag
        request = Request(
            repository=self.repository,
            method="PUT",
            target=self._target(where),
            what=f"manifest {where} of {self.repository.path}",
            headers={"Content-Type": manifest.descriptor.media_type},
            body=manifest.raw,
            access=Access.PUSH,
            expect=_STORED,
            send_before=send_before,
            tries=TRIES if send_before is None else 1,
        )
        try:
            reply = self.transport.call(request)
        except RegistryError as e:
            if _BLOB_CODES & set(e.codes):
                raise BlobUnknown(e.message, status=e.status, codes=e.codes, url=e.url) from e
            raise
        self._check_declared(reply, where, manifest.digest)
        return reply

    def _target(self, what: str | Digest) -> str:
        if isinstance(what, str):
            Reference(repository=self.repository, tag=what)  # a tag goes into a URL: its grammar is checked
        return f"manifests/{what}"

    def _received(self, what: str | Digest, reply: Reply) -> Received:
        algorithm = what.algorithm if isinstance(what, Digest) else "sha256"
        digest = Digest.of(reply.raw, algorithm)
        if digest != what:  # bytes that were asked for by digest are right under any type
            reply.refuse_page(f"manifest {what} of {self.repository.path}")
        if isinstance(what, Digest) and digest != what:
            raise ContentMismatch(f"manifest {what} of {self.repository} has the digest {digest}", status=reply.status)
        self._check_declared(reply, what, digest)
        return Received(
            untrusted_raw=reply.raw, media_type=reply.headers.get("content-type"), digest=digest, took=reply.took
        )

    def _check_declared(self, reply: Reply, what: str | Digest, digest: Digest) -> None:
        """Compare with ``Docker-Content-Digest``: a hint that is wrong shows a registry that is confused or lies."""
        try:
            declared = Digest.parse(reply.headers.get("docker-content-digest", ""))
        except InvalidDigest:
            return
        if declared.algorithm == digest.algorithm and declared != digest:
            raise ContentMismatch(
                f"manifest {quote(str(what))} of {self.repository} has the digest {digest}, "
                f"but the registry says {declared}",
                status=reply.status,
            )
