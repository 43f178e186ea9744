"""The one way any command gets a password.

In this order, and never in another:

1. with ``--password-stdin``: one line of standard input for each password asked for, or a prompt if that is
   a terminal: what was typed as a flag wins over what is in the environment;
2. ``IMGSIGN_PASSWORD``: set is set, even if empty;
3. a prompt without echo, only if standard input and standard error are both terminals;
4. an error that says how to give one.

Standard input is not read unless the flag asks for it: cosign reads all of it when there is no terminal, and
hangs in pipelines that leave it open (agntcy/dir#1891). An empty *new* password is refused however it
comes, because an unset secret in a pipeline looks the same; ``--no-password`` says it on purpose.

Passwords are never shown, logged or repeated in an error.
"""

from __future__ import annotations

import getpass
import os
import sys
import warnings
from collections.abc import Callable

from imgsign.errors import SignerError, UsageError

VARIABLE = "IMGSIGN_PASSWORD"
NEW_VARIABLE = "IMGSIGN_NEW_PASSWORD"

LINE_LIMIT = 4096
"""Bytes of a password read from standard input; what a terminal line holds on Linux."""


def ask_password(what: str, *, from_stdin: bool = False) -> bytes:
    """Get the password that opens ``what``, such as ``'release.key'``.

    Raises:
        SignerError: if there is none.
    """
    if from_stdin and not _is_terminal(sys.stdin):
        return _read_line()
    if not from_stdin and (given := _variable(VARIABLE)) is not None:
        return given
    if _interactive():
        return _prompt(f"password for {what}: ")
    raise SignerError(f"{what} is encrypted and no password was given", hint=f"set {VARIABLE}, or use --password-stdin")


def asker(*, from_stdin: bool = False) -> Callable[[str], bytes]:
    """Return :func:`ask_password` in the shape ``load_signer`` takes."""
    return lambda what: ask_password(what, from_stdin=from_stdin)


def ask_new_password(what: str, *, from_stdin: bool = False) -> bytes:
    """Get the password a new key file is encrypted with; a person types it twice.

    Raises:
        SignerError: if there is none, it is empty, or the two differ.
    """
    if from_stdin and not _is_terminal(sys.stdin):
        return _not_empty(_read_line(), "the password on standard input is empty")
    if not from_stdin and (given := _variable(VARIABLE)) is not None:
        return _not_empty(given, f"{VARIABLE} is set but empty")
    if _interactive():
        return _not_empty(_prompt_twice(f"new password for {what}: "), "the password is empty")
    raise SignerError(
        f"no password was given for the new key {what}",
        hint=f"set {VARIABLE}, or use --password-stdin, or --no-password to leave it unprotected",
    )


def ask_changed_password(what: str, *, old: bytes | None) -> bytes:
    """Get the password of a converted key: ``IMGSIGN_NEW_PASSWORD``, a prompt, or the old one again.

    Raises:
        SignerError: if there is none, it is empty, or the two typed differ.
    """
    if (given := _variable(NEW_VARIABLE)) is not None:
        return _not_empty(given, f"{NEW_VARIABLE} is set but empty")
    if _interactive():
        keep = " (empty keeps the old one)" if old else ""
        typed = _prompt_twice(f"new password for {what}{keep}: ", keep=bool(old))
        return _not_empty(typed or old or b"", "the password is empty")
    if old:
        return old
    raise SignerError(
        f"no password was given for the new key {what}",
        hint=f"set {NEW_VARIABLE}, or use --no-password to leave it unprotected",
    )


def ask_user(registry: str) -> str:
    """Get the user name for a registry from a person at a terminal.

    Raises:
        UsageError: if there is none, or nothing is typed.
    """
    if not _interactive():
        raise UsageError(f"no user name was given for {registry}", hint="--username USER")
    print(f"user name for {registry}: ", end="", file=sys.stderr, flush=True)
    typed = sys.stdin.readline(LINE_LIMIT).strip()
    if not typed:
        raise UsageError(f"no user name was given for {registry}", hint="--username USER")
    return typed


def ask_login_password(registry: str, *, from_stdin: bool = False) -> str:
    """Get the password for a registry: one line of standard input if the flag says so, else a prompt.

    No variable is read: ``IMGSIGN_PASSWORD`` is that of a key, and must not reach a registry.

    Raises:
        SignerError: if standard input has none.
        UsageError: if there is none, or it is empty.
    """
    if from_stdin and not _is_terminal(sys.stdin):
        raw = _read_line()
    elif _interactive():
        raw = _prompt(f"password for {registry}: ", hint="use --password-stdin")
    else:
        raise UsageError(f"no password was given for {registry}", hint="use --password-stdin")
    if not raw:
        raise UsageError(f"the password for {registry} is empty")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise UsageError("the password is not UTF-8") from e


def check_no_password(variable: str, *, from_stdin: bool = False) -> None:
    """Refuse ``--no-password`` beside a password: one of the two is a mistake.

    Raises:
        UsageError: if a password was given as well.
    """
    if _variable(variable):
        raise UsageError(f"--no-password contradicts {variable}", hint=f"unset {variable}")
    if from_stdin:
        raise UsageError("--no-password contradicts --password-stdin")


def _variable(name: str) -> bytes | None:
    value = os.environ.get(name)
    return None if value is None else os.fsencode(value)


def _is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)  # sys.stdin is None in a process started without one
    try:
        return isatty is not None and bool(isatty())
    except ValueError:  # closed
        return False


def _interactive() -> bool:
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def _prompt(text: str, *, hint: str = f"set {VARIABLE}") -> bytes:
    try:
        with warnings.catch_warnings():
            # A terminal that cannot switch its echo off would show the password.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(text, stream=sys.stderr).encode("utf-8", "surrogateescape")
    except EOFError as e:
        print(file=sys.stderr)  # end the line of the prompt
        raise SignerError("no password was typed") from e
    except getpass.GetPassWarning as e:
        raise SignerError("the terminal cannot hide a password", hint=hint) from e


def _prompt_twice(text: str, *, keep: bool = False) -> bytes:
    first = _prompt(text)
    if (not first and keep) or first == _prompt("the same again: "):
        return first
    raise SignerError("the two passwords differ", hint="try again")


def _read_line() -> bytes:
    if sys.stdin is None:
        raise SignerError("there is no standard input to read a password from")
    line = sys.stdin.buffer.readline(LINE_LIMIT + 2)  # room for CR LF
    if not line:
        raise SignerError("no password on standard input")
    password = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(password) > LINE_LIMIT:
        raise SignerError(f"the password on standard input is longer than {LINE_LIMIT} bytes")
    return password


def _not_empty(password: bytes, message: str) -> bytes:
    if password:
        return password
    raise SignerError(message, hint="--no-password leaves the key unprotected on purpose")
