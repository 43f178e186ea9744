"""``imgsign pull``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated

import typer

from imgsign.cli import exit_code
from imgsign.cli.options import Identity, InsecureHttp, PolicyFile, choose_policy, parse_target, registries

THREADS = 4  # blobs under way at once; hashing saturates two cores with fewer


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Image reference.", show_default=False)],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST",
            help="oci:DIR or oci:DIR:TAG, an OCI layout (made if absent). TAG defaults to the reference's tag.",
            show_default=False,
        ),
    ],
    policy: PolicyFile = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            "-k",
            metavar="KEY",
            help="Instead of a policy: a public key. Repeatable.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="exact|repository|unsafe-any",
            help="With --key: how the signed name must match.",
        ),
    ] = "exact",
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
) -> int:
    """Verify an image, then accept its content by its address.

    Every byte is hashed while it arrives and nothing is written before the image is allowed. All
    platforms of an index are pulled. Prints the accepted repo@sha256:… on standard output.

    Exit code: 0 pulled, 1 denied, 3 could not be decided, read or written.
    """
    from imgsign.cli import render
    from imgsign.errors import Denied
    from imgsign.stores.destination import LayoutDestination
    from imgsign.stores.layout import parse_location
    from imgsign.workflow import pull

    target = parse_target(ref, registries(insecure_http), identity)
    directory, tag = parse_location(destination)
    chosen, trust = choose_policy(policy, key, name)
    asked_tag = None if target.name is None else target.name.tag
    try:
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            decision = pull(
                target,
                chosen,
                trust,
                LayoutDestination(directory, tag or asked_tag),
                now=datetime.now(UTC),
                pool=pool,
            )
    except Denied as e:
        print(render.decision_text(e.decision, trust), file=sys.stderr)
        return exit_code(e)
    print(render.decision_text(decision, trust), file=sys.stderr)
    print(render.pinned(decision))
    return 0
