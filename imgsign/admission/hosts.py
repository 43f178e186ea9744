"""Which registry hosts a review may make the webhook talk to; pure.

Whoever may create a Pod chooses a host name that the webhook then connects to (CVE-2026-4789 in a peer: cloud
metadata read that way). Refused unless the settings list the host as it stands in the reference: loopback,
link-local, unspecified and multicast addresses, the metadata services of clouds, the API server's own names,
and numbers that a resolver may take for an address (``127.1``, ``0x7f000001``, ``2130706433``).

Not done here: looking a name up. That a public name leads to a local address is for an egress NetworkPolicy.
"""

from __future__ import annotations

import ipaddress

_METADATA_NAMES = frozenset(
    ("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal")
)
_METADATA_ADDRESSES = frozenset(
    (
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("168.63.129.16"),  # Azure's wire server
        ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud, older shapes
        ipaddress.ip_address("fd00:ec2::254"),  # AWS over IPv6
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud over IPv6
    )
)
_API_SERVER = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


def host_problem(registry: str) -> str | None:
    """Say what is wrong with ``host[:port]`` as a registry to talk to; ``None`` is good."""
    if registry.startswith("["):
        return _address_problem(registry[1:].partition("]")[0])
    host = registry.partition(":")[0].lower()
    if host == "localhost" or host.endswith((".localhost", ".localdomain")):
        return "is this machine itself"
    if host in _METADATA_NAMES:
        return "is a cloud's metadata service"
    if host in _API_SERVER:
        return "is the Kubernetes API"
    last = host.rpartition(".")[2]
    # WHATWG URL "ends in a number": getaddrinfo takes such names for addresses, in ways of its own.
    if last.isdigit() or last.startswith("0x"):
        return _address_problem(host)
    return None


def _address_problem(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "is a number that is no IP address as it is usually written"
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return _address_problem(str(inner))
    if address in _METADATA_ADDRESSES:
        return "is a cloud's metadata service"
    if address.is_loopback or address.is_unspecified:
        return "is this machine itself"
    if address.is_link_local:
        return "is a link-local address, where clouds keep their metadata service"
    if address.is_multicast or address.is_reserved:
        return "is no address of a server"
    return None
