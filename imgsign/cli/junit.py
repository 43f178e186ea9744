"""JUnit XML as GitLab and Jenkins read it: one suite a file, one case a place.

GitLab reads of a case its ``classname``, ``name``, ``file`` and ``time`` and keeps only the first of several with
one name, so names hold the place. Denied is a failure, not decided an error, accepted unsigned is skipped.
Characters that XML 1.0 has no way to write are dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree as Xml

from imgsign.cli.findings import ALLOWED, DENIED, Finding

_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(rows: list[Finding], files: list[str]) -> str:
    """Write the whole document; a file without findings is a suite without cases."""
    root = Xml.Element("testsuites", {"name": "imgsign check", **_counts(rows)})
    names: Counter[str] = Counter()
    for file in dict.fromkeys(files):
        own = [r for r in rows if r.file == file]
        suite = Xml.SubElement(root, "testsuite", {"name": clean(file), **_counts(own)})
        for row in own:
            _case(suite, row, names)
    Xml.indent(root)
    text: str = Xml.tostring(root, encoding="us-ascii").decode("ascii")  # whatever the encoding of the terminal is
    text = text.partition("\n")[2] if text.startswith("<?xml") else text
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text.replace("##[", "#&#35;[")


def _case(suite: Xml.Element, row: Finding, names: Counter[str]) -> None:
    name = f"{row.image or row.code} {row.where}"
    names[name] += 1
    if names[name] > 1:
        name = f"{name} ({names[name]})"
    attributes = {"classname": clean(row.file), "name": clean(name), "file": clean(row.file), "time": "0"}
    case = Xml.SubElement(suite, "testcase", attributes)
    if row.verdict == ALLOWED:
        if row.unsigned:
            Xml.SubElement(case, "skipped", {"message": "accepted without looking for signatures"})
        return
    kind = "failure" if row.verdict == DENIED else "error"
    child = Xml.SubElement(case, kind, {"message": clean(row.message), "type": clean(row.code)})
    hint = [] if row.hint is None or f"hint: {row.hint}" in row.lines else [f"hint: {row.hint}"]
    inside = [] if row.subject is None else [f"in {row.subject}, {row.path}"]
    child.text = clean("\n".join((f"{row.where}: {row.head}", *inside, *row.lines, *hint)))


def _counts(rows: list[Finding]) -> dict[str, str]:
    failures = sum(r.verdict == DENIED for r in rows)
    errors = sum(r.verdict not in (ALLOWED, DENIED) for r in rows)
    skipped = sum(r.unsigned for r in rows)
    counts = {"tests": len(rows), "failures": failures, "errors": errors, "skipped": skipped, "time": 0}
    return {name: str(n) for name, n in counts.items()}


def clean(text: str) -> str:
    """Drop what XML 1.0 §2.2 does not allow."""
    return _ILLEGAL.sub("", text)
