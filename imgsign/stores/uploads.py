"""Storing blobs: monolithic uploads.

Sources: distribution-spec v1.1.1 "Pushing blobs", "POST then PUT"; RFC 9110 §10.2.2 (Location).

    HEAD blobs/<digest>          there already: nothing to do
    POST blobs/uploads/          202 with Location, relative or absolute, its query opaque
    PUT  <Location>&digest=…     201

An upload is not repeatable in the middle: what fails is begun again from the start. The Location is
foreign input; at another origin it gets no Authorization (CVE-2026-50151), and it follows the rules of
a redirect otherwise (:func:`imgsign.transport.hosts.check_hop`).
"""

from __future__ import annotations

from urllib.parse import quote as percent_encode

from imgsign.errors import NotFound, Unavailable
from imgsign.oci import Blob, Descriptor
from imgsign.reference import Repository
from imgsign.transport import Access, Request, Transport
from imgsign.transport.hosts import check_hop
from imgsign.transport.retry import TRIES

_STORED = frozenset({200, 201, 204})  # the specification says 201; some proxies drop the body and say 204


def has_blob(
    repository: Repository, transport: Transport, blob: Descriptor, *, access: Access = Access.PULL, tries: int = TRIES
) -> bool:
    """Whether a blob is there. Says nothing about its bytes."""
    try:
        transport.call(
            Request(
                repository=repository,
                method="HEAD",
                target=f"blobs/{blob.digest}",
                what=f"blob {blob.digest} of {repository.path}",
                access=access,
                tries=tries,
            )
        )
    except NotFound:
        return False
    return True


def push_blob(repository: Repository, transport: Transport, blob: Blob) -> None:
    """Store a blob unless it is there.

    Raises:
        RegistryError: if it could not be stored after several tries.
    """

    def once() -> None:
        if not has_blob(repository, transport, blob.descriptor, access=Access.PUSH, tries=1):
            _upload(repository, transport, blob)

    transport.retry(once)


def _upload(repository: Repository, transport: Transport, blob: Blob) -> None:
    begun = transport.call(
        Request(
            repository=repository,
            method="POST",
            target="blobs/uploads/",
            what=f"an upload to {repository.path}",
            access=Access.PUSH,
            expect=frozenset({202}),
            tries=1,
        )
    )
    location = begun.headers.get("location")
    if location is None:
        raise Unavailable(f"{repository.registry} begins an upload without saying where", status=begun.status)
    url, _ = check_hop(begun.url, location, what="upload")
    digest = percent_encode(str(blob.descriptor.digest), safe="")
    transport.call(
        Request(
            repository=repository,
            method="PUT",
            target=f"{url}{'&' if '?' in url else '?'}digest={digest}",
            what=f"blob {blob.descriptor.digest} of {repository.path}",
            headers={"Content-Type": "application/octet-stream"},
            body=blob.raw,
            access=Access.PUSH,
            expect=_STORED,
            tries=1,
        )
    )
