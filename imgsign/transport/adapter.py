"""requests' adapter with a TLS context of ours; loaded when the first request is sent.

requests itself replaces the roots where a file of authorities is named, and reads CA variables of its own.
Here nothing but the context decides whom to trust.
"""

from __future__ import annotations

import ssl
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter


class TlsAdapter(HTTPAdapter):
    """Connections that trust what ``context`` does; ``proxy_context`` is for a proxy that is asked by https."""

    def __init__(
        self, context: ssl.SSLContext, proxy_context: ssl.SSLContext, *, pool_connections: int, pool_maxsize: int
    ) -> None:
        self._context = context
        self._proxy_context = proxy_context
        super().__init__(pool_connections=pool_connections, pool_maxsize=pool_maxsize, max_retries=0)

    def init_poolmanager(self, *args: Any, **kw: Any) -> None:  # requests' own signature, passed on
        """Make the pools with the context."""
        super().init_poolmanager(*args, ssl_context=self._context, **kw)

    def proxy_manager_for(self, proxy: str, **kw: Any) -> Any:  # as above
        """Make the pools behind a proxy with the contexts."""
        return super().proxy_manager_for(proxy, ssl_context=self._context, proxy_ssl_context=self._proxy_context, **kw)

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> Any:  # requests' own type is private
        """Leave TLS to the context."""
        where, _ = super().build_connection_pool_key_attributes(request, True, None)
        return where, {"cert_reqs": "CERT_REQUIRED"} if where["scheme"] == "https" else {}

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Add no authorities to the context."""
