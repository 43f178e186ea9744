"""The admission webhook under wrk: remembered verdicts, tags, new images, a storm, and its memory.

Against the same HTTPS server with a handler that reads the body and says yes: the same listener, the same
certificate, in the same run, in turn. Metrics and the audit log are on. Reviews are Pods of three containers.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from imgsign import Reference, Registries
from tests.bench.admission_body import body
from tests.bench.measure import Row, ratio
from tests.bench.servers import Bench, running
from tests.e2e import parts
from tests.e2e.webhook import Cluster, Load, Webhook, webhook, wrk
from tests.signing_keys import signer

LEAST_NEW = 60  # reviews a second of images never seen before
MOST_P99 = 15.0  # milliseconds
MOST_MEMORY = 150  # MiB
STORM = 500  # Pods of one new image
DISTINCT, REVIEWS = 20_000, 100_000  # images and reviews of the memory test
SECONDS = 3.0  # of one run of wrk

_EMPTY = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from imgsign.admission.certificate import load_pair
from imgsign.admission.listener import Listener
ANSWER = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"1","allowed":true}}'
async def handle(scope, protocol, worker):
    await protocol()
    protocol.response_bytes(200, [("content-type", "application/json")], ANSWER)
async def main():
    tls = Path(sys.argv[1])
    listener = Listener("127.0.0.1", 0, handle)
    await listener.serve(load_pair(tls / "tls.crt", tls / "tls.key", now=datetime.now(UTC)))
    print("ready", listener.port, file=sys.stderr, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def admission(runs: int, directory: Path | None) -> list[Row]:
    """Measure all of it."""
    with running(directory) as bench:
        cluster = Cluster(bench.base / "cluster", signer("bench").public_key.to_pem(), bench.host)
        three = [_pinned(bench.push_small(f"known/app{n}")) for n in range(3)]
        new = [_pinned(name) for name in bench.push_many(600)]
        return [
            *_remembered(bench, cluster, three, runs),
            *_new(bench, cluster, new),
        ]


def admission_memory(runs: int, directory: Path | None) -> list[Row]:
    """Measure memory once, whatever ``runs``; filling it takes some minutes."""
    with running(directory) as bench:
        cluster = Cluster(bench.base / "cluster", signer("bench").public_key.to_pem(), bench.host)
        return _memory(bench, cluster, _pinned(bench.push_small("known/app")))


def _pinned(name: Reference) -> Reference:
    """Resolve ``R:T`` to ``R:T@D``."""
    return name.at(Registries({})(name.repository).fetch(name.tag or "latest").digest)


def _url(port: int, gate: str = "validate") -> str:
    return f"https://127.0.0.1:{port}/{gate}?timeout=10s"


def _remembered(bench: Bench, cluster: Cluster, three: Sequence[Reference], runs: int) -> list[Row]:
    """Remembered verdicts and fresh tags, in turn with the empty handler."""
    pinned, tags = body([str(n) for n in three]), body([str(n.name) for n in three])
    with (
        _empty(bench.base, cluster) as empty,
        webhook(bench.base / "known", cluster, "--tag-window", "1h", "--ttl", "1h") as found,
    ):
        if found.review(pinned)["allowed"] is not True or "patch" not in found.review(tags, "mutate"):
            raise RuntimeError("an image was not allowed")
        loads: dict[str, list[Load]] = {"empty": [], "pinned": [], "tags": []}
        asked = {"empty": (empty, "validate", pinned), "pinned": (found.port, "validate", pinned)}
        asked["tags"] = (found.port, "mutate", tags)
        for number in range(runs + 1):
            for name, (port, gate, raw) in asked.items():
                load = wrk(bench.base, _url(port, gate), [raw], seconds=SECONDS, name=name)
                if number:
                    loads[name].append(load)
        errors = sum(load.errors for found_loads in loads.values() for load in found_loads)
    rates = {name: statistics.median(load.rate for load in found_loads) for name, found_loads in loads.items()}
    p99 = {name: statistics.median(load.p99 for load in found_loads) for name, found_loads in loads.items()}
    ratios = {
        name: statistics.median(a.rate / b.rate for a, b in zip(loads[name], loads["empty"], strict=True))
        for name in ("pinned", "tags")
    }
    return [
        Row("empty handler, the same server", f"{rates['empty']:.0f}/s"),
        Row("remembered, by digest", f"{rates['pinned']:.0f}/s", *ratio(ratios["pinned"], at_least=0.4)),
        Row("  p99", f"{p99['pinned']:.1f} ms", "", f"under {MOST_P99:g} ms", p99["pinned"] < MOST_P99),
        Row(
            "remembered, by tags in their window, pinned by mutate", f"{rates['tags']:.0f}/s", f"{ratios['tags']:.2f}x"
        ),
        Row("  p99", f"{p99['tags']:.1f} ms", "", "", None),
        Row("errors", str(errors), "", "none", errors == 0),
    ]


def _new(bench: Bench, cluster: Cluster, new: Sequence[Reference]) -> list[Row]:
    """Images never seen before: first one a review, then a storm of one."""
    storm, *others = new
    with webhook(bench.base / "new", cluster) as found:
        found.review(body([str(others.pop())]))  # what the first request alone costs is not the question
        seconds = _each(found, [body([str(name)]) for name in others])
        gathered = found.metric("imgsign_admission_gather_seconds_count")
        if gathered != len(others) + 1:
            raise RuntimeError(f"{gathered} gatherings for {len(others)} images")
        _each(found, [body([str(storm)], uid=f"s-{n}") for n in range(STORM)], clients=64)
        storms = found.metric("imgsign_admission_gather_seconds_count") - gathered
    rate = len(others) / seconds
    return [
        Row(
            "new images, one a review, loopback registry",
            f"{rate:.0f}/s",
            "",
            f"at least {LEAST_NEW}/s",
            rate >= LEAST_NEW,
        ),
        Row(f"gatherings for {STORM} Pods of one new image", f"{storms:.0f}", "", "1", storms == 1),
    ]


def _each(found: Webhook, bodies: Sequence[bytes], clients: int = 16) -> float:
    """Post each body once; the seconds it took. Every answer must allow."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(found.review, bodies))
    took = time.perf_counter() - began
    if not all(a["allowed"] is True for a in answers):
        raise RuntimeError(f"denied: {next(a for a in answers if a['allowed'] is not True)}")
    return took


def _memory(bench: Bench, cluster: Cluster, signed: Reference) -> list[Row]:
    """Memory after many reviews of many images, all remembered: one manifest under many signed names is enough."""
    cluster.set_policy(
        f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["release.pub"]\n[scopes."{bench.host}"]\n'
        'require = [ { signed-by = "release", name = "unsafe-any" } ]\n'
    )
    count = DISTINCT // 3
    repository = signed.repository
    digest = signed.digest
    with webhook(bench.base / "memory", cluster, "--ttl", "1h") as found:
        start = found.resident()
        # Distinct names of one digest: as many entries in the cache, each gathered, signed and judged on its own.
        names = [f"{repository}:t{n}@{digest}" for n in range(count * 3)]
        bodies = [body(names[n : n + 3], uid=f"m-{n}") for n in range(0, len(names), 3)]
        _each(found, bodies, clients=4)
        entries = found.metric("imgsign_admission_cache_entries")
        done = len(bodies)
        sample = bodies[:: max(1, len(bodies) // 500)]
        while done < REVIEWS:
            load = wrk(bench.base, _url(found.port), sample, seconds=5, name="memory")
            if load.errors:
                raise RuntimeError("errors while filling memory")
            done += load.requests
        after = found.resident()
    what = f"memory after {done:,} reviews of {entries:,.0f} images"
    return [
        Row("memory before any review", f"{start:.0f} MiB"),
        Row(what, f"{after:.0f} MiB", "", f"under {MOST_MEMORY} MiB", after < MOST_MEMORY),
    ]


@contextmanager
def _empty(base: Path, cluster: Cluster) -> Iterator[int]:
    """Start the listener with an empty handler; yields its port."""
    log = base / "empty.log"
    command = [sys.executable, "-c", _EMPTY, str(cluster.tls.directory)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        parts.wait_for(lambda: b"ready" in log.read_bytes(), log)
        yield int(log.read_text().split()[1])
    finally:
        process.terminate()
        process.wait(20)
