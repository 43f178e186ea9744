"""Bearer tokens: fetched once, kept until shortly before they end.

Source: distribution's token specification (``docs/content/spec/auth/token.md``).

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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode

from imgsign.errors import AuthenticationFailed, Malformed, Unavailable
from imgsign.reference import Repository
from imgsign.transport.credentials import Credential
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a token is good for, and whose it is."""

    origin: Origin
    repository: Repository
    realm: str
    service: str | None
    scopes: tuple[str, ...]
    credential: Credential | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token and the time of the transport's clock at which it is renewed."""

    value: str = field(repr=False)
    renew_at: float


FetchToken: TypeAlias = Callable[[str, Purpose], bytes]
"""Get the token server's answer at a URL: the body of a 200; anything else raises AuthenticationFailed
(a definite no) or Unavailable."""


class Tokens:
    """The tokens of a process; thread-safe."""

    def __init__(self, *, fetch: FetchToken, left: Callable[[], float], clock: Callable[[], float]) -> None:
        """Use ``fetch`` for requests; ``left`` returns the seconds until the deadline or raises."""
        self._fetch = fetch
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
        query = [("service", purpose.service)] if purpose.service is not None else []
        query += [("scope", scope) for scope in purpose.scopes]
        if purpose.credential is not None:
            query.append(("account", purpose.credential.user))
        url = purpose.realm.partition("#")[0]
        url += ("&" if "?" in url else "?") + urlencode(query)
        began = self._clock()
        try:
            value, lifetime = _read_token(self._fetch(url, purpose))
        except Malformed as e:
            server = Origin.parse(purpose.realm).authority
            raise AuthenticationFailed(f"token server {server} gives no usable token: {e.message}") from e
        return Token(value=value, renew_at=began + lifetime - RENEWAL)


def _read_token(untrusted_raw: bytes) -> tuple[str, float]:
    """Return the token and its lifetime in seconds.

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
    return value, float(min(max(lifetime, LIFETIME), LIFETIME_LIMIT))
