"""``imgsign audit`` of a whole registry, by its catalog, against a loop that sends the very same requests.

Whole processes on both sides, since an audit is a command; nothing is known before. The bare side has the
requests in a file and reads every answer; it parses, verifies and writes nothing.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter

from imgsign.fleet.audit import Judge, judge_all
from imgsign.fleet.targets import Sources, spool, unspool
from imgsign.reference import Repository
from imgsign.stores import Locate, Store
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Transport
from imgsign.workflow import key_policy
from tests.bench.filled import fill, specs
from tests.bench.measure import IMGSIGN, Row, medians, peak_memory, process, ratio
from tests.bench.servers import running
from tests.signing_keys import signer

THREADS = 8  # as many as ``imgsign audit`` uses
LEAST_RATE = 80  # images a second
MOST_MEMORY = 150  # MiB
MOST_GROWTH = 1.3
"""Time an image at 2,000 images by that at 200, process starts included."""
REPOSITORIES = 20


def audit(runs: int, directory: Path | None, *, images: int = 2000) -> list[Row]:
    """Audit registries of ``images`` and of a tenth of them, 20 repositories each, signed in both formats."""
    few = images // 10
    with running(directory) as large, running(directory) as small:
        for bench, count in ((large, images), (small, few)):
            fill(bench.base / "storage", specs(bench.host, REPOSITORIES, count // REPOSITORIES))
        record(large.host, large.base / "asked.json", images)
        record(small.host, small.base / "asked.json", few)
        commands = {
            "audit": process(*IMGSIGN, "audit", f"{large.host}/", "-k", large.key),
            "bare": process(sys.executable, "-m", "tests.bench.audit", large.base / "asked.json"),
            "audit few": process(*IMGSIGN, "audit", f"{small.host}/", "-k", small.key),
        }
        found = medians(commands, runs)
        memory = peak_memory(*IMGSIGN, "audit", f"{large.host}/", "-k", large.key, "--html", large.base / "report.html")
        asked = len(json.loads((large.base / "asked.json").read_text())[1])
    rate, bare = images / found["audit"], images / found["bare"]
    growth = (found["audit"] / images) / (found["audit few"] / few)
    return [
        Row(f"imgsign audit, {images} images", f"{rate:.0f} images/s", "", f"at least {LEAST_RATE}/s",
            rate >= LEAST_RATE),
        Row(f"requests.Session, the same requests, {THREADS} threads", f"{bare:.0f} images/s",
            *ratio(rate / bare, at_least=0.6)),
        Row(f"imgsign audit, {few} images", f"{few / found['audit few']:.0f} images/s",
            *ratio(growth, at_most=MOST_GROWTH)),
        Row("peak memory, with the report", f"{memory} MiB", "", f"under {MOST_MEMORY} MiB", memory < MOST_MEMORY),
        Row("requests an image, lists included", f"{asked / images:.2f}"),
    ]  # fmt: skip


def record(host: str, file: Path, images: int) -> None:
    """Audit once and write down every request: those for lists, then those of each image together."""
    seen: list[tuple[str, str, dict[str, str]]] = []

    class Noting(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: object, **kw: object) -> requests.Response:
            seen.append((str(request.method), str(request.url), dict(request.headers)))
            return super().send(request, *args, **kw)  # type: ignore[arg-type]  # passed on as they came

    transport = Transport(environ={}, adapter=Noting())

    def locate(repository: Repository) -> Store:
        return RemoteStore(repository, transport)

    groups: list[int] = []
    place: Locate = locate
    with ThreadPoolExecutor(1) as pool, file.with_suffix(".jobs").open("w+b") as listed:
        assert spool(Sources(place, pool).expand(f"{host}/"), listed, None) == images
        policy, trust = key_policy([signer("bench").public_key])
        judge = Judge(policy, trust, place, datetime.now(UTC))
        groups.append(len(seen))
        for row in judge_all(unspool(listed), judge, pool):
            assert row.verdict == "allowed", row
    file.write_text(json.dumps([groups, seen]))


def main() -> None:
    """Send the recorded requests again, with as many threads, each reading whole answers."""
    [lists], asked = json.loads(Path(sys.argv[1]).read_text())
    each = 6  # requests an image on a registry without the referrers API
    images = [asked[n : n + each] for n in range(lists, len(asked), each)]
    with requests.Session() as session, ThreadPoolExecutor(THREADS) as pool:
        session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))

        def ask(group: list[list[object]]) -> None:
            for method, url, headers in group:
                session.request(str(method), str(url), headers=headers, timeout=60)  # type: ignore[arg-type]  # as recorded

        list(pool.map(ask, [[one] for one in asked[:lists]]))
        list(pool.map(ask, images))


if __name__ == "__main__":
    main()
