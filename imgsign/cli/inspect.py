"""``imgsign inspect``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import DENIED, OK, UNDECIDED
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    Identity,
    InsecureHttp,
    Mirror,
    Output,
    Timeout,
    TrustedRealm,
    check_output,
    choose_policy,
    parse_target,
    registries,
)
from imgsign.cli.tree import marks
from imgsign.errors import Malformed, UsageError
from imgsign.wire import format_time, printable

if TYPE_CHECKING:
    from imgsign.claim import Subject
    from imgsign.decision import Decision
    from imgsign.examine import Content
    from imgsign.resolve import Target

THREADS = 8


def command(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Image reference, or oci:DIR[:TAG].", show_default=False)],
    policy: Annotated[
        str | None,
        typer.Option("--policy", "-p", metavar="FILE", help="Say what counts under this policy.", show_default=False),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", "-k", metavar="KEY", help="Say what this public key signed. Repeatable.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="exact|repository|unsafe-any", help="With --key: how names must match.")
    ] = "exact",
    predicate: Annotated[
        str | None,
        typer.Option(
            "--predicate",
            metavar="TYPE",
            help="Print the predicate of this type that counts, as JSON, once --key or --policy vouches for it.",
            show_default=False,
        ),
    ] = None,
    output: Output = "text",
    identity: Identity = None,
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show each signature of an image: where it lies, what it says, and whether anybody vouches for it.

    Without --key or --policy everything is 'unverified': whoever can push to the repository can write it.
    The exit code does not judge: use 'imgsign verify' for that. With --predicate it does: what is printed
    is what a trusted key attested, or nothing.
    """
    from imgsign.examine import content_of
    from imgsign.intoto import COSIGN_SIGN
    from imgsign.workflow import gather_all, judge_evidence

    as_json = check_output(output)
    target = parse_target(ref, registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca), identity)
    if predicate is not None:
        return _print_predicate(target, predicate, policy, key, name)
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        manifest, evidence = gather_all(target, pool=pool)
    contents = [content_of(c) for c in evidence.candidates]
    now = datetime.now(UTC)

    @cache
    def decide(kind: str | None) -> Decision | None:
        """Judge by the policy, or by what the key must have signed or attested to make one of this kind count."""
        if not key and policy is None:
            return None
        given = policy if policy is not None else os.environ.get("IMGSIGN_POLICY")
        chosen, trust = choose_policy(given, key, name, attested=kind)
        return judge_evidence(target, manifest, evidence, chosen, trust, now=now)

    def decision_on(content: Content) -> Decision | None:
        return decide(None if not key or content.predicate_type == COSIGN_SIGN else content.predicate_type)

    decide(None)  # a policy that cannot be read is an error whatever is attached
    if as_json:
        print(json.dumps(_document(str(manifest.digest), [(c, decision_on(c)) for c in contents]), indent=2))
        return 0
    print(f"{target}\n{'index' if manifest.is_index else 'image'} {manifest.digest}")
    for content in contents:
        print("\n".join(_block(content, decision_on(content))))
    for defect in evidence.defects:
        print(f"\n{defect.place}\n  unusable    {printable(defect.reason)}")
    for fault in evidence.faults:
        print(f"\n{printable(fault.about)}\n  not read    {printable(fault.message)}")
    if not (contents or evidence.defects or evidence.faults):
        print("no signatures")
    return 0


def _print_predicate(target: Target, kind: str, policy: str | None, keys: list[str] | None, name: str) -> int:
    """Verify the image, and print the predicate that the verdict rests on."""
    from imgsign.cli import render
    from imgsign.predicates import predicate_uri
    from imgsign.workflow import verify

    try:
        uri = predicate_uri(kind)
    except Malformed as e:
        raise UsageError(f"--predicate: {e.message}", hint=e.hint) from e
    policy = policy if policy is not None or keys else os.environ.get("IMGSIGN_POLICY")
    chosen, trust = choose_policy(policy, keys, name, attested=uri)
    rule = chosen.rule_for(None if target.name is None else target.name.repository)
    if uri not in rule.wanted:
        scope = rule.scope or "(default)"
        hint = f'add {{ attested = "{kind}", by = … }} to its require, or use --key'
        raise UsageError(f"the policy asks for no attestation of type {kind} in scope {scope}", hint=hint)
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        decision = verify(target, chosen, trust, now=datetime.now(UTC), pool=pool)
    if not decision.allowed:
        print(render.decision_text(decision, trust), file=sys.stderr)
        return UNDECIDED if decision.inconclusive else DENIED
    found = [c.predicate for _, c in decision.claims if c.predicate_type == uri and c.predicate is not None]
    if not found:
        raise UsageError("the attestation has no predicate")
    if len({p.raw for p in found}) > 1:
        print(
            f"note: {len(found)} attestations of this type count; this is the one that lasts longest", file=sys.stderr
        )
    _write_json(found[0].raw)
    return OK


def _write_json(raw: bytes) -> None:
    """Write JSON as it was signed; to a terminal with everything escaped that could do something there."""
    if sys.stdout.isatty():
        text = raw.decode("utf-8")
        safe = "".join(c if c.isprintable() or c in "\n\t" else json.dumps(c)[1:-1] for c in text)
        print(safe.replace("\r", ""))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(raw + b"\n")


def _block(content: Content, decision: Decision | None) -> Iterator[str]:
    from imgsign.predicates import shown_type

    candidate = content.candidate
    yield f"\n{candidate.place}"
    yield f"  format      {candidate.format}"
    yield f"  verdict     {printable(marks(f'{candidate.place} ({candidate.format})', decision))}"
    if candidate.key_hint is not None:
        yield f"  key hint    {printable(candidate.key_hint)}"
    if content.problem is not None:
        yield f"  unreadable  {printable(content.problem)}"
    if content.predicate_type is not None:
        alias = shown_type(content.predicate_type)
        more = "" if alias == content.predicate_type else f" ({alias})"
        yield f"  type        {printable(content.predicate_type)}{more}"
    for subject in content.subjects:
        yield f"  name        {'(none)' if subject.name is None else printable(subject.name)}"
        yield from (f"  {label:<11} {printable(text)}" for label, text in _facts(subject))


def _facts(subject: Subject) -> Iterator[tuple[str, str]]:
    yield "digest", str(subject.digest)
    if subject.claimed_at is not None:
        yield "signed at", f"{format_time(subject.claimed_at)} (the signer's word)"
    if subject.expires_at is not None:
        yield "expires", format_time(subject.expires_at)
    if subject.sequence is not None:
        yield "sequence", str(subject.sequence)
    for key, value in sorted(subject.annotations.items()):
        yield "annotation", f"{key}={value}"


def _document(digest: str, contents: list[tuple[Content, Decision | None]]) -> dict[str, object]:
    return {
        "format": 1,
        "digest": digest,
        "signatures": [
            {
                "place": str(c.candidate.place),
                "format": c.candidate.format,
                "verdict": marks(f"{c.candidate.place} ({c.candidate.format})", decision),
                "key_hint": c.candidate.key_hint,
                "predicate_type": c.predicate_type,
                "problem": c.problem,
                "subjects": [{"name": s.name, **dict(_facts(s))} for s in c.subjects],
            }
            for c, decision in contents
        ],
    }
