"""``imgsign attest``."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from imgsign.cli.options import (
    TIMEOUT,
    Annotations,
    CertificateAuthority,
    Expires,
    Identity,
    InsecureHttp,
    Output,
    Quiet,
    References,
    SequenceNumber,
    SigningKey,
    Timeout,
    TrustedRealm,
    check_output,
    read_targets,
    registries,
)
from imgsign.cli.sign import (
    THREADS,
    expected_digest,
    hint_from_engine,
    parse_annotations,
    parse_lifetime,
    pending_files,
    show_signed,
)
from imgsign.errors import AuthenticationFailed, Malformed, NotFound, TooLarge, Unavailable, UsageError


def command(
    refs: References,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="slsa-provenance, slsa-provenance-0.2, spdx, cyclonedx, vuln, openvex, or a URI.",
            show_default=False,
        ),
    ],
    predicate: Annotated[
        str,
        typer.Option(
            "--predicate",
            metavar="FILE",
            help="What is attested, as JSON; '-' is standard input. Its bytes are signed as they are.",
            show_default=False,
        ),
    ],
    key: SigningKey,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="bundle|dsse",
            help="bundle: Sigstore bundle as OCI referrer, read by cosign 3 (default). dsse: cosign's .att tag, "
            "read by cosign and policy-controller. Repeatable.",
            show_default=False,
        ),
    ] = None,
    annotation: Annotations = None,
    expires: Expires = None,
    sequence: SequenceNumber = None,
    expect_digest: Annotated[
        str | None,
        typer.Option(
            "--expect-digest", metavar="DIGEST", help="Refuse if the tag is anything else.", show_default=False
        ),
    ] = None,
    digest_file: Annotated[
        str | None,
        typer.Option(
            "--digest-file",
            metavar="FILE",
            help="Like --expect-digest, read from a file: a plain digest or buildx --metadata-file.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Add an attestation even where the same stands.", show_default=False),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be attested; sign and store nothing.", show_default=False),
    ] = False,
    output: Output = "text",
    quiet: Quiet = False,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the key's password from standard input.", show_default=False),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accepted for cosign's sake; nothing ever asks.", hidden=True)
    ] = False,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Attest something about images: how they were built, what is in them, what a scan found.

    The statement names the image's digest and the names it is referred to by, and is signed, stored and
    read back like a signature. An attestation is never a signature, nor the other way round: a policy asks
    for it with 'attested'. An index is attested alone; name a platform by its digest to attest that.
    """
    from imgsign.attesting import attest
    from imgsign.cli import password
    from imgsign.predicates import predicate_uri
    from imgsign.signers import load_signer
    from imgsign.signing import SignOptions

    check_output(output)
    try:
        uri = predicate_uri(kind)
    except Malformed as e:
        raise UsageError(f"--type: {e.message}", hint=e.hint) from e
    if predicate == "-" and password_stdin:
        raise UsageError("standard input cannot be both the predicate and the password")
    targets = read_targets(refs, registries(insecure_http, timeout, trusted_realm, ca=ca), identity)
    options = SignOptions(
        formats=tuple(dict.fromkeys(format or ("bundle",))),
        annotations=parse_annotations(annotation or []),
        lifetime=parse_lifetime(expires),
        sequence=sequence,
        expect=expected_digest(expect_digest, digest_file),
        force=force,
        dry_run=dry_run,
    )
    raw = _read(predicate)
    signer = load_signer(key, environ=os.environ, password=password.asker(from_stdin=password_stdin))
    try:
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            results = attest(
                targets, signer, uri, raw, options, now=datetime.now(UTC), pool=pool, pending=pending_files()
            )
    except (NotFound, AuthenticationFailed, Unavailable) as e:
        hint_from_engine(targets, refs, e)
        raise
    show_signed(results, options, output, quiet=quiet)
    return 0


def _read(file: str) -> bytes:
    from imgsign.load import read_file
    from imgsign.predicates import PREDICATE_LIMIT

    if file != "-":
        return read_file(Path(file), limit=PREDICATE_LIMIT)
    raw = sys.stdin.buffer.read(PREDICATE_LIMIT + 1)
    if len(raw) > PREDICATE_LIMIT:
        raise TooLarge(f"standard input is over the limit of {PREDICATE_LIMIT} bytes")
    return raw
