"""Changing docker's ``config.json``: only what ``login`` and ``logout`` are about, whole or not at all.

Source: docker/cli ``cli/config/configfile`` (``Save``), which keeps what it knows; here everything is kept:
unknown members, their order, and numbers as they are spelled.

The new file is complete and synced under a temporary name in the same directory before it takes the place
of the old one; a symbolic link is followed, so that it stays one. The mode is 0600 whatever it was. Two
processes of ours take turns; docker's client does not know of that.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imgsign.errors import AuthenticationFailed, DestinationError, Malformed
from imgsign.transport.config.docker import keys_of
from imgsign.transport.config.entry import CONFIG_LIMIT, Credential, Kind, read_raw, unusable
from imgsign.wire import b64encode, load_json, quote

_SECRET = ("auth", "username", "password", "identitytoken", "registrytoken")
"""What an entry says about who one is; its other members are kept."""

Change = Callable[[dict[str, object]], None]
"""Changes the entries of ``auths``."""


def put_entry(path: Path, registry: str, server: str, credential: Credential | None) -> None:
    """Write a credential under ``server``; ``None``: only that a store has it.

    Entries under other spellings of the registry lose their secrets: they are of an older login.

    Raises:
        AuthenticationFailed: if there is a file and it is malformed.
        DestinationError: if it cannot be written.
    """

    def change(auths: dict[str, object]) -> None:
        for key in keys_of(auths, registry):
            _drop_secrets(auths, key)
        entry = auths.setdefault(server, {})
        if isinstance(entry, dict) and credential is not None:
            entry.update(_written(credential))

    _rewrite(path, change)


def drop_entries(path: Path, registry: str) -> None:
    """Take out all entries of a registry.

    Raises:
        AuthenticationFailed, DestinationError: see :func:`put_entry`.
    """

    def change(auths: dict[str, object]) -> None:
        for key in keys_of(auths, registry):
            del auths[key]

    _rewrite(path, change)


def _written(credential: Credential) -> dict[str, object]:
    """Write an entry as docker does: with an identity token, ``auth`` holds the user alone."""
    token = {} if credential.kind is Kind.PASSWORD else {"identitytoken": credential.secret}
    return {"auth": b64encode(f"{credential.user}:{credential.password}".encode()), **token}


def _drop_secrets(auths: dict[str, object], key: str) -> None:
    entry = auths[key]
    if isinstance(entry, dict):
        for name in _SECRET:
            entry.pop(name, None)
    else:
        auths[key] = {}  # null, which means the same


def _rewrite(path: Path, change: Change) -> None:
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _turn(target.parent):
            raw = read_raw(target)
            _replace(target, _changed(raw or b"{}", change, quote(str(path))))
    except OSError as e:
        raise DestinationError(f"cannot write {quote(str(path))}: {e.strerror}") from e


def _changed(raw: bytes, change: Change, source: str) -> bytes:
    """Parse, change and write the document, its numbers as they were spelled."""
    try:
        load_json(raw, limit=CONFIG_LIMIT).fields((), ("auths",), closed=False)
    except Malformed as e:
        raise unusable(source, e) from e
    # Checked above; parsed again, since only here numbers need not become numbers (1.10 would be written as 1.1).
    mark = secrets.token_hex(16)
    members = json.loads(raw, parse_float=lambda digits: mark + digits, parse_int=lambda digits: mark + digits)
    auths = members.get("auths")
    if auths is None:
        auths = members["auths"] = {}
    if not isinstance(auths, dict):
        raise AuthenticationFailed(f"cannot use {source}: expected object at $.auths")
    change(auths)
    text = json.dumps(members, indent="\t", ensure_ascii=False)
    return re.sub(rf'"{mark}([-+.0-9eE]+)"', r"\1", text).encode("utf-8")


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which needs no file of its own."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(target: Path, raw: bytes) -> None:
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")  # of mode 0600
    try:
        with open(fd, "wb") as file:
            file.write(raw)
            with suppress(OSError):  # root at work in somebody's home: the file stays theirs
                owner = target.stat()
                os.fchown(fd, owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(fd)
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
