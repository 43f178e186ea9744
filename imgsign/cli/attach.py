"""``imgsign attach``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    Output,
    Timeout,
    TrustedRealm,
    check_output,
    parse_target,
    registries,
)
from imgsign.errors import Malformed, UsageError
from imgsign.wire import b64decode, quote

THREADS = 8
_FILE_LIMIT = 64 * 1024  # bytes of a signature file; the largest signature takes 3.3 KB
_PAYLOAD_LIMIT = 1024 * 1024  # bytes of an exported payload; a signature over 1,000 names takes some 200 KB


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="The image that was signed.", show_default=False)],
    signature: Annotated[
        str,
        typer.Option(
            "--signature", metavar="FILE", help="The signature: its bytes (ECDSA: DER), or base64.", show_default=False
        ),
    ],
    payload: Annotated[
        str,
        typer.Option("--payload", metavar="FILE", help="What 'sign --export-payload' wrote.", show_default=False),
    ],
    key: Annotated[
        str,
        typer.Option("--key", "-k", metavar="KEY.pub", help="The public key of the signer.", show_default=False),
    ],
    output: Output = "text",
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Attach a signature that was made elsewhere: by an air-gapped HSM, in a ceremony.

    First: imgsign sign REF -k KEY.pub --export-payload FILE. Then sign the bytes of FILE with the private
    key, for P-256 for example: openssl dgst -sha256 -sign KEY -out SIGNATURE FILE. Then attach.

    The signature is verified against the key and the image before anything is stored, and read back after.
    """
    from imgsign.cli import render
    from imgsign.formats import FORMATS
    from imgsign.load import load_public_key, read_file
    from imgsign.signing import attach

    as_json = check_output(output)
    public = load_public_key(key, environ=os.environ, base=None)
    made = _signature(read_file(Path(signature), limit=_FILE_LIMIT), signature)
    message = read_file(Path(payload), limit=_PAYLOAD_LIMIT)
    target = parse_target(ref, registries(insecure_http, timeout, trusted_realm, ca=ca), identity)
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        result = attach(target, message, made, public, pool=pool)
    if as_json:
        print(render.document([render.signed_json(result, dry_run=False)]))
    else:
        print(render.signed_text(result, FORMATS[result.format].label, dry_run=False))
    return 0


def _signature(raw: bytes, name: str) -> bytes:
    """Return the signature's bytes; a file of base64 text is decoded."""
    if not raw:
        raise UsageError(f"{quote(name)} is empty")
    if not raw.strip().isascii() or not raw.strip().decode("ascii", "replace").isprintable():
        return raw
    try:
        return b64decode(raw.strip().decode("ascii"))
    except Malformed:
        return raw
