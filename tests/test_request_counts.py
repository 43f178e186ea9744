"""How many requests a verification costs, by what the registry is and what is attached: the table of docs/speed.md."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imgsign import Reference, key_policy, sign, verify
from imgsign.signing import SignOptions
from tests.conftest import ROOT
from tests.signing_keys import signer
from tests.simulator import Simulator

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

# registry, signed as, signatures of strangers beside it, requests of the first and of every further image there
TABLE = [
    ("referrers API", "bundle", 0, 6, 6),
    ("referrers API", "simple", 0, 5, 5),
    ("referrers API", "both", 0, 7, 7),
    ("fallback tag", "bundle", 0, 6, 5),
    ("fallback tag", "simple", 0, 5, 4),
    ("fallback tag", "both", 0, 7, 6),
    ("referrers API", "nothing", 0, 4, 4),
    ("referrers API", "bundle", 3, 12, 12),
]


def _sign(sim: Simulator, path: str, formats: tuple[str, ...], who: str) -> None:
    name = Reference.parse(f"registry.test/{path}:1")
    sign([name], signer(who), SignOptions(formats=formats), locate=lambda r: sim.store(r.path), now=NOW)


@pytest.mark.parametrize(("registry", "signed", "strangers", "first", "further"), TABLE)
def test_a_verification_asks_no_more_than_the_table_says(
    registry: str, signed: str, strangers: int, first: int, further: int
) -> None:
    sim = Simulator(referrers_api=registry == "referrers API")
    formats = {"bundle": ("bundle",), "simple": ("simple",), "both": ("bundle", "simple"), "nothing": ()}[signed]
    for path in ("one", "two"):
        sim.put_image(path, tag="1")
        if formats:
            _sign(sim, path, formats, "release")
        for number in range(strangers):
            _sign(sim, path, ("bundle",), f"stranger {number}")
    policy, trust = key_policy([signer("release").public_key])
    reader = sim.transport()
    counts = []
    for path in ("one", "two"):
        del sim.requests_seen[:]
        decision = verify(
            Reference.parse(f"registry.test/{path}:1"),
            policy,
            trust,
            locate=lambda r: sim.store(r.path, reader),
            now=NOW,
        )
        assert decision.allowed == bool(formats)
        counts.append(len(sim.requests_seen))
    assert counts == [first, further]


def test_the_page_shows_this_table() -> None:
    page = (ROOT / "docs" / "speed.md").read_text()
    for registry, signed, strangers, first, further in TABLE:
        beside = f"{strangers} of strangers beside it" if strangers else "nothing else"
        assert f"| {registry} | {signed} | {beside} | {first} | {further} |" in page
