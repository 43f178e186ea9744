"""Connections: one prepared request through ``requests``' adapter.

TLS: see :mod:`imgsign.transport.certs`; each origin has a context of its own where something is configured
for it. There is no way to skip the check of certificates.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imgsign import __version__
from imgsign.errors import RegistryError
from imgsign.record import record
from imgsign.transport.hosts import Origin, Proxies
from imgsign.transport.request import Streamed
from imgsign.wire import quote, redact

if TYPE_CHECKING:
    import ssl

    from requests import PreparedRequest, Response
    from requests.adapters import BaseAdapter

    from imgsign.transport.certs import Certs

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection; TCP itself would try for two minutes."""

READ_TIMEOUT = 60.0
"""Seconds without a single byte; registries verify a whole blob before they answer its PUT."""

THREADS = 32
"""Connections kept to one host: gather and pull use up to 16 threads."""

_HOSTS = 16  # hosts whose connections are kept


@record
class Files:
    """Files for TLS with one host, beyond the roots: of authorities, and of pairs (certificate, key)."""

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: Files) -> Files:
        return Files(ca=(*self.ca, *other.ca), client=(*self.client, *other.client))


class Pool:
    """The connections of a process; thread-safe."""

    def __init__(
        self, *, adapter: BaseAdapter | None, proxies: Proxies, environ: Mapping[str, str], ca: tuple[str, ...] = ()
    ) -> None:
        """Trust what ``environ`` and ``certs.d`` name, and the authorities in the files ``ca``; or use ``adapter``."""
        self._given = adapter
        self._proxies = proxies
        self._environ = environ
        self._ca = ca
        self._files: dict[Origin, Files] = {}
        self._adapters: dict[Origin | None, BaseAdapter] = {}
        self._plain: BaseAdapter | None = None
        self._certs: Certs | None = None
        self._roots: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def trust(self, origin: Origin, files: Files) -> None:
        """Use further authorities and client certificates for an origin, from the next connection on."""
        with self._lock:
            if self._files.get(origin) != files:
                self._files[origin] = files
                self._adapters.pop(origin, None)

    def files(self, origin: Origin) -> Files:
        """What is configured for TLS with an origin beyond the roots, in the order of use.

        Raises:
            Unavailable: ``certs.d`` holds half a pair, or cannot be read.
        """
        from imgsign.transport.certs import Certs

        return Files(ca=self._ca) + Certs(self._environ).find(origin) + self._files.get(origin, Files())

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Streamed | None,
        *,
        left: float,
        connect: float | None = None,
    ) -> Response:
        """Send one request and return when the answer's headers are there; ``left`` bounds the wait in seconds.

        ``connect``: seconds for a connection, if not :data:`CONNECT_TIMEOUT`.

        Raises:
            RegistryError: the URL or a header cannot be sent.
            Transient: the same request may succeed later.
            Unavailable: it will not.
        """
        origin = Origin.parse(url)
        prepared = _prepare(method, url, headers, body)
        proxy = self._proxies.find(origin)
        adapter = self._get_adapter(origin, plain=origin.scheme == "http" and proxy is None)
        try:
            return adapter.send(
                prepared,
                stream=True,
                timeout=(min(connect or CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left)),
                verify=True,
                proxies={} if proxy is None else {origin.scheme: proxy},
            )
        except Exception as e:
            from imgsign.transport.failures import explain

            explained = explain(e, origin, url, through=proxy)
            if explained is None:
                raise
            raise explained from None

    def _get_adapter(self, origin: Origin, *, plain: bool) -> BaseAdapter:
        """Find or make the connections of an origin; those for which nothing is configured share one set.

        ``plain``: there will be no TLS, not even with a proxy. Then nothing is read for it: the roots alone
        take longer than a verification on loopback.
        """
        if self._given is not None:
            return self._given
        with self._lock:
            found = self._adapters.get(origin)
            if found is None:
                found = self._adapters[origin] = self._plain_adapter() if plain else self._make_adapter(origin)
            return found

    def _plain_adapter(self) -> BaseAdapter:
        if self._plain is None:
            from requests.adapters import HTTPAdapter

            self._plain = HTTPAdapter(pool_connections=_HOSTS, pool_maxsize=THREADS, max_retries=0)
        return self._plain

    def _make_adapter(self, origin: Origin) -> BaseAdapter:
        from imgsign.transport.adapter import TlsAdapter
        from imgsign.transport.certs import Certs

        if self._certs is None or self._roots is None:
            self._certs = Certs(self._environ, ca=self._ca)
            self._roots = self._certs.context(Files())
        files = Files()
        if origin.scheme == "https":
            files = self._certs.find(origin) + self._files.get(origin, Files())
        shared = self._adapters.get(None)
        if files == Files() and shared is not None:
            return shared
        context = self._roots if files == Files() else self._certs.context(files)
        made = TlsAdapter(context, self._roots, pool_connections=_HOSTS, pool_maxsize=THREADS)
        if files == Files():
            self._adapters[None] = made
        return made


def _prepare(method: str, url: str, headers: Mapping[str, str], body: bytes | Streamed | None) -> PreparedRequest:
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
