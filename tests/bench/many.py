"""Many images verified in one process, against a loop that sends the very same requests and does no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import requests
from requests.adapters import HTTPAdapter

from imgsign import Reference, Registries, key_policy, verify
from imgsign.stores import Locate
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Transport
from tests.bench.measure import Row, medians, ratio
from tests.bench.servers import running
from tests.signing_keys import signer

THREADS = 8  # as many as ``imgsign verify`` uses for several images
LEAST_RATE = 80  # images a second

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it was sent."""

    method: str
    url: str
    headers: Mapping[str, str]


def many(runs: int, directory: Path | None, *, images: int = 200) -> list[Row]:
    """Verify images that are signed in both formats, all of one registry and none of them known before."""
    with running(directory) as bench:
        names = bench.push_many(images)
        asked = _record(names)
        found = medians(
            {
                "imgsign": lambda: _verify_all(names, THREADS),
                "bare": lambda: _ask_all(asked, THREADS),
                "imgsign in turn": lambda: _verify_all(names, 1),
                "bare in turn": lambda: _ask_all(asked, 1),
            },
            runs,
        )
    rates = {label: images / seconds for label, seconds in found.items()}
    shown = {label: f"{rate:.0f} images/s" for label, rate in rates.items()}
    least = f"at least {LEAST_RATE}/s"
    return [
        Row(f"imgsign, {THREADS} threads", shown["imgsign"], "", least, rates["imgsign"] >= LEAST_RATE),
        Row(
            f"requests.Session, the same requests, {THREADS} threads",
            shown["bare"],
            *ratio(rates["imgsign"] / rates["bare"], at_least=0.6),
        ),
        Row("imgsign, in turn", shown["imgsign in turn"], "", least, rates["imgsign in turn"] >= LEAST_RATE),
        Row(
            "requests.Session, the same requests, in turn",
            shown["bare in turn"],
            *ratio(rates["imgsign in turn"] / rates["bare in turn"], at_least=0.6),
        ),
        Row("requests an image", f"{sum(map(len, asked)) / images:.2f}"),
    ]


def _verify_all(names: Sequence[Reference], threads: int, locate: Locate | None = None) -> None:
    """Verify all with new connections; every one must be allowed."""
    policy, trust = key_policy([signer("bench").public_key])
    place, now = locate or Registries({}), datetime.now(UTC)
    decisions = _each(lambda name: verify(name, policy, trust, locate=place, now=now), names, threads)
    if not all(d.allowed for d in decisions):
        raise RuntimeError("an image was not allowed")


def _record(names: Sequence[Reference]) -> list[list[Asked]]:
    """Verify all once in turn and return the requests that each took."""
    seen: list[Asked] = []

    class Noting(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: object, **kw: object) -> requests.Response:
            seen.append(Asked(str(request.method), str(request.url), dict(request.headers)))
            return super().send(request, *args, **kw)  # type: ignore[arg-type]  # passed on as they came

    transport = Transport(environ={}, adapter=Noting())
    found = []
    for name in names:
        _verify_all([name], 1, lambda repository: RemoteStore(repository, transport))
        found.append(seen[:])
        seen.clear()
    return found


def _ask_all(asked: Sequence[Sequence[Asked]], threads: int) -> None:
    """Send the same requests again and read the answers."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(pool_maxsize=threads))

        def ask(image: Sequence[Asked]) -> None:
            for one in image:
                session.request(one.method, one.url, headers=dict(one.headers), timeout=60)

        _each(ask, asked, threads)


def _each(work: Callable[[T], U], jobs: Sequence[T], threads: int) -> list[U]:
    """Do work for each job, with so many threads."""
    if threads == 1:
        return [work(job) for job in jobs]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, jobs))
