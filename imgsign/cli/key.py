"""``imgsign key``: make, show and convert signing keys.

Paths, fingerprints and public keys go to stdout; notes go to stderr. Existing files are replaced only with
``--force``, private key files have mode 0600, and one is left unencrypted only with ``--no-password``.

``key show --output json`` prints one object with the strings ``kind``, ``fingerprint``, ``hint`` (cosign's
``publicKey.hint``) and ``pem``.
"""

from __future__ import annotations

import os
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import password
from imgsign.errors import UsageError
from imgsign.signers import KeyFormat, Kind
from imgsign.signers.disk import NewFile, check_free, write_files
from imgsign.wire import dump_json, quote

if TYPE_CHECKING:
    from imgsign.keys import PublicKey

app = typer.Typer(
    name="key",
    help="Make, show and convert signing keys.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Output(StrEnum):
    """How ``key show`` prints."""

    TEXT = "text"
    JSON = "json"


_Format = Annotated[
    KeyFormat,
    typer.Option(
        help="Format of the private key file: pkcs8 (encrypted PEM, read by openssl and most programs) or "
        "cosign (read by cosign, skopeo and podman)."
    ),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace existing files.", show_default=False)]
_PasswordStdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help="Read the password from one line of standard input, whatever IMGSIGN_PASSWORD says.",
        show_default=False,
    ),
]
_NoPassword = Annotated[
    bool,
    typer.Option(
        "--no-password",
        help="Leave the private key file without a password, for anyone who finds it.",
        show_default=False,
    ),
]


@app.command()
def generate(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Path without suffix: writes NAME.key and NAME.pub.")
    ] = "imgsign",
    *,
    kind: Annotated[
        Kind,
        typer.Option("--type", metavar="KIND", help=f"Kind of key: {', '.join(Kind)}. All other tools read the first."),
    ] = Kind.ECDSA_P256,
    format: _Format = KeyFormat.PKCS8,
    force: _Force = False,
    password_stdin: _PasswordStdin = False,
    no_password: _NoPassword = False,
) -> None:
    """Make a key pair: NAME.key to sign with, NAME.pub to verify with.

    The password comes from standard input with --password-stdin, from IMGSIGN_PASSWORD, or from a prompt on a
    terminal.
    """
    from imgsign.signers import keyfile

    private, public = _pair(name)
    keyfile.check_format(kind, format)
    check_free(private, public, force=force)
    secret = _new_secret(private, password_stdin=password_stdin, no_password=no_password)
    key = keyfile.generate(kind)
    public_key = keyfile.public_key_of(key)
    write_files(
        NewFile(private, keyfile.to_pem(key, format, secret), 0o600),
        NewFile(public, public_key.to_pem(), 0o644),
        force=force,
    )
    typer.echo(f"private key  {private}  ({kind}, {_protection(secret)})")
    typer.echo(f"public key   {public}")
    typer.echo(f"fingerprint  {public_key.fingerprint}")
    typer.echo(f"next         imgsign sign IMAGE -k {shlex.quote(str(private))}")
    _print_notes(public_key)


@app.command()
def show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A public or private key: a PEM file, or env:NAME for a variable.")
    ],
    *,
    output: Annotated[Output, typer.Option("--output", "-o", help="Print text, or one JSON object.")] = Output.TEXT,
    pem: Annotated[bool, typer.Option("--pem", help="Print only the public key in PEM.", show_default=False)] = False,
    password_stdin: _PasswordStdin = False,
) -> None:
    """Show what a key is: its kind, fingerprint, cosign's hint, and the public key in PEM.

    An encrypted private key needs its password, from --password-stdin, IMGSIGN_PASSWORD or a prompt.
    """
    from imgsign.signers.keyfile import kind_title

    if pem and output is Output.JSON:
        raise UsageError("--pem contradicts --output json", hint="leave out one of them")
    public_key = _public_key(key, password_stdin)
    text = public_key.to_pem().decode("ascii")
    kind = kind_title(public_key)
    if pem:
        typer.echo(text, nl=False)
    elif output is Output.JSON:
        fields = {"kind": kind, "fingerprint": public_key.fingerprint, "hint": public_key.hint, "pem": text}
        typer.echo(dump_json(fields))
    else:
        typer.echo(f"kind         {kind}")
        typer.echo(f"fingerprint  {public_key.fingerprint}")
        typer.echo(f"cosign hint  {public_key.hint}")
        typer.echo(text, nl=False)


@app.command()
def convert(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The private key file to read, in any format.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The private key file to write.")],
    *,
    format: _Format = KeyFormat.PKCS8,
    force: _Force = False,
    no_password: _NoPassword = False,
) -> None:
    """Write a private key again: in another format, under another password.

    It stays the same key. IMGSIGN_PASSWORD or a prompt opens KEY; IMGSIGN_NEW_PASSWORD or a prompt protects
    OUT, and without either the password stays the same.
    """
    from imgsign.load import read_key
    from imgsign.signers import keyfile

    target = _path(out)
    check_free(target, force=force)
    if no_password:
        password.check_no_password(password.NEW_VARIABLE)
    old: list[bytes] = []

    def ask(what: str) -> bytes:
        old.append(password.ask_password(what))
        return old[0]

    private = keyfile.parse_private(read_key(key, environ=os.environ), ask)
    public_key = keyfile.public_key_of(private)
    keyfile.check_format(public_key.kind, format)
    secret = b""
    if not no_password:
        secret = password.ask_changed_password(quote(str(target)), old=old[0] if old else None)
    write_files(NewFile(target, keyfile.to_pem(private, format, secret), 0o600), force=force)
    typer.echo(f"private key  {target}  ({keyfile.kind_title(public_key)}, {_protection(secret)})")
    typer.echo(f"fingerprint  {public_key.fingerprint}")
    public = shlex.quote(str(target.with_suffix(".pub")))
    typer.echo(f"next         imgsign key show {shlex.quote(str(target))} --pem > {public}")


def _new_secret(private: Path, *, password_stdin: bool, no_password: bool) -> bytes:
    if no_password:
        password.check_no_password(password.VARIABLE, from_stdin=password_stdin)
        return b""
    return password.ask_new_password(quote(str(private)), from_stdin=password_stdin)


def _public_key(spec: str, password_stdin: bool) -> PublicKey:
    from imgsign.load import parse_public_key, read_key
    from imgsign.signers.keyfile import is_private, parse_private, public_key_of

    source = read_key(spec, environ=os.environ)
    if is_private(source.raw):
        return public_key_of(parse_private(source, password.asker(from_stdin=password_stdin)))
    return parse_public_key(source)


def _pair(name: str) -> tuple[Path, Path]:
    """Turn ``release``, ``release.key`` or ``release.pub`` into the two paths."""
    stem = str(_path(name.removesuffix(".key").removesuffix(".pub")))
    return Path(stem + ".key"), Path(stem + ".pub")


def _path(text: str) -> Path:
    if not text or text.endswith((os.sep, f"{os.sep}.", f"{os.sep}..")) or text in (".", "..", "-"):
        raise UsageError(f"{quote(text)} names no file", hint="add a file name")
    return Path(text)


def _protection(secret: bytes) -> str:
    return "protected by a password" if secret else "NOT protected by a password"


def _print_notes(key: PublicKey) -> None:
    row = key.scheme
    if row.note is not None:
        typer.echo(f"note: {row.note}", err=True)
    if row.simple is None:
        typer.echo("note: it cannot sign with --format simple: no reader of .sig tags knows this kind of key", err=True)
