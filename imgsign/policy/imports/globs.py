"""Image patterns of cluster policies: which are plain prefixes, which images they match, and rules put together.

Two dialects: in sigstore's policy-controller ``*`` stops at ``/`` and ``**`` does not
(``pkg/apis/glob``); in Kyverno ``*`` matches everything and ``?`` one character. Matching takes time linear in
pattern and text; no regular expression is made of foreign text.

A pattern is carried only if it covers exactly what a scope covers: everything, a whole registry, or everything
below a path. Others, and images under more than one policy, need a list of references to be expanded to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgsign.errors import InvalidDigest, InvalidReference
from imgsign.policy.imports.draft import REFUSED, REJECT, STRICTER, Drafted, Requirement, Rule
from imgsign.reference import DOCKER_HUB, Reference, is_scope
from imgsign.wire import quote

PATTERN_LIMIT = 1024  # characters
AGAINST_LIMIT = 100_000  # references


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern; ``deep`` if ``*`` alone crosses ``/``."""

    text: str
    deep: bool

    def parts(self) -> list[str]:
        """``**`` for anything, ``*`` for anything without ``/``, ``?`` for one character, else the character."""
        found: list[str] = []
        rest = self.text
        while rest:
            if rest[0] == "*":
                stars = len(rest) - len(rest.lstrip("*"))
                part = "**" if self.deep or stars > 1 else "*"
                rest = rest[stars:]
            else:
                part, rest = rest[0], rest[1:]
                part = "?" if part == "?" and self.deep else f"={part}"
            found.append(part)
        return found

    def matches(self, text: str) -> bool:
        """Whether all of a text is matched."""
        parts = self.parts()
        # The set of positions in `parts` that the text so far can have led to.
        at = _closure({0}, parts)
        for char in text:
            step = set()
            for i in at:
                part = parts[i] if i < len(parts) else ""
                if part == "**" or (part == "*" and char != "/"):
                    step.add(i)
                elif part == "?" or part == f"={char}":
                    step.add(i + 1)
            at = _closure(step, parts)
        return len(parts) in at

    def may_reach(self, scope: str) -> bool:
        """Whether the pattern might match an image of a scope, by what stands before its first wildcard."""
        if scope == "*":
            return True
        cut = min((i for i in (self.text.find("*"), self.text.find("?")) if i >= 0), default=len(self.text))
        begin = self.text[:cut].replace("index.docker.io/", f"{DOCKER_HUB}/", 1)
        return begin.startswith(f"{scope}/") or f"{scope}/".startswith(begin)

    @property
    def scope(self) -> str | None:
        """The scope that covers exactly what the pattern does; ``None`` if there is none."""
        if [*self.parts()] == ["**"]:
            return "*"
        parts = self.parts()
        if len(parts) < 3 or parts[-1] != "**" or parts[-2] != "=/" or any(t[0] != "=" for t in parts[:-1]):
            return None
        prefix = self.text.rstrip("*").removesuffix("/")
        host, slash, path = prefix.partition("/")
        if host == "index.docker.io":
            prefix = f"{DOCKER_HUB}{slash}{path}"
        return prefix if is_scope(prefix) else None


def _closure(at: set[int], parts: list[str]) -> set[int]:
    """A star may also match nothing."""
    found: set[int] = set()
    for i in at:
        found.add(i)
        while i < len(parts) and parts[i] in ("*", "**"):
            i += 1
            found.add(i)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One policy of the source: its images and what it asks for. ``rule`` is in our words."""

    name: str
    path: str
    globs: tuple[Glob, ...]
    rule: Rule

    def matches(self, reference: Reference) -> bool:
        """Whether the policy is about an image, by its name as written in full, for Docker Hub in both spellings."""
        text = str(reference)
        spellings = [text, text.replace(f"{DOCKER_HUB}/", "index.docker.io/", 1)]
        return any(g.matches(s) for g in self.globs for s in spellings)


def place(sources: Sequence[Source], against: Sequence[str], drafted: Drafted) -> None:
    """Give every source's rule its scopes."""
    if against:
        _expand(sources, against, drafted)
        return
    owners: dict[str, Source] = {}
    odd: list[Glob] = []
    for source in sources:
        for glob in source.globs:
            scope = glob.scope
            if scope is None:
                text = f"pattern {quote(glob.text)} is not the same as a scope: expand it with --against LIST"
                drafted.say(source.path, REFUSED, text)
                odd.append(glob)
                continue
            if scope in owners and owners[scope] is not source:
                _both(owners[scope], source, scope, drafted)
                continue
            owners[scope] = source
            drafted.scopes.setdefault(scope, source.rule)
    for scope, source in owners.items():
        for other, owner in owners.items():
            if other != scope and owner is not source and _covers(other, scope):
                _both(owner, source, scope, drafted)
    for glob in odd:
        for scope in owners:
            # What the pattern asks for on top is lost, so whatever it may be about is closed.
            if drafted.scopes[scope] != REJECT and glob.may_reach(scope):
                text = f"pattern {quote(glob.text)} may be about images of {scope}, too: the rule rejects instead"
                drafted.say(scope, REFUSED, text)
                drafted.scopes[scope] = REJECT


def _both(one: Source, other: Source, scope: str, drafted: Drafted) -> None:
    names = f"{quote(one.name)} and {quote(other.name)}"
    text = f"images of {scope} are under both {names}: expand them with --against LIST; the rule rejects instead"
    drafted.say(other.path, REFUSED, text)
    drafted.scopes[scope] = REJECT


def _covers(outer: str, inner: str) -> bool:
    return outer == "*" or inner.startswith(f"{outer}/")


def _expand(sources: Sequence[Source], against: Sequence[str], drafted: Drafted) -> None:
    """One scope for each repository of the list; the requirements of all policies of its images, together."""
    found: dict[str, tuple[int, ...]] = {}
    for text in against:
        try:
            reference = Reference.parse(text).tag_or_latest()
        except (InvalidReference, InvalidDigest) as e:
            drafted.say("--against", REFUSED, f"{quote(text)}: {e.message}")
            continue
        repository = str(reference.repository)
        matched = tuple(i for i, s in enumerate(sources) if s.matches(reference))
        if found.setdefault(repository, matched) != matched:
            text = f"tags of {repository} are under different policies: the rule rejects instead"
            drafted.say("--against", REFUSED, text)
            drafted.scopes[repository] = REJECT
    for repository, matched in found.items():
        if repository in drafted.scopes:
            continue
        if not matched:
            drafted.say("--against", STRICTER, f"{repository} is under no policy: the default rejects it")
            continue
        joined: list[Requirement] = []
        for requirement in (r for i in matched for r in sources[i].rule):
            if requirement not in joined:
                joined.append(requirement)
        drafted.scopes[repository] = tuple(joined)
