"""containerd's ``hosts.toml``: the hosts to ask for one registry.

Source: containerd ``docs/hosts.md`` and ``remotes/docker/config/hosts.go``.

    server = "https://registry-1.docker.io"        # default: the registry itself
    [host."https://mirror.example.com"]
    capabilities = ["pull", "resolve"]             # default: all
    ca = "ca.pem"                                  # or a list; relative to the file's directory
    client = [["client.cert", "client.key"]]       # or one file that holds both, or a list of such
    override_path = true                           # the URL's path is complete: no /v2 is added
    dial_timeout = "1s"                            # for a connection, as Go writes durations
    [host."https://mirror.example.com".header]
    x-custom = "value"                             # or a list of values; sent to this host's origin only

The same keys at the top are the server's.

Hosts are asked in order, then the server. A host other than the registry is told the registry's name by
``?ns=``. "A public mirror should never be trusted to resolve": without that capability a host is asked
only for what has a digest.

Differs from containerd: ``skip_verify`` is never followed (a certificate is always checked; the place is
passed over if it does not hold). Headers may be secrets: they are never shown, never sent to another
origin, and cannot be those that HTTP or the registry protocol need. Writes go to the registry of the name,
whatever ``push`` says.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from urllib.parse import urlsplit

from imgsign.errors import Malformed, RegistryError
from imgsign.reference import Repository
from imgsign.transport.config.registries import CONFIG_LIMIT, ENTRIES_LIMIT
from imgsign.transport.hosts import Origin, api_origin
from imgsign.transport.places import Place, Places, host_of, repository_at
from imgsign.wire import Node, load_toml, quote, redact

DEFAULT = "_default"
"""The directory for registries that have none of their own."""

_CAPABILITIES = frozenset({"pull", "resolve", "push", "referrers"})
_HOST_KEYS = ("capabilities", "ca", "client", "skip_verify", "override_path", "header", "dial_timeout")
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 §5.1
_VALUE = re.compile(r"[\x20-\x7e\t]{1,8192}")
_OWN_FIELDS = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "expect",
        "host",
        "proxy-authorization",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""What is said by this program: another value would change which bytes are asked for, or where they end."""
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


def directories(registry: str) -> tuple[str, ...]:
    """The directories that may be about a registry; the first that exists is."""
    host, colon, port = registry.rpartition(":")
    own = (f"{host}_{port}_",) if colon and port.isdecimal() else ()
    return (*own, registry, DEFAULT)


def parse_hosts(raw: bytes, source: str, repository: Repository) -> Places:
    """Read one file for a repository; ``source`` is its path, from which others in it are relative.

    Raises:
        Malformed: naming the file and the key.
    """
    try:
        root = load_toml(raw, limit=CONFIG_LIMIT)
        members = root.fields((), ("server", "host", *_HOST_KEYS), closed=False)
        registry = Place(repository=repository, source=source)
        notes: list[str] = []
        primary = registry
        if "server" in members:
            primary, _ = _parse_host(members["server"].text(), root, source, repository, notes)
        elif any(key in members for key in _HOST_KEYS):
            default = str(api_origin(repository.registry, http=False))
            # Of plain http nothing is said here: for loopback it stays what it is everywhere.
            primary = replace(_parse_host(default, root, source, repository, notes)[0], scheme=None)
        hosts = members["host"].entries() if "host" in members else {}
        if len(hosts) > ENTRIES_LIMIT:
            root.refuse(f"more than {ENTRIES_LIMIT} hosts")
        found = (_parse_host(url, node, source, repository, notes) for url, node in hosts.items())
        mirrors = tuple(place for place, pulls in found if pulls)
        # What names the registry itself is not another place.
        registry = primary if primary.repository == repository else registry
        return Places(registry=registry, primary=primary, mirrors=mirrors, notes=tuple(notes))
    except Malformed as e:
        raise Malformed(f"cannot use {quote(source)}: {e.message}", hint=e.hint) from e


def _parse_host(url: str, node: Node, source: str, repository: Repository, notes: list[str]) -> tuple[Place, bool]:
    """Read one host; also whether it may be pulled from."""
    origin, path = _parse_url(url)
    members = node.fields((), _HOST_KEYS, closed=False)
    root = posixpath.normpath(path).rstrip("/") if path else ""
    if not _flag(members, "override_path") and not root.endswith("/v2"):
        root += "/v2"
    if _flag(members, "skip_verify"):
        notes.append(f"{source}: skip_verify of {origin} is not followed: certificates are always checked")
    capabilities = _capabilities(members)
    own = origin == api_origin(repository.registry, http=origin.scheme == "http")
    name = f"{repository.registry if own else host_of(origin)}/{repository.path}"
    # A path below /v2/ belongs to the repository's name there: its tokens are for that name.
    if root.startswith("/v2/"):
        name = f"{name.partition('/')[0]}/{root.removeprefix('/v2/')}/{repository.path}"
        root = "/v2"
    place = Place(
        repository=repository_at(name, source),
        source=source,
        scheme=origin.scheme,
        root=root,
        namespace=None if own else repository.registry,
        by_tag="resolve" in capabilities,
        insecure=origin.scheme == "http",
        ca=_files(members.get("ca"), source),
        client=_pairs(members.get("client"), source),
        header=_header(members.get("header")),
        dial_timeout=_duration(members.get("dial_timeout")),
    )
    return place, "pull" in capabilities


def _parse_url(url: str) -> tuple[Origin, str]:
    """Split a host's URL into its origin and its path; one with a password is refused and not quoted."""
    full = url if "://" in url else f"https://{url}"
    try:
        origin, path = Origin.parse(full), urlsplit(full).path
    except RegistryError as e:
        raise Malformed(f"not the URL of a host: {quote(redact(full))}") from e
    if "?" in full or "#" in full or _PATH.fullmatch(path) is None or "/../" in f"{path}/":
        raise Malformed(f"not the URL of a host: {quote(redact(full))}")
    return origin, path


def _capabilities(members: dict[str, Node]) -> frozenset[str]:
    listed = members["capabilities"].items() if "capabilities" in members else ()
    for node in listed:
        if node.text().lower() not in _CAPABILITIES:
            node.refuse(f"unknown capability {quote(node.text())}", hint=f"one of {', '.join(sorted(_CAPABILITIES))}")
    return frozenset(n.text().lower() for n in listed) or _CAPABILITIES


def _header(node: Node | None) -> tuple[tuple[str, str], ...]:
    """Read a table of strings and lists of strings, which are joined (RFC 9110 §5.3); no value is ever quoted."""
    found: dict[str, str] = {}
    for name, entry in ({} if node is None else node.entries()).items():
        lower = name.lower()
        if _FIELD.fullmatch(name) is None or lower in found:
            entry.refuse("not the name of a header, or named twice")
        if lower in _OWN_FIELDS:
            entry.refuse(f"header {quote(name)} cannot be configured")
        nodes = (entry,) if isinstance(entry.value, str) else entry.items(limit=ENTRIES_LIMIT)
        found[lower] = ", ".join(n.text().strip() for n in nodes)
        if _VALUE.fullmatch(found[lower]) is None:
            entry.refuse("not the value of a header")
    return tuple(found.items())


def _duration(node: Node | None) -> float | None:
    """Read a duration of Go's in seconds; ``None``, also for zero: nothing is said."""
    if node is None or node.text() in ("", "0"):
        return None
    if _DURATION.fullmatch(node.text()) is None:
        node.refuse(f"not a duration: {quote(node.text())}", hint='such as "500ms" or "1m30s"')
    parts = re.findall(r"([0-9.]+)([a-zµ]+)", node.text())
    return sum(float(number) * _UNITS[unit] for number, unit in parts) or None


def _files(node: Node | None, source: str) -> tuple[str, ...]:
    """Read one path or a list of them."""
    if node is None:
        return ()
    nodes = (node,) if isinstance(node.value, str) else node.items(limit=ENTRIES_LIMIT)
    return tuple(_relative(n, source) for n in nodes)


def _pairs(node: Node | None, source: str) -> tuple[tuple[str, str], ...]:
    """Read one path, a list of paths, or a list of pairs of paths; one file holds certificate and key."""
    if node is None:
        return ()
    nodes = (node,) if isinstance(node.value, str) else node.items(limit=ENTRIES_LIMIT)
    found = []
    for entry in nodes:
        pair = (entry,) if isinstance(entry.value, str) else entry.items(limit=2)
        if not pair:
            entry.refuse("expected a certificate and a key")
        certificate = _relative(pair[0], source)
        found.append((certificate, _relative(pair[-1], source) if pair[-1].text() else certificate))
    return tuple(found)


def _relative(node: Node, source: str) -> str:
    return posixpath.join(posixpath.dirname(source), node.text())


def _flag(members: dict[str, Node], key: str) -> bool:
    return key in members and members[key].boolean()
