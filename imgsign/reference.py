"""Image references: the names people use, and the scopes a policy finds them by.

Grammar (distribution/reference v0.6.0; all classes are ASCII):

    reference  := name [":" tag] ["@" digest]
    name       := [domain "/"] path
    domain     := host [":" port]            host := dns-name | "[" ipv6 "]"
    path       := component *("/" component)
    component  := [a-z0-9]+ *(separator [a-z0-9]+)     separator := "." | "_" | "__" | "-"+
    tag        := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
    digest     := algorithm ":" hex          image-spec v1.1 descriptor.md "Digests"

Normalisation, as docker does it: the part before the first ``/`` is a domain only if it holds ``.`` or
``:``, is ``localhost`` or has an upper-case letter; otherwise the reference belongs to the default
registry (``docker.io``, where one component means ``library/…``). ``index.docker.io`` is
``docker.io``. Hosts are compared exactly: no case folding. A tag and a digest are both kept.

Refused: upper case in the path, blanks, line breaks, a bare 64-digit hex string (an image ID), names over 255
characters, digests other than sha256, sha384 and sha512 in lower case.
"""

from __future__ import annotations

import hashlib
import re

from imgsign.errors import InvalidDigest, InvalidReference
from imgsign.record import record
from imgsign.wire import quote

DOCKER_HUB = "docker.io"
NAME_LIMIT = 255  # characters, domain included (distribution/reference NameTotalLengthMax)

_ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?")
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX64 = re.compile(r"[a-f0-9]{64}")
_SPLIT = re.compile(r"(?P<name>[^@]*?)(?::(?P<tag>[^:/@\[\]]*))?(?:@(?P<digest>.*))?", re.DOTALL)


@record(kw_only=False)
class Digest:
    """A content address: ``algorithm`` is sha256, sha384 or sha512, ``hex`` lower case, full length."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = _ALGORITHMS.get(self.algorithm)
        if length is None:
            raise InvalidDigest(
                f"unsupported digest algorithm {quote(self.algorithm)}", hint="use sha256, sha384 or sha512"
            )
        if len(self.hex) != length or re.fullmatch(r"[a-f0-9]+", self.hex) is None:
            raise InvalidDigest(f"expected {length} lower-case hex digits after '{self.algorithm}:'")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse ``sha256:…``.

        Raises:
            InvalidDigest: for anything that is not a supported digest, spelled canonically.
        """
        algorithm, colon, hexdigits = text.partition(":")
        if not colon:
            raise InvalidDigest(f"not a digest: {quote(text)}", hint="write it as sha256:<64 hex digits>")
        return cls(algorithm, hexdigits)

    @classmethod
    def of(cls, raw: bytes, algorithm: str = "sha256") -> Digest:
        """Compute the digest of bytes."""
        if algorithm not in _ALGORITHMS:
            raise InvalidDigest(f"unsupported digest algorithm {quote(algorithm)}")
        return cls(algorithm, hashlib.new(algorithm, raw).hexdigest())

    @property
    def tag(self) -> str:
        """The tag schema form ``sha256-<hex>``, hex cut to 64 (distribution-spec "Referrers Tag Schema")."""
        return f"{self.algorithm}-{self.hex[:64]}"

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@record(kw_only=False)
class Repository:
    """``registry`` (host with optional port, docker.io for Docker Hub) and ``path`` (``library/busybox``)."""

    registry: str
    path: str

    def __post_init__(self) -> None:
        # A repository must read as itself: "registry/app" is docker.io/registry/app to every other reader.
        if _DOMAIN.fullmatch(self.registry) is None or not _is_domain(self.registry):
            hint = "a host has a dot or a port, or is localhost"
            raise InvalidReference(f"not a registry host: {quote(self.registry)}", hint=hint)
        if _PATH.fullmatch(self.path) is None:
            raise InvalidReference(f"not a repository path: {quote(self.path)}", hint=_path_hint(self.path))
        if self.registry == "index.docker.io" or (self.registry == DOCKER_HUB and "/" not in self.path):
            raise InvalidReference(f"not a normalised name: {quote(f'{self.registry}/{self.path}')}")
        if len(self.registry) + 1 + len(self.path) > NAME_LIMIT:
            raise InvalidReference(f"name is longer than {NAME_LIMIT} characters")

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@record
class Reference:
    """A logical image name; ``tag`` and ``digest`` are both kept, and both may be absent.

    ``str`` gives the canonical form, from which :meth:`parse` gives the same value.
    """

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if self.tag is not None and _TAG.fullmatch(self.tag) is None:
            raise InvalidReference(f"not a tag: {quote(self.tag)}", hint="a tag is 1 to 128 of A-Z a-z 0-9 _ . -")

    @classmethod
    def parse(cls, text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
        """Parse and normalise what a person types.

        ``default_registry`` stands in where the text names none.

        Raises:
            InvalidReference: with the part that is wrong.
        """
        if text and text.split() != [text]:
            raise InvalidReference(f"reference {quote(text)} holds blanks or line breaks")
        match = _SPLIT.fullmatch(text)
        if match is None or not match["name"]:
            raise InvalidReference(f"not an image reference: {quote(text)}", hint="write it as registry/repo:tag")
        digest = None
        if match["digest"] is not None:
            try:
                digest = Digest.parse(match["digest"])
            except InvalidDigest as e:
                raise InvalidReference(f"reference {quote(text)}: {e.message}", hint=e.hint) from e
        name, tag = match["name"], match["tag"]
        if _HEX64.fullmatch(text):
            raise InvalidReference(
                f"{quote(text)} is an image ID or digest, not a name",
                hint="write it as registry/repo@sha256:…",
            )
        registry, path = _split_name(name, default_registry)
        try:
            return cls(repository=Repository(registry, path), tag=tag, digest=digest)
        except InvalidReference as e:
            raise InvalidReference(f"reference {quote(text)}: {e.message}", hint=e.hint) from e

    def tag_or_latest(self) -> Reference:
        """Return the reference with docker's default tag where it has neither tag nor digest."""
        if self.tag is None and self.digest is None:
            return Reference(repository=self.repository, tag="latest")
        return self

    def at(self, digest: Digest) -> Reference:
        """Return ``repo:tag@digest`` with this reference's repository and tag."""
        return Reference(repository=self.repository, tag=self.tag, digest=digest)

    @property
    def name(self) -> Reference:
        """The reference without its digest: what a signature names."""
        return Reference(repository=self.repository, tag=self.tag)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.repository}{tag}{digest}"


def scopes(repository: Repository) -> tuple[str, ...]:
    """List the policy scopes that could cover a repository, the most specific first.

    ``host:port/ns/repo``, each parent, ``host:port``, then ``*.example.com`` for each parent domain of
    the host (without port; none for IP addresses and single labels), last ``*``.
    """
    found = [str(repository)]
    while "/" in found[-1]:
        found.append(found[-1].rpartition("/")[0])
    host = repository.registry
    if not host.startswith("["):
        host = host.partition(":")[0]
        labels = host.split(".")
        if not labels[-1].isdigit():
            found.extend("*." + ".".join(labels[i:]) for i in range(1, len(labels)))
    return (*found, "*")


def is_scope(text: str) -> bool:
    """Whether the text could ever be one of :func:`scopes`."""
    if text == "*":
        return True
    if text.startswith("*."):
        return re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", text[2:]) is not None and not text[2:].split(".")[-1].isdigit()
    host, slash, path = text.partition("/")
    if _DOMAIN.fullmatch(host) is None or host == "index.docker.io":
        return False
    return _is_domain(host) and (not slash or _PATH.fullmatch(path) is not None)


def _is_domain(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _split_name(name: str, default_registry: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _is_domain(first):
        first, rest = default_registry, name
    if first == "index.docker.io":
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _path_hint(path: str) -> str | None:
    return "repository names are lower case" if path != path.lower() else None
