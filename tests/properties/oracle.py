"""The verdict once more: slow, naive, and built differently from ``evaluate``.

It never sees a byte of a signature, only the description the signature was made from, with times as
seconds relative to ``forge.NOW``. Names are compared in parts that were never joined, scopes are found by
looking at all of them, and a threshold by trying every combination of signatures, subjects and keys. A
predicate is spread out into all its values, and each condition looks through all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, product

from imgsign.policy import match as m
from imgsign.policy.model import (
    Attested,
    NameRule,
    Policy,
    Reject,
    Requirement,
    Rule,
    SignedBy,
    Terms,
    UnsafeAcceptUnsigned,
)
from tests.properties.forge import About, Name, Sig, at

SKEW = 300  # seconds a signer's clock may run ahead
FUTURE = "2026-11-23T12:05:01Z"  # the only time in any generated predicate that is later than that


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


def _holds(required: Requirement, anchors: Anchors, asked: Name | None, sigs: list[Sig], now: int) -> bool:
    if isinstance(required, UnsafeAcceptUnsigned):
        return True
    if isinstance(required, Reject):
        return False
    good, wanted = good_votes(required, anchors, asked, sigs, now=now), required.threshold
    return any(len({vote.entry.key for vote in chosen}) == wanted for chosen in combinations(good, wanted))


def good_votes(
    required: Terms, anchors: Anchors, asked: Name | None, sigs: Iterable[Sig], *, now: int = 0
) -> list[Vote]:
    """All ways in which one subject of one signature alone satisfies the requirement by one key."""
    entries = [entry for name in required.anchors for entry in anchors[name]]
    votes = [Vote(sig, about, entry) for sig, entry in product(sigs, entries) for about in sig.abouts]
    return [vote for vote in votes if all(_conditions(vote, required, asked, now))]


def _conditions(vote: Vote, required: Terms, asked: Name | None, now: int) -> list[bool]:
    sig, about, entry = vote.sig, vote.about, vote.entry
    signed = about.signed
    dated = signed is not None
    aged = required.max_age is not None or required.signed_after is not None
    notes = dict(about.annotations)
    return [
        sig.spoiled is None,
        _kind_fits(sig, required, now),
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
        all(key in notes and _note_fits(notes[key], wanted) for key, wanted in required.annotations.items()),
    ]


def _note_fits(note: str, wanted: m.TextMatch) -> bool:
    if isinstance(wanted, tuple):
        return any(note == value for value in wanted)
    return isinstance(wanted, m.Exists) or note[: len(wanted.text)] == wanted.text


def _kind_fits(sig: Sig, required: Terms, now: int) -> bool:
    if isinstance(required, SignedBy):
        return sig.attests is None and sig.format in ("bundle", "simple")
    if not isinstance(required, Attested) or sig.attests is None or sig.format == "simple":
        return False
    return sig.attests in required.uris and where_fits(required.where, json.loads(sig.content), now)


def where_fits(where: Iterable[m.Condition], predicate: object, now: int = 0) -> bool:
    """Whether every condition finds a value that passes all its tests."""
    everything = list(_spread(predicate, ()))
    return all(
        any(_on(c.path.steps, path) and all(_passes(t, value, now) for t in c.tests) for path, value in everything)
        for c in where
    )


def _spread(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if value is not None:
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _spread(inner, (*path, key))
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _spread(inner, (*path, number))


def _on(steps: Sequence[m.Step], path: tuple[str | int, ...]) -> bool:
    if len(steps) != len(path):
        return False
    return all(isinstance(p, int) if s is m.Any.ELEMENT else s == p for s, p in zip(steps, path, strict=True))


def _passes(test: m.Test, value: object, now: int) -> bool:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(test, m.Exists):
        return True
    if isinstance(test, m.OneOf):
        return any(json.dumps(v) == json.dumps(value) or (number is not None and _same(v, number)) for v in test.values)
    if isinstance(test, m.Prefix):
        return isinstance(value, str) and value[: len(test.text)] == test.text
    if isinstance(test, m.Compared):
        if number is None:
            return False
        low, high = (number, test.bound) if test.relation.value in ("below", "at-most") else (test.bound, number)
        return low < high or (test.relation.value.startswith("at-") and low == high)
    if isinstance(test, m.Within):
        return isinstance(value, dict) and where_fits(test.conditions, value, now)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return False
    if moment is None or moment.tzinfo is None:
        return False
    if isinstance(test, m.After):
        return moment > test.moment
    if isinstance(test, m.Before):
        return moment < test.moment
    return at(now) - test.span < moment <= at(now + SKEW)


def _same(wanted: object, number: float) -> bool:
    return isinstance(wanted, (int, float)) and not isinstance(wanted, bool) and wanted == number


def _name_fits(required: Terms, about: About, asked: Name | None) -> bool:
    if required.name == NameRule.UNSAFE_ANY:
        return True
    name = about.name
    if asked is None or not isinstance(name, Name):
        return False
    if required.name == NameRule.TAGGED and name.tag is None and name.digest is None:
        return False
    if required.name == NameRule.IDENTICAL:
        asked_tail = (asked.tag, None) if asked.tag is not None else (None, asked.digest)
        if (name.tag, name.digest) != asked_tail:
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
    future = future or any(FUTURE in s.content for s in sigs)
    return future or any(e.not_before is not None and e.not_before > now for es in anchors.values() for e in es)
