"""Where a registry is, over which scheme, through which proxy, and where it may send us.

Sources: RFC 3986 §3.2 (authority), RFC 6454 §4 (origin), distribution-spec v1.1.1 "Endpoints", and for
proxies the habits of curl and Go's ``httpproxy`` (there is no specification).

    url   := ("http" | "https") "://" host [":" port] ["/" | "?" | "#" …]     printable ASCII only
    host  := dns-name | ipv4 | "[" ipv6 "]"

An origin is scheme, host and port; credentials belong to one origin (GHSA-vh4v-2xq2-g5cg: another port
is another place). A registry chooses redirects, upload locations and token realms, so these are
foreign input: :func:`check_hop` refuses a step from https to http, and a step to a loopback or private
address from a place that is not one itself (server-side request forgery).

NOTE: names that resolve to private addresses pass; only literals are refused. What is reached that way
gets no credentials and its answers are checked by digest like all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urljoin

from imgsign.errors import RegistryError
from imgsign.record import record
from imgsign.reference import DOCKER_HUB
from imgsign.wire import quote, redact

HUB_API = "registry-1.docker.io"
"""Where docker.io's API lives (moby ``registry.DefaultV2Registry``)."""

_PORTS = {"http": 80, "https": 443}
_HOST = r"[A-Za-z0-9._-]+|\[[A-Fa-f0-9:.]+\]"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?:[/?#][\x21-\x7e]*)?",
    re.IGNORECASE | re.ASCII,
)
_REGISTRY = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]+))?")
_NUMERIC_LABEL = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 §2.1: an IPv4 address in the last 32 bits


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Origin:
    """Scheme, host and port: who one talks to. ``host`` is lower case, IPv6 in brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read the origin of an absolute URL.

        Raises:
            RegistryError: for anything but a plain http(s) URL: user information, blanks, control or
                non-ASCII characters, a port out of range. What two parsers may read differently is
                not sent anywhere.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise RegistryError(f"unusable url {quote(redact(url))}", url=redact(url))
        scheme = match["scheme"].lower()
        port = _PORTS[scheme] if match["port"] is None else int(match["port"])
        if not 0 < port < 65536:
            raise RegistryError(f"port {port} is out of range in {quote(redact(url))}", url=redact(url))
        return cls(scheme=scheme, host=match["host"].lower(), port=port)

    @property
    def authority(self) -> str:
        """``host`` or ``host:port`` where the port is not the scheme's own."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def is_loopback(host: str) -> bool:
    """Whether a host (IPv6 in brackets) is this machine by its spelling: localhost, 127.0.0.0/8, [::1]."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_internal(host: str) -> bool:
    """Whether a host is spelled as a loopback, private, link-local or otherwise not global address.

    IPv4 addresses inside IPv6 ones count, and so do the short and hexadecimal forms that ``inet_aton``
    takes (``127.1``, ``0x7f000001``), which resolve without being IP literals to stricter parsers.
    """
    address = _address(host)
    if address is None:
        bare = host.rstrip(".").lower()
        if bare == "localhost" or bare.endswith(".localhost"):
            return True
        return _NUMERIC_LABEL.fullmatch(bare.rpartition(".")[2]) is not None
    return any(not a.is_global or a.is_multicast for a in (address, *_embedded(address)))


def api_origin(registry: str, *, http: bool) -> Origin:
    """Return where the API of a registry is, which is named as in a reference (``host[:port]``).

    Raises:
        RegistryError: if the host or port cannot be one.
    """
    match = _REGISTRY.fullmatch(HUB_API if registry == DOCKER_HUB else registry)
    if match is None:
        raise RegistryError(f"not a registry host: {quote(registry)}")
    scheme = "http" if http else "https"
    port = match["port"]
    if port is not None and (len(port) > 5 or not 0 < int(port) < 65536):
        raise RegistryError(f"port {port[:20]} of registry {quote(registry)} is out of range")
    return Origin(scheme=scheme, host=match["host"].lower(), port=_PORTS[scheme] if port is None else int(port))


def check_hop(source: str, target: str, *, what: str) -> tuple[str, Origin]:
    """Resolve the address ``target`` that ``source`` (a URL) sent us to, and check that we may go there.

    ``what`` names the step in messages, such as ``redirect``.

    Raises:
        RegistryError: if it is no usable URL, leads from https to http, or into a private network.
    """
    try:
        url = urljoin(source, target).partition("#")[0]
    except ValueError as e:
        raise RegistryError(f"{what} to an unusable url from {quote(redact(source))}") from e
    here, there = Origin.parse(source), Origin.parse(url)
    if here.scheme == "https" and there.scheme == "http":
        raise RegistryError(f"{what} from https to plain http refused: {here} to {redact(url)}", url=redact(url))
    if is_internal(there.host) and not is_internal(here.host):
        raise RegistryError(f"{what} into a private network refused: {here} to {redact(url)}", url=redact(url))
    return url, there


@record
class Proxies:
    """The proxies an environment names; URLs may hold passwords and stay out of ``repr``.

    ``bypass`` are the entries of NO_PROXY: ``*``, a domain (with or without a leading dot: it and its
    subdomains), an address, a network (CIDR), each but the network with an optional port.
    """

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    bypass: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Proxies:
        """Read HTTP_PROXY, HTTPS_PROXY and NO_PROXY; the lower-case spelling wins where it is set."""

        def read(name: str) -> str:
            return environ.get(name.lower(), environ.get(name, "")).strip()

        entries = (e.strip().lower() for e in read("NO_PROXY").split(","))
        return cls(http=read("HTTP_PROXY"), https=read("HTTPS_PROXY"), bypass=tuple(e for e in entries if e))

    def find(self, origin: Origin) -> str | None:
        """Return the proxy's URL for an origin, or ``None`` to go directly; loopback always is direct.

        Raises:
            RegistryError: if the proxy is not an http(s) one.
        """
        proxy = self.http if origin.scheme == "http" else self.https
        if not proxy or is_loopback(origin.host) or any(_covers(entry, origin) for entry in self.bypass):
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        if not proxy.lower().startswith(("http://", "https://")):
            name = f"{origin.scheme.upper()}_PROXY"
            raise RegistryError(f"{name} names a proxy of another kind than http and https")
        return proxy


def _covers(entry: str, origin: Origin) -> bool:
    """Whether one NO_PROXY entry covers an origin."""
    if entry == "*":
        return True
    address = _address(origin.host)
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry) is None:  # otherwise the colons of an unbracketed IPv6 address would be a port
        host, colon, port = entry.rpartition(":")
        if colon and port.isdecimal():
            if int(port[:6]) != origin.port:
                return False
            entry = host
    if address is not None:
        return _address(entry) == address
    domain = entry.removeprefix("*").lstrip(".")
    return bool(domain) and (origin.host == domain or origin.host.endswith(f".{domain}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]").rstrip("."))
    except ValueError:
        return None


def _embedded(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """List the IPv4 addresses that an IPv6 address is translated or tunnelled to."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(a for a in found if a is not None)
