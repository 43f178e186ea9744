"""What the webhook remembers, and for how long."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from imgsign.admission.cache import Bounded, Flights, VerdictKey, life

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def allowed(valid_until: datetime | None) -> float:
    return life(allowed=True, inconclusive=False, valid_until=valid_until, now=NOW, ttl=600, negative_ttl=10)


def test_an_allowed_verdict_lives_as_long_as_the_ttl() -> None:
    assert allowed(None) == 600


def test_a_verdict_never_outlives_what_it_rests_on() -> None:
    assert allowed(NOW + timedelta(seconds=7)) == 7
    assert allowed(NOW) == 0
    assert allowed(NOW - timedelta(days=1)) == 0


def test_a_denial_lives_some_seconds_and_an_undecided_one_not_at_all() -> None:
    denied = life(allowed=False, inconclusive=False, valid_until=None, now=NOW, ttl=600, negative_ttl=10)
    undecided = life(allowed=False, inconclusive=True, valid_until=None, now=NOW, ttl=600, negative_ttl=10)
    assert (denied, undecided) == (10, 0)


def test_an_entry_ends_with_its_time() -> None:
    clock = Clock()
    cache: Bounded[str, int] = Bounded(10, clock)
    cache.put("a", 1, 5)
    clock.time += 4.999
    assert cache.get("a") == 1
    clock.time += 0.001
    assert cache.get("a") is None
    assert len(cache) == 0


def test_an_entry_without_life_is_not_kept() -> None:
    cache: Bounded[str, int] = Bounded(10, Clock())
    cache.put("a", 1, 0)
    cache.put("b", 1, -1)
    cache.put("c", 1, float("nan"))
    assert len(cache) == 0


def test_only_so_many_entries_are_kept_and_the_one_unused_longest_goes() -> None:
    cache: Bounded[int, int] = Bounded(3, Clock())
    for number in range(3):
        cache.put(number, number, 60)
    assert cache.get(0) == 0
    cache.put(3, 3, 60)
    assert [cache.get(n) for n in range(4)] == [0, None, 2, 3]
    assert cache.evictions == 1


@pytest.mark.parametrize("changed", ["policy", "trust", "image", "reference"])
def test_a_verdict_is_found_only_under_all_it_depends_on(changed: str) -> None:
    cache: Bounded[VerdictKey, str] = Bounded(10, Clock())
    key = VerdictKey(policy="p", trust="t", image="sha256:1", reference="r.example/app:1")
    cache.put(key, "allowed", 60)
    assert cache.get(key) == "allowed"
    assert cache.get(key._replace(**{changed: "other"})) is None


def test_equal_wishes_join_one_flight_and_a_later_one_starts_anew() -> None:
    flights: Flights[str, int] = Flights()
    first, is_new = flights.join("a")
    second, is_second_new = flights.join("a")
    assert (is_new, is_second_new) == (True, False)
    assert first is second
    first.set_result(7)
    assert second.result() == 7
    assert flights.join("a")[1] is True


def test_a_failed_flight_is_told_to_all_and_not_kept() -> None:
    flights: Flights[str, int] = Flights()
    first, _ = flights.join("a")
    second, _ = flights.join("a")
    first.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        second.result()
    assert len(flights) == 0


def test_of_many_threads_exactly_one_leads() -> None:
    flights: Flights[str, int] = Flights()
    start, leaders = threading.Barrier(16), []

    def join() -> None:
        start.wait()
        leaders.append(flights.join("a")[1])

    threads = [threading.Thread(target=join) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(leaders) == [False] * 15 + [True]
