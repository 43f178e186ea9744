"""docker's ``daemon.json``: mirrors of Docker Hub and registries that may be asked over plain http.

Source: moby ``daemon/config``, ``registry/config.go``.

    registry-mirrors     := URLs without path, query and user information; only ever for docker.io
    insecure-registries  := host[:port], or a network (CIDR) in which the registry's address lies

docker resolves tags at its mirrors, so they may do that here. ``insecure-registries`` allows plain http,
never an unchecked certificate. A network covers registries that are named by their address; docker also
asks DNS, which a place that answers for DNS could use to have passwords sent in the clear.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from imgsign.errors import Malformed, RegistryError
from imgsign.record import record
from imgsign.reference import DOCKER_HUB, Repository
from imgsign.transport.config.registries import CONFIG_LIMIT, ENTRIES_LIMIT
from imgsign.transport.hosts import Origin
from imgsign.transport.places import Place, Places, host_of, repository_at
from imgsign.wire import Node, load_json, quote

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Fa-f0-9:]+\])(?::[0-9]{1,5})?")


@record
class Daemon:
    """What one file says about registries."""

    mirrors: tuple[Origin, ...] = ()
    insecure: tuple[str, ...] = ()
    source: str = ""

    def is_insecure(self, registry: str) -> bool:
        """Whether a registry (``host[:port]``) may be asked over plain http."""
        host = registry if registry.endswith("]") else registry.rpartition(":")[0] or registry
        return any(entry == registry or ("/" in entry and _in_network(host, entry)) for entry in self.insecure)

    def places(self, repository: Repository) -> Places | None:
        """Where a repository is to be had; ``None``: the file says nothing about it."""
        registry = Place(repository=repository, source=self.source, insecure=self.is_insecure(repository.registry))
        mirrors: tuple[Place, ...] = ()
        if repository.registry == DOCKER_HUB:
            mirrors = tuple(
                Place(
                    repository=repository_at(f"{host_of(origin)}/{repository.path}", self.source),
                    source=self.source,
                    scheme=origin.scheme,
                    insecure=origin.scheme == "http",
                )
                for origin in self.mirrors
            )
        if not mirrors and not registry.insecure:
            return None
        return Places(registry=registry, primary=registry, mirrors=mirrors)


def parse_daemon(raw: bytes, source: str) -> Daemon:
    """Read ``daemon.json``; all that is about something else is not read.

    Raises:
        Malformed: naming the file and the key.
    """
    try:
        keys = ("registry-mirrors", "insecure-registries")
        members = load_json(raw, limit=CONFIG_LIMIT).fields((), keys, closed=False)
        mirrors, insecure = (members[k].items(limit=ENTRIES_LIMIT) if k in members else () for k in keys)
        return Daemon(
            mirrors=tuple(_parse_mirror(n) for n in mirrors),
            insecure=tuple(_parse_insecure(n) for n in insecure),
            source=source,
        )
    except Malformed as e:
        raise Malformed(f"cannot use {quote(source)}: {e.message}", hint=e.hint) from e


def _parse_mirror(node: Node) -> Origin:
    url = node.text()
    try:
        origin = Origin.parse(url)
    except RegistryError:
        node.refuse("not the URL of a host")  # which is not quoted: it may hold a password
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        node.refuse(f"a mirror is a host without a path, got {quote(f'{origin}{parts.path}')}")
    return origin


def _parse_insecure(node: Node) -> str:
    text = node.text()
    if "/" in text and "://" not in text:
        try:
            return str(ip_network(text, strict=False))
        except ValueError:
            node.refuse(f"not a network: {quote(text)}")
    bare = text.partition("://")[2] or text  # docker drops a scheme here, too
    if _HOST.fullmatch(bare.rstrip("/")) is None:
        node.refuse(f"not a registry host: {quote(text)}")
    return bare.rstrip("/")


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host.strip("[]")) in ip_network(network)
    except ValueError:
        return False
