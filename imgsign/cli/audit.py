"""``imgsign audit``, ``imgsign audit merge`` and ``imgsign audit manifests``."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from typer.core import TyperGroup

from imgsign.cli import DENIED, OK, UNDECIDED
from imgsign.cli.options import (
    CertificateAuthority,
    InsecureHttp,
    Mirror,
    PolicyFile,
    PublicKeys,
    SignedName,
    TrustedRealm,
    choose_policy,
    parse_reference,
    registries,
)
from imgsign.errors import DestinationError, Malformed, UsageError
from imgsign.wire import parse_duration, quote

if TYPE_CHECKING:
    from imgsign.cli.progress import Tally
    from imgsign.fleet.audit import Judge, Log
    from imgsign.fleet.rows import Counts, Row
    from imgsign.fleet.targets import Shard, Wanted
    from imgsign.stores.locate import Registries

THREADS = 8  # images under way at once, as in ``imgsign verify``
TIMEOUT = "24h"  # an audit of a large registry that is told to wait does

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")

Soon = Annotated[
    str, typer.Option("--soon", metavar="DURATION", help="Say which images will no longer be allowed after this long.")
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write a report: one page that needs nothing else.", show_default=False
    ),
]


class _Group(TyperGroup):
    """``audit TARGET…`` is ``audit images TARGET…``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: click's Context, or typer's own copy of it
        if not args or args[0] not in self.commands:
            args = ["images", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(cls=_Group, help="Judge all images of a list, a registry, a cluster, and report.")


@app.command()
def images(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="registry/repo:tag or @sha256:…; registry/repo: all its tags; registry/ns/ and registry/: all "
            "repositories below, where the registry lists them; docker: the local engine; -: a list, or the output "
            "of 'kubectl get pods -A -o json'.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", metavar="FILE", help="A list, or such output, in a file. Repeatable.", show_default=False
        ),
    ] = None,
    policy: PolicyFile = None,
    key: PublicKeys = None,
    name: SignedName = "exact",
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="text|jsonl", help="On standard output: what is not allowed, or all."),
    ] = "text",
    jsonl: Annotated[
        Path | None,
        typer.Option(
            "--jsonl", metavar="FILE", help="Write one JSON object an image to a new file.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            show_default=False,
            help="The same, and go on with a file that was begun: what it has is not asked again.",
        ),
    ] = None,
    html: Html = None,
    soon: Soon = "30d",
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Only part I (from 0) of N, by a hash of the reference.", show_default=False
        ),
    ] = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="DURATION", help="Give up on registries after this long in all: 30m, 24h."),
    ] = TIMEOUT,
) -> int:
    """Judge many images and say how they stand: which are signed, by whom, until when.

    'imgsign audit merge' joins the parts of shards; 'imgsign audit manifests' prints a Kubernetes job of them.
    A registry that asks to wait is waited for. After a kill, --resume FILE ends in the same report.

    Exit code: 0 all allowed, 1 one or more denied, 3 some could not be decided.
    """
    from imgsign.fleet.audit import Judge, counter, header_of, open_log
    from imgsign.fleet.targets import Shard

    if output not in ("text", "jsonl"):
        raise UsageError(f"unknown output {quote(output)}", hint="use text or jsonl")
    if jsonl is not None and resume is not None:
        raise UsageError("--jsonl and --resume exclude each other", hint="--resume begins the file if it is not there")
    if not targets and not file:
        raise UsageError("no target was given", hint="registry/repo, registry.example.com/, docker: or -")
    part = None if shard is None else Shard.parse(shard)
    span = _soon(soon)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca, patient=True)
    chosen, trust = choose_policy(policy, key, name)
    named = [*(targets or ()), *(f"--file {f}" for f in file or ())]
    header = header_of(chosen, trust, now=datetime.now(UTC), targets=named, shard=None if part is None else str(part))
    with ExitStack() as stack:
        path = jsonl or resume or _temporary(stack)
        log, counts = stack.enter_context(open_log(path, header, counter(span), resume=resume is not None))
        judge = Judge(chosen, trust, locate, log.header.at)
        if not log.complete:
            run = _Run(log, counts, as_jsonl=output == "jsonl")
            run.all(list(targets or ()), list(file or ()), locate, part, judge)
        elif output == "jsonl":
            sys.stdout.write(path.read_text("utf-8"))
        print(counts.text(), file=sys.stderr if output == "jsonl" else sys.stdout)
        if html is not None:
            _write_report(path, html, span)
    return _exit_code(counts)


class _Run:
    """One audit on its way from targets to lines."""

    def __init__(self, log: Log, counts: Counts, *, as_jsonl: bool) -> None:
        self._log = log
        self._counts = counts
        self._as_jsonl = as_jsonl

    def all(self, targets: list[str], files: list[Path], locate: Registries, part: Shard | None, judge: Judge) -> None:
        """Find out what there is, then judge what no row stands for yet."""
        from imgsign.cli.progress import Tally
        from imgsign.fleet.audit import run

        if self._as_jsonl:
            self._print(self._log.header.line())
        with ThreadPoolExecutor(max_workers=THREADS) as pool, Tally("auditing", "images") as tally:
            wanted = _wanted(targets, files, locate, pool)
            try:
                run(
                    wanted, self._log, self._counts, judge, pool, shard=part, expect=tally.expect,
                    seen=lambda row, line: self._show(row, line, tally),
                )  # fmt: skip
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if self._as_jsonl:
            self._print(self._counts.end_line())

    def _show(self, row: Row, line: bytes, tally: Tally) -> None:
        from imgsign.fleet.audit import describe, lapse_text
        from imgsign.fleet.rows import lapses

        text = None
        if row.verdict != "allowed":
            text = describe(row)
        elif lapses(row, self._counts.at, self._counts.soon):
            text = lapse_text(row)
        if self._as_jsonl:
            self._print(line)
        elif text is not None:
            tally.clear()
            print(text, flush=True)
        denied = self._counts.verdicts["denied"]
        tally.count(f"{denied} denied" if denied else "")

    @staticmethod
    def _print(line: bytes) -> None:
        sys.stdout.write(line.decode())
        sys.stdout.flush()


def _wanted(targets: list[str], files: list[Path], locate: Registries, pool: ThreadPoolExecutor) -> Iterator[Wanted]:
    from imgsign.fleet.targets import Sources
    from imgsign.stores.engine import Engine

    sources = Sources(
        locate,
        pool,
        parse=parse_reference,
        stdin=lambda: sys.stdin,
        engine=lambda: Engine.from_environ(os.environ),
    )
    for target in targets:
        yield from sources.expand(target)
    for path in files:
        try:
            with path.open(encoding="utf-8") as file:
                yield from sources.read(file, quote(str(path)))
        except (OSError, UnicodeDecodeError) as e:
            raise DestinationError(
                f"cannot read {quote(str(path))}: {getattr(e, 'strerror', None) or 'not UTF-8'}"
            ) from e


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="FILE", help="The files of all shards.", show_default=False)],
    jsonl: Annotated[
        Path | None,
        typer.Option("--jsonl", metavar="FILE", help="Write the joined audit to a new file.", show_default=False),
    ] = None,
    html: Html = None,
    soon: Soon = "30d",
) -> int:
    """Join the parts of one audit: all shards, complete, of one policy and the same targets.

    Without --jsonl and --html the joined lines go to standard output. Exit code as of the whole audit.
    """
    from imgsign.fleet.merge import merge as join

    span = _soon(soon)
    with ExitStack() as stack:
        path = jsonl or _temporary(stack)
        with _new_file(path) as out:
            counts = join(parts, out, span)
        if jsonl is None and html is None:
            sys.stdout.write(path.read_text("utf-8"))
        print(counts.text(), file=sys.stderr)
        if html is not None:
            _write_report(path, html, span)
    return _exit_code(counts)


@app.command()
def manifests(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET", help="As of 'imgsign audit'.", show_default=False)],
    shards: Annotated[int, typer.Option("--shards", min=1, max=1000, help="How many pods share the work.")] = 4,
    image: Annotated[
        str,
        typer.Option("--image", metavar="REF", help="An image with imgsign in it, best by digest.", show_default=False),
    ] = "registry.example.com/imgsign:latest",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="Where the job runs.")
    ] = "imgsign",
) -> int:
    """Print a Kubernetes Indexed Job that spreads an audit over pods, for kubectl apply -f -."""
    from imgsign.fleet.job import manifests as write

    if _LABEL.fullmatch(namespace) is None:
        raise UsageError(f"not a namespace: {quote(namespace)}")
    parse_reference(image)
    for target in targets:
        if target in ("-", "docker:"):
            raise UsageError(f"{quote(target)} is nothing that pods can read", hint="name registries or repositories")
    print(write(targets, shards=shards, image=image, namespace=namespace), end="")
    return OK


def _temporary(stack: ExitStack) -> Path:
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="imgsign-audit-"))
    return Path(directory) / "audit.jsonl"


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("xb") as file:
            yield file
    except FileExistsError as e:
        raise UsageError(f"{quote(str(path))} is there already", hint="name a new file") from e
    except OSError as e:
        raise DestinationError(f"cannot write {quote(str(path))}: {(e.strerror or str(e)).lower()}") from e


def _write_report(path: Path, html: Path, soon: timedelta) -> None:
    from imgsign.fleet.report import write_report

    write_report(path, html, soon)
    print(f"report  {html}", file=sys.stderr)


def _soon(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except Malformed as e:
        raise UsageError(f"--soon: {e.message}", hint=e.hint) from e


def _exit_code(counts: Counts) -> int:
    if counts.verdicts["denied"]:
        return DENIED
    return UNDECIDED if counts.images > counts.verdicts["allowed"] else OK
