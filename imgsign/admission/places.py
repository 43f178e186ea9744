"""Where the webhook reads images: the registries of its own configuration, each request under a deadline.

Credentials are those of the server's docker configuration, read anew when its files change; or, for one image,
those of a Pod's imagePullSecret, through a transport of their own: other connections, other tokens, so that
nothing of one tenant is used for another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256

from imgsign.admission.cache import Bounded
from imgsign.admission.pull_secrets import OneRegistry, PullSecrets
from imgsign.record import record
from imgsign.reference import Repository
from imgsign.stores import Store
from imgsign.stores.locate import Registries, store_at
from imgsign.transport import Transport

_TENANTS = 128  # transports for pull secrets kept, with their connections and tokens
_TENANT_SECONDS = 600.0


@record
class PlaceOptions:
    """What ``imgsign admission serve`` was told of registries; see the options of the same names."""

    insecure_http: frozenset[str] = frozenset()
    trusted_realms: frozenset[str] = frozenset()
    mirrors: tuple[str, ...] = ()
    ca: tuple[str, ...] = ()


class ImagePlaces:
    """Finds the store of a repository, for one deadline and one identity; thread-safe."""

    def __init__(
        self, environ: Mapping[str, str], options: PlaceOptions, *, pull_secrets: PullSecrets | None = None
    ) -> None:
        """Read no file yet."""
        self._environ = environ
        self._options = options
        self._pull_secrets = pull_secrets
        self._tenants: Bounded[str, Transport] = Bounded(_TENANTS, time.monotonic)
        self._lock = threading.Lock()
        self._registries = self._fresh()

    def refresh(self) -> None:
        """Read host and credential files again for what is asked from now on."""
        fresh = self._fresh()
        with self._lock:
            self._registries = fresh

    def _fresh(self) -> Registries:
        o = self._options
        found = Registries(
            self._environ, insecure_http=o.insecure_http, trusted_realms=o.trusted_realms, mirrors=o.mirrors, ca=o.ca
        )
        _ = found.transport, found.hosts  # now, and not while the first review waits
        return found

    @property
    def uses_pull_secrets(self) -> bool:
        """Whether a Pod's secrets are looked at."""
        return self._pull_secrets is not None

    def store(
        self, repository: Repository, deadline: float, *, namespace: str = "", secrets: Sequence[str] = ()
    ) -> Store:
        """Return the store of a repository; ``deadline`` is a time of ``time.monotonic``.

        Raises:
            RegistryError: its configuration blocks it, or a pull secret cannot be used.
            Malformed: a configuration file cannot be used.
        """
        registries = self._registries
        transport = registries.transport
        if self._pull_secrets is not None and secrets:
            transport = self._tenant(repository.registry, namespace, secrets) or transport
        return store_at(registries.hosts.places(repository), transport.until(deadline), registries.note)

    def _tenant(self, registry: str, namespace: str, secrets: Sequence[str]) -> Transport | None:
        """Return the transport of a Pod's own credentials; ``None`` if its secrets have none for the registry."""
        if self._pull_secrets is None:
            return None
        credential = self._pull_secrets.find(namespace, secrets, registry)
        if credential is None:
            return None
        whose = (registry, credential.source, credential.user, credential.kind.value, credential.secret)
        key = sha256("\0".join(whose).encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            found = self._tenants.get(key)
            if found is None:
                o = self._options
                found = Transport(
                    environ=self._environ,
                    insecure_http=o.insecure_http,
                    trusted_realms=o.trusted_realms,
                    ca=o.ca,
                    credentials=OneRegistry(registry, credential),
                )
                self._tenants.put(key, found, _TENANT_SECONDS)
        return found
