"""Connections: one prepared request through ``requests``' adapter.

TLS: certificates are checked against certifi's roots, or only against ``SSL_CERT_FILE`` where that is
set (as OpenSSL and Go understand it). There is no way to skip the check.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imgsign import __version__
from imgsign.errors import RegistryError, Unavailable
from imgsign.transport.hosts import Origin, Proxies
from imgsign.wire import quote, redact

if TYPE_CHECKING:
    from requests import PreparedRequest, Response
    from requests.adapters import BaseAdapter

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection; TCP itself would try for two minutes."""

READ_TIMEOUT = 60.0
"""Seconds without a single byte; registries verify a whole blob before they answer its PUT."""

THREADS = 32
"""Connections kept to one host: gather and pull use up to 16 threads."""

_HOSTS = 16  # hosts whose connections are kept


class Pool:
    """The connections of a process; thread-safe."""

    def __init__(self, *, adapter: BaseAdapter | None, proxies: Proxies, ca_file: str | None) -> None:
        self._adapter = adapter
        self._proxies = proxies
        self._ca_file = ca_file
        self._ca_checked = False
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, left: float) -> Response:
        """Send one request and return when the answer's headers are there; ``left`` bounds the wait in seconds.

        Raises:
            RegistryError: the URL or a header cannot be sent.
            Transient: the same request may succeed later.
            Unavailable: it will not.
        """
        origin = Origin.parse(url)
        prepared = _prepare(method, url, headers, body)
        proxy = self._proxies.find(origin)
        if origin.scheme == "https":
            self._check_ca_file()
        try:
            return self._get_adapter().send(
                prepared,
                stream=True,
                timeout=(min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left)),
                verify=self._ca_file or True,
                proxies={} if proxy is None else {origin.scheme: proxy},
            )
        except Exception as e:
            from imgsign.transport.failures import explain

            explained = explain(e, origin, url, through=proxy)
            if explained is None:
                raise
            raise explained from None

    def _get_adapter(self) -> BaseAdapter:
        with self._lock:
            if self._adapter is None:
                from requests.adapters import HTTPAdapter

                self._adapter = HTTPAdapter(pool_connections=_HOSTS, pool_maxsize=THREADS, max_retries=0)
            return self._adapter

    def _check_ca_file(self) -> None:
        """Say clearly what is wrong with ``SSL_CERT_FILE``, which otherwise fails as an unreachable host."""
        if self._ca_file is None or self._ca_checked:
            return
        import ssl

        try:
            ssl.create_default_context(cafile=self._ca_file)
        except OSError as e:
            reason = "not a PEM file of certificates" if isinstance(e, ssl.SSLError) else e.strerror
            raise Unavailable(f"cannot use SSL_CERT_FILE {quote(self._ca_file)}: {reason}") from e
        self._ca_checked = True


def _prepare(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> PreparedRequest:
    from requests import PreparedRequest
    from requests.exceptions import RequestException

    prepared = PreparedRequest()
    try:
        prepared.prepare_method(method)
        prepared.prepare_url(url, None)
        # Without Accept-Encoding urllib3 sends one of its own; a digest is over the bytes as stored.
        prepared.prepare_headers(
            {"User-Agent": f"imgsign/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        )
        prepared.prepare_body(body, None)
    except (RequestException, ValueError) as e:
        kind = type(e).__name__
        raise RegistryError(f"cannot send a request to {quote(redact(url))}: {kind}", url=redact(url)) from None
    return prepared
