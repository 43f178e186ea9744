"""Settings, policies and keys of one moment: what a review is judged by from its beginning to its end.

All files lie beside the settings, as one ConfigMap mounts them, and are read through one resolved ``..data``
(:mod:`imgsign.admission.mounted`). A set of which anything cannot be used is not used at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from hashlib import sha256
from pathlib import Path

from imgsign.admission.asked import Asked, NamedPolicy
from imgsign.admission.mounted import moment
from imgsign.admission.plan import Rulebook, Wanted
from imgsign.admission.settings import SETTINGS_LIMIT, NamespaceRules, Settings, parse_settings
from imgsign.errors import DestinationError, ImgsignError, InvalidPolicy
from imgsign.load import load_policy
from imgsign.policy.parse import POLICY_LIMIT
from imgsign.record import record
from imgsign.signers.disk import read_file
from imgsign.trust import TrustStore
from imgsign.wire import load_json, load_toml, quote

_REMEMBERED = 4096  # images put together with their policy
_TRIES = 3  # readings of a set that changes while it is read


@record
class Snapshot:
    """One consistent set. ``files`` are those outside the settings' directory, to be watched as well."""

    rulebook: Rulebook
    policies: Mapping[str, NamedPolicy] = field(hash=False)
    files: tuple[Path, ...] = ()
    _asked: dict[tuple[str, str], Asked] = field(default_factory=dict, hash=False, repr=False)

    def asked(self, wanted: Wanted, namespace: str = "", secrets: tuple[str, ...] = ()) -> Asked:
        """Put a wanted image together with its policy; those without secrets of their own are kept."""
        if secrets:
            return Asked(wanted=wanted, policy=self.policies[wanted.policy], namespace=namespace, secrets=secrets)
        key = wanted.policy, wanted.key
        found = self._asked.get(key)
        if found is None or found.wanted.need is not wanted.need:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()  # nobody can fill memory with names
            found = self._asked[key] = Asked(wanted=wanted, policy=self.policies[wanted.policy])
        return found


def load_snapshot(path: Path, *, is_policy: bool = False, environ: Mapping[str, str]) -> Snapshot:
    """Read settings and all they name; or, with ``is_policy``, one policy for every namespace.

    Raises:
        DestinationError, InvalidPolicy: naming the file.
    """
    last: ImgsignError | None = None
    for _ in range(_TRIES):
        before = moment(path.parent)
        try:
            found = _load(before / path.name, is_policy=is_policy, environ=environ)
        except (DestinationError, InvalidPolicy) as e:
            # Named as its owner knows it, not by the kubelet's directory of this moment.
            last = type(e)(e.message.replace(str(before), str(path.parent)), hint=e.hint)
            found = None
        # The kubelet removes the old directory once the link has moved: then the set is read again.
        if moment(path.parent) == before:
            break
    if found is None:
        raise last or DestinationError(f"{quote(str(path))} changed while it was read, {_TRIES} times")
    return found


def _load(path: Path, *, is_policy: bool, environ: Mapping[str, str]) -> Snapshot:
    if is_policy:
        settings = Settings(default=NamespaceRules(policy=path.name))
    else:
        raw = read_file(path, limit=SETTINGS_LIMIT)
        try:
            if path.suffix == ".json":
                settings = parse_settings(load_json(raw, limit=SETTINGS_LIMIT, error=InvalidPolicy))
            else:
                settings = parse_settings(load_toml(raw, limit=SETTINGS_LIMIT))
        except InvalidPolicy as e:
            raise InvalidPolicy(f"settings {quote(str(path))}: {e.message}", hint=e.hint) from e
    policies = {name: _load_policy(path.parent / name, environ) for name in sorted(settings.policies)}
    outside = {
        path.parent / source.text
        for named in policies.values()
        for sources in named.policy.anchors.values()
        for source in sources
        if "-----BEGIN" not in source.text and not source.text.startswith("env:")
    }
    rulebook = Rulebook(settings=settings, policies={n: p.policy for n, p in policies.items()})
    return Snapshot(rulebook=rulebook, policies=policies, files=tuple(sorted(outside)))


def _load_policy(path: Path, environ: Mapping[str, str]) -> NamedPolicy:
    raw = read_file(path, limit=POLICY_LIMIT)
    policy, trust = load_policy(path, environ=environ)
    if read_file(path, limit=POLICY_LIMIT) != raw:
        raise DestinationError(f"{quote(str(path))} changed while it was read")
    return NamedPolicy(
        name=path.name,
        policy=policy,
        trust=trust,
        policy_digest=sha256(raw).hexdigest(),
        trust_digest=_trust_digest(trust),
    )


def _trust_digest(trust: TrustStore) -> str:
    """Digest all of a trust store that a verdict can depend on."""
    hashed = sha256()
    for name, anchor in sorted(trust.anchors.items()):
        for trusted in anchor.keys:
            parts = (name, trusted.key.digest, str(trusted.not_before), str(trusted.not_after), str(trusted.hash))
            hashed.update(repr(parts).encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
