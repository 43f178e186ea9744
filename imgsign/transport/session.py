"""The one place that speaks HTTP: one request in, one bounded and explained answer out.

Sources: RFC 9110 (HTTP semantics), distribution-spec v1.1.1 "Endpoints".

Built on ``requests``' adapter alone. A ``requests.Session`` would bring what is refused here: cookies,
``~/.netrc`` (which replaces an Authorization header), proxies and CA files from the process's
environment, redirected writes, headers forwarded to other origins.

Promises:

- at most :data:`REDIRECTS` redirects of reads, none of writes; ``Authorization`` and the headers of a place
  never leave the origin they are for, also not on the way back; never from https to http, never into a
  private network;
- every request has a timeout and nothing waits past the deadline;
- reads (and whatever else a caller says may be repeated) are tried :data:`retry.TRIES` times;
- bytes are neither decompressed nor decoded;
- errors name what was asked of whom and how often; no secret reaches any text.

Loopback registries and those named as insecure are asked over http; where such a one answers that it
speaks TLS, it is asked over https from then on, with its certificate checked.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from imgsign.errors import RegistryError, Unavailable
from imgsign.reference import Repository
from imgsign.transport import retry
from imgsign.transport.auth import Authenticator, Authorization, denial
from imgsign.transport.credentials import Credentials, Known
from imgsign.transport.deadline import Timed
from imgsign.transport.fetch import fetch_token
from imgsign.transport.hosts import Origin, Proxies, api_origin, check_hop, is_loopback
from imgsign.transport.memory import Memory
from imgsign.transport.places import Place
from imgsign.transport.pool import Files, Pool
from imgsign.transport.realms import Realms
from imgsign.transport.replies import Body, Reply, failure, refuse_encoding
from imgsign.transport.request import Request, Streamed, TooLate
from imgsign.transport.retry import Transient
from imgsign.transport.tokens import KeepIdentity, Purpose, TokenQuery
from imgsign.wire import redact

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

REDIRECTS = 5
"""Redirects followed for one read; registries need one or two, curl's default is 50."""

_BREATH = 0.5
"""Seconds for which nobody asks a registry that is too busy and does not say for how long."""

_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_TLS_EXPECTED = (
    b"Client sent an HTTP request to an HTTPS server",  # Go net/http
    b"The plain HTTP request was sent to HTTPS port",  # nginx
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache httpd
)


class _SpeaksTls(Exception):
    """A server answered plain http with the wish for TLS."""


class Transport(Timed):
    """All requests of a process to all registries: one pool, one token cache; thread-safe.

    ``environ`` gives credentials (``DOCKER_CONFIG``, ``HOME``), proxies and ``SSL_CERT_FILE``.
    ``insecure_http`` names registries (``host[:port]``, as in references) that may be asked over plain
    http, ``trusted_realms`` the token servers (``host[:port]``) that may see the credentials of any registry.
    ``credentials`` replaces those of ``environ``, and ``keep_identity`` makes this a login (see ``auth``).
    ``deadline`` is a time of ``clock`` after which nothing is sent or read. ``patient``: a registry that is
    too busy (429) is waited for until then, however often it says so. ``adapter`` replaces the network in tests.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        insecure_http: frozenset[str] = frozenset(),
        trusted_realms: frozenset[str] = frozenset(),
        credentials: Known | None = None,
        keep_identity: KeepIdentity | None = None,
        adapter: BaseAdapter | None = None,
        ca: tuple[str, ...] = (),
        deadline: float | None = None,
        patient: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(deadline=deadline, patient=patient, clock=clock, sleep=sleep)
        self._insecure_http = insecure_http
        self._pool = Pool(adapter=adapter, proxies=Proxies.from_environ(environ), environ=environ, ca=ca)
        self._place: Place | None = None
        self._auth = Authenticator(
            credentials=Credentials(environ, clock=clock) if credentials is None else credentials,
            realms=Realms(insecure_http=insecure_http, trusted=trusted_realms),
            keep_identity=keep_identity,
            fetch_token=self._fetch_token,
            left=self.left,
            clock=clock,
        )
        self.memory = Memory(clock)

    def until(self, deadline: float | None) -> Transport:
        """Return a view with another deadline that shares connections, tokens and all that was learnt."""
        view = copy.copy(self)
        view._deadline = deadline
        view._auth = self._auth.bound(fetch_token=view._fetch_token, left=view.left)
        return view

    def at(self, place: Place) -> Transport:
        """Return a view that asks for repositories as they are asked for at a place; all else is shared.

        Requests through it are for ``place.repository``.
        """
        view = copy.copy(self)
        view._place = place
        plain = frozenset({place.repository.registry}) if place.insecure else frozenset()
        view._insecure_http = self._insecure_http | plain
        view._auth = self._auth.bound(fetch_token=view._fetch_token, left=view.left, insecure_http=plain)
        if place.ca or place.client:
            self._pool.trust(view.origin(place.repository), Files(ca=place.ca, client=place.client))
        return view

    # Requests

    def call(self, request: Request) -> Reply:
        """Send a request and read its answer whole.

        Raises:
            NotFound, AuthenticationFailed, Unavailable, RegistryError: see :func:`replies.failure`.
            TooLarge: if the body is longer than ``request.limit``.
        """

        def once() -> Reply:
            with self._in_turn(request) as body:
                raw = body.read(request.limit)
                took = self.clock() - body.began
                return Reply(status=body.status, headers=body.headers, url=body.url, raw=raw, took=took)

        return self.retry(once, tries=request.tries)

    def open(self, request: Request) -> Body:
        """Send a request and return its answer with the body unread; what breaks later is not tried again."""
        return self.retry(lambda: self._in_turn(request), tries=request.tries)

    def origin(self, repository: Repository) -> Origin:
        """Return where a repository's API is asked for.

        Raises:
            RegistryError: if the registry's name cannot be a host.
        """
        registry = repository.registry
        origin = api_origin(registry, http=True)
        plain = registry in self._insecure_http or is_loopback(origin.host)
        if self._place is not None and self._place.scheme == "https":
            plain = False
        if plain and not self.memory.speaks_tls(registry):
            return origin
        return api_origin(registry, http=False)

    def tls_files(self, repository: Repository) -> Files:
        """The files that are used for TLS with a repository's API, beyond the roots.

        Raises:
            RegistryError: they cannot be used, or the registry's name cannot be a host.
        """
        return self._pool.files(self.origin(repository))

    # One try

    def _in_turn(self, request: Request) -> Body:
        """Send a request, unless its registry has told another thread to wait: then wait with it first."""
        registry = request.repository.registry
        while (held := self.memory.held(registry)) > 0:
            self.pause(held)
        try:
            return self._open(request)
        except Transient as e:
            limit = retry.PATIENT_LIMIT if self._patient else retry.RETRY_AFTER_LIMIT
            if e.status == 429 and (e.wait or 0) <= limit:
                self.memory.hold(registry, e.wait or _BREATH)
            raise

    def _open(self, request: Request) -> Body:
        try:
            return self._authorized(request, self.origin(request.repository))
        except _SpeaksTls:
            self.memory.note_tls(request.repository.registry)
            return self._authorized(request, self.origin(request.repository))

    def _authorized(self, request: Request, origin: Origin) -> Body:
        """Send, and answer challenges; ends after at most two rejected authorizations and a wider one."""
        url = request.target
        if "://" not in url:
            url = f"{origin}{url}" if url.startswith("/") else self._url(request, origin)
        own = Origin.parse(url) == origin
        authorization = self._auth.known(origin, request.repository, request.access) if own else None
        widened = False
        while True:
            body = self._follow(request, url, authorization)
            if body.status in request.expect:
                return body if body.status >= 400 else refuse_encoding(body)
            with body:
                self._check_scheme(body, request)
                refusal = self._failure(body, request, authorization)
            # Only the registry's own origin may ask for credentials: not a storage host it redirects to
            # (CVE-2020-15157).
            if body.status not in (401, 403) or body.origin != origin:
                raise refusal
            asked = origin, request.repository, request.access, body.headers.get("www-authenticate", "")
            if body.status == 401:
                authorization = self._auth.answer(*asked, rejected=authorization, refusal=refusal)
                continue
            wider = None if widened else self._auth.widen(*asked, authorization)
            if wider is None:
                raise denial(refusal, authorization)
            authorization, widened = wider, True

    def _url(self, request: Request, origin: Origin) -> str:
        """Make the URL of a target below a repository's name, as its place wants it."""
        root = "/v2" if self._place is None else self._place.root
        url = f"{origin}{root}/{request.repository.path}/{request.target}"
        if self._place is not None and self._place.namespace is not None and request.method in ("GET", "HEAD"):
            url += f"{'&' if '?' in request.target else '?'}ns={self._place.namespace}"
        return url

    def _headers(self, start: Origin) -> tuple[tuple[str, str], ...]:
        """The fields that are configured for the place, if that is where one asks."""
        place = self._place
        if place is None or not place.header or start != self.origin(place.repository):
            return ()
        return place.header

    @property
    def _secrets(self) -> tuple[str, ...]:
        return () if self._place is None else tuple(value for _, value in self._place.header)

    def _failure(self, body: Body, request: Request, authorization: Authorization | None) -> RegistryError:
        secrets = self._secrets + (() if authorization is None else authorization.secrets)
        return failure(
            body,
            method=request.method,
            what=request.description,
            registry=request.repository.registry,
            secrets=secrets,
        )

    def _check_scheme(self, body: Body, request: Request) -> None:
        """See whether a server that was asked over plain http wants TLS."""
        if body.status != 400 or body.origin.scheme != "http" or self.memory.speaks_tls(request.repository.registry):
            return
        said = body.read_error()
        if request.method == "HEAD":  # whose answer says nothing
            with self._send("GET", f"{body.origin}/v2/", {}, None, None) as probe:
                said = probe.read_error()
        if any(phrase in said for phrase in _TLS_EXPECTED):
            raise _SpeaksTls

    def _follow(self, request: Request, url: str, authorization: Authorization | None) -> Body:
        """Send, and follow the redirects of a read; the last answer is returned whatever it is."""
        start = Origin.parse(url)
        headers = {**dict(self._headers(start)), **request.headers}
        for _ in range(REDIRECTS + 1):
            if authorization is not None:
                headers["Authorization"] = authorization.header
            body = self._send(request.method, url, headers, request.body, request.send_before)
            location = body.headers.get("location")
            if body.status not in _REDIRECTED or location is None or request.method not in ("GET", "HEAD"):
                return body
            with body:
                body.read_error()  # to its end, so that the connection is kept
                try:
                    target, there = check_hop(url, location, what="redirect")
                except RegistryError as e:
                    e.status = body.status
                    raise
                if request.stay and there != start:
                    elsewhere = f"{start} redirects {request.description} to {redact(target)}"
                    raise RegistryError(elsewhere, status=body.status)
            if there != start:
                # Once the origin has been left, it stays off: the way back was chosen by somebody else.
                authorization, headers = None, dict(request.headers)
            url = target
        raise Unavailable(f"{start} redirects {request.description} more than {REDIRECTS} times", url=redact(url))

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Streamed | None,
        send_before: float | None,
    ) -> Body:
        left = self.left(f"asking {redact(url)}")
        if send_before is not None and self.clock() > send_before:
            raise TooLate("not sent: too much time has passed since its tag was read")
        connect = None if self._place is None else self._place.dial_timeout
        if connect is not None and self._place is not None and Origin.parse(url) != self.origin(self._place.repository):
            connect = None
        began = self.clock()
        response = self._pool.send(method, url, headers, body, left=left, connect=connect)
        return Body(response, url, began=began, clock=self.clock, left=self.left)

    # Tokens

    def _fetch_token(self, query: TokenQuery, purpose: Purpose) -> bytes:
        return fetch_token(query, purpose, send=self._follow, retry=self.retry, secrets=self._secrets)
