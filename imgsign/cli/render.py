"""All output in one place: decisions and signatures as text for people and as JSON for programs.

Nothing is shown as good that was not verified. Of an unverified candidate only its place and the reason
why it failed are printed. Text that came from outside passes through ``printable``.

The JSON is stable: keys are added, never changed; ``format`` counts what breaks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from imgsign.wire import format_time, printable

if TYPE_CHECKING:
    from imgsign.decision import Check, Decision
    from imgsign.errors import ImgsignError
    from imgsign.signing import Signed
    from imgsign.trust import TrustStore

JSON_FORMAT = 1


def decision_word(decision: Decision) -> str:
    """``allowed``, ``denied``, or ``undecided`` for a denial that missing evidence might have turned."""
    return "undecided" if decision.inconclusive else decision.verdict.value


def decision_text(decision: Decision, trust: TrustStore) -> str:
    """One line when it is good; when it is not: verdict, each candidate with why not, one next step."""
    head = f"{decision_word(decision)} {decision.image}  scope {decision.scope or '(default)'}"
    if decision.allowed:
        signers = "; ".join(signer_texts(decision, trust)) or "accepted unsigned"
        until = "" if decision.valid_until is None else f"  until {format_time(decision.valid_until)}"
        return f"{head}  {signers}{until}"
    lines = [head]
    for group in dict.fromkeys(c.group for c in decision.checks):
        checks = [c for c in decision.checks if c.group == group]
        summary = next((c for c in checks if c.about == group), None)
        if summary is not None:
            lines.append(f"  {_same(group)}: {printable(summary.message)}")
        lines.extend(_check_line(c) for c in checks if c is not summary)
    lines.extend(f"    {printable(f.about)}: {printable(f.message)}" for f in decision.faults)
    hint = _hint(decision)
    if hint is not None:
        lines.append(f"hint: {printable(hint)}")
    return "\n".join(lines)


def pinned(decision: Decision) -> str:
    """``repo@sha256:…`` of an allowed image, or the digest alone if it has no name."""
    name, digest = decision.image.name, decision.image.digest
    return str(digest) if name is None else f"{name.repository}@{digest}"


def signer_texts(decision: Decision, trust: TrustStore) -> list[str]:
    """``signed by ANCHOR (key SHA256:…)`` for each signature the verdict rests on."""
    names = {k.key.digest: k.key.fingerprint for a in trust.anchors.values() for k in a.keys}
    found = []
    for anchor, claim in decision.claims:
        found.append(f"signed by {printable(anchor)} (key {names.get(claim.signer.spki or '', '?')})")
    return list(dict.fromkeys(found))


def decision_json(reference: str, decision: Decision, trust: TrustStore) -> dict[str, object]:
    """One result of ``verify --output json``."""
    fingerprints = {k.key.digest: k.key.fingerprint for a in trust.anchors.values() for k in a.keys}
    digest = decision.image.digest
    return {
        "reference": reference,
        "verdict": decision_word(decision),
        "digest": None if digest is None else str(digest),
        "image": str(decision.image) if digest is not None else None,
        "scope": decision.scope,
        "signers": [
            {
                "anchor": anchor,
                "key": fingerprints.get(claim.signer.spki or ""),
                "format": claim.format,
                "place": str(claim.place),
            }
            for anchor, claim in decision.claims
        ],
        "checks": [_check_json(c) for c in decision.checks],
        "faults": [{"about": f.about, "message": printable(f.message), "hint": f.hint} for f in decision.faults],
        "valid_until": None if decision.valid_until is None else format_time(decision.valid_until),
        "hint": None if decision.allowed else _hint(decision),
    }


def error_json(reference: str, error: ImgsignError) -> dict[str, object]:
    """One result that is an error: the image itself could not be read."""
    return {
        "reference": reference,
        "verdict": "error",
        "digest": None,
        "image": None,
        "scope": None,
        "signers": [],
        "checks": [],
        "faults": [{"about": reference, "message": printable(error.message), "hint": error.hint}],
        "valid_until": None,
        "hint": error.hint,
    }


def signed_text(signed: Signed, label: str, *, dry_run: bool) -> str:
    """One line a signature."""
    verb = "signed" if signed.created else "already signed"
    if dry_run and signed.created:
        verb = "would sign"
    also = [n for n in signed.names if n != signed.reference.name]
    more = "" if not also else " and " + ", ".join(str(n) for n in also)
    where = "" if signed.platform is None else f" ({printable(str(signed.platform))})"
    until = "" if signed.expires_at is None else f" until {format_time(signed.expires_at)}"
    unnamed = "" if signed.reference.tag is not None else ", the repository only: no tag is named"
    if signed.place != str(signed.reference.repository):
        where += f" in {printable(signed.place)}"
    return f"{verb} {signed.reference}{more}{where} with key {signed.key.fingerprint} as {label}{until}{unnamed}"


def signed_json(signed: Signed, *, dry_run: bool) -> dict[str, object]:
    """One result of ``sign --output json``."""
    return {
        "image": str(signed.reference),
        "place": signed.place,
        "names": [str(n) for n in signed.names],
        "digest": str(signed.digest),
        "platform": None if signed.platform is None else str(signed.platform),
        "format": signed.format,
        "key": signed.key.fingerprint,
        "created": signed.created and not dry_run,
        "signatures": list(signed.stored),
        "expires_at": None if signed.expires_at is None else format_time(signed.expires_at),
    }


def document(results: Iterable[dict[str, object]]) -> str:
    """The whole JSON document of a command."""
    return json.dumps({"format": JSON_FORMAT, "results": list(results)}, indent=2, ensure_ascii=True)


def _hint(decision: Decision) -> str | None:
    if decision.inconclusive:
        return next((f.hint for f in decision.faults if f.hint), "nothing was proven either way: try again")
    summaries = [c for c in decision.checks if c.about == c.group and not c.passed]
    return next((c.hint for c in summaries if c.hint is not None), None)


def _check_line(check: Check) -> str:
    mark = "counts, " if check.passed else ""
    return f"    {printable(check.about)}: {mark}{printable(check.message)}"


def _check_json(check: Check) -> dict[str, object]:
    return {
        "code": check.code,
        "passed": check.passed,
        "requirement": check.group,
        "about": printable(check.about),
        "message": printable(check.message),
        "hint": check.hint,
    }


def _same(text: str | None) -> str:
    return printable(text or "")
