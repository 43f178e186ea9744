"""What a registry has: the tags of a repository, and its repositories.

Sources: distribution-spec v1.1.1 "Listing Tags"; docker registry HTTP API v2 "Listing Repositories"
(``_catalog``, which is not part of the specification: Docker Hub, GHCR, ECR and many others refuse it).

Both come page by page (RFC 8288 ``Link``), are bounded, and are the registry's word: it can withhold any.
Names are given as received; whoever uses one parses it.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgsign.errors import AuthenticationFailed, Malformed, RegistryError, TooLarge, Unavailable
from imgsign.reference import Repository
from imgsign.stores import Store, registry_of
from imgsign.stores.referrers import next_page
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Access, Request
from imgsign.wire import load_json

PAGE = 1000  # names asked for at once; registries may send fewer, or (docker-registry 2.8.2, tags) all
PAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of one page: 100,000 tags of 128 characters in a registry that does not cut its lists."""

NAMES_LIMIT = 1_000_000
"""Names of one list: an endless list must end."""

_REFUSED = frozenset({400, 401, 403, 404, 405, 501})
_ANYTHING = "imgsign/catalog"  # requests are made for a repository; this one is not asked for


def list_tags(store: Store) -> Iterator[str]:
    """Yield the tags of a repository in the registry's order, which is lexical where it keeps to the rules.

    Raises:
        RegistryError: the list cannot be read to its end.
    """
    remote = _remote(store)
    what = f"list of tags of {remote.repository.path}"
    yield from _names(remote, f"tags/list?n={PAGE}", "tags", what, Access.PULL)


def list_repositories(store: Store) -> Iterator[str]:
    """Yield the repositories of a registry; ``store`` is any of it, see :func:`any_repository`.

    Raises:
        Unavailable: the registry does not list its repositories, or not to us.
        RegistryError: the list cannot be read to its end.
    """
    remote = _remote(store)
    registry = remote.repository.registry
    try:
        yield from _names(remote, f"/v2/_catalog?n={PAGE}", "repositories", "list of repositories", Access.NONE)
    except RegistryError as e:
        if e.status not in _REFUSED:
            raise
        login = f"; or log in: imgsign login {registry}" if isinstance(e, AuthenticationFailed) else ""
        raise Unavailable(
            f"{registry} does not list its repositories: {e.message}",
            status=e.status,
            codes=e.codes,
            hint=f"name them instead: imgsign audit {registry}/REPO …{login}",
        ) from e


def any_repository(registry: str) -> Repository:
    """A name to find a registry's store by."""
    return Repository(registry, _ANYTHING)


def _remote(store: Store) -> RemoteStore:
    found = registry_of(store)
    if not isinstance(found, RemoteStore):
        raise TypeError("only a registry has lists")
    return found


def _names(remote: RemoteStore, target: str, member: str, what: str, access: Access) -> Iterator[str]:
    count = 0
    following: str | None = target
    while following is not None:
        request = Request(
            repository=remote.repository, target=following, what=what, limit=PAGE_LIMIT, access=access, stay=True
        )
        reply = remote.transport.call(request)
        try:
            node = load_json(reply.raw, limit=PAGE_LIMIT).fields((member,), closed=False)[member]
            # NOTE: Go writes an empty list as null.
            names = [] if node.value is None else [n.text() for n in node.items()]
        except Malformed as e:
            raise Unavailable(
                f"{remote.repository.registry} sends a {what} that cannot be read: {e.message}", status=200
            ) from e
        yield from names
        count += len(names)
        following = next_page(reply)
        if count > NAMES_LIMIT or (following is not None and not names):
            raise TooLarge(f"the {what} at {remote.repository.registry} does not end after {count} names")
