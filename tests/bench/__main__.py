"""Benchmarks, as ratios of medians of interleaved runs: ``python -m tests.bench [NAME … | all]``.

Names: verify-cold, node, help, pull, many, policy, admission, admission-memory, audit.

Servers are real (docker-registry), on loopback, and stop by themselves. ``SKOPEO=path`` names a second
skopeo beside the one on PATH, such as one without Debian's patches. Each target stands beside its figure;
the exit code says nothing about them, since a busy machine can miss any. All of it takes some minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from tests.bench.admission import admission, admission_memory
from tests.bench.audit import audit
from tests.bench.cold import help_cold, verify_cold
from tests.bench.many import many
from tests.bench.measure import Row, show
from tests.bench.node import node_cold
from tests.bench.policy import policy
from tests.bench.pull import pull
from tests.e2e import parts

BENCHMARKS: dict[str, tuple[str, int, Callable[[int, Path | None], list[Row]]]] = {
    "verify-cold": ("Cold verification: whole processes on loopback", 21, verify_cold),
    "node": ("What each pull on a node waits for", 21, node_cold),
    "help": ("Cold help", 21, help_cold),
    "pull": ("Pull of 1 GiB in 8 layers of random data into an empty OCI layout, on loopback", 7, pull),
    "policy": ("A large policy, and many signatures against many keys", 9, policy),
    "admission": ("The admission webhook, 16 TLS connections, Pods of 3 containers", 5, admission),
    "admission-memory": ("Memory of the admission webhook, all images remembered", 1, admission_memory),
    "many": ("200 images verified in one process, both formats looked at", 5, many),
    "audit": ("Audit of a registry of 2,000 images by its catalog, whole processes", 5, audit),
}
"""Title, runs and function of each."""


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", nargs="*", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument("--runs", type=int, help="runs of each, at least 5 for a figure worth telling")
    parser.add_argument("--dir", type=Path, help="where to work: 3 GiB are needed (default: the temporary directory)")
    options = parser.parse_args()
    asked = [options.what] if isinstance(options.what, str) else options.what
    named = [f"{p} {version(p)}" for p in ("imgsign", "requests", "typer", "cryptography")]
    registry = " ".join(parts.run("docker-registry", "--version").stdout.split()[-2:])
    print(f"Python {python_version()}, {', '.join(named)}, {registry}, {os.cpu_count()} cores")
    for name, (title, runs, benchmark) in BENCHMARKS.items():
        if name in asked or "all" in asked:
            count = options.runs or runs
            show(f"{title} (medians of {count})", benchmark(count, options.dir))


if __name__ == "__main__":
    main()
