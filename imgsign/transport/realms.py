"""Which token servers may be asked, and which may see a registry's credentials.

Source: distribution's token specification (``docs/content/spec/auth/token.md``), which leaves this open.

The registry names the token server (``realm``), so that is foreign input (CVE-2026-48978, CVE-2026-33540,
GHSA-28r5-37g7-p6mp):

- the realm of an https registry is https; plain http only where it is allowed for that host;
- a realm spelled as a loopback, link-local or other special address is refused unless the registry is at
  that host; one spelled as a private address is asked if the registry itself is or resolves to one;
- user, password and tokens go to the realm only if it belongs to the registry: same host, same registrable
  domain, a known pair, or listed by ``--trusted-realm``; to any other one asks for an anonymous token.

A listed realm is one the user vouches for, so its address does not matter; that it is https still does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from imgsign.errors import AuthenticationFailed
from imgsign.transport.hosts import HUB_API, Origin, is_internal, is_loopback

_PAIRS = {HUB_API: frozenset({"auth.docker.io"})}
"""Realms that belong to a registry in addition to those :func:`belongs` sees."""

_TWO_LEVELS = frozenset({"ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"})
"""Second-level labels below which a country registers (``co.uk``), so that they are nobody's domain."""

Resolve = Callable[[str], tuple[str, ...]]
"""Finds the addresses of a host; none if its name cannot be resolved, as behind a proxy."""


def resolve(host: str) -> tuple[str, ...]:
    """Ask the operating system for the addresses of a host."""
    try:
        return tuple(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return ()


class Realms:
    """The realm rules of one process."""

    def __init__(self, *, insecure_http: frozenset[str], trusted: frozenset[str], resolve: Resolve = resolve) -> None:
        """Allow plain http to ``insecure_http``, credentials to ``trusted`` (both ``host[:port]``)."""
        self._insecure_http = frozenset(host.lower() for host in insecure_http)
        self._trusted = frozenset(host.lower() for host in trusted)
        self._resolve = resolve

    def including(self, insecure_http: frozenset[str]) -> Realms:
        """Return the same rules, with plain http allowed to some more hosts."""
        if insecure_http <= self._insecure_http:
            return self
        return Realms(insecure_http=self._insecure_http | insecure_http, trusted=self._trusted, resolve=self._resolve)

    def check(self, realm: Origin, registry: Origin) -> None:
        """Check that a token server may be asked at all.

        Raises:
            AuthenticationFailed: if not, before anything is sent.
        """
        if registry.scheme == "https" and realm.scheme == "http":
            raise AuthenticationFailed(f"token server {realm} of {registry} refused: it is plain http")
        if is_internal(realm.host) and not self._may_be_inside(realm, registry):
            raise AuthenticationFailed(
                f"token server {realm} of {registry} refused: it is in a private network",
                hint=f"if it is meant to be there: --trusted-realm {realm.authority}",
            )
        self.check_plaintext(realm, "token server", registry)

    def check_plaintext(self, target: Origin, what: str, registry: Origin) -> None:
        """Check that neither passwords nor tokens cross a network in the clear, unless that host was named for it.

        Raises:
            AuthenticationFailed: if they would.
        """
        if target.scheme == "https" or is_loopback(target.host):
            return
        if not {target.authority, f"{target.host}:{target.port}"} & self._insecure_http:
            raise AuthenticationFailed(
                f"{what} {target} of {registry} refused: it is plain http", hint=f"--insecure-http {target.authority}"
            )

    def may_see(self, realm: Origin, registry: Origin) -> bool:
        """Whether a token server may see the registry's credentials."""
        return belongs(realm, registry) or self._is_listed(realm)

    def _may_be_inside(self, realm: Origin, registry: Origin) -> bool:
        if _same_host(realm, registry) or self._is_listed(realm):
            return True
        return _is_private(realm.host) and self._is_inside(registry)

    def _is_listed(self, realm: Origin) -> bool:
        return bool({realm.authority, f"{realm.host}:{realm.port}"} & self._trusted)

    def _is_inside(self, registry: Origin) -> bool:
        """Whether a registry is in a private network itself, with all of its addresses."""
        if is_internal(registry.host):
            return _is_private(registry.host)
        found = self._resolve(registry.host)
        return bool(found) and all(_is_private(address) for address in found)


def belongs(realm: Origin, registry: Origin) -> bool:
    """Whether a token server is the registry's own: same host, same domain, or a known pair.

    The domain is the last two labels (three below ``co.uk`` and the like), which is coarser than the
    public suffix list. IP addresses and single labels have no domain.
    """
    if _same_host(realm, registry) or realm.host in _PAIRS.get(registry.host, ()):
        return True
    found = domain(registry.host)
    return found is not None and found == domain(realm.host)


def domain(host: str) -> str | None:
    """Return the registrable domain of a host, ``None`` if it has none."""
    labels = host.split(".")
    if host.startswith("[") or labels[-1].isdigit() or is_internal(host) or not all(labels):
        return None
    need = 3 if len(labels[-1]) == 2 and len(labels) > 1 and labels[-2] in _TWO_LEVELS else 2
    return ".".join(labels[-need:]) if len(labels) >= need else None


def _same_host(one: Origin, other: Origin) -> bool:
    return one.host == other.host or (is_loopback(one.host) and is_loopback(other.host))


def _is_private(host: str) -> bool:
    """Whether an address is of a private network (RFC 1918, RFC 4193), and none of the special ones."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    special = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    return address.is_private and not address.is_reserved and not special
