"""Where a repository is to be had: its registry and its mirrors. A place is never a name.

Pure values, made from configuration by :mod:`imgsign.transport.config` and used by
:mod:`imgsign.stores.mirrored`. Policy, signatures and messages about an image keep its logical name; a
:class:`Place` only says which bytes may be asked for where. Credentials go by ``Place.repository``, so
those of a registry are never offered to its mirror (distribution-spec: "upstream credentials SHOULD NOT
be sent to a proxy").
"""

from __future__ import annotations

import re
from dataclasses import field

from imgsign.errors import InvalidReference, Malformed
from imgsign.record import record
from imgsign.reference import Repository
from imgsign.transport.hosts import Origin
from imgsign.wire import quote

OPTION = "--mirror"
"""The ``source`` of a mirror that was given on the command line."""

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Fa-f0-9:]+\])(?::[0-9]{1,5})?"
_LOCATION = re.compile(rf"{_HOST}(?:/[a-z0-9._-]+)*")


@record
class Place:
    """One place that has, or should have, the bytes of a repository.

    ``repository``: host and path there. ``source``: the file (or option) that names it; empty for the
    registry as such. ``scheme``: ``https`` or ``http`` where that is configured, else ``None``: as for any
    registry. ``root``: what stands before the path in URLs. ``namespace``: the registry to name in ``?ns=``.
    ``by_tag``: it may say what a tag means. ``by_digest``: it may be asked for content. ``insecure``: plain
    http may be spoken to it. ``ca``, ``client``: files of authorities, and of pairs (certificate, key).
    ``header``: fields that every request to its origin carries, names in lower case; the values may be
    secrets, so they go to no other origin and into no text. ``dial_timeout``: seconds for a connection.
    """

    repository: Repository
    source: str = ""
    scheme: str | None = None
    root: str = "/v2"
    namespace: str | None = None
    by_tag: bool = True
    by_digest: bool = True
    insecure: bool = False
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    header: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dial_timeout: float | None = None

    def __str__(self) -> str:
        return str(self.repository)


@record
class Places:
    """Where to go for one repository: ``registry`` to write, ``mirrors`` in order and then ``primary`` to read.

    ``primary`` is the registry itself unless a configuration says that it is elsewhere. ``notes`` are
    what a person should know about the configuration, one line each.
    """

    registry: Place
    primary: Place
    mirrors: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but the registry."""
        return not self.mirrors and self.primary == self.registry


@record
class MirrorOption:
    """``--mirror``: a location for what is below ``prefix``; an empty one is every registry."""

    prefix: str
    location: str

    @classmethod
    def parse(cls, text: str) -> MirrorOption:
        """Read ``[HOST[/PATH]=]MIRROR[/PATH]``.

        Raises:
            Malformed: for anything else, URLs included: plain http is what ``--insecure-http`` is for.
        """
        prefix, equals, location = text.rpartition("=")
        hint = "[HOST=]MIRROR without a scheme, such as docker.io=mirror.example.com/hub"
        if equals:
            check_location(prefix, OPTION, hint)
        check_location(location, OPTION, hint)
        return cls(prefix=prefix, location=location)


def check_location(text: str, what: str, hint: str | None = None) -> str:
    """Return ``host[:port][/path]`` if it is one.

    Raises:
        Malformed: if not; ``what`` says whose it is.
    """
    if _LOCATION.fullmatch(text) is None:
        raise Malformed(f"{what}: not a host with an optional path: {quote(text)}", hint=hint)
    return text


def is_below(repository: Repository, prefix: str) -> bool:
    """Whether a repository is a location or below it, at ``/`` boundaries; the empty one has all."""
    return not prefix or f"{repository}/".startswith(f"{prefix}/")


def rewrite(repository: Repository, prefix: str, location: str, source: str) -> Repository:
    """Put ``location`` in the place of the first ``prefix`` characters of the name.

    Raises:
        Malformed: if that gives no repository; the message names ``source``.
    """
    return repository_at(location + str(repository)[len(prefix) :], source)


def repository_at(name: str, source: str) -> Repository:
    """Make the repository of a place.

    Raises:
        Malformed: if it cannot be one; the message names ``source``.
    """
    host, _, path = name.partition("/")
    try:
        return Repository(host, path)
    except InvalidReference as e:
        hint = "write its port, as in mirror:443" if "." not in host and ":" not in host else e.hint
        raise Malformed(f"{source}: cannot ask {quote(name)}: {e.message}", hint=hint) from e


def host_of(origin: Origin) -> str:
    """Return an origin's host as references write it; a name without dots gets its port, to be a host."""
    return origin.authority if "." in origin.host or ":" in origin.authority else f"{origin.host}:{origin.port}"
