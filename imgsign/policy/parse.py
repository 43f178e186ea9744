"""The text of a policy -> :class:`~imgsign.policy.model.Policy`. TOML, or JSON of the same shape.

Shape (design §7; exact keys only, a typo is an error with its path):

    version = 1
    default = "reject" | "unsafe-accept-unsigned"
    [settings]        verifications, referrers = number
                      blob-size, attestation-size, total-size = bytes | "64MiB"
    [anchors.NAME]    keys = [KEY, …]  not-before, not-after = time
    [scopes."SCOPE"]  require = [REQUIREMENT, …]  unsafe-shared-key = true
    KEY               "path" | inline PEM | "env:NAME" | { key = …, not-before, not-after, hash }
    REQUIREMENT       { signed-by = "NAME" | [NAME, …], TERMS }
                      | { attested = "TYPE" | [TYPE, …], by = "NAME" | [NAME, …], where = WHERE, TERMS }
                      | { unsafe-accept-unsigned = true } | { reject = true }
    TERMS             threshold, name, remap, max-age, signed-after, min-sequence,
                      annotations = { KEY = ANNOTATION, … }, formats, unsafe-signed-name = "REF"
    TYPE              slsa-provenance, spdx, … (:data:`imgsign.predicates.PREDICATES`) | a URI
    WHERE, ANNOTATION see :mod:`imgsign.policy.parse_match`

Refused with its reason: a scope with a tag or digest (whoever writes a manifest writes its tag, so a tag
scope protects nothing), an empty ``require``, an unknown anchor, a threshold no number of keys can meet,
a missing ``default``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgsign.policy.model import (
    KeySource,
    Policy,
    Reject,
    Requirement,
    Rule,
    Settings,
    UnsafeAcceptUnsigned,
)
from imgsign.policy.parse_require import parse_requirement
from imgsign.reference import DOCKER_HUB, is_scope
from imgsign.wire import Node, quote

POLICY_LIMIT = 8 * 1024 * 1024
"""Bytes of one policy file: 10,000 scopes with 2,000 inline keys take some 2 MiB."""

MIB = 1024 * 1024
_SETTINGS = {
    "verifications": (1, 100_000),
    "referrers": (1, 10_000),
    "blob-size": (1024, 64 * MIB),
    "attestation-size": (1024, 128 * MIB),
    "total-size": (1024, 1024 * MIB),
}
"""Each setting with the least and the most that it may be; sizes in bytes."""

_SIZE = re.compile(r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB)")
_UNITS = {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}

_DEFAULTS: dict[str, Requirement] = {
    "reject": Reject(),
    "unsafe-accept-unsigned": UnsafeAcceptUnsigned(),
}
_HASHES = ("sha256", "sha384", "sha512")


def parse_policy(node: Node) -> Policy:
    """Turn a TOML or JSON document into a policy; keys are named, not read.

    Raises:
        InvalidPolicy: with the path of the first thing that is wrong.
    """
    node = Node(node.value, node.path.removeprefix("$"), node.error)
    top = node.fields(("version", "default"), ("anchors", "scopes", "settings"))
    if top["version"].integer() != 1:
        top["version"].refuse("unknown policy version", hint="this imgsign reads version = 1")
    anchors = (
        {name: _parse_anchor(name, sub) for name, sub in top["anchors"].entries().items()} if "anchors" in top else {}
    )
    scopes: dict[str, Rule] = {}
    shared: set[str] = set()
    for scope, sub in top["scopes"].entries().items() if "scopes" in top else ():
        _check_scope(scope, sub)
        members = sub.fields(("require",), ("unsafe-shared-key",))
        scopes[scope] = _parse_rule(scope, members["require"], anchors)
        if "unsafe-shared-key" in members and members["unsafe-shared-key"].boolean():
            shared.add(scope)
    return Policy(
        default=_parse_default(top["default"]),
        scopes=scopes,
        anchors=anchors,
        shared_keys=frozenset(shared),
        settings=_parse_settings(top["settings"]) if "settings" in top else Settings(),
    )


def _parse_settings(node: Node) -> Settings:
    found = {key: _bounded(key, sub) for key, sub in node.fields((), _SETTINGS).items()}
    return Settings(
        verifications=found.get("verifications"),
        referrers=found.get("referrers"),
        blob=found.get("blob-size"),
        attestation=found.get("attestation-size"),
        total=found.get("total-size"),
    )


def _bounded(key: str, node: Node) -> int:
    low, high = _SETTINGS[key]
    if not (key.endswith("-size") and isinstance(node.value, str)):
        return node.integer(low=low, high=high)
    match = _SIZE.fullmatch(node.text())
    if match is None:
        node.refuse(f"not a size: {quote(node.text())}", hint="use B, KiB, MiB or GiB, such as 64MiB")
    return Node(int(match[1]) * _UNITS[match[2]], node.path, node.error).integer(low=low, high=high)


def _parse_default(node: Node) -> Rule:
    text = node.text()
    if text not in _DEFAULTS:
        node.refuse(f"unknown default {quote(text)}", hint='write default = "reject"')
    return Rule(scope=None, require=(_DEFAULTS[text],))


def _parse_anchor(name: str, node: Node) -> tuple[KeySource, ...]:
    if not name or name != name.strip() or not name.isprintable():
        node.refuse(f"not an anchor name: {quote(name)}")
    members = node.fields(("keys",), ("not-before", "not-after"))
    keys = members["keys"].items()
    if not keys:
        members["keys"].refuse("an anchor without keys can never sign")
    return tuple(_parse_key(k, members) for k in keys)


def _parse_key(node: Node, anchor: Mapping[str, Node]) -> KeySource:
    """Read one key; its own validity narrows the anchor's, never widens it."""
    members = {"key": node}
    if isinstance(node.value, dict):
        members = node.fields(("key",), ("not-before", "not-after", "hash"))
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
    listed = node.items()
    if not listed:
        node.refuse(
            "empty require would accept nothing or everything",
            hint="write { reject = true } or { unsafe-accept-unsigned = true } if that is meant",
        )
    return Rule(scope=scope, require=tuple([parse_requirement(r, anchors) for r in listed]))
