"""Slots, lines and breakers of registries."""

from __future__ import annotations

import pytest

from imgsign.admission.limits import Busy, Limits, Ticket
from tests.admission.test_cache import Clock


class Runs:
    """Notes what began."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.began: list[str] = []

    def ask(self, host: str, name: str) -> Ticket:
        return self.limits.ask(host, lambda: self.began.append(name))


def test_a_registry_has_some_slots_and_a_line() -> None:
    runs = Runs(Limits(Clock(), slots=16, slots_a_host=2))
    for name in "abcd":
        runs.ask("r.example", name)
    assert runs.began == ["a", "b"]
    runs.limits.done("r.example", failed=False)
    assert runs.began == ["a", "b", "c"]


def test_a_busy_registry_takes_nothing_from_another() -> None:
    runs = Runs(Limits(Clock(), slots=16, slots_a_host=1))
    runs.ask("slow.example", "slow")
    runs.ask("slow.example", "waits")
    assert runs.ask("quick.example", "quick").started
    assert runs.began == ["slow", "quick"]


def test_all_registries_together_have_so_many_slots() -> None:
    runs = Runs(Limits(Clock(), slots=3, slots_a_host=2))
    for host in ("a.example", "a.example", "b.example", "b.example", "c.example"):
        runs.ask(host, host)
    assert runs.began == ["a.example", "a.example", "b.example"]
    runs.limits.done("a.example", failed=False)
    assert runs.began[3:] == ["b.example"]


def test_a_full_line_refuses_at_once() -> None:
    runs = Runs(Limits(Clock(), slots_a_host=1, line=1))
    runs.ask("r.example", "a")
    runs.ask("r.example", "b")
    with pytest.raises(Busy) as refused:
        runs.ask("r.example", "c")
    assert refused.value.message == "too much is asked of r.example already"


def test_who_gives_up_leaves_the_line_and_does_not_run_later() -> None:
    runs = Runs(Limits(Clock(), slots_a_host=1))
    runs.ask("r.example", "a")
    waiting = runs.ask("r.example", "b")
    assert runs.limits.give_up(waiting) is True
    runs.limits.done("r.example", failed=False)
    assert runs.began == ["a"]


def test_who_runs_cannot_give_up() -> None:
    runs = Runs(Limits(Clock()))
    assert runs.limits.give_up(runs.ask("r.example", "a")) is False


def fail(runs: Runs, times: int) -> None:
    for _ in range(times):
        runs.ask("r.example", "x")
        runs.limits.done("r.example", failed=True)


def test_a_registry_that_fails_again_and_again_is_left_alone_then_tried_once() -> None:
    clock = Clock()
    runs = Runs(Limits(clock, failures=3, open_for=5))
    fail(runs, 3)
    with pytest.raises(Busy) as refused:
        runs.ask("r.example", "y")
    assert refused.value.message == "r.example failed 3 times in a row and is left alone for now"
    assert runs.ask("other.example", "z").started
    clock.time += 5
    assert runs.ask("r.example", "probe").started
    with pytest.raises(Busy):
        runs.ask("r.example", "second")
    runs.limits.done("r.example", failed=False)
    assert runs.ask("r.example", "after").started


def test_a_failed_probe_opens_the_breaker_again() -> None:
    clock = Clock()
    runs = Runs(Limits(clock, failures=3, open_for=5))
    fail(runs, 3)
    clock.time += 5
    fail(runs, 1)
    with pytest.raises(Busy):
        runs.ask("r.example", "y")


def test_a_clear_answer_between_failures_is_a_new_beginning() -> None:
    runs = Runs(Limits(Clock(), failures=3))
    fail(runs, 2)
    runs.ask("r.example", "good")
    runs.limits.done("r.example", failed=False)
    fail(runs, 2)
    assert runs.ask("r.example", "y").started


def test_a_probe_that_gave_up_lets_another_one_try() -> None:
    clock = Clock()
    runs = Runs(Limits(clock, failures=3, open_for=5, slots=1))
    fail(runs, 3)
    runs.ask("other.example", "holds the only slot")
    clock.time += 5
    waiting = runs.ask("r.example", "probe")
    assert waiting.started is False
    runs.limits.give_up(waiting)
    assert runs.ask("r.example", "another").started is False


def test_the_health_of_registries_is_told() -> None:
    clock = Clock()
    runs = Runs(Limits(clock, failures=1, slots_a_host=1))
    runs.ask("a.example", "a")
    runs.ask("a.example", "b")
    runs.ask("b.example", "c")
    runs.limits.done("b.example", failed=True)
    shown = [(h.host, h.busy, h.waiting, h.failures, h.open) for h in runs.limits.health()]
    assert shown == [("a.example", 1, 1, 0, False), ("b.example", 0, 0, 1, True)]


def test_names_from_outside_do_not_fill_memory() -> None:
    runs = Runs(Limits(Clock()))
    for number in range(5000):
        runs.ask(f"r{number}.example", "x")
        runs.limits.done(f"r{number}.example", failed=False)
    assert len(runs.limits.health()) <= 1024
