"""Joining the parts of one audit into what a single process would have written.

Parts must be complete, of one policy and the same targets, and all there: a report of half a registry that
looks like one of all of it is worse than none. Read line by line; nothing is sorted in memory, since every
part is in the order of the targets' numbers already.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from imgsign.errors import DestinationError, Malformed, UsageError
from imgsign.fleet.rows import LINE_LIMIT, Counts, Header, Row, is_end, read_lines
from imgsign.fleet.targets import Shard
from imgsign.wire import quote

PARTS_LIMIT = 1000


def merge(parts: Sequence[Path], out: BinaryIO, soon: timedelta) -> Counts:
    """Write the joined audit; ``soon`` is for the summary.

    Raises:
        UsageError: the parts do not belong together, or one is missing or not complete.
    """
    if not 0 < len(parts) <= PARTS_LIMIT:
        raise UsageError(f"expected 1 to {PARTS_LIMIT} parts, got {len(parts)}")
    with ExitStack() as stack:
        files = [stack.enter_context(_open(p)) for p in parts]
        headers = [Header.parse(f.readline(LINE_LIMIT), str(p)) for f, p in zip(files, parts, strict=True)]
        _check_parts(headers, parts)
        header = replace(headers[0], at=min(h.at for h in headers), shard=None)
        counts = Counts(at=header.at, soon=soon)
        out.write(header.line())
        rows = (_rows(f, str(p)) for f, p in zip(files, parts, strict=True))
        for _, _, raw, row in heapq.merge(*rows, key=lambda found: (found[0], found[1])):
            out.write(raw)
            counts.add(row)
        out.write(counts.end_line())
    return counts


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise DestinationError(f"cannot read {quote(str(path))}: {(e.strerror or str(e)).lower()}") from e


def _rows(file: BinaryIO, where: str) -> Iterator[tuple[int, str, bytes, Row]]:
    for raw, node in read_lines(file, where):
        if is_end(node):
            return
        try:
            row = Row.parse(node)
        except Malformed as e:
            raise UsageError(f"{quote(where)}: not a row of an audit: {e.message}") from e
        yield row.n, row.reference, raw, row
    raise UsageError(f"{quote(where)} is not complete", hint=f"finish it with the same command and --resume {where}")


def _check_parts(headers: Sequence[Header], parts: Sequence[Path]) -> None:
    first = headers[0]
    for header, path in zip(headers, parts, strict=True):
        for what, there, here in (("policy", first.policy, header.policy), ("targets", first.targets, header.targets)):
            if there != here:
                raise UsageError(f"{quote(str(parts[0]))} and {quote(str(path))} are of different {what}")
    if len(headers) == 1 and first.shard is None:
        return
    shards = [Shard.parse(h.shard or "") for h in headers]
    count = shards[0].count
    for shard, path in zip(shards, parts, strict=True):
        if shard.count != count:
            raise UsageError(f"{quote(str(path))} is part {shard}, {quote(str(parts[0]))} is one of {count} parts")
    indexes = [s.index for s in shards]
    for index in range(count):
        if indexes.count(index) != 1:
            word = "missing" if index not in indexes else "there more than once"
            raise UsageError(f"part {index}/{count} is {word}")
