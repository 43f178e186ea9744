"""``imgsign login``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    InsecureHttp,
    Timeout,
    TrustedRealm,
    parse_deadline,
)
from imgsign.cli.password import ask_login_password, ask_user

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.credentials import Known

Registry = Annotated[
    str,
    typer.Argument(metavar="REGISTRY", help="host[:port]; Docker Hub is docker.io.", show_default=False),
]


def command(
    registry: Registry,
    username: Annotated[
        str | None,
        typer.Option("--username", "-u", metavar="USER", help="Asked for on a terminal.", show_default=False),
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.", show_default=False)
    ] = False,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Log in to a registry, and keep that where docker keeps it.

    The password is tried first and stored only if the registry takes it: with the credential helper that
    docker's config.json names (credHelpers, credsStore), else in that file. DOCKER_CONFIG is honoured.

    Tokens go in place of passwords: printenv TOKEN | imgsign login ghcr.io -u me --password-stdin
    """
    from imgsign.login import log_in, parse_registry
    from imgsign.transport import Transport

    name = parse_registry(registry)
    deadline = parse_deadline(timeout)

    def connect(credentials: Known, keep_identity: Callable[[str], None]) -> Transport:
        return Transport(
            environ=os.environ,
            insecure_http=frozenset(insecure_http or ()),
            trusted_realms=frozenset(trusted_realm or ()),
            credentials=credentials,
            keep_identity=keep_identity,
            ca=tuple(ca or ()),
            deadline=deadline,
        )

    user = username if username is not None else ask_user(name)
    password = ask_login_password(name, from_stdin=password_stdin)
    done = log_in(name, user, password, environ=os.environ, connect=connect, deadline=deadline)
    for note in done.notes:
        print(f"warning: {note}", file=sys.stderr)
    print(f"logged in to {done.registry}, stored in {done.place}")
    return 0
