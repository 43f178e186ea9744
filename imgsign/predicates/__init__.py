"""The predicate types known by a short name, one a file: to add one, write the file and a line in :data:`_KINDS`.

Any other type is named by its URI, in policies and for ``imgsign attest``; its content is then not looked at.
One name is one URI: versions of one type are different types, since a policy's paths fit one of them only.
"""

from __future__ import annotations

import re

from imgsign.errors import InvalidEnvelope, Malformed
from imgsign.intoto import COSIGN_SIGN
from imgsign.predicates import cyclonedx, openvex, provenance, provenance_02, spdx, vuln
from imgsign.predicates.kind import PredicateKind
from imgsign.wire import load_json, quote

_KINDS = (provenance.KIND, provenance_02.KIND, spdx.KIND, cyclonedx.KIND, vuln.KIND, openvex.KIND)

PREDICATES: dict[str, PredicateKind] = {kind.alias: kind for kind in _KINDS}
"""All known types by alias."""

BY_URI: dict[str, PredicateKind] = {kind.uri: kind for kind in _KINDS}
"""The same by URI."""

PREDICATE_LIMIT = 44 * 1024 * 1024
"""Bytes of a predicate that is written: as base64 it is what readers fetch when they want attestations."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{0,2}[!-.0-~][!-~]{0,1000}")
_COSIGN_NAMES = {
    "slsaprovenance": "slsa-provenance-0.2",
    "slsaprovenance02": "slsa-provenance-0.2",
    "slsaprovenance1": "slsa-provenance",
    "spdxjson": "spdx",
}


def predicate_uri(text: str, *, error: type[Malformed] = Malformed, path: str | None = None) -> str:
    """Return the URI that an alias or a URI names.

    Raises:
        Malformed: (as ``error``) it is neither, or the type of signatures.
    """
    if text in PREDICATES:
        return PREDICATES[text].uri
    if text == COSIGN_SIGN:
        raise error(f"{quote(text)} is the type of signatures", path=path, hint="ask for a signature with signed-by")
    if _URI.fullmatch(text):
        return text
    if text in _COSIGN_NAMES:
        raise error(f"unknown predicate type {quote(text)}", path=path, hint=f"it is {_COSIGN_NAMES[text]} here")
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(text, PREDICATES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"use a URI, or one of {', '.join(PREDICATES)}"
    raise error(f"unknown predicate type {quote(text)}", path=path, hint=hint)


def shown_type(uri: str) -> str:
    """Write a predicate type for people: its alias if it has one. The URI is foreign text; escape it to print."""
    return BY_URI[uri].alias if uri in BY_URI else uri


def check_predicate(uri: str, raw: bytes) -> bytes:
    """Check what is to be attested, by strict JSON and by its kind, and return it without blanks around it.

    Raises:
        InvalidEnvelope: it is not one JSON object, plainly of another type, or over the limit.
    """
    kind = BY_URI.get(uri)
    names = frozenset[str]() if kind is None else kind.members
    node = load_json(raw, limit=PREDICATE_LIMIT, error=InvalidEnvelope, keep=names)
    node.entries()
    if kind is not None:
        kind.check(node)
    return raw.strip()
