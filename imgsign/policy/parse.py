"""The text of a policy -> :class:`~imgsign.policy.model.Policy`. TOML, or JSON of the same shape.

Shape (design §7; exact keys only, a typo is an error with its path):

    version = 1
    default = "reject" | "unsafe-accept-unsigned"
    [anchors.NAME]    keys = [KEY, …]  not-before, not-after = time
    [scopes."SCOPE"]  require = [REQUIREMENT, …]  unsafe-shared-key = true
    KEY               "path" | inline PEM | "env:NAME" | { key = …, not-before, not-after, hash }
    REQUIREMENT       { signed-by = "NAME" | [NAME, …], threshold, name, remap, max-age, signed-after,
                        min-sequence, annotations, formats }
                      | { unsafe-accept-unsigned = true } | { reject = true }

Refused with its reason: a scope with a tag or digest (whoever writes a manifest writes its tag, so a tag
scope protects nothing), an empty ``require``, an unknown anchor, a threshold no number of keys can meet,
a missing ``default``.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.claim import SEQUENCE_MAX
from imgsign.errors import InvalidReference
from imgsign.policy.model import (
    KeySource,
    NameRule,
    Policy,
    Reject,
    Requirement,
    Rule,
    SignedBy,
    UnsafeAcceptUnsigned,
)
from imgsign.reference import DOCKER_HUB, Repository, is_scope
from imgsign.wire import Node, parse_duration, quote

POLICY_LIMIT = 8 * 1024 * 1024
"""Bytes of one policy file: 10,000 scopes with 2,000 inline keys take some 2 MiB."""

_SIGNED_BY_KEYS = (
    "threshold",
    "name",
    "remap",
    "max-age",
    "signed-after",
    "min-sequence",
    "annotations",
    "formats",
)
_DEFAULTS: dict[str, Requirement] = {
    "reject": Reject(),
    "unsafe-accept-unsigned": UnsafeAcceptUnsigned(),
}
_FORMATS = ("bundle", "simple")
_HASHES = ("sha256", "sha384", "sha512")
_THRESHOLD_MAX = 100


def parse_policy(node: Node) -> Policy:
    """Turn a TOML or JSON document into a policy; keys are named, not read.

    Raises:
        InvalidPolicy: with the path of the first thing that is wrong.
    """
    node = Node(node.value, node.path.removeprefix("$"), node.error)
    top = _named(node, ("version", "default"), ("anchors", "scopes"))
    if top["version"].integer() != 1:
        top["version"].refuse("unknown policy version", hint="this imgsign reads version = 1")
    anchors = (
        {name: _parse_anchor(name, sub) for name, sub in _entries(top["anchors"]).items()} if "anchors" in top else {}
    )
    scopes: dict[str, Rule] = {}
    shared: set[str] = set()
    for scope, sub in _entries(top["scopes"]).items() if "scopes" in top else ():
        _check_scope(scope, sub)
        scopes[scope] = _parse_rule(scope, sub, anchors)
        if "unsafe-shared-key" in sub.entries() and sub.entries()["unsafe-shared-key"].boolean():
            shared.add(scope)
    return Policy(default=_parse_default(top["default"]), scopes=scopes, anchors=anchors, shared_keys=frozenset(shared))


def _named(node: Node, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Node]:
    """``Node.fields`` with the paths of a TOML document, without the leading ``$.``."""
    return {key: _trim(child) for key, child in node.fields(required, optional).items()}


def _entries(node: Node) -> dict[str, Node]:
    return {key: _trim(child) for key, child in node.entries().items()}


def _trim(node: Node) -> Node:
    return Node(node.value, node.path.removeprefix("."), node.error)


def _parse_default(node: Node) -> Rule:
    text = node.text()
    if text not in _DEFAULTS:
        node.refuse(f"unknown default {quote(text)}", hint='write default = "reject"')
    return Rule(scope=None, require=(_DEFAULTS[text],))


def _parse_anchor(name: str, node: Node) -> tuple[KeySource, ...]:
    if not name or name != name.strip() or not name.isprintable():
        node.refuse(f"not an anchor name: {quote(name)}")
    members = _named(node, ("keys",), ("not-before", "not-after"))
    keys = members["keys"].items()
    if not keys:
        members["keys"].refuse("an anchor without keys can never sign")
    return tuple(_parse_key(k, members) for k in keys)


def _parse_key(node: Node, anchor: Mapping[str, Node]) -> KeySource:
    """Read one key; its own validity narrows the anchor's, never widens it."""
    members = {"key": node}
    if isinstance(node.value, dict):
        members = _named(node, ("key",), ("not-before", "not-after", "hash"))
    starts = [m["not-before"].moment() for m in (anchor, members) if "not-before" in m]
    ends = [m["not-after"].moment() for m in (anchor, members) if "not-after" in m]
    chosen = None
    if "hash" in members:
        chosen = members["hash"].text()
        if chosen not in _HASHES:
            members["hash"].refuse(f"unknown hash {quote(chosen)}", hint=f"use one of {', '.join(_HASHES)}")
    start, end = max(starts, default=None), min(ends, default=None)
    if start is not None and end is not None and start >= end:
        node.refuse("is never valid: not-before is not before not-after")
    text = members["key"].text()
    if not text.strip():
        members["key"].refuse("empty key")
    return KeySource(text=text, path=members["key"].path, not_before=start, not_after=end, hash=chosen)


def _check_scope(scope: str, node: Node) -> None:
    """Refuse scopes that could never match, with the reason."""
    if is_scope(scope):
        return
    name, _, last = scope.rpartition("/")
    if "@" in scope or (name and ":" in last):
        node.refuse(
            f"scope {quote(scope)} has a tag or digest",
            hint="name the repository: whoever can write a manifest can write its tag; use signed names instead",
        )
    hint = "write it as registry.example.com/team/repo, registry.example.com, *.example.com or *"
    if scope.startswith("index.docker.io"):
        hint = f"Docker Hub is {DOCKER_HUB}"
    elif scope.lower() != scope:
        hint = "repository names are lower case"
    elif "." not in scope.partition("/")[0]:
        hint = f"it has no registry host; Docker Hub images are {DOCKER_HUB}/library/… or {DOCKER_HUB}/USER/…"
    node.refuse(f"scope {quote(scope)} can never match an image", hint=hint)


def _parse_rule(scope: str, node: Node, anchors: Mapping[str, tuple[KeySource, ...]]) -> Rule:
    members = _named(node, ("require",), ("unsafe-shared-key",))
    listed = members["require"].items()
    if not listed:
        members["require"].refuse(
            "empty require would accept nothing or everything",
            hint="write { reject = true } or { unsafe-accept-unsigned = true } if that is meant",
        )
    return Rule(scope=scope, require=tuple(_parse_requirement(r, anchors) for r in listed))


def _parse_requirement(node: Node, anchors: Mapping[str, tuple[KeySource, ...]]) -> Requirement:
    members = node.entries()
    for key, value in (("unsafe-accept-unsigned", UnsafeAcceptUnsigned()), ("reject", Reject())):
        if key in members:
            only = _named(node, (key,), ())
            if only[key].boolean() is not True:
                only[key].refuse("expected true")
            return value
    if "signed-by" not in members:
        # NOTE: `fields` first, so that a misspelt key is named rather than the missing one.
        kinds = ("signed-by", "unsafe-accept-unsigned", "reject")
        node.fields((), (*kinds, *_SIGNED_BY_KEYS))
        node.refuse(f"expected one of {', '.join(map(repr, kinds))}")
    return _parse_signed_by(_named(node, ("signed-by",), _SIGNED_BY_KEYS), anchors)


def _parse_signed_by(m: dict[str, Node], anchors: Mapping[str, tuple[KeySource, ...]]) -> SignedBy:
    named = _texts(m["signed-by"])
    for name in named:
        if name not in anchors:
            known = ", ".join(map(quote, sorted(anchors))) or "none"
            m["signed-by"].refuse(f"unknown anchor {quote(name)}", hint=f"anchors of this policy: {known}")
    if len(set(named)) != len(named):
        m["signed-by"].refuse("names an anchor twice")
    threshold = m["threshold"].integer(low=1, high=_THRESHOLD_MAX) if "threshold" in m else 1
    available = sum(len(anchors[n]) for n in named)
    if threshold > available:
        m["threshold"].refuse(f"threshold {threshold} can never be met by {available} keys")
    return SignedBy(
        anchors=named,
        threshold=threshold,
        name=_choice(m["name"]) if "name" in m else NameRule.EXACT,
        remap=_parse_remap(m["remap"]) if "remap" in m else {},
        max_age=parse_duration(m["max-age"].text(), error=m["max-age"].error, path=m["max-age"].path)
        if "max-age" in m
        else None,
        signed_after=m["signed-after"].moment() if "signed-after" in m else None,
        min_sequence=m["min-sequence"].integer(low=0, high=SEQUENCE_MAX) if "min-sequence" in m else None,
        annotations={k: _texts(v) for k, v in m["annotations"].entries().items()} if "annotations" in m else {},
        formats=_parse_formats(m["formats"]) if "formats" in m else None,
    )


def _texts(node: Node) -> tuple[str, ...]:
    """Read one string or a list of at least one."""
    if isinstance(node.value, str):
        return (node.text(),)
    found = tuple(n.text() for n in node.items())
    if not found:
        node.refuse("empty list")
    return found


def _choice(node: Node) -> NameRule:
    text = node.text()
    try:
        return NameRule(text)
    except ValueError:
        node.refuse(f"unknown name rule {quote(text)}", hint=f"use one of {', '.join(r.value for r in NameRule)}")


def _parse_formats(node: Node) -> tuple[str, ...]:
    found = _texts(node)
    for name in found:
        if name not in _FORMATS:
            node.refuse(f"unknown format {quote(name)}", hint=f"use one of {', '.join(_FORMATS)}")
    return found


def _parse_remap(node: Node) -> dict[str, str]:
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
