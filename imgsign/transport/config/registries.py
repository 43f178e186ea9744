"""containers' ``registries.conf``, version 2: what skopeo, podman and CRI-O are told about registries.

Source: containers/image ``docs/containers-registries.conf.5.md`` and ``pkg/sysregistriesv2``.

    [[registry]]
    prefix = "example.com/foo"        # default: location; or "*.example.com", which is no prefix of a path
    location = "internal.example/foo" # where reads really go; the name keeps its prefix
    insecure = false                  # plain http may be spoken
    blocked = false
    mirror-by-digest-only = false
    [[registry.mirror]]
    location = "mirror.example/foo"
    insecure = false
    pull-from-mirror = "all"          # or "digest-only", "tag-only"

The longest prefix wins; mirrors are asked in order, then the location. Only reads are rewritten: an image
is written to the registry of its name. A later file replaces entries of the same prefix.

Differs from containers/image: ``insecure`` allows plain http but never an unchecked certificate, and
``example.com`` does not match ``example.com:5000`` (a defect that its source says not to rely on).
Refused: the format of version 1, which cannot say what a mirror is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from imgsign.errors import Malformed, RegistryError
from imgsign.record import record
from imgsign.reference import Repository
from imgsign.transport.places import Place, Places, check_location, is_below, rewrite
from imgsign.wire import Node, load_toml, quote

CONFIG_LIMIT = 1024 * 1024
"""Bytes of one file; real ones stay under 10 KiB."""

ENTRIES_LIMIT = 1000
"""Registries of one file, and mirrors of one registry."""

_PULL = {"all": (True, True), "digest-only": (False, True), "tag-only": (True, False)}
_WILDCARD = re.compile(r"\*(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+")
_REGISTRY = ("prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only", "pull-from-mirror")
_MIRROR = ("location", "insecure", "pull-from-mirror")


@record
class Mirror:
    """One ``[[registry.mirror]]``."""

    location: str
    insecure: bool
    by_tag: bool
    by_digest: bool


@record
class Entry:
    """One ``[[registry]]``; an empty ``location`` is that of the name itself."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]
    source: str

    def covered(self, repository: Repository) -> int:
        """How many characters of a name the prefix covers; 0: it does not match."""
        if self.prefix.startswith("*."):
            return len(repository.registry) if repository.registry.endswith(self.prefix[1:]) else 0
        return len(self.prefix) if is_below(repository, self.prefix) else 0

    def places(self, repository: Repository) -> Places:
        """Where a repository that this entry covers is to be had.

        Raises:
            RegistryError: it is blocked.
            Malformed: the entry makes no repository of this name.
        """
        if self.blocked:
            raise RegistryError(
                f"{repository} is blocked by {quote(self.source)} (prefix {quote(self.prefix)})",
                hint="whoever runs this machine does not want it used",
            )
        prefix = str(repository)[: self.covered(repository)]
        registry = Place(
            repository=repository,
            source=self.source,
            insecure=self.insecure and self.location in ("", prefix),
        )
        primary = registry
        if self.location and self.location != prefix:
            there = rewrite(repository, prefix, self.location, self.source)
            primary = Place(repository=there, source=self.source, insecure=self.insecure)
        mirrors = (
            Place(
                repository=rewrite(repository, prefix, m.location, self.source),
                source=self.source,
                by_tag=m.by_tag,
                by_digest=m.by_digest,
                insecure=m.insecure,
            )
            for m in self.mirrors
        )
        return Places(registry=registry, primary=primary, mirrors=tuple(mirrors))


def parse_registries(raw: bytes, source: str) -> tuple[Entry, ...]:
    """Read one file; ``source`` names it in messages. Tables that are about something else are not read.

    Raises:
        Malformed: naming the file and the key.
    """
    try:
        members = load_toml(raw, limit=CONFIG_LIMIT).fields((), ("registry", "registries"), closed=False)
        if "registries" in members:
            members["registries"].refuse(
                "the format of version 1 is not supported",
                hint="write [[registry]] tables: containers-registries.conf(5)",
            )
        nodes = members["registry"].items(limit=ENTRIES_LIMIT) if "registry" in members else ()
        return tuple(_parse_entry(n, source) for n in nodes)
    except Malformed as e:
        raise Malformed(f"cannot use {quote(source)}: {e.message}", hint=e.hint) from e


def find_entry(entries: Iterable[Entry], repository: Repository) -> Entry | None:
    """Return the entry with the longest prefix that covers a repository; of equal prefixes the last one."""
    by_prefix = {e.prefix: e for e in entries}
    found = [e for e in by_prefix.values() if e.covered(repository)]
    return max(found, key=lambda e: len(e.prefix), default=None)


def _parse_entry(node: Node, source: str) -> Entry:
    members = node.fields((), _REGISTRY, closed=False)
    location = _location(members["location"]) if "location" in members else ""
    prefix = location
    if "prefix" in members:
        prefix = members["prefix"].text().rstrip("/") or location
        if _WILDCARD.fullmatch(prefix) is None:
            prefix = _location(members["prefix"])
            if not location:
                node.refuse("missing key 'location'")
    if not prefix:
        node.refuse("missing key 'location'")
    if "pull-from-mirror" in members:
        members["pull-from-mirror"].refuse("belongs to a mirror, not to its registry")
    by_digest_only = _flag(members, "mirror-by-digest-only")
    mirrors = members["mirror"].items(limit=ENTRIES_LIMIT) if "mirror" in members else ()
    return Entry(
        prefix=prefix,
        location=location,
        insecure=_flag(members, "insecure"),
        blocked=_flag(members, "blocked"),
        mirrors=tuple(_parse_mirror(m, by_digest_only=by_digest_only) for m in mirrors),
        source=source,
    )


def _parse_mirror(node: Node, *, by_digest_only: bool) -> Mirror:
    members = node.fields(("location",), _MIRROR, closed=False)
    by_tag, by_digest = _PULL["digest-only" if by_digest_only else "all"]
    if "pull-from-mirror" in members:
        pull = members["pull-from-mirror"]
        if by_digest_only:
            pull.refuse("contradicts 'mirror-by-digest-only' of its registry")
        if pull.text() not in _PULL:
            pull.refuse(f"expected one of {', '.join(_PULL)}, got {quote(pull.text())}")
        by_tag, by_digest = _PULL[pull.text()]
    return Mirror(
        location=_location(members["location"]),
        insecure=_flag(members, "insecure"),
        by_tag=by_tag,
        by_digest=by_digest,
    )


def _location(node: Node) -> str:
    text = node.text().rstrip("/")
    try:
        return check_location(text, "location")
    except Malformed:
        node.refuse(f"not a host with an optional path: {quote(text)}", hint="without a scheme: mirror.example.com/hub")


def _flag(members: dict[str, Node], key: str) -> bool:
    return key in members and members[key].boolean()
