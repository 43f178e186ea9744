"""Answering a registry's 401: Bearer tokens and Basic.

Sources: RFC 9110 §11 (which took over RFC 7235), RFC 6750 §3, RFC 7617, and distribution's token
specification (``docs/content/spec/auth/token.md``).

Nothing is asked in advance: the first request to a repository goes out bare, and its 401 says how. From
then on requests to that repository carry their token right away.

The registry names the token server (``realm``), so that is foreign input (CVE-2026-48978,
CVE-2026-33540):

- the realm of an https registry is https; plain http only where it is allowed for that host;
- a realm spelled as a loopback or private address is refused unless the registry is at that host;
- user and password go to the realm only if it belongs to the registry (:func:`_belongs`); to any other
  one asks for an anonymous token, and an error then says why;
- Basic goes only to the origin that asked for it, over https or where plain http is allowed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from imgsign.errors import AuthenticationFailed, RegistryError
from imgsign.reference import Repository
from imgsign.transport.challenge import Challenge, parse_challenges
from imgsign.transport.credentials import Credential, Credentials
from imgsign.transport.hosts import HUB_API, Origin, is_internal, is_loopback
from imgsign.transport.tokens import FetchToken, Purpose, Token, Tokens
from imgsign.wire import quote

_SCOPES_LIMIT = 8  # scopes of a challenge that are passed on

_TRUSTED_REALMS = {HUB_API: frozenset({"auth.docker.io"})}
"""Realms that belong to a registry in addition to those :func:`_belongs` sees."""

_TWO_LEVELS = frozenset({"ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"})
"""Second-level labels below which a country registers (``co.uk``), so that they are nobody's domain."""


class Access(Enum):
    """What is to be done in a repository: the actions of a ``repository`` scope."""

    PULL = "pull"
    PUSH = "pull,push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """An ``Authorization`` header for one origin. ``final``: asking again would give nothing better."""

    header: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bearer:
    """How a repository wants its tokens: where from, and under which scopes besides our own."""

    realm: str
    service: str | None
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Basic:
    """The origin wants user and password with every request."""


_Way: TypeAlias = _Bearer | _Basic


class Authenticator:
    """Knows how each repository wants to be asked; thread-safe."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        insecure_http: frozenset[str],
        fetch_token: FetchToken,
        left: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Fetch tokens by ``fetch_token``; ``left`` returns the seconds until the deadline or raises."""
        self._credentials = credentials
        self._insecure_http = frozenset(host.lower() for host in insecure_http)
        self._tokens = Tokens(fetch=fetch_token, left=left, clock=clock)
        self._lock = threading.Lock()
        self._ways: dict[tuple[Origin, str], _Way] = {}

    def bound(self, *, fetch_token: FetchToken, left: Callable[[], float]) -> Authenticator:
        """Return a view that shares all that was learnt, for requests under another deadline."""
        view = copy.copy(self)
        view._tokens = self._tokens.bound(fetch=fetch_token, left=left)
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
        credential = self._credentials.find(repository.registry)
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
            self._check_plaintext(origin, "registry", origin)
            return _Basic()
        parameters = usable[0].parameters
        scopes = tuple(parameters.get("scope", "").split())[:_SCOPES_LIMIT]
        realm = parameters["realm"]
        self._check_realm(origin, Origin.parse(realm))
        return _Bearer(realm=realm, service=parameters.get("service"), scopes=scopes)

    def _check_realm(self, origin: Origin, realm: Origin) -> None:
        if origin.scheme == "https" and realm.scheme == "http":
            raise AuthenticationFailed(f"token server {realm} of {origin} refused: it is plain http")
        if is_internal(realm.host) and not _same_host(realm, origin):
            raise AuthenticationFailed(f"token server {realm} of {origin} refused: it is in a private network")
        self._check_plaintext(realm, "token server", origin)

    def _check_plaintext(self, target: Origin, what: str, origin: Origin) -> None:
        """Neither passwords nor tokens cross a network in the clear, unless that host was named for it."""
        if target.scheme == "https" or is_loopback(target.host):
            return
        if not {target.authority, f"{target.host}:{target.port}"} & self._insecure_http:
            raise AuthenticationFailed(
                f"{what} {target} of {origin} refused: it is plain http", hint=f"--insecure-http {target.authority}"
            )

    def _authorization(
        self, origin: Origin, repository: Repository, access: Access, way: _Way, rejected: Authorization | None
    ) -> Authorization | None:
        """Make the header, ``None`` if that takes a user and there is none."""
        credential = self._credentials.find(repository.registry)
        if isinstance(way, _Basic):
            if credential is None:
                return None
            return Authorization(header=credential.basic, secrets=credential.secrets, final=True)
        shown = credential if _belongs(Origin.parse(way.realm), origin) else None
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
        source = self._credentials.source
        if credential is None:
            where = "" if source is None else f" (none for {quote(repository.registry)} in {quote(source)})"
            reason = f"asked without credentials{where}"
        elif isinstance(way, _Bearer) and not _belongs(Origin.parse(way.realm), origin):
            server = Origin.parse(way.realm).authority
            reason = f"its credentials were not sent to token server {quote(server)}, which is not of its domain"
        else:
            reason = f"asked with the credentials in {quote(credential.source)}"
        return _refusal(refusal, f"{refusal.message}, {reason}", f"docker login {repository.registry}")


def _bearer(token: Token, credential: Credential | None, *, final: bool) -> Authorization:
    secrets = (token.value, *(() if credential is None else credential.secrets))
    return Authorization(header=f"Bearer {token.value}", secrets=secrets, final=final)


def _refusal(refusal: RegistryError, message: str, hint: str | None) -> AuthenticationFailed:
    return AuthenticationFailed(message, status=refusal.status, codes=refusal.codes, url=refusal.url, hint=hint)


def _purpose(
    origin: Origin, repository: Repository, access: Access, way: _Bearer, credential: Credential | None
) -> Purpose:
    """Scopes: ours first (some servers read only the first), then what else the challenge names."""
    own_name = f"repository:{repository.path}"
    others = (s for s in way.scopes if s.rpartition(":")[0] != own_name)
    return Purpose(
        origin=origin,
        repository=repository,
        realm=way.realm,
        service=way.service,
        scopes=tuple(dict.fromkeys((f"{own_name}:{access.value}", *others))),
        credential=credential,
    )


def _belongs(realm: Origin, registry: Origin) -> bool:
    """Whether a token server may see the registry's credentials: same host, same domain, or a known pair.

    The domain is the last two labels (three below ``co.uk`` and the like), which is coarser than the
    public suffix list. IP addresses and single labels have no domain.
    """
    if _same_host(realm, registry) or realm.host in _TRUSTED_REALMS.get(registry.host, ()):
        return True
    domain = _domain(registry.host)
    return domain is not None and domain == _domain(realm.host)


def _same_host(one: Origin, other: Origin) -> bool:
    return one.host == other.host or (is_loopback(one.host) and is_loopback(other.host))


def _domain(host: str) -> str | None:
    labels = host.split(".")
    if host.startswith("[") or labels[-1].isdigit() or is_internal(host) or not all(labels):
        return None
    need = 3 if len(labels[-1]) == 2 and len(labels) > 1 and labels[-2] in _TWO_LEVELS else 2
    return ".".join(labels[-need:]) if len(labels) >= need else None
