"""What the webhook does in which namespace: the text of its settings -> :class:`Settings`; pure.

Shape (TOML, or JSON of the same shape; exact keys only, a typo is an error with its path):

    version = 1
    policy = "policy.toml"                    the policy of every namespace that names none of its own
    mode = "enforce" | "warn" | "audit"       warn and audit never deny; audit does not even warn
    pin = true                                mutate writes the judged digest into Pods
    mutate-workloads = false                  … and into workload templates
    unsafe-allow-tags = false                 validate accepts Pod images without a digest
    refuse-short-names = false                for CRI-O, whose nodes may complete `nginx` differently
    unsafe-local-hosts = ["127.0.0.1:5000"]   registries on loopback, link-local and metadata addresses
    [namespaces.NAME]    policy, mode, pin, mutate-workloads, unsafe-allow-tags, or exempt = true alone
    [scopes."SCOPE"]     pin, unsafe-allow-tags: for these images in every namespace; the most specific scope alone

A namespace is meant by its name, which nobody but its creator chooses and nobody can change; labels and
annotations mean nothing here. Names of policies are file names beside the settings, never paths.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import field, replace

from imgsign.record import record
from imgsign.reference import Repository, is_scope, scopes
from imgsign.wire import Node, quote

SETTINGS_LIMIT = 1024 * 1024
"""Bytes of the settings: what a ConfigMap can hold."""

_POLICY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # an RFC 1123 label
_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[A-Fa-f0-9:.]{2,45}\])(?::[0-9]{1,5})?")
_SHARED = ("policy", "mode", "pin", "mutate-workloads", "unsafe-allow-tags")


class Mode(enum.Enum):
    """What a denial means: it is one, it is a warning, or it is noted in the audit log only."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


@record
class NamespaceRules:
    """What applies in one namespace; ``policy`` is the name of a policy file."""

    policy: str
    mode: Mode = Mode.ENFORCE
    pin: bool = True
    mutate_workloads: bool = False
    unsafe_allow_tags: bool = False
    exempt: bool = False


@record
class ScopeRules:
    """What the images of one scope may do besides: go unpinned, stay tags."""

    pin: bool = True
    unsafe_allow_tags: bool = False


@record
class Settings:
    """All of it. ``local_hosts`` are registries (``host:port``, as references name them) that may be local."""

    default: NamespaceRules
    namespaces: Mapping[str, NamespaceRules] = field(default_factory=dict, hash=False)
    scopes: Mapping[str, ScopeRules] = field(default_factory=dict, hash=False)
    local_hosts: frozenset[str] = frozenset()
    refuse_short_names: bool = False

    def rules_for(self, namespace: str) -> NamespaceRules:
        """Return what applies in a namespace; one that is not named has the defaults."""
        return self.namespaces.get(namespace, self.default)

    def scope_rules(self, repository: Repository) -> ScopeRules:
        """Return what applies to an image besides its namespace's rules: of the most specific scope alone."""
        if self.scopes:
            for scope in scopes(repository):
                if (found := self.scopes.get(scope)) is not None:
                    return found
        return ScopeRules()

    @property
    def policies(self) -> frozenset[str]:
        """The names of all policy files these settings need."""
        return frozenset(r.policy for r in (self.default, *self.namespaces.values()))


def parse_settings(node: Node) -> Settings:
    """Turn a TOML or JSON document into settings.

    Raises:
        Malformed: (as the node's error) with the path of the first thing that is wrong.
    """
    optional = (*_SHARED[1:], "refuse-short-names", "unsafe-local-hosts", "namespaces", "scopes")
    top = node.fields(("version", "policy"), optional)
    if top["version"].integer() != 1:
        top["version"].refuse("unknown version of the settings", hint="this imgsign reads version = 1")
    default = _shared(NamespaceRules(policy=""), top)
    return Settings(
        default=default,
        namespaces={n: _namespace(n, sub, default) for n, sub in _entries(top, "namespaces")},
        scopes={s: _scope(s, sub) for s, sub in _entries(top, "scopes")},
        local_hosts=frozenset(map(_host, top["unsafe-local-hosts"].items()))
        if "unsafe-local-hosts" in top
        else frozenset(),
        refuse_short_names="refuse-short-names" in top and top["refuse-short-names"].boolean(),
    )


def _entries(top: Mapping[str, Node], key: str) -> list[tuple[str, Node]]:
    return list(top[key].entries().items()) if key in top else []


def _shared(start: NamespaceRules, members: Mapping[str, Node]) -> NamespaceRules:
    """Replace what is written; the rest is inherited."""

    def flag(key: str, inherited: bool) -> bool:
        return members[key].boolean() if key in members else inherited

    return replace(
        start,
        policy=_policy(members["policy"]) if "policy" in members else start.policy,
        mode=_mode(members["mode"]) if "mode" in members else start.mode,
        pin=flag("pin", start.pin),
        mutate_workloads=flag("mutate-workloads", start.mutate_workloads),
        unsafe_allow_tags=flag("unsafe-allow-tags", start.unsafe_allow_tags),
    )


def _namespace(name: str, node: Node, default: NamespaceRules) -> NamespaceRules:
    if _NAMESPACE.fullmatch(name) is None:
        node.refuse(f"{quote(name)} cannot be the name of a namespace", hint="one name a table, no patterns")
    members = node.fields((), (*_SHARED, "exempt"))
    if "exempt" not in members:
        return _shared(default, members)
    if members["exempt"].boolean() is not True:
        members["exempt"].refuse("expected true")
    if len(members) > 1:
        node.refuse("an exempt namespace has no other settings")
    return replace(default, exempt=True)


def _scope(scope: str, node: Node) -> ScopeRules:
    if not is_scope(scope):
        hint = "write it as in a policy: registry.example.com/team, registry.example.com, *.example.com or *"
        node.refuse(f"scope {quote(scope)} can never match an image", hint=hint)
    members = node.fields((), ("pin", "unsafe-allow-tags"))
    return ScopeRules(
        pin=members["pin"].boolean() if "pin" in members else True,
        unsafe_allow_tags="unsafe-allow-tags" in members and members["unsafe-allow-tags"].boolean(),
    )


def _policy(node: Node) -> str:
    text = node.text()
    if _POLICY_NAME.fullmatch(text) is None:
        node.refuse(f"not the name of a policy file: {quote(text)}", hint="a file beside the settings, without a path")
    return text


def _mode(node: Node) -> Mode:
    text = node.text()
    try:
        return Mode(text)
    except ValueError:
        node.refuse(f"unknown mode {quote(text)}", hint=f"use one of {', '.join(m.value for m in Mode)}")


def _host(node: Node) -> str:
    text = node.text()
    if _HOST.fullmatch(text) is None:
        node.refuse(f"not a registry host: {quote(text)}", hint="write it as references do: 127.0.0.1:5000")
    return text
