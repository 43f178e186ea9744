"""The text of one requirement -> :mod:`imgsign.policy.model`; its grammar stands in :mod:`imgsign.policy.parse`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Required, TypedDict

from imgsign.claim import SEQUENCE_MAX
from imgsign.errors import InvalidDigest, InvalidReference
from imgsign.policy.match import TextMatch
from imgsign.policy.model import (
    Attested,
    KeySource,
    NameRule,
    Reject,
    Requirement,
    SignedBy,
    UnsafeAcceptUnsigned,
)
from imgsign.policy.parse_match import CONDITIONS_LIMIT, parse_annotation, parse_texts, parse_where
from imgsign.predicates import predicate_uri
from imgsign.reference import Reference, Repository
from imgsign.wire import Node, parse_duration, quote

SIGNATURE_FORMATS = ("bundle", "simple")
ATTESTATION_FORMATS = ("bundle", "dsse")

_TERMS = (
    "threshold",
    "name",
    "remap",
    "max-age",
    "signed-after",
    "min-sequence",
    "annotations",
    "formats",
    "unsafe-signed-name",
)
_THRESHOLD_MAX = 100

Anchors = Mapping[str, tuple[KeySource, ...]]


def parse_requirement(node: Node, anchors: Anchors) -> Requirement:
    """Read one element of ``require``."""
    members = node.names()
    kind = None
    for key in _KINDS:
        if key in members:
            kind = _KINDS[key]
            break
    if kind is None:
        # NOTE: `fields` first, so that a misspelt key is named rather than the missing one.
        node.fields((), (*_KINDS, *_TERMS, "by", "where"))
        kinds = ("signed-by", "attested", "unsafe-accept-unsigned", "reject")
        node.refuse(f"expected one of {', '.join(map(repr, kinds))}")
    return kind(node, anchors)


def _parse_signed_by(node: Node, anchors: Anchors) -> SignedBy:
    m = node.fields(("signed-by",), _TERMS)
    return SignedBy(**_terms(m, "signed-by", SIGNATURE_FORMATS, anchors))


def _parse_attested(node: Node, anchors: Anchors) -> Attested:
    m = node.fields(("attested", "by"), (*_TERMS, "where"))
    types = parse_texts(m["attested"])
    uris = [predicate_uri(t, error=m["attested"].error, path=m["attested"].path) for t in types]
    if len(set(uris)) != len(uris):
        m["attested"].refuse("names a predicate type twice")
    return Attested(
        types=types,
        uris=frozenset(uris),
        where=parse_where(m["where"]) if "where" in m else (),
        **_terms(m, "by", ATTESTATION_FORMATS, anchors),
    )


def _parse_word(word: str, value: Requirement) -> Callable[[Node, Anchors], Requirement]:
    def parse(node: Node, anchors: Anchors) -> Requirement:
        only = node.fields((word,), ())
        if only[word].boolean() is not True:
            only[word].refuse("expected true")
        return value

    return parse


_KINDS: dict[str, Callable[[Node, Anchors], Requirement]] = {
    "unsafe-accept-unsigned": _parse_word("unsafe-accept-unsigned", UnsafeAcceptUnsigned()),
    "reject": _parse_word("reject", Reject()),
    "signed-by": _parse_signed_by,
    "attested": _parse_attested,
}


class _Terms(TypedDict, total=False):
    """Those fields of :class:`imgsign.policy.model.Terms` that are written; the others have its defaults."""

    anchors: Required[tuple[str, ...]]
    threshold: int
    name: NameRule
    remap: Mapping[str, str]
    max_age: timedelta | None
    signed_after: datetime | None
    min_sequence: int | None
    annotations: Mapping[str, TextMatch]
    formats: tuple[str, ...] | None
    unsafe_signed_name: Reference | None


def _terms(m: dict[str, Node], by: str, formats: tuple[str, ...], anchors: Anchors) -> _Terms:
    """Read what signatures and attestations have in common; ``by`` is the key that names the anchors."""
    named = _anchor_names(m[by], anchors)
    threshold = m["threshold"].integer(low=1, high=_THRESHOLD_MAX) if "threshold" in m else 1
    available = sum(len(anchors[n]) for n in named)
    if threshold > available:
        m["threshold"].refuse(f"threshold {threshold} can never be met by {available} keys")
    found = _Terms(anchors=named, threshold=threshold)
    if "name" in m:
        found["name"] = _name_rule(m["name"])
    if "remap" in m:
        found["remap"] = _remap(m["remap"])
    if (age := m.get("max-age")) is not None:
        found["max_age"] = parse_duration(age.text(), error=age.error, path=age.path)
    if "signed-after" in m:
        found["signed_after"] = m["signed-after"].moment()
    if "min-sequence" in m:
        found["min_sequence"] = m["min-sequence"].integer(low=0, high=SEQUENCE_MAX)
    if "annotations" in m:
        found["annotations"] = _annotations(m["annotations"])
    if "formats" in m:
        found["formats"] = _formats(m["formats"], formats)
    if "unsafe-signed-name" in m:
        if "remap" in m:
            m["remap"].refuse("has no effect beside unsafe-signed-name")
        found["unsafe_signed_name"] = _signed_name(m["unsafe-signed-name"])
    return found


def _anchor_names(node: Node, anchors: Anchors) -> tuple[str, ...]:
    named = parse_texts(node)
    for name in named:
        if name not in anchors:
            known = ", ".join(map(quote, sorted(anchors))) or "none"
            node.refuse(f"unknown anchor {quote(name)}", hint=f"anchors of this policy: {known}")
    if len(set(named)) != len(named):
        node.refuse("names an anchor twice")
    return named


def _annotations(node: Node) -> dict[str, TextMatch]:
    found = node.entries()
    if len(found) > CONDITIONS_LIMIT:
        node.refuse(f"more than {CONDITIONS_LIMIT} annotations")
    return {key: parse_annotation(value) for key, value in found.items()}


def _name_rule(node: Node) -> NameRule:
    text = node.text()
    try:
        return NameRule(text)
    except ValueError:
        node.refuse(f"unknown name rule {quote(text)}", hint=f"use one of {', '.join(r.value for r in NameRule)}")


def _signed_name(node: Node) -> Reference:
    try:
        return Reference.parse(node.text())
    except (InvalidReference, InvalidDigest) as e:
        node.refuse(e.message, hint=e.hint)


def _formats(node: Node, known: tuple[str, ...]) -> tuple[str, ...]:
    found = parse_texts(node)
    for name in found:
        if name not in known:
            node.refuse(f"unknown format {quote(name)}", hint=f"use one of {', '.join(known)}")
    return found


def _remap(node: Node) -> dict[str, str]:
    """Read asked prefix -> signed prefix; both sides are a registry host, with or without a path."""
    found = node.text_map()
    for key, value in found.items():
        for side in (key, value):
            host, slash, path = side.partition("/")
            if host == "index.docker.io" or side.startswith("*."):
                node.refuse(f"not a repository prefix: {quote(side)}", hint="write it as host or host/path")
            try:
                Repository(host, "any/name")
                Repository("any.host", path if slash else "name")
            except InvalidReference as e:
                node.refuse(f"not a repository prefix: {quote(side)} ({e.message})", hint=e.hint)
    return found
