"""Answering a registry's 401: Bearer tokens and Basic.

Sources: RFC 9110 §11 (which took over RFC 7235), RFC 6750 §3, RFC 7617, and distribution's token
specification (``docs/content/spec/auth/token.md``).

Nothing is asked in advance: the first request to a repository goes out bare, and its 401 says how. From
then on requests to that repository carry their token right away. A 403 is an answer and no question, but
one with a Bearer challenge says which scope was missing: that is asked for once.

Which token server may be asked and what it may see is decided in :mod:`imgsign.transport.realms`. Basic
goes only to the origin that asked for it, and a registry token (a ready Bearer) only to the registry
itself, both over https or where plain http is allowed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum
from typing import TypeAlias

from imgsign.errors import AuthenticationFailed, RegistryError
from imgsign.record import record
from imgsign.reference import Repository
from imgsign.transport.challenge import Challenge, parse_challenges
from imgsign.transport.config.entry import Credential, Kind
from imgsign.transport.credentials import Known
from imgsign.transport.hosts import Origin
from imgsign.transport.realms import Realms
from imgsign.transport.tokens import FetchToken, KeepIdentity, Purpose, Token, Tokens
from imgsign.wire import quote

ANONYMOUS = "without credentials"
_SCOPES_LIMIT = 8  # scopes of a challenge that are passed on


class Access(Enum):
    """What is to be done in a repository: the actions of a ``repository`` scope; ``NONE``: only to be known."""

    NONE = ""
    PULL = "pull"
    PUSH = "pull,push"
    DELETE = "pull,push,delete"


@record
class Authorization:
    """An ``Authorization`` header for one origin. ``final``: asking again would give nothing better.

    ``who`` says in words whose it is: "with the credentials from …".
    """

    header: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    final: bool
    who: str = ANONYMOUS


@record
class _Bearer:
    """How a repository wants its tokens: where from, and under which scopes besides our own.

    ``wide``: also those for the repository itself count, since a token of our own scope was not enough.
    """

    realm: str
    service: str | None
    scopes: tuple[str, ...]
    wide: bool = False


@record
class _Basic:
    """The origin wants user and password with every request."""


_Way: TypeAlias = _Bearer | _Basic


class Authenticator:
    """Knows how each repository wants to be asked; thread-safe."""

    def __init__(
        self,
        *,
        credentials: Known,
        realms: Realms,
        fetch_token: FetchToken,
        left: Callable[[], float],
        clock: Callable[[], float],
        keep_identity: KeepIdentity | None = None,
    ) -> None:
        """Fetch tokens by ``fetch_token``; ``left`` returns the seconds until the deadline or raises.

        With ``keep_identity`` this is a login: a token server that may not see the credentials is an error.
        """
        self._credentials = credentials
        self._realms = realms
        self._is_login = keep_identity is not None
        self._tokens = Tokens(fetch=fetch_token, left=left, clock=clock, keep_identity=keep_identity)
        self._left = left
        self._lock = threading.Lock()
        self._ways: dict[tuple[Origin, str], _Way] = {}

    def bound(
        self, *, fetch_token: FetchToken, left: Callable[[], float], insecure_http: frozenset[str] = frozenset()
    ) -> Authenticator:
        """Return a view that shares all that was learnt, for requests under another deadline or to another place."""
        view = copy.copy(self)
        view._realms = self._realms.including(insecure_http)
        view._tokens = self._tokens.bound(fetch=fetch_token, left=left)
        view._left = left
        return view

    def known(self, origin: Origin, repository: Repository, access: Access) -> Authorization | None:
        """Return what an earlier challenge of this repository leads to, or ``None`` to ask bare."""
        way = self._ways.get((origin, repository.path)) or self._ways.get((origin, ""))
        return None if way is None else self._authorization(origin, repository, access, way, None)

    def answer(
        self,
        origin: Origin,
        repository: Repository,
        access: Access,
        challenges: str,
        *,
        rejected: Authorization | None,
        refusal: RegistryError,
    ) -> Authorization:
        """Answer the ``WWW-Authenticate`` of a 401; ``rejected`` is what the request had carried.

        Raises:
            AuthenticationFailed: made of ``refusal``, if there is nothing (more) to offer.
        """
        credential = self._find(repository)
        way = self._choose(origin, parse_challenges(challenges), credential, refusal)
        with self._lock:
            # Basic is asked for by an origin, Bearer for one repository of it.
            self._ways[origin, "" if isinstance(way, _Basic) else repository.path] = way
        found = None
        if rejected is None or not rejected.final:
            found = self._authorization(origin, repository, access, way, rejected)
        if found is None:
            raise self._refused(origin, repository, way, credential, refusal)
        return found

    def widen(
        self, origin: Origin, repository: Repository, access: Access, challenges: str, rejected: Authorization | None
    ) -> Authorization | None:
        """Answer a 403 that names the scope it takes (RFC 6750 §3.1); ``None``: there is nothing wider to offer.

        The caller asks once a request. Requests that follow carry the wider token right away.
        """
        found = (c.parameters for c in parse_challenges(challenges) if c.scheme == "bearer")
        parameters = next((p for p in found if p.get("realm") and p.get("scope")), None)
        if parameters is None:
            return None
        credential = self._find(repository)
        if credential is not None and credential.kind is Kind.REGISTRY_TOKEN:
            return None
        way = _bearer_way(parameters, wide=True)
        if way == self._ways.get((origin, repository.path)):
            return None
        try:
            realm = Origin.parse(way.realm)
        except RegistryError:
            return None
        try:
            self._realms.check(realm, origin)
            made = self._authorization(origin, repository, access, way, rejected)
        except AuthenticationFailed:
            return None  # the registry's own refusal says more
        if made is not None:
            with self._lock:
                self._ways[origin, repository.path] = way
        return made

    def _find(self, repository: Repository) -> Credential | None:
        return self._credentials.find(repository.registry, repository.path, left=self._left())

    def _choose(
        self, origin: Origin, challenges: tuple[Challenge, ...], credential: Credential | None, refusal: RegistryError
    ) -> _Way:
        """Take the first challenge that can be met; without a user, Basic is the last resort."""
        usable = [c for c in challenges if c.scheme == "basic" or (c.scheme == "bearer" and "realm" in c.parameters)]
        if credential is None:
            usable.sort(key=lambda c: c.scheme == "basic")
        if not usable:
            kinds = ", ".join(quote(c.scheme) for c in challenges) or "nothing"
            raise _refusal(refusal, f"{refusal.message}, and offers {kinds} to authenticate with: not supported", None)
        if usable[0].scheme == "basic":
            self._realms.check_plaintext(origin, "registry", origin)
            return _Basic()
        way = _bearer_way(usable[0].parameters)
        self._realms.check(Origin.parse(way.realm), origin)
        return way

    def _authorization(
        self, origin: Origin, repository: Repository, access: Access, way: _Way, rejected: Authorization | None
    ) -> Authorization | None:
        """Make the header, ``None`` if that takes a user and there is none."""
        credential = self._find(repository)
        if isinstance(way, _Basic):
            if credential is None or credential.kind is not Kind.PASSWORD:
                return None
            return _authorize(credential.basic, credential, final=True)
        if credential is not None and credential.kind is Kind.REGISTRY_TOKEN:
            return _authorize(f"Bearer {credential.secret}", credential, final=True)
        shown = credential if self._realms.may_see(Origin.parse(way.realm), origin) else None
        if self._is_login and shown is None:
            return None
        if access is Access.PULL and rejected is None:
            # A token for pushing is good for pulling too.
            pushing = self._tokens.peek(_purpose(origin, repository, Access.PUSH, way, shown))
            if pushing is not None:
                return _bearer(pushing, shown, final=False)
        purpose = _purpose(origin, repository, access, way, shown)
        refused_token = None if rejected is None else rejected.header.removeprefix("Bearer ")
        try:
            token, fetched = self._tokens.get(purpose, rejected=refused_token)
        except AuthenticationFailed as e:
            raise self._refused(origin, repository, way, credential, e) from None
        # A second token after a rejection ends the matter, whichever thread fetched it.
        return _bearer(token, shown, final=fetched or rejected is not None)

    def _refused(
        self, origin: Origin, repository: Repository, way: _Way, credential: Credential | None, refusal: RegistryError
    ) -> AuthenticationFailed:
        """Say with which credentials one was refused, or why with none."""
        registry, hint = repository.registry, None
        if credential is None:
            places = self._credentials.places
            reason = f"asked {ANONYMOUS}" + (f" (none for {quote(registry)} in {places})" if places else "")
        elif isinstance(way, _Basic) and credential.kind is not Kind.PASSWORD:
            reason = f"the {credential.kind.value} from {credential.source} is no password, which it wants"
        elif isinstance(way, _Bearer) and not self._may_see(origin, way, credential):
            server = Origin.parse(way.realm).authority
            reason = f"its credentials were not sent to token server {quote(server)}, which is not of its domain"
            hint = f"if that is where they belong: --trusted-realm {server}"
        else:
            reason = f"asked {_who(credential)}"
        return _refusal(refusal, f"{refusal.message}, {reason}", hint or f"imgsign login {registry}")

    def _may_see(self, origin: Origin, way: _Bearer, credential: Credential) -> bool:
        return credential.kind is Kind.REGISTRY_TOKEN or self._realms.may_see(Origin.parse(way.realm), origin)


def denial(refusal: RegistryError, authorization: Authorization | None) -> AuthenticationFailed:
    """Add to a 403, which no other authorization would change, with which one was asked."""
    who = ANONYMOUS if authorization is None else authorization.who
    hint = refusal.hint if who == ANONYMOUS else f"if they lack the right, use others: {refusal.hint}"
    return _refusal(refusal, f"{refusal.message}, asked {who}", hint)


def _who(credential: Credential | None) -> str:
    if credential is None:
        return ANONYMOUS
    what = "credentials" if credential.kind is Kind.PASSWORD else credential.kind.value
    return f"with the {what} from {credential.source}"


def _authorize(header: str, credential: Credential | None, *, final: bool, token: str = "") -> Authorization:
    secrets = (*((token,) if token else ()), *(() if credential is None else credential.secrets))
    return Authorization(header=header, secrets=secrets, final=final, who=_who(credential))


def _bearer(token: Token, credential: Credential | None, *, final: bool) -> Authorization:
    return _authorize(f"Bearer {token.value}", credential, final=final, token=token.value)


def _refusal(refusal: RegistryError, message: str, hint: str | None) -> AuthenticationFailed:
    return AuthenticationFailed(message, status=refusal.status, codes=refusal.codes, url=refusal.url, hint=hint)


def _bearer_way(parameters: Mapping[str, str], *, wide: bool = False) -> _Bearer:
    scopes = tuple(parameters.get("scope", "").split())[:_SCOPES_LIMIT]
    return _Bearer(realm=parameters["realm"], service=parameters.get("service"), scopes=scopes, wide=wide)


def _purpose(
    origin: Origin, repository: Repository, access: Access, way: _Bearer, credential: Credential | None
) -> Purpose:
    """Scopes: ours first (some servers read only the first), then what else the challenge names."""
    own_name = f"repository:{repository.path}"
    own = () if access is Access.NONE else (f"{own_name}:{access.value}",)
    others = (s for s in way.scopes if way.wide or s.rpartition(":")[0] != own_name)
    return Purpose(
        origin=origin,
        repository=repository,
        realm=way.realm,
        service=way.service,
        scopes=tuple(dict.fromkeys((*own, *others))),
        credential=credential,
    )
