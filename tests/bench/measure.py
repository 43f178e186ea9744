"""Timing for the benchmarks: interleaved runs, medians, ratios, one table.

On a machine whose speed drifts only ratios of medians taken within one run mean something. So what is
compared runs in turn, each round beginning with another one, after a round that does not count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300.0
"""Seconds after which a single process is given up."""

Work = Callable[[], object]
IMGSIGN = (sys.executable, "-m", "imgsign")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``met`` is ``None`` where there is no target."""

    what: str
    value: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None


def nothing() -> None:
    """What is done before a run that needs no preparation."""


def medians(commands: Mapping[str, Work], runs: int, before: Work = nothing) -> dict[str, float]:
    """Run everything in turn and return the median seconds of each; ``before`` is not timed."""
    names = list(commands)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(runs + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before()
            began = time.perf_counter()
            commands[name]()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def process(*command: str | Path, fails: bool = False) -> Work:
    """A whole process as something to time; an exit code that is not expected is an error."""

    def call() -> None:
        done = _run(command)
        if (done.returncode != 0) is not fails:
            raise RuntimeError(f"{command} exited {done.returncode}: {done.stderr.decode()[-400:]}")

    return call


def peak_memory(*command: str | Path) -> int:
    """Run a process once and return its peak resident memory in MiB.

    Measured by a small process in between: what a child is said to have used at most includes what its
    parent used when it was started.
    """
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = _run((sys.executable, "-I", "-S", "-c", code, *command))
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode()[-400:])
    return int(done.stdout) // 1024


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[bytes]:
    """Run a process without the caller's configuration, with bytecode kept as an installation does."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("IMGSIGN_", "DOCKER_", "PYTHON"))}
    env = {n: v for n, v in kept.items() if not n.lower().endswith("_proxy")}
    arguments = [str(c) for c in command]
    return subprocess.run(
        arguments, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
    )


def ratio(value: float, *, at_most: float | None = None, at_least: float | None = None) -> tuple[str, str, bool]:
    """Write a ratio and its target for a row, and whether it is met."""
    if at_most is not None:
        return f"{value:.2f}x", f"at most {at_most:.2f}x", value <= at_most
    if at_least is not None:
        return f"{value:.2f}x", f"at least {at_least:.2f}x", value >= at_least
    raise ValueError("a ratio needs a target")


def show(title: str, rows: Sequence[Row]) -> None:
    """Print one table."""
    print(f"\n{title}")
    for row in rows:
        met = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"  {row.what:<66} {row.value:>13}  {row.ratio:>6}  {row.target:<15} {met}".rstrip(), flush=True)
