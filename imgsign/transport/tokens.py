"""Bearer tokens: fetched once, kept until shortly before they end.

Sources: distribution's token specifications (``docs/content/spec/auth/token.md``, ``oauth.md``).

A password is shown by GET and Basic; an identity token by the OAuth2 POST, whose body holds it, and only
where a server has no POST (GHCR answers 405) by GET and Basic too.

One token per (origin, realm, service, scopes, credential); merging the scopes of many repositories into
one token has hit header limits (regclient PR #2903). However many threads want the same token, one
fetches it and the others wait for its result, be it an error. A token is opaque: it is not read, and
having one proves nothing.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode

from imgsign.errors import AuthenticationFailed, Malformed, Unavailable
from imgsign.record import record
from imgsign.reference import Repository
from imgsign.transport.config.entry import TOKEN_USER, Credential, Kind
from imgsign.transport.hosts import Origin
from imgsign.wire import load_json

if TYPE_CHECKING:
    from concurrent.futures import Future

TOKEN_LIMIT = 128 * 1024
"""Bytes of a token server's answer (oras-go 128 KiB; registry tokens with many scopes take a few KiB)."""

LIFETIME = 60.0
"""Seconds a token lives if nothing is said, and at least (distribution token.md "expires_in")."""

LIFETIME_LIMIT = 86400.0
"""Seconds a token is kept at most, whatever is said."""

RENEWAL = 10.0
"""Seconds before its end at which a token is renewed, so that it does not end on the way."""

_CACHE_LIMIT = 256  # tokens after which ended ones are dropped
_PRINTABLE = re.compile(r"[\x21-\x7e]+")  # what a header can carry without becoming two


@record
class Purpose:
    """What a token is good for, and whose it is."""

    origin: Origin
    repository: Repository
    realm: str
    service: str | None
    scopes: tuple[str, ...]
    credential: Credential | None


@record
class Token:
    """A token and the time of the transport's clock at which it is renewed."""

    value: str = field(repr=False)
    renew_at: float


@record
class TokenQuery:
    """What is asked of a token server: a GET, or with a ``form`` the POST of it.

    ``stay``: a redirect to another origin, which loses the credentials, is an error.
    """

    url: str = field(repr=False)
    form: bytes | None = field(default=None, repr=False)
    stay: bool = False


FetchToken: TypeAlias = Callable[[TokenQuery, Purpose], bytes]
"""Get the token server's answer: the body of a 200; anything else raises AuthenticationFailed
(a definite no) or Unavailable."""

KeepIdentity: TypeAlias = Callable[[str], None]
"""Told the identity token a token server gives to whoever logs in."""

CLIENT_ID = "imgsign"
_NO_POST = (404, 405)


class Tokens:
    """The tokens of a process; thread-safe."""

    def __init__(
        self,
        *,
        fetch: FetchToken,
        left: Callable[[], float],
        clock: Callable[[], float],
        keep_identity: KeepIdentity | None = None,
    ) -> None:
        """Use ``fetch`` for requests; ``left`` returns the seconds until the deadline or raises.

        With ``keep_identity`` the token server is asked for an identity token as well, as for a login.
        """
        self._fetch = fetch
        self._keep_identity = keep_identity
        self._left = left
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Purpose, Future[Token]] = {}

    def bound(self, *, fetch: FetchToken, left: Callable[[], float]) -> Tokens:
        """Return a view on the same tokens for requests under another deadline."""
        view = copy.copy(self)
        view._fetch, view._left = fetch, left
        return view

    def peek(self, purpose: Purpose) -> Token | None:
        """Return a token that is there already."""
        kept = self._kept.get(purpose)
        return None if kept is None else self._usable(kept)

    def get(self, purpose: Purpose, *, rejected: str | None = None) -> tuple[Token, bool]:
        """Return a token that is not the ``rejected`` one, and whether this call fetched it.

        Raises:
            AuthenticationFailed: if the token server refuses or gives nothing usable.
        """
        from concurrent.futures import Future

        with self._lock:
            kept = self._kept.get(purpose)
            if kept is not None and kept.done():
                token = self._usable(kept)
                if token is None or token.value == rejected:
                    kept = None
            if kept is None:
                self._forget_old()
                own: Future[Token] = Future()
                self._kept[purpose] = own
        if kept is not None:
            return self._wait(kept), False
        try:
            token = self._request(purpose)
        except BaseException as e:
            # Whoever waits gets the same error; whoever comes later tries anew.
            with self._lock:
                self._kept.pop(purpose, None)
            own.set_exception(e)
            raise
        own.set_result(token)
        return token, True

    def _wait(self, kept: Future[Token]) -> Token:
        left = self._left()
        try:
            return kept.result(timeout=None if left == float("inf") else left)
        except TimeoutError:
            raise Unavailable("the deadline has passed while another thread was fetching the token") from None

    def _usable(self, kept: Future[Token]) -> Token | None:
        if not kept.done() or kept.exception() is not None:
            return None
        token = kept.result()
        return token if self._clock() < token.renew_at else None

    def _forget_old(self) -> None:
        """Keep the cache of a long-lived process small; the caller holds the lock."""
        if len(self._kept) >= _CACHE_LIMIT:
            for purpose in [p for p, k in self._kept.items() if k.done() and self._usable(k) is None]:
                del self._kept[purpose]

    def _request(self, purpose: Purpose) -> Token:
        began = self._clock()
        try:
            value, lifetime, identity = _read_token(self._ask(purpose))
        except Malformed as e:
            server = Origin.parse(purpose.realm).authority
            raise AuthenticationFailed(f"token server {server} gives no usable token: {e.message}") from e
        if identity and self._keep_identity is not None:
            self._keep_identity(identity)
        return Token(value=value, renew_at=began + lifetime - RENEWAL)

    def _ask(self, purpose: Purpose) -> bytes:
        credential = purpose.credential
        if credential is not None and credential.kind is Kind.IDENTITY_TOKEN:
            try:
                return self._fetch(_exchange(purpose, credential), purpose)
            except AuthenticationFailed as e:
                if e.status not in _NO_POST:
                    raise
        return self._fetch(_query(purpose, login=self._keep_identity is not None), purpose)


def _query(purpose: Purpose, *, login: bool) -> TokenQuery:
    """Write the GET (token.md "Requesting a Token")."""
    query = [("service", purpose.service)] if purpose.service is not None else []
    query += [("scope", scope) for scope in purpose.scopes]
    if purpose.credential is not None and purpose.credential.user != TOKEN_USER:
        query.append(("account", purpose.credential.user))
    if login:
        query += [("client_id", CLIENT_ID), ("offline_token", "true")]
    url = purpose.realm.partition("#")[0]
    if query:
        url += ("&" if "?" in url else "?") + urlencode(query)
    return TokenQuery(url=url, stay=login)


def _exchange(purpose: Purpose, credential: Credential) -> TokenQuery:
    """Write the POST that gives an identity token for an access token (oauth.md "Refresh Token")."""
    form = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", credential.secret)]
    form += [("service", purpose.service)] if purpose.service is not None else []
    form += [("scope", " ".join(purpose.scopes))] if purpose.scopes else []
    return TokenQuery(url=purpose.realm.partition("#")[0], form=urlencode(form).encode("ascii"))


def _read_token(untrusted_raw: bytes) -> tuple[str, float, str]:
    """Return the token, its lifetime in seconds, and the identity token or nothing.

    Raises:
        Malformed: without quoting any of it.
    """
    node = load_json(untrusted_raw, limit=TOKEN_LIMIT)
    members: Mapping[str, object] = {name: child.value for name, child in node.entries().items()}
    value = members.get("token") or members.get("access_token")
    if not isinstance(value, str) or _PRINTABLE.fullmatch(value) is None:
        raise Malformed("neither 'token' nor 'access_token' is a printable string")
    lifetime = members.get("expires_in")
    if not isinstance(lifetime, int) or isinstance(lifetime, bool):
        lifetime = LIFETIME
    identity = members.get("refresh_token")
    if not isinstance(identity, str) or _PRINTABLE.fullmatch(identity) is None:
        identity = ""
    return value, float(min(max(lifetime, LIFETIME), LIFETIME_LIMIT)), identity
