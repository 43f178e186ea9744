"""The plug-in's configuration: ``/etc/imgsign/containerd.toml``.

It lies outside containerd's ``bin_dir``, since containerd executes every entry of that directory and a
file that is no program there fails every pull on the node. All keys::

    policy = "policy.toml"                   # required: the key policy
    timeout = "8s"                           # 1s to 9s: containerd kills a verifier after 10 s
    ca = ["registry-ca.pem"]                 # further certificate authorities for registries
    docker-config = "docker"                 # directory of a config.json with the registries' logins
    insecure-http = ["registry.lan:5000"]    # speak plain http to these; loopback needs no entry
    trusted-realm = ["auth.example.com"]     # show credentials to these token servers too
    mirror = ["docker.io=mirror.lan/hub"]    # in place of the mirrors in this machine's configuration

Relative paths start from the file's own directory. There is no list of images to let through: that is
what a scope of the policy is for. The plug-in reads no ``IMGSIGN_*`` variable.

Refused: keys that are not listed here, values of another type, files over :data:`CONFIG_LIMIT`.
"""

from __future__ import annotations

from pathlib import Path

from imgsign.errors import DestinationError, InvalidPolicy, Malformed
from imgsign.record import record
from imgsign.signers.disk import read_file
from imgsign.wire import Node, load_toml, parse_duration, quote

CONFIG = "/etc/imgsign/containerd.toml"
CONFIG_LIMIT = 64 * 1024  # bytes: a page of options

TIMEOUT = 8.0
LONGEST_TIMEOUT = 9.0
"""Seconds; containerd's ``per_verifier_timeout`` is 10 by default, and a cold interpreter needs some of it."""

_LIST_LIMIT = 256  # hosts or files in one list
_KEYS = ("timeout", "ca", "docker-config", "insecure-http", "trusted-realm", "mirror")


class InvalidConfig(Malformed):
    """A plug-in configuration that cannot be used; the message names the file and the key."""


@record
class NodeConfig:
    """What the plug-in is told; paths are absolute, or as good as the one of the file."""

    policy: Path
    timeout: float = TIMEOUT
    ca: tuple[str, ...] = ()
    docker_config: str | None = None
    insecure_http: frozenset[str] = frozenset()
    trusted_realms: frozenset[str] = frozenset()
    mirrors: tuple[str, ...] = ()


def load_config(path: Path) -> NodeConfig:
    """Read the configuration.

    Raises:
        DestinationError: the file cannot be read.
        InvalidConfig: it is not a configuration.
    """
    try:
        raw = read_file(path, CONFIG_LIMIT)
    except DestinationError as e:
        raise DestinationError(
            e.message, hint=f'write it; one line will do: policy = "{path.parent}/policy.toml"'
        ) from e
    try:
        node = load_toml(raw, limit=CONFIG_LIMIT)
        return _parse(Node(node.value, "", node.error), path.parent)
    except InvalidPolicy as e:  # what the TOML reader raises, whatever the file is
        raise InvalidConfig(f"configuration {quote(str(path))}: {e.message}", hint=e.hint) from e


def _parse(top: Node, base: Path) -> NodeConfig:
    members = {key: Node(n.value, key, n.error) for key, n in top.fields(("policy",), _KEYS).items()}

    def texts(key: str) -> tuple[str, ...]:
        return tuple(n.text() for n in members[key].items(limit=_LIST_LIMIT)) if key in members else ()

    return NodeConfig(
        policy=base / _filled(members["policy"]),
        timeout=_timeout(members["timeout"]) if "timeout" in members else TIMEOUT,
        ca=tuple(str(base / text) for text in texts("ca")),
        docker_config=str(base / _filled(members["docker-config"])) if "docker-config" in members else None,
        insecure_http=frozenset(texts("insecure-http")),
        trusted_realms=frozenset(texts("trusted-realm")),
        mirrors=_mirrors(members["mirror"]) if "mirror" in members else (),
    )


def _filled(node: Node) -> str:
    text = node.text()
    if not text:
        node.refuse("expected a path, got an empty string")
    return text


def _timeout(node: Node) -> float:
    seconds = parse_duration(node.text(), error=node.error, path=node.path).total_seconds()
    if seconds > LONGEST_TIMEOUT:
        node.refuse(
            f"{node.text()} is longer than {LONGEST_TIMEOUT:.0f}s",
            hint="containerd kills a verifier after 10 s, and a killed one cannot say why",
        )
    return seconds


def _mirrors(node: Node) -> tuple[str, ...]:
    from imgsign.transport.places import MirrorOption  # only where there are mirrors: a cold plug-in waits

    found = []
    for item in node.items(limit=_LIST_LIMIT):
        try:
            MirrorOption.parse(item.text())
        except Malformed as e:
            item.refuse(e.message, hint=e.hint)
        found.append(item.text())
    return tuple(found)
