"""Finding the store of a repository."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from imgsign.reference import Repository
from imgsign.stores import Store

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.credentials import Credential


class Registries:
    """Finds every repository at the registry its name says; one transport, so one pool and one token cache.

    HTTP is imported when the first repository is asked for: work on an OCI layout does without.
    """

    def __init__(self, environ: Mapping[str, str], *, insecure_http: frozenset[str] = frozenset()) -> None:
        """Use the credentials and proxies that ``environ`` names; plain http to ``insecure_http`` hosts."""
        self._environ = environ
        self._insecure_http = insecure_http

    @cached_property
    def transport(self) -> Transport:
        """The one transport of all stores found here."""
        from imgsign.transport import Transport

        return Transport(environ=self._environ, insecure_http=self._insecure_http)

    def __call__(self, repository: Repository) -> Store:
        """Return the store of a repository; nothing is requested yet."""
        from imgsign.stores.remote import RemoteStore

        return RemoteStore(repository, self.transport)

    def login(self, registry: str) -> Credential | None:
        """Who one is at a registry, by the environment: for an engine that pulls for us."""
        from imgsign.transport.credentials import Credentials

        return Credentials(self._environ).find(registry)
