"""``imgsign pull``."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import exit_code
from imgsign.cli.options import (
    PULL_TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    Mirror,
    PolicyFile,
    PublicKeys,
    SignedName,
    Timeout,
    TrustedRealm,
    choose_policy,
    parse_target,
    registries,
)
from imgsign.errors import InvalidManifest, UsageError
from imgsign.wire import quote

if TYPE_CHECKING:
    from imgsign.cli.progress import Bar
    from imgsign.oci import Platform
    from imgsign.reference import Reference
    from imgsign.stores.locate import Registries
    from imgsign.workflow import Destination

THREADS = 4  # blobs under way at once; hashing saturates two cores with fewer


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Image reference, or oci:DIR[:TAG].", show_default=False)],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST",
            help="oci:DIR[:TAG]: an OCI layout, made if absent; TAG defaults to the reference's. "
            "docker-archive:FILE: a tar for 'docker load'. docker: the local engine (DOCKER_HOST).",
            show_default=False,
        ),
    ],
    policy: PolicyFile = None,
    key: PublicKeys = None,
    name: SignedName = "exact",
    platform: Annotated[
        str | None,
        typer.Option(
            "--platform",
            metavar="OS/ARCH[/VARIANT]",
            help="Of an index, take this platform. Default: all for oci:, the engine's or this machine's otherwise.",
            show_default=False,
        ),
    ] = None,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = PULL_TIMEOUT,
) -> int:
    """Verify an image, then accept its content by its address.

    Every byte is hashed while it arrives and nothing is written before the image is allowed. An
    interrupted pull into a layout goes on where it ended. An engine pulls the judged digest itself, with
    the credentials imgsign has, and is checked; one that cannot reach the registry is given an archive.

    Prints the accepted repo@sha256:… on standard output. Exit code: 0 pulled, 1 denied, 3 could not be
    decided, read or written.
    """
    from imgsign.cli import render
    from imgsign.cli.progress import Bar
    from imgsign.errors import Denied
    from imgsign.workflow import pull

    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    target = parse_target(ref, locate, identity)
    with Bar("pulling") as bar:
        place = _destination(destination, target.name, _platform(platform), locate, bar)
        chosen, trust = choose_policy(policy, key, name)
        try:
            with ThreadPoolExecutor(max_workers=THREADS) as pool:
                decision = pull(target, chosen, trust, place, now=datetime.now(UTC), pool=pool, expect=bar.expect)
        except Denied as e:
            print(render.decision_text(e.decision, trust), file=sys.stderr)
            return exit_code(e)
    print(render.decision_text(decision, trust), file=sys.stderr)
    for note in place.notes:
        print(f"note: {note}", file=sys.stderr)
    print(render.pinned(decision))
    return 0


def _destination(
    text: str, name: Reference | None, platform: Platform | None, locate: Registries, bar: Bar
) -> Destination:
    """Find the destination that a text names; nothing is opened yet."""
    from imgsign.stores import archive, layout
    from imgsign.stores.destination import LayoutDestination

    if text.startswith(layout.SCHEME):
        directory, tag = layout.parse_location(text)
        return LayoutDestination(directory, tag or (None if name is None else name.tag), platform, bar)
    if text.startswith(archive.SCHEME):
        return archive.ArchiveDestination(archive.parse_location(text), name, platform, bar)
    if text == "docker:":
        from imgsign.stores.engine import Engine
        from imgsign.stores.engine_pull import EngineDestination

        engine = Engine.from_environ(os.environ)
        return EngineDestination(engine, name, platform=platform, find_login=locate.login, progress=bar)
    raise UsageError(f"not a destination: {quote(text)}", hint="oci:DIR[:TAG], docker-archive:FILE or docker:")


def _platform(text: str | None) -> Platform | None:
    from imgsign.oci import platform_of

    if text is None:
        return None
    try:
        return platform_of(text)
    except InvalidManifest as e:
        raise UsageError(e.message, hint=e.hint) from e
