"""What people read of an answer: the denial's message, warnings, audit annotations; pure.

Kubernetes' limits (apiserver admission/attributes.go, endpoints/filters/warning.go, kubectl): a denial may have
several lines, and its first must say enough alone; a warning is one line, 120 characters at best, and is
dropped whole for one control character; past 4096 characters over all webhooks every warning is cut short.
Foreign text goes through ``printable``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgsign.admission.judgement import Judgement, Ruling
from imgsign.wire import printable, quote

if TYPE_CHECKING:
    from imgsign.admission.answer import Finding
    from imgsign.admission.plan import Plan

WARNING = 120  # characters of one warning (k8s.io/api/admission/v1 AdmissionResponse.warnings)
WARNINGS = 12  # of one answer; with 4096 characters for all webhooks of a request this leaves room for others
ANNOTATION = 1024  # characters of an audit annotation's value
MESSAGE = 8192  # characters of a denial: people read the first lines, events keep 1024 bytes
IMAGES = 10  # shown in full in a denial
CHECKS = 5  # shown of one image
_NAME = 64  # characters of an image in a warning

_ROLES = {
    "container": "container",
    "init-container": "init container",
    "ephemeral-container": "ephemeral container",
    "volume": "image volume",
}


def denial(plan: Plan, findings: Sequence[Finding]) -> str:
    """Write a denial: what and why in the first line, then each image with its checks, then the next step."""
    more = "" if len(findings) == 1 else f"; and {len(findings) - 1} more"
    lines = [_head(findings[0]) + more]
    lines.append(f"  {one_line(plan.review.subject)}, policy {plan.rules.policy}{_scope(findings[0])}")
    for i, finding in enumerate(findings[:IMAGES]):
        if i:
            lines.append(_head(finding) + (f" ({scope})" if (scope := _scope(finding).removeprefix(", ")) else ""))
        lines.extend(_details(finding))
    if len(findings) > IMAGES:
        lines.append(f"… and {len(findings) - IMAGES} more")
    hints = dict.fromkeys(_hint(f.judgement) for f in findings)
    lines.extend(f"hint: {one_line(h)}" for h in list(hints)[:2] if h)
    text = "\n".join(lines)
    return text if len(text) <= MESSAGE else text[: MESSAGE - 1] + "…"


def warnings(findings: Sequence[Finding], *, would: bool) -> tuple[str, ...]:
    """Write one line an image, never one a container. ``would``: in another mode it would be a denial."""
    shown = dict.fromkeys(_warning(f, would=would) for f in findings[:WARNINGS])  # Kubernetes drops equal ones
    more = () if len(findings) == len(shown) else (f"imgsign: and {len(findings) - len(shown)} more",)
    return (*shown, *more)


def annotation(text: str) -> str:
    """Make the value of an audit annotation: one line of bounded length."""
    return one_line(text, limit=ANNOTATION)


def one_line(text: str, *, limit: int = 1024) -> str:
    """Make foreign text one bounded line."""
    return printable(text, limit=limit)


def _head(finding: Finding) -> str:
    judged = finding.judgement
    if finding.path:
        name = f" (container {one_line(finding.written)})" if finding.written else ""
        return f"{one_line(finding.path)}{name}: {one_line(judged.message)} [{judged.code}]"
    verb = "could not be judged" if judged.ruling is Ruling.UNDECIDED else "is denied"
    message = one_line(judged.message)
    return f"image {_plain(finding.written)} ({_places(finding)}) {verb}: {message} [{judged.code}]"


def _places(finding: Finding) -> str:
    """``container web, init container setup``."""
    shown = [f"{_ROLES[p.role]} {one_line(p.name, limit=63) or '?'}" for p in finding.places[:3]]
    return ", ".join(shown) + ("" if len(finding.places) <= 3 else f" and {len(finding.places) - 3} more")


def _scope(finding: Finding) -> str:
    decision = finding.judgement.decision
    return "" if decision is None else f", scope {decision.scope or '(default)'}"


def _details(finding: Finding) -> list[str]:
    """List each candidate with why not; and how the text was read, if it was completed."""
    judged = finding.judgement
    found = []
    if not finding.path and judged.text != finding.written and judged.code != "invalid-reference":
        found.append(f"  read as {one_line(judged.text)}")
    if judged.decision is None:
        return found
    checks = [c for c in judged.decision.checks if not c.passed and c.about != c.group]
    found.extend(f"  {one_line(c.about)}: {one_line(c.message)} [{c.code}]" for c in checks[:CHECKS])
    if len(checks) > CHECKS:
        found.append(f"  … and {len(checks) - CHECKS} more")
    return found


def _hint(judged: Judgement) -> str | None:
    if judged.hint is None and judged.ruling is Ruling.UNDECIDED:
        return "nothing was proven either way: try again"
    return judged.hint


def _warning(finding: Finding, *, would: bool) -> str:
    judged = finding.judgement
    verb = "not judged" if judged.ruling is Ruling.UNDECIDED else "would be denied" if would else "warning"
    name = _short(finding.path or finding.written)
    tail = f" [{judged.code}]"
    head = f"imgsign: {verb}: {name}: "
    room = WARNING - len(head) - len(tail)
    message = one_line(judged.message, limit=WARNING)
    if len(message) > room:
        message = message[: max(room - 1, 0)] + "…"
    return head + message + tail


def _plain(text: str) -> str:
    """Show an image's text as it is, and quoted where one could not see what it is."""
    return text if text and text.isascii() and text.isprintable() and " " not in text else quote(text)


def _short(text: str) -> str:
    """Shorten an image for one line: a digest to its start, a long name to its end."""
    name, at, digest = _plain(text).partition("@")
    if at:
        digest = f"@{digest[:15]}…" if len(digest) > 16 else f"@{digest}"
    room = _NAME - len(digest)
    return (name if len(name) <= room else "…" + name[1 - room :]) + digest
