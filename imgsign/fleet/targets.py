"""What an audit is to look at: from targets as people type them to a list of references on disk.

    registry/repo:tag, registry/repo@sha256:…    that image
    registry/repo                                every tag of the repository (not ``latest``, as elsewhere)
    registry/ns/                                 every repository below, by the registry's catalog
    registry.example.com/                        the whole registry, by its catalog
    docker:                                      the images of the local engine, by their repository digests
    -, --file FILE                               one of the above a line, or ``kubectl get pods -A -o json``

Everything is found out first and kept in a file, each reference once, so that progress is known and memory
is not taken by a list of a million images. What cannot be found out (a repository that does not list its
tags, a line that is no reference) becomes an entry that says so: an audit never passes by looking away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import chain, islice
from typing import BinaryIO, TextIO, TypeVar

from imgsign.errors import ImgsignError, InvalidReference, NotFound, UsageError
from imgsign.fleet.cluster import read_pods
from imgsign.record import record
from imgsign.reference import DOCKER_HUB, Reference, Repository
from imgsign.stores import Locate
from imgsign.stores.catalog import any_repository, list_repositories, list_tags
from imgsign.stores.engine import Engine
from imgsign.wire import quote

LINE_LIMIT = 4096  # characters of one line of a list
USES_SHOWN = 5
_AHEAD = 32  # repositories whose tags are asked for at the same time or ahead

# Tags that hold what is attached to images: cosign's, and the fallback of the referrers API.
_ATTACHED = re.compile(r"sha(?:256|384|512)-[0-9a-f]{64}(?:\.[A-Za-z0-9_.-]+)?")

T = TypeVar("T")
U = TypeVar("U")


@record
class Wanted:
    """One thing to judge, or with ``problem`` (code, message, hint) one that cannot be."""

    reference: str
    problem: tuple[str, str, str | None] | None = None
    use: str | None = None


@record
class Shard:
    """Part ``index`` of ``count``, from 0: a reference belongs to one, whoever computes it."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse ``I/N``.

        Raises:
            UsageError: it is something else.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None or not int(match[1]) < int(match[2]):
            raise UsageError(f"not a shard: {quote(text)}", hint="write it as I/N with I from 0 to N-1, as 0/4")
        return cls(index=int(match[1]), count=int(match[2]))

    def has(self, reference: str) -> bool:
        """Whether a reference belongs to this part."""
        return int.from_bytes(hashlib.sha256(reference.encode("utf-8", "surrogatepass")).digest()[:8]) % self.count == (
            self.index
        )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class Sources:
    """Finds what targets stand for, by the objects it is given."""

    def __init__(
        self,
        locate: Locate,
        pool: Executor,
        *,
        parse: Callable[[str], Reference] = Reference.parse,
        stdin: Callable[[], TextIO] | None = None,
        engine: Callable[[], Engine] | None = None,
    ) -> None:
        """``parse`` reads what is typed; ``stdin`` and ``engine`` are asked for only if a target names them."""
        self._locate = locate
        self._pool = pool
        self._parse = parse
        self._stdin = stdin
        self._engine = engine

    def expand(self, target: str, parse: Callable[[str], Reference] | None = None) -> Iterator[Wanted]:
        """Yield what one target stands for.

        Raises:
            UsageError: it is no target. Lists that cannot be read are entries.
        """
        if target == "-":
            if self._stdin is None:
                raise UsageError("standard input cannot be read here")
            return self.read(self._stdin(), "standard input")
        if target == "docker:":
            if self._engine is None:
                raise UsageError("no engine can be asked here")
            return _local(self._engine())
        if target.endswith("/"):
            return self._catalog(*_prefix(target))
        reference = (parse or self._parse)(target)
        if reference.tag is None and reference.digest is None:
            return self._tags(reference.repository)
        return iter((Wanted(reference=str(reference)),))

    def read(self, file: TextIO, where: str) -> Iterator[Wanted]:
        """Yield what a list names: targets one a line, or the containers of a cluster."""
        start = file.read(LINE_LIMIT)
        if start.lstrip().startswith("{"):
            return (Wanted(reference=r, use=use) for r, use in read_pods(file, start))
        return self._lines(file, start, where)

    def _lines(self, file: TextIO, start: str, where: str) -> Iterator[Wanted]:
        for number, line in enumerate(_split(file, start), 1):
            text = line.strip()
            if len(line) > LINE_LIMIT:
                raise UsageError(f"{where} line {number} is longer than {LINE_LIMIT} characters")
            if not text or text.startswith("#"):
                continue
            if text in ("-", "docker:"):
                raise UsageError(f"{where} line {number}: {quote(text)} belongs on the command line")
            try:
                # Names in files are what they are: no default registry of whoever runs this.
                yield from self.expand(text, Reference.parse)
            except InvalidReference as e:
                problem = ("invalid-reference", f"{where} line {number}: {e.message}", e.hint)
                yield Wanted(reference=text, problem=problem)

    def _catalog(self, registry: str, prefix: str) -> Iterator[Wanted]:
        names = list_repositories(self._locate(any_repository(registry)))
        try:
            chosen = (n for n in names if n.startswith(prefix))
            for found in _ahead(lambda name: self._tags_of(registry, name), chosen, self._pool):
                yield from found
        except ImgsignError as e:
            yield Wanted(reference=f"{registry}/{prefix}", problem=("catalog", e.message, e.hint))

    def _tags_of(self, registry: str, name: str) -> list[Wanted]:
        if registry == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        try:
            return list(self._tags(Repository(registry, name), listed=True))
        except InvalidReference as e:
            return [Wanted(reference=f"{registry}/{name}", problem=("invalid-reference", e.message, e.hint))]

    def _tags(self, repository: Repository, *, listed: bool = False) -> Iterator[Wanted]:
        """Every tag; a repository of a catalog may have none left."""
        try:
            for tag in list_tags(self._locate(repository)):
                if _ATTACHED.fullmatch(tag) is None:
                    yield _tagged(repository, tag)
        except NotFound as e:
            if not listed:
                yield Wanted(reference=str(repository), problem=("tags", e.message, e.hint))
        except ImgsignError as e:
            yield Wanted(reference=str(repository), problem=("tags", e.message, e.hint))


def spool(wanted: Iterable[Wanted], file: BinaryIO, shard: Shard | None) -> int:
    """Write each reference once, with its number and where it is used; returns how many there are.

    What belongs to another part is counted, not written.
    """
    seen: dict[bytes, list[str] | None] = {}
    counts: dict[bytes, int] = {}
    number = written = 0
    for one in wanted:
        key = hashlib.sha256(one.reference.encode("utf-8", "surrogatepass")).digest()[:16]
        known = key in seen
        uses = seen.setdefault(key, None) or []
        if one.use is not None:
            counts[key] = counts.get(key, 0) + 1
            if len(uses) < USES_SHOWN:
                seen[key] = [*uses, one.use]
        if known:
            continue
        if shard is None or shard.has(one.reference):
            entry = {"n": number, "r": one.reference, "p": one.problem, "k": key.hex()}
            file.write(json.dumps(entry).encode() + b"\n")
            written += 1
        number += 1
    # Uses are known only at the end: they follow, in a line of their own.
    for key, count in counts.items():
        file.write(json.dumps({"k": key.hex(), "u": seen[key], "c": count}).encode() + b"\n")
    file.flush()
    return written


@record
class Job:
    """One entry of the file that :func:`spool` wrote."""

    n: int
    reference: str
    problem: tuple[str, str, str | None] | None
    uses: tuple[str, ...] = ()
    used: int = 0


def unspool(file: BinaryIO) -> Iterator[Job]:
    """Yield the entries again; the file is ours and nobody else has seen it."""
    uses: dict[str, tuple[list[str], int]] = {}
    file.seek(0)
    for line in file:
        if line.startswith(b'{"k"'):
            entry = json.loads(line)
            uses[entry["k"]] = entry["u"], entry["c"]
    file.seek(0)
    for line in file:
        if line.startswith(b'{"k"'):
            return
        entry = json.loads(line)
        places, count = uses.get(entry["k"], ([], 0))
        problem = None if entry["p"] is None else tuple(entry["p"])
        yield Job(n=entry["n"], reference=entry["r"], problem=problem, uses=tuple(places or ()), used=count)


def _prefix(target: str) -> tuple[str, str]:
    """Split ``registry.example.com/ns/`` into the registry and ``ns/``."""
    host, _, path = target[:-1].partition("/")
    probe = Reference.parse(f"{host}/{path or 'x'}{'' if path else '/x'}")
    if probe.repository.registry != host:
        raise InvalidReference(
            f"{quote(target)} names no registry", hint="a host has a dot or a port: registry.example.com/ns/"
        )
    return host, f"{path}/" if path else ""


def _tagged(repository: Repository, tag: str) -> Wanted:
    try:
        return Wanted(reference=str(Reference(repository=repository, tag=tag)))
    except InvalidReference as e:
        return Wanted(reference=f"{repository}:{tag}", problem=("invalid-reference", e.message, e.hint))


def _local(engine: Engine) -> Iterator[Wanted]:
    """The engine's images by name and repository digest; one that was never pushed or pulled has none."""
    for names, pushed in engine.images():
        digests = {r.repository: r.digest for r in pushed}
        found = False
        for name in names:
            digest = digests.get(name.repository)
            if digest is not None:
                found = True
                yield Wanted(reference=str(name.at(digest)))
        tagged = {name.repository for name in names}
        for reference in pushed:
            if reference.repository not in tagged:
                found = True
                yield Wanted(reference=str(reference))
        if not found:
            shown = str(names[0]) if names else "an image without a name"
            yield Wanted(
                reference=shown,
                problem=(
                    "no-repository-digest",
                    "the engine knows no repository digest of it: it was built or loaded here, never pushed or pulled",
                    f"docker push {shown}, or pull it again" if names else "docker tag it, then docker push",
                ),
            )


def _split(file: TextIO, start: str) -> Iterator[str]:
    head, newline, rest = start.rpartition("\n")
    yield from head.splitlines() if newline else ()
    rest += file.readline(LINE_LIMIT + 1)
    yield from chain((rest,), iter(lambda: file.readline(LINE_LIMIT + 1), ""))


def _ahead(work: Callable[[T], U], items: Iterable[T], pool: Executor) -> Iterator[U]:
    """Do work for each item with some started ahead; results in order, few in memory."""
    source = iter(items)
    waiting: deque[Future[U]] = deque(pool.submit(work, item) for item in islice(source, _AHEAD))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, item) for item in islice(source, 1))
