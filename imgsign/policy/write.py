"""A :class:`~imgsign.policy.model.Policy` -> values of the one shape that :mod:`imgsign.policy.parse` reads, and TOML.

What is written reads back as the same policy. There is one spelling of each: every key has a table of its own,
with the validity that its anchor gave it, and whatever has its default is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import assert_never

from imgsign.policy.match import (
    After,
    Before,
    Compared,
    Condition,
    Exists,
    MaxAge,
    OneOf,
    Prefix,
    Test,
    TextMatch,
    Within,
)
from imgsign.policy.model import (
    Attested,
    KeySource,
    NameRule,
    Policy,
    Reject,
    Requirement,
    Settings,
    SignedBy,
    Terms,
    UnsafeAcceptUnsigned,
)
from imgsign.wire import format_time

Values = dict[str, object]


def policy_value(policy: Policy, keys: Mapping[str, Sequence[str]] | None = None) -> Values:
    """Write a policy; ``keys`` has the PEM text of each anchor's keys, to stand in for their sources."""
    found: Values = {"version": 1, "default": str(policy.default.require[0])}
    if settings := _settings(policy.settings):
        found["settings"] = settings
    found["anchors"] = {
        name: {"keys": [_key(s, None if keys is None else keys[name][i]) for i, s in enumerate(sources)]}
        for name, sources in policy.anchors.items()
    }
    found["scopes"] = {
        scope: {
            "require": [requirement_value(r) for r in rule.require],
            **({"unsafe-shared-key": True} if scope in policy.shared_keys else {}),
        }
        for scope, rule in policy.scopes.items()
    }
    return found


def requirement_value(required: Requirement) -> Values:
    """Write one requirement."""
    match required:
        case Reject() | UnsafeAcceptUnsigned():
            return {str(required): True}
        case SignedBy():
            return {"signed-by": list(required.anchors), **_terms(required)}
        case Attested():
            found: Values = {"attested": list(required.types), "by": list(required.anchors), **_terms(required)}
            if required.where:
                found["where"] = _where(required.where)
            return found
        case _:
            assert_never(required)


def duration_text(span: timedelta) -> str:
    """Write a duration in the largest unit that makes a whole number."""
    seconds = int(span.total_seconds())
    return next(f"{seconds // size}{unit}" for size, unit in _UNITS if seconds % size == 0)


_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def _settings(settings: Settings) -> Values:
    found = {
        "verifications": settings.verifications,
        "referrers": settings.referrers,
        "blob-size": settings.blob,
        "attestation-size": settings.attestation,
        "total-size": settings.total,
    }
    return {k: v for k, v in found.items() if v is not None}


def _key(source: KeySource, pem: str | None) -> Values:
    found: Values = {"key": source.text if pem is None else pem}
    for word, moment in (("not-before", source.not_before), ("not-after", source.not_after)):
        if moment is not None:
            found[word] = format_time(moment)
    if source.hash is not None:
        found["hash"] = source.hash
    return found


def _terms(terms: Terms) -> Values:
    found: Values = {}
    if terms.threshold != 1:
        found["threshold"] = terms.threshold
    if terms.name is not NameRule.EXACT:
        found["name"] = terms.name.value
    if terms.remap:
        found["remap"] = dict(terms.remap)
    if terms.max_age is not None:
        found["max-age"] = duration_text(terms.max_age)
    if terms.signed_after is not None:
        found["signed-after"] = format_time(terms.signed_after)
    if terms.min_sequence is not None:
        found["min-sequence"] = terms.min_sequence
    if terms.annotations:
        found["annotations"] = {key: _annotation(value) for key, value in terms.annotations.items()}
    if terms.formats is not None:
        found["formats"] = list(terms.formats)
    if terms.unsafe_signed_name is not None:
        found["unsafe-signed-name"] = str(terms.unsafe_signed_name)
    return found


def _annotation(wanted: TextMatch) -> object:
    match wanted:
        case Prefix():
            return {"prefix": wanted.text}
        case Exists():
            return {"exists": True}
        case _:
            return list(wanted)


def _where(conditions: Sequence[Condition]) -> Values:
    return {c.path.text: dict(map(_test, c.tests)) for c in conditions}


def _test(test: Test) -> tuple[str, object]:
    match test:
        case OneOf():
            return "one-of", list(test.values)
        case Prefix():
            return "prefix", test.text
        case Exists():
            return "exists", True
        case Compared():
            return test.relation.value, test.bound
        case After():
            return "after", format_time(test.moment)
        case Before():
            return "before", format_time(test.moment)
        case MaxAge():
            return "max-age", duration_text(test.span)
        case Within():
            return "where", _where(test.conditions)
        case _:
            assert_never(test)


# TOML


def toml_policy(value: Mapping[str, object]) -> str:
    """Write what :func:`policy_value` made, a table for each anchor and scope."""
    lines = [f"{word} = {toml_inline(value[word])}" for word in ("version", "default")]
    for word in ("settings", "anchors", "scopes"):
        members = value.get(word, {})
        if not isinstance(members, Mapping) or not members:
            continue
        if word == "settings":
            lines += ["", "[settings]", *(f"{k} = {toml_inline(v)}" for k, v in members.items())]
            continue
        for name, table in members.items():
            lines += ["", f"[{word}.{toml_key(name)}]"]
            for key, listed in table.items():
                if isinstance(listed, list):
                    lines += [f"{key} = [", *(f"  {toml_inline(item)}," for item in listed), "]"]
                else:
                    lines.append(f"{key} = {toml_inline(listed)}")
    return "\n".join(lines) + "\n"


def toml_inline(value: object) -> str:
    """Write a value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(k)} = {toml_inline(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_inline, value)) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def toml_key(name: str) -> str:
    """Write a key, quoted where it has to be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)


def toml_text(text: str) -> str:
    """Write a basic string; whatever is not plain ASCII is escaped."""
    return '"' + "".join(map(_char, text)) + '"'


def _char(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isascii() and char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 65536 else f"\\U{ord(char):08x}"
