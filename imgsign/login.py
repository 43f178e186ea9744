"""Logging in to a registry and out of it, as ``docker login`` does, into the file docker reads.

Sources: docker/cli ``cli/command/registry`` (``login.go``, ``logout.go``), moby ``registry/auth.go``,
distribution-spec v1.1.1 "Determining Support", and for what is sent :mod:`imgsign.transport.auth`.

Nothing is stored before the registry has taken the credential: ``GET /v2/`` is asked bare, its challenge is
answered with Basic or with a token fetched for that user, and only a 200 counts. A token server that may
not see the credential (:mod:`imgsign.transport.realms`) is an error here: the anonymous token it would give
proves nothing. If it gives an identity token, that is stored in place of the password.

Where it is kept: with the credential helper that config.json names for the registry, else in config.json.

Not done: logging in by a browser, ``auth.json`` of podman (which reads docker's file too).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from imgsign.errors import AuthenticationFailed, DestinationError, ImgsignError, NotFound, UsageError
from imgsign.record import record
from imgsign.reference import DOCKER_HUB, Repository
from imgsign.transport import Access, Request
from imgsign.transport.config.docker import VARIABLE, config_path, host_of, load_docker, names_of, server_of
from imgsign.transport.config.entry import TOKEN_USER, Credential, Kind
from imgsign.transport.config.rewrite import drop_entries, put_entry
from imgsign.transport.credentials import Credentials, Given, Known
from imgsign.wire import quote

if TYPE_CHECKING:
    from imgsign.transport import Transport

Connect = Callable[[Known, Callable[[str], None]], "Transport"]
"""Makes a transport for one credential, which tells an identity token it is given: ``credentials`` and
``keep_identity`` of :class:`imgsign.transport.Transport`."""

_NOWHERE = "library/any"  # a repository's path is needed to ask; /v2/ belongs to none, and it is not sent


@record
class Outcome:
    """What was done: ``place`` in words, and what a person should know besides."""

    registry: str
    place: str
    done: bool
    notes: tuple[str, ...] = ()


def parse_registry(text: str) -> str:
    """Read the name of a registry as people type it: ``host[:port]``, Docker Hub by any of its names.

    Raises:
        UsageError: if it is a plain http URL, has a path, or cannot be a host.
    """
    if text.lower().startswith("http://"):
        raise UsageError(f"{quote(text)} is plain http", hint="write the host alone, and --insecure-http HOST")
    host = host_of(text)
    if host is None:
        raise UsageError(f"not a registry: {quote(text)}", hint="write host[:port], without a repository")
    registry = DOCKER_HUB if host in names_of(DOCKER_HUB) else host
    try:
        return Repository(registry, _NOWHERE).registry
    except ImgsignError as e:
        raise UsageError(f"not a registry: {quote(text)}", hint=e.hint) from e


def log_in(
    registry: str,
    user: str,
    password: str,
    *,
    environ: Mapping[str, str],
    connect: Connect,
    deadline: float = inf,
) -> Outcome:
    """Try a user and password for real, then store them; ``deadline`` (``time.monotonic``) is for a helper too.

    Raises:
        AuthenticationFailed: the registry does not take them; nothing was stored.
        UsageError: they cannot be sent.
        DestinationError: there is no place to store them.
    """
    if not user or ":" in user or not user.isprintable():
        raise UsageError(f"not a user name: {quote(user)}", hint="it cannot be empty or hold a colon (RFC 7617 §2)")
    if "\0" in password:
        raise UsageError("a password cannot hold a NUL, which config.json pads with")
    path = _path(environ)
    config = load_docker(environ)  # a file that cannot be used is found before anything is sent
    given = Credential(user=user, secret=password, source="the command line")
    credential, notes = _try(registry, given, connect)
    program = config.program(registry)
    if program is None:
        put_entry(path, registry, server_of(registry), credential)
        notes += (f"the {credential.kind.value} is stored unencrypted in {quote(str(path))}",)
    else:
        program.store(
            credential.user if credential.kind is Kind.PASSWORD else TOKEN_USER, credential.secret, end=deadline
        )
        put_entry(path, registry, server_of(registry), None)
    if environ.get(VARIABLE):
        notes += (f"{VARIABLE} is set and comes before what was stored",)
    place = quote(str(path)) if program is None else program.source
    return Outcome(registry=registry, place=place, done=True, notes=notes)


def log_out(registry: str, *, environ: Mapping[str, str]) -> Outcome:
    """Remove what is stored for a registry from its helper and from config.json; elsewhere it is left.

    Raises:
        AuthenticationFailed: the file or the helper cannot be used.
        DestinationError: the file cannot be written.
    """
    path = _path(environ)
    config = load_docker(environ)
    program = config.program(registry)
    erased = program is not None and program.erase()
    has_entry = any(host_of(k) in names_of(registry) or k in names_of(registry) for k in config.auths)
    if has_entry:
        drop_entries(path, registry)
    place = quote(str(path)) if program is None else program.source
    return Outcome(registry=registry, place=place, done=erased or has_entry, notes=_remaining(registry, environ))


def _path(environ: Mapping[str, str]) -> Path:
    path = config_path(environ)
    if path is None:
        raise DestinationError("there is no place for credentials: neither DOCKER_CONFIG nor HOME is set")
    return path


def _try(registry: str, given: Credential, connect: Connect) -> tuple[Credential, tuple[str, ...]]:
    """Ask the registry who one is; return what to store, and what was odd."""
    tokens: list[str] = []
    known = Given(given)
    ping = Request(repository=Repository(registry, _NOWHERE), target="/v2/", what="/v2/", access=Access.NONE)
    try:
        connect(known, tokens.append).call(ping)
    except AuthenticationFailed as e:
        if e.status in (401, 403):
            message = f"{registry} does not accept this user and password, nothing was stored: {e.message}"
            hint = e.hint if e.hint is not None and "--trusted-realm" in e.hint else "check the user name and password"
            raise AuthenticationFailed(message, status=e.status, codes=e.codes, url=e.url, hint=hint) from None
        raise AuthenticationFailed(f"{e.message}, nothing was stored", status=e.status, hint=e.hint) from None
    except NotFound as e:
        raise UsageError(f"{registry} is not a registry: {e.message}", hint="check the host and port") from None
    notes = () if known.was_asked else (f"{registry} asks for no credentials, so they were not checked",)
    if not tokens:
        return given, notes
    identity = Credential(user=given.user, secret=tokens[-1], source=given.source, kind=Kind.IDENTITY_TOKEN)
    return identity, notes


def _remaining(registry: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        left = Credentials(environ).find(registry)
    except AuthenticationFailed as e:
        return (e.message,)
    return () if left is None else (f"credentials for {registry} are still there, from {left.source}",)
