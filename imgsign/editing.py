"""Editing the text of a TOML policy: keys come and go, floors rise; comments and layout stay.

Each function takes the bytes of a policy and returns new ones, which have been read back. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgsign.claim import Claim, Subject
from imgsign.decision import Decision
from imgsign.errors import UsageError
from imgsign.keys import PublicKey
from imgsign.load import load_policy_text
from imgsign.policy.model import Policy, Rule, SignedBy
from imgsign.record import record
from imgsign.trust import TrustStore
from imgsign.wire import format_time, quote

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_SECOND = timedelta(seconds=1)
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@record
class Edited:
    """A policy before and after, with what was done in words."""

    raw: bytes
    old: tuple[Policy, TrustStore]
    new: tuple[Policy, TrustStore]
    done: tuple[str, ...]


@record
class Text:
    """A policy file that is to be edited."""

    raw: bytes
    path: Path
    environ: Mapping[str, str]

    def edited(
        self, change: Callable[[TOMLDocument, Policy, TrustStore], list[str]], drop: str | None = None
    ) -> Edited:
        """Apply a change and read the result back; ``drop``: comment lines with this text go, too.

        Raises:
            InvalidPolicy: the policy is none, before or after.
        """
        import tomlkit

        if self.path.suffix == ".json":
            raise UsageError("only policies in TOML are edited")
        old = load_policy_text(self.raw, self.path, environ=self.environ)
        document = tomlkit.parse(self.raw.decode("utf-8"))
        done = change(document, *old)
        text = tomlkit.dumps(document)
        if drop is not None:
            kept = (line for line in text.splitlines(keepends=True) if not (line.lstrip()[:1] == "#" and drop in line))
            text = "".join(kept)
        raw = text.encode("utf-8")
        new = load_policy_text(raw, self.path, environ=self.environ)
        return Edited(raw=raw, old=old, new=new, done=tuple(done))


def add_key(
    text: Text, key: PublicKey, anchor: str, *, not_before: datetime | None = None, not_after: datetime | None = None
) -> Edited:
    """Add a key, as PEM text, to an anchor."""
    import tomlkit

    def change(document: TOMLDocument, policy: Policy, trust: TrustStore) -> list[str]:
        if anchor not in trust.anchors:
            known = ", ".join(map(quote, sorted(trust.anchors))) or "none"
            raise UsageError(f"unknown anchor {quote(anchor)}", hint=f"anchors of this policy: {known}")
        if any(k.key.digest == key.digest for k in trust.anchors[anchor].keys):
            raise UsageError(f"key {key.fingerprint} is in anchor {quote(anchor)} already")
        # Parsed rather than made: a made one begins behind its quotes.
        item: Any = tomlkit.parse(f'x = """\n{key.to_pem().decode("ascii")}"""')["x"]
        if not_before is not None or not_after is not None:
            table = tomlkit.inline_table()
            table.append("key", item)
            for word, moment in (("not-before", not_before), ("not-after", not_after)):
                if moment is not None:
                    table.append(word, moment)
            item = table
        keys: Any = document["anchors"][anchor]["keys"]
        keys.add_line(item, comment=f"{key.scheme.title}, {key.fingerprint}", indent="  ")
        if not keys.as_string().rstrip("]").endswith("\n"):
            keys.add_line(indent="")
        return [f"added {key.fingerprint} to anchor {quote(anchor)}"]

    return text.edited(change)


def retire_key(text: Text, wanted: str, *, at: datetime | None) -> Edited:
    """End the trust in a key at a time, or, without one, take it out of every anchor.

    ``wanted`` is its fingerprint.
    """
    import tomlkit

    def change(document: TOMLDocument, policy: Policy, trust: TrustStore) -> list[str]:
        done = []
        for name, anchor in trust.anchors.items():
            keys: Any = document["anchors"][name]["keys"]
            for i in reversed(range(len(anchor.keys))):
                trusted = anchor.keys[i]
                if trusted.key.fingerprint != wanted:
                    continue
                if at is None:
                    if len(keys) == 1:
                        hint = f"imgsign policy add-key {text.path} NEW.pub --anchor {name}"
                        raise UsageError(f"anchor {quote(name)} would have no key left", hint=hint)
                    del keys[i]
                    done.append(f"removed {wanted} from anchor {quote(name)}")
                    continue
                if trusted.not_after is not None and trusted.not_after <= at:
                    done.append(f"{wanted} in anchor {quote(name)} ends at {format_time(trusted.not_after)} already")
                    continue
                if isinstance(keys[i], dict):
                    keys[i]["not-after"] = at
                else:
                    table = tomlkit.inline_table()
                    table.append("key", keys[i])
                    table.append("not-after", at)
                    keys[i] = table
                done.append(f"{wanted} in anchor {quote(name)} is trusted until {format_time(at)}")
        if not done:
            raise UsageError(f"no anchor holds the key {quote(wanted)}")
        return done

    return text.edited(change, drop=wanted if at is None else None)


def advance(text: Text, decision: Decision, rule: Rule, *, by_time: bool) -> Edited:
    """Raise ``min-sequence``, or ``signed-after``, of a scope to what an allowed image has; never lower either."""

    def change(document: TOMLDocument, policy: Policy, trust: TrustStore) -> list[str]:
        done = []
        requirements: Any = document["scopes"][rule.scope]["require"]
        for i, required in enumerate(rule.require):
            if not isinstance(required, SignedBy):
                continue
            subjects = [_subject(c, decision) for a, c in decision.claims if a in required.anchors and _signs(c)]
            sequences = [s.sequence for s in subjects if s.sequence is not None]
            times = [s.claimed_at for s in subjects if s.claimed_at is not None]
            if not by_time and sequences and len(sequences) == len(subjects):
                floor = min(sequences)
                if floor > (-1 if required.min_sequence is None else required.min_sequence):
                    requirements[i]["min-sequence"] = floor
                    done.append(f"{required}: min-sequence = {floor}")
            elif times and len(times) == len(subjects):
                moment = min(times) - _SECOND
                if required.signed_after is None or moment > required.signed_after:
                    requirements[i]["signed-after"] = moment
                    done.append(f"{required}: signed-after = {format_time(moment)}")
            else:
                raise UsageError(f"{required}: the signatures have neither sequence numbers nor times")
        return done

    return text.edited(change)


def _signs(claim: Claim) -> bool:
    from imgsign.intoto import COSIGN_SIGN

    return claim.predicate_type in (None, COSIGN_SIGN)


def _subject(claim: Claim, decision: Decision) -> Subject:
    """The subject about this image that says least: what it allows is what is accepted now."""
    about = [s for s in claim.subjects if s.digest == decision.image.digest]
    return min(about, key=lambda s: (-1 if s.sequence is None else s.sequence, s.claimed_at or _LONG_AGO))
