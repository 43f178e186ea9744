"""What an import makes before it is text: anchors, rules by scope, a report; and its text as TOML.

A rule here is a tuple of requirements in the policy's own words (:mod:`imgsign.policy.parse`), so that what is
written can be read back by the one parser there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imgsign.errors import InvalidKey
from imgsign.keys import PublicKey
from imgsign.policy.write import toml_inline, toml_text
from imgsign.record import record
from imgsign.wire import printable

Value = str | int | bool | Sequence[str] | Mapping[str, str]
Requirement = Mapping[str, Value]
Rule = tuple[Requirement, ...]

REJECT: Rule = ({"reject": True},)
ACCEPT: Rule = ({"unsafe-accept-unsigned": True},)

CARRIED, STRICTER, WIDER, DROPPED, LEFT_OUT, REFUSED = (
    "carried",
    "stricter",
    "wider",
    "dropped",
    "left-out",
    "refused",
)

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]*-----END PUBLIC KEY-----")


class NotCarried(Exception):
    """A condition that cannot be carried; the text says why."""


def read_keys(text: str) -> tuple[str, ...]:
    """Read public keys in PEM, each in its one spelling; nothing else may stand between them.

    Raises:
        NotCarried: there is none, one is unusable, or there is anything else: a variable, a name of a secret.
    """
    found = [m.group(0) for m in _PEM.finditer(text)]
    if not found or _PEM.sub("", text).strip():
        raise NotCarried("the key is not public keys in PEM and nothing else")
    try:
        keys = [PublicKey.from_pem(pem.encode("ascii")).to_pem().decode("ascii") for pem in found]
    except InvalidKey as e:
        raise NotCarried(f"a key is unusable, {e.message}") from e
    return tuple(dict.fromkeys(keys))


@record
class Row:
    """One line of the report: where in the source, what became of it, and why."""

    path: str
    outcome: str
    text: str

    def __str__(self) -> str:
        return printable(f"{self.outcome:<8}  {self.path}  {self.text}", limit=2048)


@record
class Wanted:
    """What the person asked of an import.

    ``against``: references that patterns are expanded to. ``unsafe_drop_logs``: carry rules that also ask for
    an entry in a transparency log, without that.
    """

    against: tuple[str, ...] = ()
    unsafe_drop_logs: bool = False


@dataclass(slots=True, kw_only=True)
class Drafted:
    """An import under way."""

    default: str = "reject"
    anchors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, Rule] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def say(self, path: str, outcome: str, text: str) -> None:
        """Add a line to the report."""
        self.rows.append(Row(path=path, outcome=outcome, text=text))

    @property
    def complete(self) -> bool:
        """Whether everything was carried."""
        return not any(r.outcome == REFUSED for r in self.rows)

    def anchor(self, keys: tuple[str, ...], wish: str, hash: str | None = None) -> str:
        """Name an anchor of these key sources; the same keys are the same anchor."""
        for name, known in self.anchors.items():
            if known == keys and self.hashes.get(name) == hash:
                return name
        plain = re.sub(r"[^a-z0-9]+", "-", wish.lower()).strip("-") or "keys"
        name, number = plain, 2
        while name in self.anchors:
            name, number = f"{plain}-{number}", number + 1
        self.anchors[name] = keys
        if hash is not None:
            self.hashes[name] = hash
        return name

    def to_toml(self, head: Sequence[str]) -> str:
        """Write the policy; ``head`` are the lines of its first comment."""
        comment = (f"# {printable(line, limit=4096)}".rstrip() for line in head)
        lines = [*comment, "version = 1", f"default = {toml_text(self.default)}", ""]
        for name, keys in self.anchors.items():
            lines += [f"[anchors.{name}]", "keys = ["]
            for key in keys:
                shown = f'"""\n{key}"""' if _PEM.fullmatch(key.strip()) else toml_text(key)
                if name in self.hashes:
                    shown = f"{{ key = {shown}, hash = {toml_text(self.hashes[name])} }}"
                lines.append(f"  {shown},")
            lines += ["]", ""]
        for scope, rule in self.scopes.items():
            lines += [f"[scopes.{toml_text(scope)}]", "require = ["]
            lines += [f"  {toml_inline(requirement)}," for requirement in rule]
            lines.append("]")
            if self._shares_keys(rule):
                lines.append("unsafe-shared-key = true")
            lines.append("")
        return "\n".join(lines)

    def _shares_keys(self, rule: Rule) -> bool:
        """Whether two anchors of a rule hold the same key, which the source allowed."""
        used: dict[str, None] = {}
        for requirement in rule:
            for word in ("signed-by", "by"):
                named = requirement.get(word, ())
                used.update(dict.fromkeys((named,) if isinstance(named, str) else tuple(map(str, _list(named)))))
        keys = [key for anchor in used for key in self.anchors.get(anchor, ())]
        return len(keys) != len(set(keys))


def _list(value: Value) -> Sequence[str]:
    return value if isinstance(value, (list, tuple)) else ()
