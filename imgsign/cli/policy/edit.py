"""``imgsign policy add-key``, ``retire-key`` and ``advance``: a policy file is edited, and the effect shown."""

from __future__ import annotations

import difflib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import OK
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    Mirror,
    Timeout,
    TrustedRealm,
    parse_target,
    registries,
)
from imgsign.errors import DestinationError, Malformed, UsageError
from imgsign.wire import parse_time, printable, quote

if TYPE_CHECKING:
    from imgsign.editing import Edited, Text

File = Annotated[str, typer.Argument(metavar="POLICY", help="A policy in TOML.", show_default=False)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the change as a diff and write nothing.", show_default=False)
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="LIST",
        help="Also show which of these images change their verdict: references and directories of saved evidence, one "
        "a line; '-' is standard input.",
        show_default=False,
    ),
]


def add_key(
    file: File,
    key: Annotated[str, typer.Argument(metavar="KEY.pub", help="A public key.", show_default=False)],
    anchor: Annotated[str, typer.Option("--anchor", metavar="NAME", help="Who it stands for.", show_default=False)],
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help="Trusted from then on.", show_default=False)
    ] = None,
    not_after: Annotated[
        str | None, typer.Option("--not-after", metavar="TIME", help="Trusted until then.", show_default=False)
    ] = None,
    against: Against = None,
    dry_run: DryRun = False,
) -> int:
    """Add a key to an anchor; its text goes into the policy."""
    from imgsign.editing import add_key as edit
    from imgsign.load import load_public_key

    public = load_public_key(key, environ=os.environ, base=None)
    text = _read(file)
    start, end = _time("--not-before", not_before), _time("--not-after", not_after)
    return _finish(text, edit(text, public, anchor, not_before=start, not_after=end), against, dry_run=dry_run)


def retire_key(
    file: File,
    key: Annotated[
        str, typer.Argument(metavar="FINGERPRINT|KEY.pub", help="SHA256:… or a public key.", show_default=False)
    ],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Trusted until then. Default: now.", show_default=False),
    ] = None,
    compromised: Annotated[
        bool,
        typer.Option(
            "--compromised", help="Somebody else may have it: take it out of every anchor.", show_default=False
        ),
    ] = False,
    against: Against = None,
    dry_run: DryRun = False,
) -> int:
    """End the trust in a key, in every anchor that has it.

    From that time on nothing it ever signed counts: with --against, the images that are denied then are those to
    sign again before.
    """
    from imgsign.editing import retire_key as edit
    from imgsign.load import load_public_key

    if compromised and at is not None:
        raise UsageError("--compromised and --at exclude each other: what a thief signs has any time")
    wanted = key if key.startswith("SHA256:") else load_public_key(key, environ=os.environ, base=None).fingerprint
    end = None if compromised else _time("--at", at) or datetime.now(UTC).replace(microsecond=0)
    text = _read(file)
    return _finish(text, edit(text, wanted, at=end), against, dry_run=dry_run, at=end)


def advance(
    file: File,
    ref: Annotated[str, typer.Argument(metavar="REF", help="An image that is allowed now.", show_default=False)],
    by_time: Annotated[
        bool, typer.Option("--time", help="Write signed-after even if there are sequences.", show_default=False)
    ] = False,
    against: Against = None,
    dry_run: DryRun = False,
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Refuse from now on what is older than this image: raises min-sequence, or signed-after, of its scope.

    All images of the scope have to be as new: look with --against.
    """
    from imgsign.editing import advance as edit
    from imgsign.load import load_policy_text
    from imgsign.workflow import check_allowed, gather_all, judge_evidence

    text = _read(file)
    policy, trust = load_policy_text(text.raw, text.path, environ=os.environ)
    locate = registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    target = parse_target(ref, locate, identity)
    rule = policy.rule_for(None if target.name is None else target.name.repository)
    if rule.scope is None:
        raise UsageError("no scope of the policy covers it, so there is nothing to raise")
    now = datetime.now(UTC)
    manifest, evidence = gather_all(target)
    decision = judge_evidence(target, manifest, evidence, policy, trust, now=now)
    check_allowed(decision)
    edited = edit(text, decision, rule, by_time=by_time)
    # Whatever was raised, the image it was raised to must pass.
    check_allowed(judge_evidence(target, manifest, evidence, *edited.new, now=now))
    return _finish(text, edited, against, dry_run=dry_run)


def _read(file: str) -> Text:
    from imgsign.editing import Text
    from imgsign.load import read_file
    from imgsign.policy.parse import POLICY_LIMIT

    path = Path(file).resolve()  # what a link names is edited, not the link replaced
    return Text(raw=read_file(path, POLICY_LIMIT), path=path, environ=os.environ)


def _time(option: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_time(text)
    except Malformed as e:
        raise UsageError(f"{option}: {e.message}", hint="such as 2027-06-30T00:00:00Z") from e


def _finish(text: Text, edited: Edited, against: str | None, *, dry_run: bool, at: datetime | None = None) -> int:
    """Show what was done and its effect, and replace the file if nobody else changed it meanwhile."""
    from imgsign.cli.policy.diff import show_changes
    from imgsign.cli.policy.subjects import read_list
    from imgsign.load import read_file
    from imgsign.policy.parse import POLICY_LIMIT
    from imgsign.signers.disk import NewFile, write_files

    listed = None if against is None else read_list(against)
    for line in edited.done or ("nothing to change",):
        print(printable(line))
    if dry_run:
        old, new = (raw.decode("utf-8").splitlines() for raw in (text.raw, edited.raw))
        for line in difflib.unified_diff(old, new, text.path.name, text.path.name, lineterm="", n=2):
            print(printable(line, limit=10_000))
    if listed is not None:
        locate = registries(None, TIMEOUT, None, mirror=None, ca=None)
        show_changes(listed, edited.old, edited.new, locate, as_json=False, at=at)
    if dry_run or edited.raw == text.raw:
        return OK
    if read_file(text.path, POLICY_LIMIT) != text.raw:
        raise DestinationError(f"{quote(str(text.path))} was changed by somebody else meanwhile", hint="try again")
    mode = text.path.stat().st_mode & 0o777
    write_files(NewFile(text.path, edited.raw, mode), force=True)
    print(f"policy  {printable(str(text.path))}", file=sys.stderr)
    return OK
