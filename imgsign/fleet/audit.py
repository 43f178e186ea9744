"""audit(): judge many images, one row each, in the order they were found, however many there are.

Judged as :func:`imgsign.workflow.verify` judges; the time of the judgement is one for the whole audit, so
that what is resumed tomorrow says what it would have said today. A few images are under way at once; no
list of results is kept. A registry that is too busy holds up all work for it and fails none of it, as long
as the deadline allows (``Transport(patient=True)``).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from imgsign.decision import Decision
from imgsign.errors import DestinationError, ImgsignError, Malformed, UsageError
from imgsign.fleet.rows import Counts, Header, PolicyKey, Reason, Row, Signer, is_end, read_lines
from imgsign.fleet.targets import Job, Shard, Wanted, spool, unspool
from imgsign.policy.model import Policy
from imgsign.reference import Reference
from imgsign.stores import Locate
from imgsign.trust import TrustStore
from imgsign.wire import format_time, printable, quote
from imgsign.workflow import verify

WINDOW = 64  # images under way or waiting to be written


class Judge:
    """Turns a job into a row; used by several threads."""

    def __init__(self, policy: Policy, trust: TrustStore, locate: Locate, now: datetime) -> None:
        self._policy = policy
        self._trust = trust
        self._locate = locate
        self._now = now
        self._names = {k.key.digest: k.key.fingerprint for a in trust.anchors.values() for k in a.keys}

    def __call__(self, job: Job) -> Row:
        """Judge one image; what fails is said in its row."""
        if job.problem is not None:
            code, message, hint = job.problem
            return _failed(job, code, message, hint)
        try:
            reference = Reference.parse(job.reference)
            decision = verify(reference, self._policy, self._trust, locate=self._locate, now=self._now)
        except ImgsignError as e:
            return _failed(job, _code(e), e.message, e.hint)
        return self._row(job, reference, decision)

    def _row(self, job: Job, reference: Reference, decision: Decision) -> Row:
        reasons: list[Reason] = []
        if not decision.allowed:
            failed = [c for c in decision.checks if not c.passed]
            reasons = [Reason(code=c.code, about=c.about, message=c.message) for c in failed]
            reasons += [Reason(code="fault", about=f.about, message=f.message) for f in decision.faults]
        hints = [*(c.hint for c in decision.checks if not c.passed and c.about == c.group), None]
        digest = decision.image.digest
        return Row(
            n=job.n,
            reference=job.reference,
            repository=str(reference.repository),
            digest=None if digest is None else str(digest),
            verdict="undecided" if decision.inconclusive else decision.verdict.value,
            scope=decision.scope,
            signers=tuple(dict.fromkeys(self._signers(decision))),
            formats=_formats(decision),
            valid_until=decision.valid_until,
            reasons=tuple(reasons),
            hint=None if decision.allowed else hints[0],
            uses=job.uses,
            used=job.used,
        )

    def _signers(self, decision: Decision) -> Iterator[Signer]:
        image = decision.image
        for anchor, claim in decision.claims:
            about = [s for s in claim.subjects if s.digest == image.digest]
            named = [s for s in about if image.name is not None and s.name == str(image.name.name)]
            subject = next(iter(named or about), None)
            proven = min((p.at for p in claim.proven_at), default=None)
            yield Signer(
                anchor=anchor,
                key=self._names.get(claim.signer.spki or "") or claim.signer.identity,
                format=claim.format,
                signed_at=proven or (None if subject is None else subject.claimed_at),
                expires_at=None if subject is None else subject.expires_at,
            )


def header_of(
    policy: Policy, trust: TrustStore, *, now: datetime, targets: Iterable[str], shard: str | None = None
) -> Header:
    """Say what an audit is about; the digest of the policy is of what it means, keys included."""
    keys = [(a.name, k) for a in trust.anchors.values() for k in a.keys]
    meant = repr(policy) + repr(sorted((a, k.key.digest, str(k.not_before), str(k.not_after)) for a, k in keys))
    return Header(
        at=now.replace(microsecond=0),
        policy=f"sha256:{hashlib.sha256(meant.encode()).hexdigest()}",
        targets=tuple(printable(t) for t in targets),
        shard=shard,
        keys=tuple(PolicyKey(anchor=a, key=k.key.fingerprint, not_after=k.not_after) for a, k in keys),
    )


class Log:
    """The file an audit is written to; after a kill, what it holds already."""

    def __init__(self, file: BinaryIO, header: Header, done: set[bytes], *, complete: bool) -> None:
        self.header = header
        self.complete = complete
        self._file = file
        self._done = done

    def has(self, reference: str) -> bool:
        """Whether a row of it stands."""
        return _key(reference) in self._done

    def write(self, line: bytes) -> None:
        """Append a line; it survives this process from then on."""
        self._file.write(line)
        self._file.flush()

    def end(self, counts: Counts) -> None:
        """Append the end, and put all on disk."""
        self.write(counts.end_line())
        os.fsync(self._file.fileno())
        self.complete = True


@contextmanager
def open_log(
    path: Path, header: Header, counts: Callable[[Header], Counts], *, resume: bool
) -> Iterator[tuple[Log, Counts]]:
    """Begin a file, or with ``resume`` go on with it: under its own header, whose time of judgement is kept.

    Raises:
        UsageError: it is there and this is not to resume it, or it is of another audit.
        DestinationError: it cannot be written, or another process is writing it.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as e:
        raise DestinationError(f"cannot write {quote(str(path))}: {(e.strerror or str(e)).lower()}") from e
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise DestinationError(f"another audit is writing {quote(str(path))}") from e
        if os.fstat(handle).st_size and not resume:
            raise UsageError(f"{quote(str(path))} is there already", hint=f"--resume {path} goes on with it")
        first = file.readline(1024 * 1024)
        if not first.endswith(b"\n"):  # new, or killed within the first line
            file.seek(0)
            file.truncate()
            file.write(header.line())
            file.flush()
            yield Log(file, header, set(), complete=False), counts(header)
            return
        standing = Header.parse(first, str(path))
        _check_same(standing, header, path)
        yield _go_on(file, standing, counts(standing), len(first), path)


def _go_on(file: BinaryIO, header: Header, counts: Counts, end: int, path: Path) -> tuple[Log, Counts]:
    done: set[bytes] = set()
    complete = False
    for raw, node in read_lines(file, str(path)):
        if is_end(node):
            complete = True
            break
        try:
            row = Row.parse(node)
        except Malformed as e:
            raise UsageError(f"{quote(str(path))}: not a row of an audit: {e.message}") from e
        counts.add(row)
        done.add(_key(row.reference))
        end += len(raw)
    if not complete:
        file.truncate(end)
        file.seek(end)
    return Log(file, header, done, complete=complete), counts


def _check_same(standing: Header, asked: Header, path: Path) -> None:
    for what, there, here in (
        ("policy", standing.policy, asked.policy),
        ("targets", standing.targets, asked.targets),
        ("shard", standing.shard, asked.shard),
    ):
        if there != here:
            raise UsageError(
                f"{quote(str(path))} was begun with another {what}", hint="begin anew in another file: --jsonl FILE"
            )


def judge_all(jobs: Iterable[Job], judge: Callable[[Job], Row], pool: Executor) -> Iterator[Row]:
    """Judge side by side; rows in the order of the jobs, a bounded number of them in memory."""
    source = iter(jobs)
    waiting: deque[Future[Row]] = deque(pool.submit(judge, job) for job in islice(source, WINDOW))
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(judge, job) for job in islice(source, 1))
    finally:
        for future in waiting:
            future.cancel()


def run(
    wanted: Iterable[Wanted],
    log: Log,
    counts: Counts,
    judge: Callable[[Job], Row],
    pool: Executor,
    *,
    shard: Shard | None = None,
    expect: Callable[[int], None] = lambda total: None,
    seen: Callable[[Row, bytes], None] = lambda row, line: None,
) -> None:
    """Find out what there is, judge what no row of the log stands for, write each row, then the end.

    ``expect`` is told how many images are to come, ``seen`` each row once it is written.
    """
    with tempfile.TemporaryFile() as listed:
        expect(spool(wanted, listed, shard) - counts.images)
        missing = (job for job in unspool(listed) if not log.has(job.reference))
        for row in judge_all(missing, judge, pool):
            line = row.line()
            log.write(line)
            counts.add(row)
            seen(row, line)
    log.end(counts)


def counter(soon: timedelta) -> Callable[[Header], Counts]:
    """Make counters for an audit; ``soon``: what lapses within that is said."""
    return lambda header: Counts(at=header.at, soon=soon)


def describe(row: Row) -> str:
    """One line on an image that is not allowed."""
    why = "; ".join(dict.fromkeys(f"{r.code}: {r.message}" for r in row.reasons[:2])) or "no reason was given"
    more = f" (and {len(row.reasons) - 2} more)" if len(row.reasons) > 2 else ""
    used = f"  used by {row.uses[0]}" + (f" and {row.used - 1} more" if row.used > 1 else "") if row.uses else ""
    return printable(f"{row.verdict} {row.reference}  {why}{more}{used}", limit=2000)


def lapse_text(row: Row) -> str:
    """One line on an image that is allowed, but not for long."""
    until = "" if row.valid_until is None else format_time(row.valid_until)
    return printable(f"lapses {row.reference}  allowed until {until}", limit=2000)


def _failed(job: Job, code: str, message: str, hint: str | None) -> Row:
    try:
        repository: str | None = str(Reference.parse(job.reference).repository)
    except ImgsignError:
        repository = None
    return Row(
        n=job.n,
        reference=job.reference,
        repository=repository,
        verdict="error",
        reasons=(Reason(code=code, about=job.reference, message=message),),
        hint=hint,
        uses=job.uses,
        used=job.used,
    )


def _formats(decision: Decision) -> tuple[str, ...]:
    """Formats of the signatures that count: ``evaluate`` names each as ``PLACE (FORMAT)``."""
    counted = [c.about for c in decision.checks if c.passed and c.about != c.group] if decision.allowed else []
    named = [m[1] for about in counted if (m := re.search(r" \(([a-z0-9-]+)\)$", about)) is not None]
    return tuple(sorted({*named, *(claim.format for _, claim in decision.claims)}))


def _code(error: ImgsignError) -> str:
    """The kind of error in the words of a code: ``NotFound`` is ``not-found``."""
    name = type(error).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _key(reference: str) -> bytes:
    return hashlib.sha256(printable(reference).encode()).digest()[:16]
