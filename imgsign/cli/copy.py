"""``imgsign copy``."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
    Output,
    PublicKeys,
    SignedName,
    Timeout,
    TrustedRealm,
    check_output,
    choose_policy,
    parse_reference,
    parse_target,
    registries,
)
from imgsign.errors import InvalidManifest, UsageError
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.fleet.copy import Copied
    from imgsign.oci import Platform
    from imgsign.resolve import Target
    from imgsign.stores.copying import Writer
    from imgsign.stores.locate import Registries

THREADS = 8  # small blobs wait for answers more than for bytes


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="Image reference, oci:DIR[:TAG] or oci-archive:FILE[:TAG].", show_default=False
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DST",
            help="The same. Without a tag it takes the one of SRC; a tag that is there moves.",
            show_default=False,
        ),
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="FILE",
            envvar="IMGSIGN_POLICY",
            show_default=False,
            help="Judge SRC before anything is written, and DST when all is there, both under the name of SRC.",
        ),
    ] = None,
    key: PublicKeys = None,
    name: SignedName = "exact",
    platform: Annotated[
        str | None,
        typer.Option(
            "--platform",
            metavar="OS/ARCH[/VARIANT]",
            show_default=False,
            help="Of an index, copy this platform alone: another digest, so signatures of the index stay behind.",
        ),
    ] = None,
    identity: Identity = None,
    output: Output = "text",
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = PULL_TIMEOUT,
) -> int:
    """Copy an image with everything attached to it, byte for byte: signatures, attestations, SBOMs.

    Between registries, OCI layouts and tar files of layouts. All platforms, their referrers and cosign's
    .sig, .att and .sbom tags go along; what is there already is not sent again, so an interrupted copy is
    finished by the same command. The tag is set last. Without --policy or --key nothing is judged.

    The signed name stays that of SRC. To accept images by the name of DST, a policy says so with remap.

    Exit code: 0 copied, 1 denied, 3 could not be decided, read or written.
    """
    from imgsign.cli.progress import Bar
    from imgsign.errors import Denied
    from imgsign.fleet.copy import copy

    as_json = check_output(output)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    target = _source(source, locate, identity)
    writer, tag, shown = _writer(destination, target, locate)
    judge = None if policy is None and not key else choose_policy(policy, key, name)
    with Bar("copying") as bar:
        try:
            with ThreadPoolExecutor(max_workers=THREADS) as pool:
                copied = copy(
                    target, writer, tag, pool, judge=judge, platform=_platform(platform), now=datetime.now(UTC),
                    expect=bar.expect, progress=bar,
                )  # fmt: skip
        except Denied as e:
            from imgsign.cli import render

            print(render.decision_text(e.decision, judge[1]) if judge else e.message, file=sys.stderr)
            return exit_code(e)
    if as_json:
        print(json.dumps(_as_json(copied, target, shown), indent=2))
    else:
        _show(copied, target, shown)
    return 0


def _source(text: str, locate: Registries, identity: str | None) -> Target:
    from imgsign.stores.oci_archive import SCHEME, ArchiveStore

    if not text.startswith(SCHEME):
        return parse_target(text, locate, identity)
    from imgsign.resolve import Target
    from imgsign.stores.layout import parse_location

    file, tag = parse_location(text, SCHEME)
    store = ArchiveStore(file)
    name = None if identity is None else parse_reference(identity).tag_or_latest()
    return Target(name=name, store=store, what=tag or store.only_image(), place=str(store))


def _writer(text: str, source: Target, locate: Registries) -> tuple[Writer, str | None, str]:
    """Find who writes to the destination, the tag to set there, and how to call it; nothing is opened yet."""
    from imgsign.stores import registry_of
    from imgsign.stores.copying import LayoutWriter, RegistryWriter
    from imgsign.stores.layout import SCHEME as LAYOUT
    from imgsign.stores.layout import LayoutStore, parse_location
    from imgsign.stores.oci_archive import SCHEME as ARCHIVE
    from imgsign.stores.oci_archive import ArchiveWriter
    from imgsign.stores.remote import RemoteStore

    own = source.what if isinstance(source.what, str) else None if source.name is None else source.name.tag
    for scheme in (LAYOUT, ARCHIVE):
        if text.startswith(scheme):
            path, tag = parse_location(text, scheme)
            shown = f"{scheme}{path}" + (f":{tag or own}" if tag or own else "")
            return (LayoutWriter(LayoutStore(path)) if scheme == LAYOUT else ArchiveWriter(path)), tag or own, shown
    there = parse_reference(text)
    if there.digest is not None:
        raise UsageError("DST is a place, it takes no digest: that of SRC stays", hint="leave out @sha256:…")
    there = replace(there, tag=there.tag or own)
    store, read = registry_of(locate(there.repository)), registry_of(source.store)
    if not isinstance(store, RemoteStore):
        raise TypeError("a registry's store writes to a registry")
    same = isinstance(read, RemoteStore) and read.repository.registry == there.repository.registry
    return (
        RegistryWriter(store, read.repository if isinstance(read, RemoteStore) and same else None),
        there.tag,
        str(there),
    )


def _platform(text: str | None) -> Platform | None:
    from imgsign.oci import platform_of

    try:
        return None if text is None else platform_of(text)
    except InvalidManifest as e:
        raise UsageError(e.message, hint=e.hint) from e


def _show(copied: Copied, source: Target, shown: str) -> None:
    result = copied.result
    ways = ", ".join(f"{n} {way.value}" for way, n in result.ways.items() if n)
    cargo = copied.cargo
    images = "1 manifest" if len(cargo.images) == 1 else f"{len(cargo.images)} manifests"
    judged = "allowed at both ends" if copied.decision is not None else "not judged: no policy was given"
    print(f"copied {source} to {shown}@{copied.digest}")
    attached = len(cargo.attached) - len(result.left)
    print(
        f"  {images}, {max(attached, 0)} attached; blobs: {ways or 'none'} ({result.sent_bytes / 1e6:.1f} MB sent); "
        f"{judged}",
        file=sys.stderr,
    )
    for tag, digest in result.moved:
        print(f"  moved tag {tag}: it was {digest}", file=sys.stderr)
    for tag in result.joined:
        print(f"  joined tag {tag}: it had signatures that {source.place} has not", file=sys.stderr)
    for text in (*result.left, *copied.notes):
        print(f"note: {printable(text)}", file=sys.stderr)


def _as_json(copied: Copied, source: Target, shown: str) -> dict[str, object]:
    result = copied.result
    return {
        "source": str(source),
        "destination": shown,
        "digest": str(copied.digest),
        "judged": copied.decision is not None,
        "manifests": [str(m.digest) for m in copied.cargo.images],
        "referrers": [str(m.digest) for m in copied.cargo.referrers],
        "tags": {tag: str(m.digest) for tag, m in copied.cargo.tagged},
        "blobs": {way.value: count for way, count in result.ways.items()},
        "sent_bytes": result.sent_bytes,
        "moved": {tag: str(digest) for tag, digest in result.moved},
        "joined": result.joined,
        "left": [printable(text) for text in result.left],
        "notes": list(copied.notes),
    }
