"""What can be chosen about the printed objects, checked; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from imgsign.errors import UsageError
from imgsign.record import record
from imgsign.reference import Reference
from imgsign.wire import quote

REPLICAS = 3
MOST_REPLICAS = 50

CONFIG_MAP_LIMIT = 1_000_000
"""Bytes; Kubernetes' own limit is 1 MiB for the object with everything around."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes names namespaces
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")  # a key of a ConfigMap that is not ..data


@record
class Options:
    """The operator's choices.

    ``exempt`` namespaces are never asked about, besides ``namespace`` itself and kube-system.
    ``pull_secrets`` are the namespaces in which imagePullSecrets may be read. ``mutate_workloads``: the
    settings pin workload templates too, so they have to be registered. ``timeout`` in seconds, 2 to 30.
    """

    namespace: str = "imgsign"
    image: str = ""
    replicas: int = REPLICAS
    timeout: int = 10
    exempt: tuple[str, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    mutate_workloads: bool = False

    def __post_init__(self) -> None:
        for name in (self.namespace, *self.exempt, *self.pull_secrets):
            if _LABEL.fullmatch(name) is None:
                raise UsageError(f"{quote(name)} cannot be the name of a namespace")
        Reference.parse(self.image)  # raises InvalidReference
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise UsageError(f"{self.replicas} replicas are out of range", hint=f"1 to {MOST_REPLICAS}")
        if not 2 <= self.timeout <= 30:
            raise UsageError(
                f"a timeout of {self.timeout} s is out of range", hint="2 to 30, which is Kubernetes' limit"
            )

    @property
    def skipped(self) -> tuple[str, ...]:
        """All namespaces the API server does not ask about, each once."""
        return tuple(dict.fromkeys((self.namespace, "kube-system", *self.exempt)))

    @property
    def host(self) -> str:
        """The name the API server connects to, which the certificate must have."""
        return f"imgsign.{self.namespace}.svc"


@record
class SelfMade:
    """A certificate made here: PEM texts of the authority, the leaf and its key."""

    authority: str
    certificate: str
    key: str = field(repr=False)


@record
class Parts:
    """What goes into the objects. ``policies`` are file names with their text, ``settings`` one text.

    ``self_made`` ``None``: cert-manager makes the certificate.
    """

    settings: str
    settings_name: str = "settings.toml"
    policies: Mapping[str, str] = field(hash=False)
    self_made: SelfMade | None = None

    def __post_init__(self) -> None:
        for name in (self.settings_name, *self.policies):
            if _FILE.fullmatch(name) is None:
                raise UsageError(f"{quote(name)} cannot be the name of a file in a ConfigMap")
        if self.settings_name in self.policies:
            raise UsageError(f"{quote(self.settings_name)} is the name of the settings, not of a policy")
        if sum(len(text.encode()) for text in self.policies.values()) > CONFIG_MAP_LIMIT:
            raise UsageError(f"the policies are longer than the {CONFIG_MAP_LIMIT} bytes of a ConfigMap")
