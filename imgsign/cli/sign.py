"""``imgsign sign``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli.options import (
    TIMEOUT,
    Annotations,
    CertificateAuthority,
    Expires,
    Identity,
    InsecureHttp,
    Quiet,
    References,
    SequenceNumber,
    SigningKey,
    Timeout,
    TrustedRealm,
    read_targets,
    registries,
)
from imgsign.errors import AuthenticationFailed, Malformed, NotFound, Unavailable, UsageError
from imgsign.wire import load_json, parse_duration, quote

if TYPE_CHECKING:
    from imgsign.errors import RegistryError
    from imgsign.pending import PendingFiles
    from imgsign.reference import Digest, Reference
    from imgsign.resolve import Target
    from imgsign.signing import Signed, SignOptions
    from imgsign.wire import Node

SignOutput = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="text|json|github",
        envvar="IMGSIGN_OUTPUT",
        help="Form of the result on standard output. github: text, and the outputs and summary of the job's step.",
    ),
]
THREADS = 8
_DIGEST_FILE_LIMIT = 1024 * 1024  # bytes; buildx metadata with provenance takes some 10 KiB
_BUILDX_DIGEST = "containerimage.digest"
_PUSHED = re.compile(r"^[^\n:]{1,256}: digest: (sha256:[0-9a-f]{64}) size: [0-9]{1,12}\r?$", re.MULTILINE)
"""The last line of ``docker push``."""


def command(
    refs: References,
    key: SigningKey,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="bundle|simple",
            envvar="IMGSIGN_FORMAT",
            help="bundle: Sigstore bundle as OCI referrer, read by cosign 3 (default). simple: cosign's .sig tag, "
            "read by cosign, skopeo, podman. Repeatable.",
            show_default=False,
        ),
    ] = None,
    annotation: Annotations = None,
    expires: Expires = None,
    sequence: SequenceNumber = None,
    expect_digest: Annotated[
        str | None,
        typer.Option(
            "--expect-digest",
            metavar="DIGEST",
            envvar="IMGSIGN_EXPECT_DIGEST",
            help="Refuse if the tag is anything else.",
            show_default=False,
        ),
    ] = None,
    digest_file: Annotated[
        str | None,
        typer.Option(
            "--digest-file",
            metavar="FILE",
            envvar="IMGSIGN_DIGEST_FILE",
            help="Like --expect-digest, read from a file: a plain digest, buildx --metadata-file, or what docker push "
            "printed.",
            show_default=False,
        ),
    ] = None,
    index_only: Annotated[
        bool, typer.Option("--index-only", help="Sign an index without its platforms.", show_default=False)
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Add a signature even where a valid one stands.", show_default=False),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be signed; sign and store nothing.", show_default=False),
    ] = False,
    export_payload: Annotated[
        str | None,
        typer.Option(
            "--export-payload",
            metavar="FILE",
            help="Do not sign: write what is to be signed elsewhere, for 'imgsign attach'. KEY is the public key then.",
            show_default=False,
        ),
    ] = None,
    output: SignOutput = "text",
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
    """Sign images and attach the signatures beside them.

    The manifest's digest is computed from the bytes received, and the names are signed with it. Several
    references of one digest share one bundle. An index is signed with all its platforms. What a valid
    signature of this key covers already is left alone. Nothing is reported before it has been read back
    and verified.

    The key's password comes from --password-stdin, IMGSIGN_PASSWORD, or a prompt on a terminal.
    """
    from imgsign.cli import password
    from imgsign.signers import load_signer
    from imgsign.signing import SignOptions, sign

    if output not in ("text", "json", "github"):
        raise UsageError(f"unknown output {quote(output)}", hint="use text, json or github")
    targets = read_targets(refs, registries(insecure_http, timeout, trusted_realm, ca=ca), identity)
    options = SignOptions(
        formats=tuple(dict.fromkeys(format or ("bundle",))),
        annotations=parse_annotations(annotation or []),
        lifetime=parse_lifetime(expires),
        sequence=sequence,
        expect=expected_digest(expect_digest, digest_file),
        index_only=index_only,
        force=force,
        dry_run=dry_run,
    )
    if export_payload is not None:
        return _export(targets, key, options, Path(export_payload), _typed(refs, identity))
    signer = load_signer(key, environ=os.environ, password=password.asker(from_stdin=password_stdin))
    try:
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            results = sign(
                targets,
                signer,
                options,
                now=datetime.now(UTC),
                pool=pool,
                pending=pending_files(),
            )
    except (NotFound, AuthenticationFailed, Unavailable) as e:
        hint_from_engine(targets, refs, e)
        raise
    show_signed(results, options, output, quiet=quiet)
    return 0


def _export(targets: list[Target], key: str, options: SignOptions, file: Path, typed: str) -> int:
    from imgsign.load import load_public_key
    from imgsign.signers.disk import NewFile, write_files
    from imgsign.signing import export

    if len(targets) != 1:
        raise UsageError("--export-payload takes one image")
    public = load_public_key(key, environ=os.environ, base=None)
    message = export(targets[0], public, options, now=datetime.now(UTC))
    write_files(NewFile(file, message, 0o644), force=options.force)
    scheme = public.scheme.simple if options.formats == ("simple",) else public.scheme.bundle
    print(f"payload  {file}  ({len(message)} bytes, to sign with {public.scheme.title}, {scheme})")
    print(f"key      {public.fingerprint}")
    print(f"next     imgsign attach {typed} --payload {file} --signature SIGNATURE -k {key}")
    return 0


def _typed(refs: Sequence[str], identity: str | None) -> str:
    return refs[0] if identity is None else f"{refs[0]} --identity {identity}"


def parse_lifetime(expires: str | None) -> timedelta | None:
    if expires is None:
        return None
    try:
        return parse_duration(expires)
    except Malformed as e:
        raise UsageError(f"--expires: {e.message}", hint=e.hint) from e


def parse_annotations(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"not an annotation: {quote(pair)}", hint="write it as -a key=value")
        if name in found:
            raise UsageError(f"annotation {quote(name)} is given twice")
        found[name] = value
    return found


def expected_digest(digest: str | None, file: str | None) -> Digest | None:
    """Read ``--expect-digest`` or ``--digest-file``; both must agree if both are given."""
    from imgsign.load import read_file
    from imgsign.reference import Digest

    given = None if digest is None else Digest.parse(digest)
    if file is None:
        return given
    found = parse_digest_file(read_file(Path(file), limit=_DIGEST_FILE_LIMIT), file)
    if given is not None and given != found:
        raise UsageError(f"--expect-digest is {given}, but {quote(file)} says {found}")
    return found


def parse_digest_file(raw: bytes, name: str) -> Digest:
    """Read a plain digest, ``containerimage.digest`` of buildx's ``--metadata-file`` JSON, or docker push's output.

    buildx bake writes one such object for each target: all must name one digest, as must all lines of docker push.

    Raises:
        UsageError: it holds none, or several.
    """
    from imgsign.reference import Digest

    try:
        if raw.lstrip()[:1] == b"{":
            found = {Digest.parse(text) for text in _metadata_digests(load_json(raw, limit=_DIGEST_FILE_LIMIT))}
        else:
            text = raw.decode("utf-8").strip()
            pushed = _PUSHED.findall(text)
            found = {Digest.parse(t) for t in pushed} if pushed else {Digest.parse(text)}
    except (Malformed, UnicodeDecodeError) as e:
        raise UsageError(f"{quote(name)} holds no digest: {e}", hint="write sha256:… to it, or buildx metadata") from e
    if not found:
        raise UsageError(
            f"{quote(name)} has no key 'containerimage.digest'", hint="push with buildx: --push --metadata-file"
        )
    if len(found) > 1:
        raise UsageError(f"{quote(name)} holds {len(found)} digests", hint="give the one to sign: --expect-digest")
    return found.pop()


def _metadata_digests(metadata: Node) -> list[str]:
    """Every ``containerimage.digest`` of buildx's metadata, or of bake's, which has a level more."""
    members = metadata.entries()
    if _BUILDX_DIGEST in members:
        return [members[_BUILDX_DIGEST].text()]
    targets = [m.entries() for m in members.values() if isinstance(m.value, dict)]
    return [t[_BUILDX_DIGEST].text() for t in targets if _BUILDX_DIGEST in t]


def hint_from_engine(targets: list[Target], typed: Sequence[str], error: RegistryError) -> None:
    """Where a name without registry was not found: say what the local engine knows of it."""
    from imgsign.stores.engine import inspect

    for target, text in zip(targets, typed, strict=False):
        if target.name is None or text.startswith(target.name.repository.registry):
            continue
        known = inspect(text, os.environ)
        if known is None:
            error.hint = f"{text} is read as {target.name}; if that is not meant, name the registry: HOST/{text}"
        elif known.pushed:
            error.hint = (
                f"the local engine pushed or pulled it as: imgsign sign {_named_like(target.name, known.pushed)}"
            )
        else:
            error.hint = f"{text} is only in the local engine: docker tag and docker push it to a registry first"
        return


def _named_like(asked: Reference, pushed: tuple[Reference, ...]) -> Reference:
    """The digested reference of the asked repository if it is among them, with the asked tag."""
    from imgsign.reference import Reference

    best = next((p for p in pushed if p.repository == asked.repository), pushed[0])
    return Reference(repository=best.repository, tag=asked.tag, digest=best.digest)


def pending_files() -> PendingFiles | None:
    from imgsign.pending import PendingFiles

    home = os.environ.get("XDG_STATE_HOME") or (
        os.path.join(os.environ["HOME"], ".local", "state") if os.environ.get("HOME") else None
    )
    return None if home is None else PendingFiles(Path(home) / "imgsign" / "pending")


def show_signed(results: tuple[Signed, ...], options: SignOptions, output: str, *, quiet: bool) -> None:
    """Print what stands now, in one of the forms of ``--output``."""
    from imgsign.cli import render
    from imgsign.formats import FORMATS

    if output == "github":
        from imgsign.cli.job import fill_job

        fill_job(results, os.environ)
    if output == "json":
        print(render.document(render.signed_json(r, dry_run=options.dry_run) for r in results))
        return
    if quiet:
        # Of an index only the index itself is what people deploy.
        print("\n".join(dict.fromkeys(f"{r.reference.repository}@{r.digest}" for r in results if r.platform is None)))
        return
    for result in results:
        print(render.signed_text(result, FORMATS[result.format].label, dry_run=options.dry_run))
    note = results[0].key.scheme.note
    if note is not None and any(r.format == "bundle" for r in results):
        print(f"note: {note}", file=sys.stderr)
