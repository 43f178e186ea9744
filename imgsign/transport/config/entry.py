"""Who one is at a registry, and the entry of a credentials file that says so.

Sources: docker/cli ``cli/config/types`` (``AuthConfig``) and containers-auth.json(5); there is no
specification. Both programs write the same entries::

    entry.auth            base64 of user ":" password; the first colon splits, trailing NULs are padding
    entry.username, entry.password       the same written out (old clients)
    entry.identitytoken   an OAuth2 refresh token; ``auth`` then holds the user alone, or user ":"
    entry.registrytoken   a ready Bearer token

Where an entry holds several, the ready token wins over the identity token, and that over the password, as
in moby ``distribution``. An entry without any (``{}``) means that a credential store has it.

A secret is in no ``repr``; ``source`` says in words where it is from, and is safe to print.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from pathlib import Path
from urllib.parse import quote_plus

from imgsign.errors import AuthenticationFailed, Malformed
from imgsign.record import record
from imgsign.wire import Node, b64decode, load_json, quote

CONFIG_LIMIT = 1024 * 1024
"""Bytes of a credentials file; real ones stay under 100 KiB (containers/image reads at most 4 MiB)."""

TOKEN_USER = "<token>"  # noqa: S105  # the user name that says "the secret is an identity token"
"""docker-credential-helpers ``client``: the user name that stands for an identity token."""

_MEMBERS = ("auth", "username", "password", "identitytoken", "registrytoken")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")  # what a header can carry without becoming two


class Kind(Enum):
    """What the secret of a credential is."""

    PASSWORD = "password"  # noqa: S105
    IDENTITY_TOKEN = "identity token"  # noqa: S105
    REGISTRY_TOKEN = "registry token"  # noqa: S105


@record
class Credential:
    """A user and a secret for one registry, and where they are from, such as ``'/home/a/.docker/config.json'``."""

    user: str = field(repr=False)
    secret: str = field(repr=False)
    source: str
    kind: Kind = Kind.PASSWORD

    @property
    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header (RFC 7617 §2, UTF-8)."""
        pair = f"{self.user}:{self.secret}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"

    @property
    def password(self) -> str:
        """The password; empty where a token stands in its place."""
        return self.secret if self.kind is Kind.PASSWORD else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any text: the secret as it is, and as Basic and forms write it."""
        return (self.secret, self.basic.partition(" ")[2], quote_plus(self.secret))


def parse_entry(entry: Node, source: str) -> Credential | None:
    """Read an entry of ``auths``; ``None`` if it holds nothing.

    Raises:
        Malformed: without quoting any of it.
    """
    members = entry.fields((), _MEMBERS, closed=False)
    user, password = _pair(members)
    for kind, name in ((Kind.REGISTRY_TOKEN, "registrytoken"), (Kind.IDENTITY_TOKEN, "identitytoken")):
        if token := text_of(members, name):
            if _PRINTABLE.fullmatch(token) is None:
                raise Malformed(f"{name!r} holds blanks or control characters")
            return Credential(user=user or TOKEN_USER, secret=token, source=source, kind=kind)
    if user and password:
        return Credential(user=user, secret=password, source=source)
    if text_of(members, "auth"):
        raise Malformed("'auth' has no password")
    return None


def _pair(members: Mapping[str, Node]) -> tuple[str, str]:
    """Return user and password, each empty if it is not there."""
    encoded = text_of(members, "auth")
    if not encoded:
        return text_of(members, "username"), text_of(members, "password")
    try:
        user, colon, password = b64decode(encoded).decode("utf-8").partition(":")
    except UnicodeDecodeError as e:
        raise Malformed("'auth' is not base64 of UTF-8 text") from e
    if not colon or not user:
        raise Malformed("'auth' is not base64 of user:password")
    return user, password.rstrip("\0")


def read_config(path: Path) -> Node | None:
    """Read a JSON file; ``None`` if there is none.

    Raises:
        AuthenticationFailed: naming the file, for anything else that fails.
    """
    raw = read_raw(path)
    try:
        return None if raw is None else load_json(raw, limit=CONFIG_LIMIT)
    except Malformed as e:
        raise unusable(quote(str(path)), e) from e


def read_raw(path: Path) -> bytes | None:
    """Read a file, of one that is too long only that much; ``None`` if there is none.

    Raises:
        AuthenticationFailed: naming the file, if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(CONFIG_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        reason = e.strerror if isinstance(e, OSError) else "not a path"
        raise AuthenticationFailed(f"cannot read credentials from {quote(str(path))}: {reason}") from e


def unusable(source: str, error: Malformed) -> AuthenticationFailed:
    """Say that a file cannot be used: going on anonymously would hide that (CVE-2021-41092)."""
    hint = "repair it, or move it away and: imgsign login REGISTRY"
    return AuthenticationFailed(f"cannot use {source}: {error.message}", hint=hint)


def is_present(members: Mapping[str, Node], key: str) -> bool:
    """Whether a member is there and not ``null``, which Go's encoder writes for nothing."""
    return key in members and members[key].value is not None


def text_of(members: Mapping[str, Node], key: str) -> str:
    """Return a string member, empty if it is not there.

    Raises:
        Malformed: if it is no string.
    """
    return members[key].text() if is_present(members, key) else ""
