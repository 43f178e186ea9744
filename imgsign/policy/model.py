"""The policy as parsed values: Policy > Scope > Rule > Requirement.

Exactly one rule applies to an image: that of the most specific scope (see
:func:`imgsign.reference.scopes`); scopes never add up. All requirements of a rule must hold, and none of
them asks for the absence of anything, so less evidence never allows more.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imgsign.reference import Repository, scopes


class NameRule(enum.Enum):
    """How the signed name must relate to the name that was asked for (design §7)."""

    EXACT = "exact"
    REPOSITORY = "repository"
    UNSAFE_ANY = "unsafe-any"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    """At least ``threshold`` distinct signers of the anchors signed this image under an acceptable name.

    Each counted signature alone meets every other field: ``remap`` (asked prefix -> signed prefix, at
    ``/`` boundaries), age, sequence, required annotations. ``formats`` ``None`` means all.
    """

    anchors: tuple[str, ...]
    threshold: int = 1
    name: NameRule = NameRule.EXACT
    remap: Mapping[str, str] = field(default_factory=dict, hash=False)
    max_age: timedelta | None = None
    signed_after: datetime | None = None
    min_sequence: int | None = None
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    formats: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"signed-by {', '.join(self.anchors)}"


@dataclass(frozen=True, slots=True)
class UnsafeAcceptUnsigned:
    """Anything goes: no signature is looked for."""

    def __str__(self) -> str:
        return "unsafe-accept-unsigned"


@dataclass(frozen=True, slots=True)
class Reject:
    """Nothing goes."""

    def __str__(self) -> str:
        return "reject"


Requirement = SignedBy | UnsafeAcceptUnsigned | Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The requirements of one scope; ``scope`` is ``None`` for the policy's default."""

    scope: str | None
    require: tuple[Requirement, ...]

    @property
    def needs_evidence(self) -> bool:
        """Whether any request for signatures can change the verdict."""
        kinds = [type(r) for r in self.require]
        return SignedBy in kinds and Reject not in kinds

    @property
    def anchors(self) -> frozenset[str]:
        """All anchor names the rule uses."""
        return frozenset(a for r in self.require if isinstance(r, SignedBy) for a in r.anchors)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where a key of an anchor comes from, before anything was read.

    ``text`` is a path relative to the policy file, an inline PEM or ``env:NAME``; the rest as in
    :class:`imgsign.trust.TrustedKey`.
    """

    text: str
    path: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A whole policy. ``anchors`` name their keys' sources; :mod:`imgsign.load` reads them."""

    default: Rule
    scopes: Mapping[str, Rule] = field(hash=False)
    anchors: Mapping[str, tuple[KeySource, ...]] = field(default_factory=dict, hash=False)
    shared_keys: frozenset[str] = frozenset()

    def rule_for(self, repository: Repository | None) -> Rule:
        """Find the one rule for a repository: O(depth) look-ups, no scan. No name: only ``*`` can match."""
        for scope in scopes(repository) if repository is not None else ("*",):
            rule = self.scopes.get(scope)
            if rule is not None:
                return rule
        return self.default
