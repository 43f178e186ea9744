"""The verdict once more: slow, naive, and built differently from ``evaluate``.

It never sees a byte of a signature, only the description the signature was made from, with times as
seconds relative to ``forge.NOW``. Names are compared in parts that were never joined, scopes are found by
looking at all of them, and a threshold by trying every combination of signatures, subjects and keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations, product

from imgsign.policy.model import NameRule, Policy, Reject, Rule, SignedBy, UnsafeAcceptUnsigned
from tests.properties.forge import About, Name, Sig, at

SKEW = 300  # seconds a signer's clock may run ahead


@dataclass(frozen=True)
class Entry:
    """One key of an anchor with its validity, as offsets."""

    key: int
    not_before: int | None = None
    not_after: int | None = None


Anchors = Mapping[str, Sequence[Entry]]


@dataclass(frozen=True)
class Vote:
    """One signature, one of its subjects, and one trusted key it is held against."""

    sig: Sig
    about: About
    entry: Entry


def allows(policy: Policy, anchors: Anchors, asked: Name | None, sigs: Iterable[Sig], *, now: int = 0) -> bool:
    """Whether the policy allows image 0 under the asked name, ``now`` seconds after NOW."""
    sigs = list(sigs)
    return all(_holds(r, anchors, asked, sigs, now) for r in rule_for(policy, asked).require)


def _holds(
    required: SignedBy | UnsafeAcceptUnsigned | Reject, anchors: Anchors, asked: Name | None, sigs: list[Sig], now: int
) -> bool:
    if isinstance(required, UnsafeAcceptUnsigned):
        return True
    if isinstance(required, Reject):
        return False
    good, wanted = good_votes(required, anchors, asked, sigs, now=now), required.threshold
    return any(len({vote.entry.key for vote in chosen}) == wanted for chosen in combinations(good, wanted))


def good_votes(
    required: SignedBy, anchors: Anchors, asked: Name | None, sigs: Iterable[Sig], *, now: int = 0
) -> list[Vote]:
    """All ways in which one subject of one signature alone satisfies the requirement by one key."""
    entries = [entry for name in required.anchors for entry in anchors[name]]
    votes = [Vote(sig, about, entry) for sig, entry in product(sigs, entries) for about in sig.abouts]
    return [vote for vote in votes if all(_conditions(vote, required, asked, now))]


def _conditions(vote: Vote, required: SignedBy, asked: Name | None, now: int) -> list[bool]:
    sig, about, entry = vote.sig, vote.about, vote.entry
    signed = about.signed
    dated = signed is not None
    aged = required.max_age is not None or required.signed_after is not None
    notes = dict(about.annotations)
    return [
        sig.spoiled is None,
        sig.key == entry.key,
        about.image == 0,
        required.formats is None or sig.format in required.formats,
        _name_fits(required, about, asked),
        entry.not_before is None or entry.not_before <= now,
        entry.not_after is None or entry.not_after > now,
        about.expires is None or about.expires > now,
        dated or not aged,
        signed is None or signed - now <= SKEW,
        signed is None or required.max_age is None or timedelta(seconds=now - signed) < required.max_age,
        signed is None or required.signed_after is None or at(signed) > required.signed_after,
        required.min_sequence is None or (about.sequence is not None and about.sequence >= required.min_sequence),
        all(key in notes and notes[key] in values for key, values in required.annotations.items()),
    ]


def _name_fits(required: SignedBy, about: About, asked: Name | None) -> bool:
    if required.name == NameRule.UNSAFE_ANY:
        return True
    name = about.name
    if asked is None or not isinstance(name, Name):
        return False
    same_repository = [name.registry, *name.path.split("/")] == _remapped(asked, required.remap)
    own_digest = name.digest is None or name.digest == about.image
    same_tag = asked.tag is None or name.tag == asked.tag
    return same_repository and own_digest and (same_tag or required.name == NameRule.REPOSITORY)


def _remapped(asked: Name, remap: Mapping[str, str]) -> list[str]:
    parts = [asked.registry, *asked.path.split("/")]
    for length in range(len(parts), 0, -1):
        for prefix, target in remap.items():
            if prefix.split("/") == parts[:length]:
                return target.split("/") + parts[length:]
    return parts


def rule_for(policy: Policy, asked: Name | None) -> Rule:
    """Look at every scope; take the one that says most about the name."""
    fitting = [(detail, scope) for scope in policy.scopes if (detail := _fits(scope, asked)) is not None]
    return policy.scopes[max(fitting)[1]] if fitting else policy.default


def _fits(scope: str, asked: Name | None) -> tuple[int, int] | None:
    """How specific a scope is for a name: paths over wildcards over ``*``; ``None`` if it does not cover it."""
    if scope == "*":
        return (0, 0)
    if asked is None:
        return None
    if scope.startswith("*."):
        host = asked.registry.split(":")[0]
        return (1, len(scope)) if host.endswith(scope[1:]) else None
    parts, wanted = [asked.registry, *asked.path.split("/")], scope.split("/")
    return (2, len(wanted)) if parts[: len(wanted)] == wanted else None


def late_starters(anchors: Anchors, sigs: Iterable[Sig], *, now: int = 0) -> bool:
    """Whether anything could begin to count only after ``now``."""
    future = any(a.signed is not None and a.signed - now > SKEW for s in sigs for a in s.abouts)
    return future or any(e.not_before is not None and e.not_before > now for es in anchors.values() for e in es)
