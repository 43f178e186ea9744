"""The policy as parsed values: Policy > Scope > Rule > Requirement.

Exactly one rule applies to an image: that of the most specific scope (see
:func:`imgsign.reference.scopes`); scopes never add up. All requirements of a rule must hold, and none of
them asks for the absence of anything, so less evidence never allows more.

Where the word ``unsafe`` is needed: for whatever lets content through that nobody vouched for under the
name it was asked by (``unsafe-accept-unsigned``, ``name = "unsafe-any"``), and for whatever lets one signer
count as two (``unsafe-shared-key``). A longer age, a lower threshold or a larger limit is a choice and not
a hole, and needs none.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta

from imgsign.intoto import COSIGN_SIGN
from imgsign.policy.match import Condition, TextMatch
from imgsign.record import record
from imgsign.reference import Reference, Repository, scopes


class NameRule(enum.Enum):
    """How the signed name must relate to the name that was asked for (design §7).

    ``TAGGED`` and ``IDENTICAL`` are what other tools' policies say and imgsign's would otherwise widen: as
    ``EXACT``, but a name with neither tag nor digest never counts; and the same tag and digest as were asked
    for, so that what was signed by tag does not count where it is asked for by digest.
    """

    EXACT = "exact"
    TAGGED = "exact-tagged"
    IDENTICAL = "identical"
    REPOSITORY = "repository"
    UNSAFE_ANY = "unsafe-any"


@record
class Terms:
    """What signatures and attestations have in common: who, how many, and what one of them alone must meet.

    ``threshold`` distinct signers of ``anchors``; each counted one meets every other field by one subject
    of one claim: ``remap`` (asked prefix -> signed prefix, at ``/`` boundaries), age, sequence, required
    annotations. ``formats`` ``None`` means all. ``unsafe_signed_name`` stands in for the name that was asked
    for: one image of that name may then be served under every name of the scope.
    """

    anchors: tuple[str, ...]
    threshold: int = 1
    name: NameRule = NameRule.EXACT
    remap: Mapping[str, str] = field(default_factory=dict, hash=False)
    max_age: timedelta | None = None
    signed_after: datetime | None = None
    min_sequence: int | None = None
    annotations: Mapping[str, TextMatch] = field(default_factory=dict, hash=False)
    formats: tuple[str, ...] | None = None
    unsafe_signed_name: Reference | None = None


@record
class SignedBy(Terms):
    """At least ``threshold`` distinct signers of the anchors signed this image under an acceptable name."""

    def __str__(self) -> str:
        return f"signed-by {', '.join(self.anchors)}"


@record
class Attested(Terms):
    """At least ``threshold`` distinct signers attested one of these predicate types, and ``where`` holds.

    ``types`` are as the policy says them, ``uris`` what they stand for. Each counted attestation meets all
    conditions by its own predicate, whatever another one says.
    """

    types: tuple[str, ...]
    uris: frozenset[str]
    where: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        return f"attested {', '.join(self.types)} by {', '.join(self.anchors)}"


@record(kw_only=False)
class UnsafeAcceptUnsigned:
    """Anything goes: no signature is looked for."""

    def __str__(self) -> str:
        return "unsafe-accept-unsigned"


@record(kw_only=False)
class Reject:
    """Nothing goes."""

    def __str__(self) -> str:
        return "reject"


Requirement = SignedBy | Attested | UnsafeAcceptUnsigned | Reject


@record
class Rule:
    """The requirements of one scope; ``scope`` is ``None`` for the policy's default."""

    scope: str | None
    require: tuple[Requirement, ...]

    @property
    def needs_evidence(self) -> bool:
        """Whether any request for signatures can change the verdict."""
        return bool(self.wanted)

    @property
    def wanted(self) -> frozenset[str]:
        """The predicate types that can change the verdict: which evidence is worth its requests.

        That of a signature is :data:`imgsign.intoto.COSIGN_SIGN`; empty where nothing can.
        """
        found: set[str] = set()
        for required in self.require:
            if isinstance(required, Reject):
                return frozenset()
            if isinstance(required, SignedBy):
                found.add(COSIGN_SIGN)
            elif isinstance(required, Attested):
                found |= required.uris
        return frozenset(found)

    @property
    def anchors(self) -> frozenset[str]:
        """All anchor names the rule uses."""
        return frozenset(a for r in self.require if isinstance(r, Terms) for a in r.anchors)


@record
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


@record
class Settings:
    """What judging one image may cost; ``None`` leaves it to whoever judges. Sizes are in bytes.

    ``verifications``: signature verifications, once for pairs that a hint suggests and once for the others.
    ``referrers``: listed descriptors looked at. ``blob``: one signature. ``attestation``: one attestation,
    where the rule asks for any. ``total``: all of them from one place. A limit that is passed is never an
    ALLOW: it is a failed check or a fault.
    """

    verifications: int | None = None
    referrers: int | None = None
    blob: int | None = None
    attestation: int | None = None
    total: int | None = None


@record
class Policy:
    """A whole policy. ``anchors`` name their keys' sources; :mod:`imgsign.load` reads them."""

    default: Rule
    scopes: Mapping[str, Rule] = field(hash=False)
    anchors: Mapping[str, tuple[KeySource, ...]] = field(default_factory=dict, hash=False)
    shared_keys: frozenset[str] = frozenset()
    settings: Settings = Settings()

    def rule_for(self, repository: Repository | None) -> Rule:
        """Find the one rule for a repository: O(depth) look-ups, no scan. No name: only ``*`` can match."""
        for scope in scopes(repository) if repository is not None else ("*",):
            rule = self.scopes.get(scope)
            if rule is not None:
                return rule
        return self.default
