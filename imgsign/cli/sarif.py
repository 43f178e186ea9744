"""SARIF 2.1.0 (OASIS) as GitHub's code scanning reads it.

What GitHub asks for beyond the standard: ``docs/…/sarif-support-for-code-scanning``: no empty texts, rule texts of
at most 1,024 characters, places relative to the root of the repository, a line hash to recognise a result by;
at most 25,000 results of which it keeps 5,000, so denials come first. No results are written as an empty list: it
closes old alerts. Columns count code points, and that is said.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from urllib.parse import quote as percent

from imgsign.cli.findings import ALLOWED, DENIED, Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RESULTS_LIMIT = 25_000
TEXT_LIMIT = 1024  # characters of a rule's texts

RULES = {
    "threshold": "Too few signatures of the keys that the policy names",
    "no-scope": "No scope of the policy covers the image",
    "rejected": "The policy rejects the image",
    "undecided": "Not all evidence about the image could be had",
    "image-not-read": "The image could not be read from its registry",
    "invalid-reference": "Not an image reference",
    "image-missing": "There is no image where one has to be",
    "bad-shape": "An image, or what holds it, is not of the type it has to be",
    "template": "The file has to be rendered before it can be checked",
    "unresolved": "Which image is meant is not decided in the file",
    "embedded": "A manifest inside a text is not searched for images",
    "unknown-image": "A key 'image' in a kind that is not known",
    "unknown-image-key": "A key that is not known and may hold an image",
    "duplicate-key": "A key stands twice",
    "merge-order": "Readers of YAML differ on the value of a key",
    "not-yaml": "The file is not YAML",
    "separator": "Readers of YAML differ on where a document begins",
    "tag": "A YAML tag that readers differ on",
    "alias": "A YAML alias that names nothing",
    "no-kind": "Not a Kubernetes object",
    "not-an-object": "Not a Kubernetes object",
    "not-compose": "Not a compose file",
    "empty": "There is nothing to check",
    "not-text": "The file is not UTF-8 text",
    "no-image": "There is no image where one has to be",
    "unset-variable": "An image depends on a variable without a value",
    "unset-argument": "An image depends on a build argument without a value",
    "bad-interpolation": "A variable is not written as Compose reads it",
    "env-file": "The file of variables could not be read",
    "bad-from": "FROM cannot be read",
    "bad-copy-from": "COPY --from cannot be resolved",
    "other-file": "Another file belongs to it that is not checked",
    "extends": "A service extends one that is not checked",
    "remote-context": "The Dockerfile behind a URL is not looked at",
    "unread-context": "A named context is not looked at",
    "foreign-frontend": "Another build program reads the file",
    "outside": "A file leads out of the checkout",
    "too-large": "More than is read of one file",
    "too-deep": "Nested more deeply than is read",
    "too-many": "More problems than are listed",
    "unreadable": "The file could not be read",
    "unknown-file": "Not a kind of file that is understood",
}
_HELP = (
    "imgsign judges every image that a file names by the policy it is given. Run 'imgsign verify IMAGE --policy "
    "FILE' for the full report on one image. What could not be decided is reported too: it is never a pass."
)


def document(
    rows: list[Finding], uris: dict[str, str], version: str, exit_code: int, *, limit: int = RESULTS_LIMIT
) -> str:
    """Write the whole log; ``uris`` are the places of files relative to the repository."""
    failed = [r for r in rows if r.verdict != ALLOWED]
    failed.sort(key=lambda r: r.verdict != DENIED)  # stable: the order of the files within
    failed = failed[:limit]
    codes = list(dict.fromkeys(r.code for r in failed))
    seen: Counter[str] = Counter()
    driver = {
        "name": "imgsign",
        "semanticVersion": version,
        "rules": [_rule(code, [r for r in failed if r.code == code]) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "imgsign/check/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": exit_code in (0, 1), "exitCode": exit_code}],
        "results": [_result(r, codes.index(r.code), uris[r.file], seen) for r in failed],
    }
    text = json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=True)
    return text.replace("##[", "#\\u0023[")


def _rule(code: str, rows: list[Finding]) -> dict[str, object]:
    short = RULES.get(code, "The file may hide an image")[:TEXT_LIMIT]
    denied = any(r.verdict == DENIED for r in rows)
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in code.split("-")),
        "shortDescription": {"text": short},
        "fullDescription": {"text": f"{short}."},
        "help": {"text": _HELP},
        "defaultConfiguration": {"level": "error" if denied else "warning"},
        "properties": {
            "tags": ["security", "supply-chain"],
            "precision": "very-high",
            "security-severity": "8.0" if denied else "5.0",
        },
    }


def _result(row: Finding, index: int, uri: str, seen: Counter[str]) -> dict[str, object]:
    hint = "" if row.hint is None else f" (hint: {row.hint})"
    print_of = hashlib.sha256("\0".join((row.code, uri, row.path, row.image or "")).encode()).hexdigest()[:16]
    seen[print_of] += 1
    region = {
        "startLine": row.spot.line,
        "startColumn": row.spot.column,
        "endLine": row.end[0],
        "endColumn": row.end[1],
    }
    return {
        "ruleId": row.code,
        "ruleIndex": index,
        "level": "error" if row.verdict == DENIED else "warning",
        "message": {"text": _no_links(f"{row.verdict} {row.title}: {row.message}{hint}")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
        "partialFingerprints": {"primaryLocationLineHash": f"{print_of}:{seen[print_of]}"},
    }


def _no_links(text: str) -> str:
    """Keep foreign text from becoming a link: SARIF §3.11.6 reads ``[text](target)`` in messages."""
    return text.replace("](", "] (")


def uri_of(path: str) -> str:
    """Percent-encode a relative path with forward slashes (RFC 3986)."""
    return percent(path, safe="/~")
