"""Reading which manifests refer to a subject: the referrers API and the fallback tag, merged.

Sources: distribution-spec v1.1.1 "Listing Referrers", "Referrers Tag Schema", "Unavailable Referrers
API"; RFC 8288 (Link).

Both are always read: a registry that gained the API keeps old entries under the tag, and a registry that
answers ``OCI-Subject`` does not always list. A host that has shown to have no API is not asked again for
a while. The server's filter by artifact type is not used: several registries compute it wrongly
(Azure/acr#784, sigstore/cosign#4641), and a filtered-out signature looks like none.

A definite 404 is an empty list. Every other failure is raised, but only after all that could be read
has been yielded: a broken entry or page must not hide a good signature, and must not pass for none.
Nothing listed is proven: descriptors are hints where to look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgsign.errors import AuthenticationFailed, Malformed, NotFound, RegistryError, TooLarge, Unavailable
from imgsign.oci import MANIFEST_LIMIT, OCI_INDEX, Descriptor
from imgsign.reference import Digest
from imgsign.stores.manifests import Manifests
from imgsign.transport import Reply, Request
from imgsign.transport.hosts import check_hop
from imgsign.wire import Node, load_json, quote

PAGES_LIMIT = 50
"""Pages read of one listing (CVE-2023-33957: an endless list of signatures stops all verification)."""

LISTED_LIMIT = 5000
"""Descriptors read of one listing."""

_NO_API = frozenset({301, 302, 303, 307, 308, 400, 404, 405, 406})
"""What registries without the API answer: redirects lead to a web page (GHCR), 400 and 406 are proxies'."""

_NOTHING_THERE = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
"""Codes of a 404 that are about the repository or subject, and say nothing about the API."""

_LINK = re.compile(
    r"<([^<>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+(?:\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s\",;]*))?)*)\s*(?:,|$)"
)
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"(?:[^\"]*\s)?next(?:\s[^\"]*)?\"|next)(?=\s*(?:;|$))", re.IGNORECASE)


def list_referrers(manifests: Manifests, subject: Digest) -> Iterator[Descriptor]:
    """Yield every listed descriptor once, API first, then raise the first thing that was wrong, if any."""
    seen: set[Digest] = set()
    problems: list[RegistryError] = []
    for listing in (list_from_api, _list_from_tag):
        try:
            for descriptor in listing(manifests, subject, problems):
                if descriptor.digest not in seen:
                    seen.add(descriptor.digest)
                    yield descriptor
        except RegistryError as e:
            problems.append(e)
            # Where nobody answers, or lets us in, the other request would fail the same way.
            if isinstance(e, AuthenticationFailed) or (isinstance(e, Unavailable) and e.status is None):
                break
    if problems:
        raise problems[0]


def list_from_api(manifests: Manifests, subject: Digest, problems: list[RegistryError]) -> Iterator[Descriptor]:
    """Yield what the referrers API lists; unusable entries are noted in ``problems``.

    Nothing if the host has no API, which is then remembered.
    """
    registry = manifests.repository.registry
    if manifests.transport.memory.lacks_referrers(registry):
        return
    target = f"referrers/{subject}"
    listed = 0
    for page in range(PAGES_LIMIT):
        reply = _ask(manifests, subject, target, first=page == 0)
        if reply is None:
            return
        entries = _entries(reply.raw, f"referrers of {subject} in {manifests.repository}")
        yield from _parse_entries(entries[: LISTED_LIMIT - listed], problems)
        listed += len(entries)
        if listed > LISTED_LIMIT:
            raise TooLarge(f"more than {LISTED_LIMIT} referrers of {subject} in {manifests.repository} are listed")
        following = next_page(reply)
        if following is None:
            return
        target = following
    raise TooLarge(f"more than {PAGES_LIMIT} pages of referrers of {subject} in {manifests.repository} are listed")


def _ask(manifests: Manifests, subject: Digest, target: str, *, first: bool) -> Reply | None:
    """Get one page; ``None`` if there is no API or no such repository."""
    transport, registry = manifests.transport, manifests.repository.registry
    what = f"referrers of {subject} in {manifests.repository.path}"
    try:
        reply = transport.call(
            Request(
                repository=manifests.repository,
                target=target,
                what=what,
                headers={"Accept": OCI_INDEX},
                limit=MANIFEST_LIMIT,
                stay=True,
            )
        )
    except RegistryError as e:
        if not first:
            # A list that ends in the middle is not a shorter list.
            raise Unavailable(f"a further page cannot be read: {e.message}", status=e.status, codes=e.codes) from e
        if isinstance(e, NotFound) and _NOTHING_THERE & set(e.codes):
            return None
        if e.status not in _NO_API:
            raise
    else:
        if _media_type(reply) == OCI_INDEX:
            return reply
        if not first:
            raise Unavailable(f"a further page of {what} is of another media type", status=reply.status)
    transport.memory.note_no_referrers(registry)
    return None


def _list_from_tag(manifests: Manifests, subject: Digest, problems: list[RegistryError]) -> Iterator[Descriptor]:
    """Yield what the fallback tag lists; nothing if something else than an OCI index stands there."""
    try:
        found = manifests.get(subject.tag)
    except NotFound:
        return
    # GitLab reads the tag sha256-<hex> as the digest and returns the subject itself (oras-project/oras#2148).
    if Digest.of(found.untrusted_raw, subject.algorithm) == subject:
        return
    what = f"fallback tag {subject.tag} in {manifests.repository}"
    declared = (found.media_type or "").partition(";")[0].strip()
    try:
        written = load_json(found.untrusted_raw, limit=MANIFEST_LIMIT).entries().get("mediaType")
    except Malformed as e:
        raise Unavailable(f"{what} is unusable: {e.message}", status=200) from e
    if OCI_INDEX not in (declared, None if written is None else written.value):
        return
    entries = _entries(found.untrusted_raw, what)
    yield from _parse_entries(entries[:LISTED_LIMIT], problems)
    if len(entries) > LISTED_LIMIT:
        raise TooLarge(f"{what} lists more than {LISTED_LIMIT} referrers")


def _entries(untrusted_raw: bytes, what: str) -> tuple[Node, ...]:
    """Read an index as far as its list of entries.

    Raises:
        Unavailable: if it is no index: a listing that cannot be read is not an empty one.
    """
    try:
        members = load_json(untrusted_raw, limit=MANIFEST_LIMIT).fields(("manifests",), ("mediaType",), closed=False)
        if "mediaType" in members and members["mediaType"].value != OCI_INDEX:
            members["mediaType"].refuse(f"expected {OCI_INDEX!r}")
        # NOTE: Go writes an empty list as null.
        return () if members["manifests"].value is None else members["manifests"].items()
    except Malformed as e:
        raise Unavailable(f"the list of {what} is unusable: {e.message}", status=200) from e


def _parse_entries(entries: tuple[Node, ...], problems: list[RegistryError]) -> Iterator[Descriptor]:
    for entry in entries:
        try:
            yield Descriptor.parse(entry)
        except Malformed as e:
            if not problems:  # one is enough to say so; a listing can hold thousands
                problems.append(Unavailable(f"an entry of the list of referrers is unusable: {e.message}", status=200))


def next_page(reply: Reply) -> str | None:
    """Return the URL of the next page of a list (RFC 8288 §3), which must be at the same origin (it gets our token)."""
    for match in _LINK.finditer(reply.headers.get("link", "")[:8192]):
        if _NEXT.search(match[2]):
            url, there = check_hop(reply.url, match[1], what="next page")
            if there != check_hop(reply.url, reply.url, what="page")[1]:
                raise Unavailable(f"the next page of a list is at another place, {quote(str(there))}", status=200)
            return url
    return None


def _media_type(reply: Reply) -> str:
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower()
