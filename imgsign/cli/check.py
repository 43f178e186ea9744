"""``imgsign check``."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import DENIED, OK, UNDECIDED
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    InsecureHttp,
    Mirror,
    PolicyFile,
    PublicKeys,
    SignedName,
    Timeout,
    TrustedRealm,
    choose_policy,
    registries,
)
from imgsign.errors import DestinationError, Malformed, UsageError
from imgsign.wire import printable, quote

if TYPE_CHECKING:
    from imgsign.checking import Report
    from imgsign.cli.outputs import Show
    from imgsign.pinning import Pinned
    from imgsign.scanning import File, Options
    from imgsign.trust import TrustStore

THREADS = 8  # images asked about at once; as in ``verify``
KINDS = "kubernetes|kustomization|compose|dockerfile"


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…", help="Manifests, kustomizations, compose files, Dockerfiles; '-' is standard input."
        ),
    ],
    policy: PolicyFile = None,
    key: PublicKeys = None,
    name: SignedName = "exact",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="text|json|sarif|github|junit",
            help="Form of the report on standard output; github: annotations, and the job summary.",
        ),
    ] = "text",
    kind: Annotated[
        str | None,
        typer.Option("--as", metavar=KINDS, help="Read all files as this kind.", show_default=False),
    ] = None,
    stdin_name: Annotated[
        str | None,
        typer.Option("--stdin-name", metavar="FILE", help="What to call standard input.", show_default=False),
    ] = None,
    image_path: Annotated[
        list[str] | None,
        typer.Option(
            "--image-path",
            metavar="KIND=PATH",
            help="Where images are in a kind of object that is not known: Foo=spec.parts[].image; KIND may be "
            "Foo.example.com. Repeatable.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A key 'image' in an object of an unknown kind is an error.")
    ] = False,
    build_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--build-arg",
            metavar="NAME=VALUE",
            help="For Dockerfiles, as docker build takes it. Repeatable.",
            show_default=False,
        ),
    ] = None,
    build_context: Annotated[
        list[str] | None,
        typer.Option(
            "--build-context",
            metavar="NAME=VALUE",
            help="For Dockerfiles, as docker buildx build takes it. Repeatable.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="STAGE", help="For Dockerfiles: only what this stage needs.", show_default=False
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="A variable of compose files, over .env; NAME alone: with its value here. No other is used. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        typer.Option(
            "--env-file", metavar="FILE", help="For compose files, in place of .env. Repeatable.", show_default=False
        ),
    ] = None,
    pin: Annotated[
        bool,
        typer.Option("--pin", help="Write the judged digests into the files; of standard input, print the result."),
    ] = False,
    dry: Annotated[
        bool, typer.Option("--check", help="With --pin: print what would change; exit code 1 if anything would.")
    ] = False,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Judge every image that files name, before they are deployed or built.

    Each image is told with its file, line and column. What hides an image (a variable without value, a template
    that was not rendered) is an error, never a pass. Directories are not searched: name the files.

    Exit code: 0 all allowed, 1 one or more denied, 3 some could not be decided or read.
    """
    from imgsign import checking, scanning
    from imgsign.cli.outputs import output_named

    show = output_named(output)
    if dry and not pin:
        raise UsageError("--check goes with --pin")
    if "-" in files and stdin_name is None and output == "sarif":
        raise UsageError(f"--output {output} needs a file for each result", hint="name it with --stdin-name")
    if pin and "-" in files and (len(set(files)) > 1 or output != "text"):
        raise UsageError("with --pin, '-' stands alone: its pinned text is what is printed")
    options = replace(
        _options(kind, image_path, strict),
        arguments=_pairs("--build-arg", build_arg, inherit=True),
        contexts=_pairs("--build-context", build_context),
        target=target,
        variables=_pairs("--env", env, inherit=True),
        env_files=None if env_file is None else tuple(env_file),
    )
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    chosen, trust = choose_policy(policy, key, name)
    stdin = _read_stdin() if "-" in files else None
    read = scanning.read(files, options, stdin=stdin, stdin_name=stdin_name or "-")
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        report = checking.judge(read, chosen, trust, locate=locate, now=datetime.now(UTC), pool=pool)
    return _finish(report, trust, show, pin=pin, dry=dry)


def _finish(report: Report, trust: TrustStore, show: Show, *, pin: bool, dry: bool) -> int:
    """Print the report, pin, and find the exit code."""
    from imgsign.cli.findings import findings, line_safe, shown_name

    rows = findings(report, trust)
    verdicts = {r.verdict for r in rows}
    code = DENIED if "denied" in verdicts else UNDECIDED if verdicts - {"allowed"} else OK
    filtering = pin and (dry or any(f.path is None for f in report.files))
    print(show(rows, report, code), file=sys.stderr if filtering else sys.stdout)
    for file, note in report.notes:
        print(f"note: {shown_name(file.name)}: {line_safe(printable(note))}", file=sys.stderr)
    return max(code, _pin(report, dry=dry), key=_SEVERITY.index) if pin else code


_SEVERITY = (OK, UNDECIDED, DENIED)
"""A conclusive denial outweighs doubt."""


def _pin(report: Report, *, dry: bool) -> int:
    """Write or show the pinned files; 1 if --check finds a change, 3 if something is not pinned."""
    from imgsign import pinning

    codes = [OK]
    named = {f.name for f in report.files if f.given}
    for file in (f for f in report.files if not f.given and any("@" not in i.text for i in f.scan.found)):
        if file.inline:
            print(f"not pinned {_name(file)}: the images in dockerfile_inline", file=sys.stderr)
            codes.append(UNDECIDED)
        elif file.name not in named:
            print(f"note: {_name(file)} is not pinned: only files that are named are", file=sys.stderr)
    for planned in pinning.plan(report):
        try:
            if planned.error is not None:
                raise planned.error
            if dry:
                codes.append(_show_change(planned))
            elif planned.file.path is None:
                sys.stdout.flush()
                sys.stdout.buffer.write(planned.text.encode() if planned.text is not None else planned.file.raw)
            elif planned.text is not None:
                pinning.write(planned)
                images = f"{planned.count} image{'s' if planned.count != 1 else ''}"
                print(f"pinned {images} in {_name(planned.file)}", file=sys.stderr)
        except (UsageError, DestinationError) as e:
            print(f"not pinned {_name(planned.file)}: {printable(e.message)}", file=sys.stderr)
            if e.hint is not None:
                print(f"hint: {printable(e.hint)}", file=sys.stderr)
            codes.append(UNDECIDED)
        for found in planned.left:
            where = f"{_name(planned.file)}:{found.spot.line}:{found.spot.column}"
            reason = printable(found.unpinnable or "it cannot be replaced in place")
            print(f"not pinned {where}: {printable(found.text)}: {reason}", file=sys.stderr)
            codes.append(UNDECIDED)
    return max(codes, key=_SEVERITY.index)


def _show_change(planned: Pinned) -> int:
    """Print the changed lines of a file as a unified diff."""
    from imgsign.cli.findings import line_safe

    if planned.text is None:
        return OK
    name = _name(planned.file)
    before, after = planned.file.text.split("\n"), planned.text.split("\n")
    # NOTE: no lines of context: they begin with a blank, and GitHub's runner looks for commands behind blanks.
    for line in difflib.unified_diff(before, after, name, name, n=0, lineterm=""):
        print(line_safe(printable(line.removesuffix("\r"), limit=16 * 1024)))
    return DENIED


def _name(file: File) -> str:
    from imgsign.cli.findings import shown_name

    return shown_name(file.name)


def _pairs(option: str, texts: Sequence[str] | None, *, inherit: bool = False) -> dict[str, str]:
    """Read NAME=VALUE; with ``inherit``, NAME alone takes its value from the environment, as docker does."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals and inherit and name in os.environ:
            value = os.environ[name]
        elif not equals or not name:
            raise UsageError(f"{option}: not NAME=VALUE: {quote(text)}")
        found[name] = value
    return found


def _options(kind: str | None, image_path: Sequence[str] | None, strict: bool) -> Options:
    """Parse what is said about files."""
    from imgsign.images.kinds import FileKind
    from imgsign.images.paths import parse_pattern
    from imgsign.scanning import Options

    patterns: dict[str, list[str]] = {}
    for text in image_path or ():
        of, equals, pattern = text.partition("=")
        if not of or not equals:
            raise UsageError(f"not KIND=PATH: {quote(text)}", hint="--image-path 'Foo=spec.parts[].image'")
        try:
            parse_pattern(pattern)
        except Malformed as e:
            raise UsageError(f"--image-path: {e.message}", hint=e.hint) from e
        patterns.setdefault(of, []).append(pattern)
    try:
        chosen = None if kind is None else FileKind(kind)
    except ValueError as e:
        raise UsageError(f"unknown kind of file {quote(kind or '')}", hint=f"use one of {KINDS}") from e
    return Options(kind=chosen, image_paths=patterns, strict=strict)


def _read_stdin() -> bytes:
    """Read all of standard input, within the limit of files."""
    from imgsign.images.yamltext import TEXT_LIMIT

    try:
        raw = sys.stdin.buffer.read(TEXT_LIMIT + 1)
    except OSError as e:
        raise DestinationError(f"cannot read standard input: {(e.strerror or 'failed').lower()}") from e
    if len(raw) > TEXT_LIMIT:
        raise DestinationError(f"standard input is longer than {TEXT_LIMIT} bytes")
    return raw
