"""Image patterns of cluster policies: which are plain prefixes, which images they match, and rules put together.

Two dialects: in sigstore's policy-controller ``*`` stops at ``/`` and ``**`` does not
(``pkg/apis/glob``); in Kyverno ``*`` matches everything and ``?`` at most one character. Matching takes time linear
in pattern times text; no regular expression is made of foreign text.

A pattern is carried only if it covers what a scope covers: everything, a whole registry, or everything below a
path. Others, and images under more than one policy, need a list of references to be expanded to.

What is matched there is a name as somebody typed it. Docker Hub has several spellings of one repository, and here
there is one rule for all of them: it asks for what any spelling is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from imgsign.errors import InvalidDigest, InvalidReference
from imgsign.policy.imports.draft import ACCEPT, REFUSED, REJECT, STRICTER, WIDER, Drafted, Requirement, Rule
from imgsign.record import record
from imgsign.reference import DOCKER_HUB, Reference, Repository, is_scope
from imgsign.wire import quote

PATTERN_LIMIT = 1024  # characters
AGAINST_LIMIT = 100_000  # references

_HUB_HOSTS = (DOCKER_HUB, "index.docker.io")
_ENDS = {":": (":",), "/": ("/",), "@": ("@sha256:", "@sha384:", "@sha512:")}


class Reach(Enum):
    """How many of the names that begin with a text a pattern matches."""

    NONE = "none"
    SOME = "some"
    ALL = "all"


@record(kw_only=False)
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

    def _after(self, text: str, parts: list[str]) -> set[int]:
        """The positions in ``parts`` that a text can have led to."""
        at = _closure({0}, parts)
        for char in text:
            step = set()
            for i in at:
                part = parts[i] if i < len(parts) else ""
                if part == "**" or (part == "*" and char != "/"):
                    step.add(i)
                elif part in ("?", f"={char}"):
                    step.add(i + 1)
            at = _closure(step, parts)
        return at

    def matches(self, text: str) -> bool:
        """Whether all of a text is matched."""
        parts = self.parts()
        return len(parts) in self._after(text, parts)

    def reach(self, start: str) -> Reach:
        """How many of the names that begin with ``start`` are matched; ``start`` ends in ``/`` or ``:``."""
        parts = self.parts()
        at = self._after(start, parts)
        last = len(parts) - 1
        # No tag or digest holds a "/", so `*` is as good as `**` there.
        if last in at and (parts[last] == "**" or (parts[last] == "*" and not start.endswith("/"))):
            return Reach.ALL
        alive = [i for i in at if i <= last and (start.endswith("/") or "=/" not in parts[i:])]
        return Reach.SOME if alive else Reach.NONE

    def may_reach(self, scope: str) -> bool:
        """Whether the pattern might match an image of a scope, by what stands before its first wildcard."""
        cut = min((i for i in (self.text.find("*"), self.text.find("?")) if i >= 0), default=len(self.text))
        begin = self.text[:cut]
        host, slash, _ = begin.partition("/")
        if scope == "*":
            return True
        if scope.partition("/")[0] == DOCKER_HUB:
            # `app`, `library/app` and `index.docker.io/library/app` are one repository.
            return not slash or host in _HUB_HOSTS or not is_scope(host)
        return begin.startswith((f"{scope}/", f"{scope}:", f"{scope}@")) or f"{scope}/".startswith(begin)

    @property
    def scope(self) -> str | None:
        """The scope that covers what the pattern does; ``None`` if there is none."""
        parts = self.parts()
        if parts == ["**"]:
            return "*"
        if len(parts) < 3 or parts[-1] != "**" or parts[-2] != "=/" or any(t[0] != "=" for t in parts[:-1]):
            return None
        prefix = self.text.rstrip("*").removesuffix("/")
        host, slash, path = prefix.partition("/")
        if host in _HUB_HOSTS:
            prefix = f"{DOCKER_HUB}{slash}{path}"
        return prefix if is_scope(prefix) else None


def _closure(at: set[int], parts: list[str]) -> set[int]:
    """Stars and ``?`` may also match nothing (Kyverno's ``?`` does)."""
    found: set[int] = set()
    for i in at:
        found.add(i)
        while i < len(parts) and parts[i] in ("*", "**", "?"):
            i += 1
            found.add(i)
    return found


def spellings(repository: Repository) -> tuple[str, ...]:
    """All the ways in which a repository may be typed."""
    text = str(repository)
    if repository.registry != DOCKER_HUB:
        return (text,)
    path = repository.path
    paths = (path, path.removeprefix("library/")) if path.startswith("library/") else (path,)
    return tuple(f"{host}{p}" for host in (*(f"{h}/" for h in _HUB_HOSTS), "") for p in paths)


@record
class Source:
    """One policy of the source: its images and what it asks for. ``rule`` is in our words."""

    name: str
    path: str
    globs: tuple[Glob, ...]
    rule: Rule

    def reach(self, repository: Repository, end: str) -> Reach:
        """How many names of a repository it is about: ``end`` is ``:`` or ``@`` for its own, ``/`` for those below."""
        texts = spellings(repository)
        found = [{g.reach(f"{text}{e}") for g in self.globs for text in texts} for e in _ENDS[end]]
        if all(Reach.ALL in f for f in found):
            return Reach.ALL
        bare = end == ":" and any(g.matches(text) for g in self.globs for text in texts)  # typed without its tag
        return Reach.SOME if bare or any(f != {Reach.NONE} for f in found) else Reach.NONE


def place(sources: Sequence[Source], against: Sequence[str], drafted: Drafted, *, open_default: bool) -> None:
    """Give every source's rule its scopes; ``open_default``: there, images that no policy is about are let through."""
    if against:
        _Expansion(sources, drafted, open_default).run(against)
        return
    owners: dict[str, Source] = {}
    odd: list[tuple[Source, Glob]] = []
    for source in sources:
        for glob in source.globs:
            scope = glob.scope
            if scope is None:
                text = f"pattern {quote(glob.text)} is not the same as a scope: expand it with --against LIST"
                drafted.say(source.path, REFUSED, text)
                odd.append((source, glob))
            elif owners.setdefault(scope, source) is not source:
                _both(owners[scope], source, scope, drafted)
            elif scope not in drafted.scopes:
                _carry(source, scope, drafted, open_default=open_default)
    for scope, source in owners.items():
        for other, owner in owners.items():
            if owner is not source and (other == "*" or scope.startswith(f"{other}/")) and other != scope:
                _both(owner, source, scope, drafted)
    for source, glob in odd:
        for scope, owner in owners.items():
            # What the pattern asks for on top is lost, so whatever it may be about is closed.
            if owner is not source and drafted.scopes[scope] != REJECT and glob.may_reach(scope):
                text = f"pattern {quote(glob.text)} of {quote(source.name)} may be about images of {scope} of "
                drafted.say(source.path, REFUSED, f"{text}{quote(owner.name)}, too: the rule rejects instead")
                drafted.scopes[scope] = REJECT


def _carry(source: Source, scope: str, drafted: Drafted, *, open_default: bool) -> None:
    """Give one scope its rule; a scope of a path also covers the repository of that very name."""
    drafted.scopes[scope] = source.rule
    if open_default or "/" not in scope or source.rule == REJECT:
        return
    _widen(scope, source.rule, f"the rule of {scope} covers the repository of that name, too", source.path, drafted)


def _widen(scope: str, rule: Rule, text: str, path: str, drafted: Drafted) -> None:
    """Tell that a scope covers more than its pattern; what asks for nothing is not widened."""
    if ACCEPT[0] in rule:
        drafted.scopes[scope] = REJECT
        drafted.say(path, REFUSED, f"{text}, and would accept it unsigned: the rule rejects instead")
    else:
        drafted.say(path, WIDER, text)


def _both(one: Source, other: Source, scope: str, drafted: Drafted) -> None:
    names = f"{quote(one.name)} and {quote(other.name)}"
    text = f"images of {scope} are under both {names}: expand them with --against LIST; the rule rejects instead"
    drafted.say(other.path, REFUSED, text)
    drafted.scopes[scope] = REJECT


@record(kw_only=False)
class _Expansion:
    """One scope for each repository of a list; the requirements of all policies of its images, together."""

    sources: Sequence[Source]
    drafted: Drafted
    open_default: bool

    def run(self, against: Iterable[str]) -> None:
        """Expand all."""
        found: dict[Repository, None] = {}
        for text in against:
            try:
                found[Reference.parse(text).repository] = None
            except (InvalidReference, InvalidDigest) as e:
                self.drafted.say("--against", REFUSED, f"{quote(text)}: {e.message}")
        for repository in found:
            self._expand(repository)

    def _expand(self, repository: Repository) -> None:
        drafted, scope = self.drafted, str(repository)
        reaches = [(s, [s.reach(repository, end) for end in ":@/"]) for s in self.sources]
        if some := [s.name for s, (tag, digest, _) in reaches if Reach.SOME in (tag, digest)]:
            self._close(scope, f"only some tags of {scope} are under {_names(some)}: the rule rejects instead")
            return
        matched = [(s, r) for s, r in reaches if Reach.ALL in r[:2]]
        if not matched:
            drafted.say("--against", STRICTER, f"{scope} is under no policy: the default rejects it")
            return
        more = [s.name for s, r in reaches if Reach.ALL not in r[:2] and r[2] is not Reach.NONE]
        if more:
            text = f"repositories below {scope} are also under {_names(more)}: the rule rejects instead"
            self._close(scope, text)
            return
        joined: list[Requirement] = []
        for requirement in (r for s, _ in matched for r in s.rule):
            if requirement not in joined:
                joined.append(requirement)
        drafted.scopes[scope] = rule = tuple(joined)
        if rule == REJECT or (self.open_default and ACCEPT[0] not in rule):
            return
        # What is matched in part by each may be matched by none.
        for i, what in enumerate(("images asked for by tag", "images asked for by digest", "repositories below it")):
            if not any(r[i] is Reach.ALL for _, r in matched) and drafted.scopes[scope] != REJECT:
                _widen(scope, rule, f"the rule of {scope} covers {what}, too", "--against", drafted)

    def _close(self, scope: str, text: str) -> None:
        self.drafted.scopes[scope] = REJECT
        self.drafted.say("--against", REFUSED, text)


def _names(names: Iterable[str]) -> str:
    return " and ".join(quote(n) for n in names)
