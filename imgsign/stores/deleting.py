"""Taking manifests away.

Sources: distribution-spec v1.1.1 "Deleting Manifests", "Referrers Tag Schema".

A registry deletes a manifest with every tag that points to it; blobs go when it collects its garbage.
Many do not delete at all: docker-registry answers 405 unless ``storage.delete.enabled`` is set, others
403 to who may only push. That is said in plain words, and nothing is changed then.

A referrer is deleted before its entry leaves the fallback tag: an entry that points to nothing is
harmless and found again, a manifest that nobody lists is neither.
"""

from __future__ import annotations

from collections.abc import Iterable

from imgsign.errors import AuthenticationFailed, NotFound, RegistryError
from imgsign.reference import Digest
from imgsign.stores.listing import EditList
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Access, Request

_DELETED = frozenset({200, 202, 204})  # the specification says 202


class CannotDelete(RegistryError):
    """The registry does not delete manifests, for anybody or for us."""


def delete_manifest(store: RemoteStore, digest: Digest) -> bool:
    """Delete a manifest by digest; false if it was gone already.

    Raises:
        CannotDelete: this registry does not.
    """
    repository = store.repository
    request = Request(
        repository=repository,
        method="DELETE",
        target=f"manifests/{digest}",
        what=f"manifest {digest} of {repository.path}",
        access=Access.DELETE,
        expect=_DELETED,
    )
    try:
        store.transport.call(request)
    except NotFound:
        return False
    except RegistryError as e:
        if e.status == 405 or "UNSUPPORTED" in e.codes:
            raise CannotDelete(
                f"{repository.registry} does not delete manifests ({e.message}); nothing was changed",
                status=e.status,
                codes=e.codes,
                hint="its operator can allow it (docker-registry: storage.delete.enabled: true), "
                "or removes signatures in its own interface",
            ) from e
        if isinstance(e, AuthenticationFailed):
            hint = f"deleting takes more than pushing: imgsign login {repository.registry} as somebody who may"
            raise CannotDelete(f"may not delete: {e.message}", status=e.status, codes=e.codes, hint=hint) from e
        raise
    return True


def unlist(store: RemoteStore, subject: Digest, gone: Iterable[Digest]) -> None:
    """Drop entries from the fallback tag of a subject, if there is one, until that stands."""
    edit = EditList(subject, (), drop=gone, where=str(store.repository))
    try:
        store.rewrite(subject.tag, edit)
    except NotFound:
        return  # no fallback tag: the registry keeps the list
