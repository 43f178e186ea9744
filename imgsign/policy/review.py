"""What is doubtful in a policy that is valid: pure, with the path of each.

Told: what cannot match or be met, now or soon; what is not used; what one lost or stolen key would do; everything
that says ``unsafe``. Not told: whether the policy is what its author meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from imgsign.policy.model import NameRule, Policy, Rule, Terms, UnsafeAcceptUnsigned
from imgsign.record import record
from imgsign.reference import DOCKER_HUB, NAME_LIMIT
from imgsign.trust import TrustedKey, TrustStore
from imgsign.wire import format_time, quote


@record
class Doubt:
    """One warning: ``code`` is stable, ``path`` as in errors of the parser."""

    code: str
    path: str
    message: str


def review(policy: Policy, trust: TrustStore, *, now: datetime, soon: timedelta) -> tuple[Doubt, ...]:
    """Find everything doubtful; keys that end within ``soon`` are."""
    return (
        *_default(policy),
        *_anchors(policy, trust, now, soon),
        *(d for scope, rule in policy.scopes.items() for d in _scope(scope, rule, policy, trust, now)),
    )


def _default(policy: Policy) -> Iterator[Doubt]:
    if isinstance(policy.default.require[0], UnsafeAcceptUnsigned):
        yield Doubt(code="unsafe", path="default", message="images that no scope covers are accepted unsigned")


def _anchors(policy: Policy, trust: TrustStore, now: datetime, soon: timedelta) -> Iterator[Doubt]:
    used = {a for rule in policy.scopes.values() for a in rule.anchors}
    owner: dict[str, str] = {}
    for name, anchor in trust.anchors.items():
        path = f"anchors.{_plain(name)}"
        if name not in used:
            yield Doubt(code="unused-anchor", path=path, message="no scope uses this anchor")
        for i, key in enumerate(anchor.keys):
            first = owner.setdefault(key.key.digest, name)
            at = f"{path}.keys[{i}]"
            if first != name:
                text = f"key {key.key.fingerprint} is also in anchor {quote(first)}"
                yield Doubt(code="key-in-two-anchors", path=at, message=text)
            yield from _validity(key, at, now, soon)


def _validity(key: TrustedKey, path: str, now: datetime, soon: timedelta) -> Iterator[Doubt]:
    text = f"key {key.key.fingerprint}"
    if key.not_after is not None and key.not_after <= now:
        yield Doubt(code="key-expired", path=path, message=f"{text} was trusted until {format_time(key.not_after)}")
    elif key.not_after is not None and key.not_after <= now + soon:
        text = f"{text} is trusted until {format_time(key.not_after)} only"
        yield Doubt(code="key-expires-soon", path=path, message=text)
    if key.not_before is not None and key.not_before > now:
        text = f"{text} is trusted from {format_time(key.not_before)} only"
        yield Doubt(code="key-not-yet-valid", path=path, message=text)


def _scope(scope: str, rule: Rule, policy: Policy, trust: TrustStore, now: datetime) -> Iterator[Doubt]:
    path = f"scopes.{_plain(scope)}"
    if (why := _never(scope)) is not None:
        yield Doubt(code="never-matches", path=path, message=why)
    if scope in policy.shared_keys:
        text = "one key may count for two anchors"
        yield Doubt(code="unsafe", path=f"{path}.unsafe-shared-key", message=text)
    for i, required in enumerate(rule.require):
        at = f"{path}.require[{i}]"
        if isinstance(required, UnsafeAcceptUnsigned):
            yield Doubt(code="unsafe", path=at, message="images are accepted unsigned")
        if isinstance(required, Terms):
            yield from _terms(scope, required, at, trust, now)


def _terms(scope: str, terms: Terms, path: str, trust: TrustStore, now: datetime) -> Iterator[Doubt]:
    keys = {k.key.digest: k for a in terms.anchors for k in trust.anchors[a].keys}
    live = {d for d, k in keys.items() if k.not_after is None or now < k.not_after}
    if terms.threshold > len(live):
        text = f"{terms.threshold} signers are needed, and only {len(live)} of {len(keys)} keys are still trusted"
        yield Doubt(code="cannot-be-met", path=path, message=text)
    elif terms.threshold == len(live) and terms.threshold > 1:
        text = f"needs all {len(live)} keys that are trusted: one that is lost makes it impossible to meet"
        yield Doubt(code="no-spare-key", path=path, message=text)
    if terms.name is NameRule.UNSAFE_ANY:
        text = "any signed image is accepted under any name that the scope covers"
        yield Doubt(code="unsafe", path=f"{path}.name", message=text)
    if terms.unsafe_signed_name is not None:
        text = f"what is signed as {terms.unsafe_signed_name} is accepted under any name that the scope covers"
        yield Doubt(code="unsafe", path=f"{path}.unsafe-signed-name", message=text)
    for prefix in terms.remap:
        if not _overlap(scope, prefix):
            text = f"remap of {quote(prefix)} never applies to images of {scope}"
            yield Doubt(code="never-matches", path=f"{path}.remap", message=text)


def _never(scope: str) -> str | None:
    host, _, path = scope.partition("/")
    if len(scope) > NAME_LIMIT:
        return f"no image name is longer than {NAME_LIMIT} characters"
    if host == "registry-1.docker.io":
        return f"never matches: images of Docker Hub are named {DOCKER_HUB}"
    if host == DOCKER_HUB and path and "/" not in path and path != "library":
        return f"covers the user {path} of Docker Hub; the official image is {DOCKER_HUB}/library/{path}"
    return None


def _overlap(scope: str, prefix: str) -> bool:
    if scope.startswith("*"):
        return scope == "*" or prefix.partition("/")[0].partition(":")[0].endswith(scope[1:])
    return f"{scope}/".startswith(f"{prefix}/") or f"{prefix}/".startswith(f"{scope}/")


def _plain(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isalnum() and plain.isascii() and len(name) <= 64 else quote(name)
