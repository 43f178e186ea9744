"""How much the webhook asks of registries at once, so that one that is dead or slow takes nothing from the others.

- *Slots*: so many gatherings at once in all, and so many at one registry. Whoever finds none waits in a
  short line for the registry; a full line, or three seconds of waiting, end in :class:`Busy`: a denial as
  undecided, early and readable, rather than a webhook that does not answer.
- *A breaker a registry*: after some failures in a row nothing is asked of it for some seconds, then one try
  decides. What a registry says clearly (there is no such image, you may not) is no failure.

The line is what lets one chart with forty new images through: gathering takes some 50 ms. Waiting holds no
thread (see :mod:`imgsign.admission.judge`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from imgsign.errors import Unavailable
from imgsign.record import record

SLOTS = 16
"""Gatherings at once in all."""

SLOTS_A_HOST = 4
"""Gatherings at once at one registry."""

LINE = 256
"""Who may wait for a slot at one registry; each is one image of a review."""

WAIT = 3.0
"""Seconds that one waits in the line, a third of the usual deadline: beyond it the registry is the trouble, not the
burst. A registry that takes 0.2 s an image serves a chart of sixty new images within them."""

FAILURES = 5
"""Failures in a row after which a registry is left alone."""

OPEN_FOR = 5.0
"""Seconds for which it is; short, since a denial costs a person more than a request costs a registry."""

_HOSTS = 1024  # registries whose state is kept; those without work are forgotten first


class Busy(Unavailable):
    """No slot was free in time, or the breaker of the registry is open."""


@dataclass(slots=True)
class Ticket:
    """A place in a registry's line, or a slot once ``run`` was called."""

    host: str
    run: Callable[[], None]
    started: bool = False
    given_up: bool = False


@dataclass(slots=True)
class _Host:
    busy: int = 0
    line: deque[Ticket] = field(default_factory=deque)
    failures: int = 0
    closed_again_at: float = 0.0
    probing: bool = False


class Limits:
    """The slots and breakers of a process; thread-safe. ``run`` of a ticket is called outside the lock."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        slots: int = SLOTS,
        slots_a_host: int = SLOTS_A_HOST,
        line: int = LINE,
        failures: int = FAILURES,
        open_for: float = OPEN_FOR,
    ) -> None:
        """Begin with everything free."""
        self._clock = clock
        self._slots, self._slots_a_host, self._line = slots, slots_a_host, line
        self._failures, self._open_for = failures, open_for
        self._lock = threading.Lock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._busy = 0

    def ask(self, host: str, run: Callable[[], None]) -> Ticket:
        """Call ``run`` now or as soon as a slot is free; :meth:`done` must follow each call of it.

        Raises:
            Busy: the breaker is open, or the line is full.
        """
        ticket = Ticket(host, run)
        with self._lock:
            state = self._state(host)
            self._check_breaker(host, state)
            if self._busy < self._slots and state.busy < self._slots_a_host:
                self._start(state, ticket)
            elif len(state.line) >= self._line:
                raise Busy(f"too much is asked of {host} already", hint="try again in some seconds")
            else:
                state.line.append(ticket)
        if ticket.started:
            run()
        return ticket

    def give_up(self, ticket: Ticket) -> bool:
        """Leave the line; false if it is too late for that, because it runs."""
        with self._lock:
            if ticket.started:
                return False
            ticket.given_up = True
            state = self._hosts.get(ticket.host)
            if state is not None:
                state.probing = False  # it may have been the one try
                if ticket in state.line:
                    state.line.remove(ticket)
            return True

    def done(self, host: str, *, failed: bool) -> None:
        """Give a slot back, say whether the registry failed, and let the next ones begin."""
        with self._lock:
            state = self._state(host)
            state.busy -= 1
            self._busy -= 1
            self._note(state, failed)
            following = self._next(state)
        for ticket in following:
            ticket.run()

    def _note(self, state: _Host, failed: bool) -> None:
        state.probing = False
        state.failures = state.failures + 1 if failed else 0
        if state.failures >= self._failures:
            state.closed_again_at = self._clock() + self._open_for

    def _check_breaker(self, host: str, state: _Host) -> None:
        """Refuse while the breaker is open; afterwards let one through and refuse others until it is back."""
        if state.failures < self._failures:
            return
        if self._clock() < state.closed_again_at or state.probing:
            raise Busy(f"{host} failed {state.failures} times in a row and is left alone for now")
        state.probing = True

    def _start(self, state: _Host, ticket: Ticket) -> None:
        ticket.started = True
        state.busy += 1
        self._busy += 1

    def _next(self, freed: _Host) -> list[Ticket]:
        """Take those who may begin now: of the registry whose slot came free first, then of any."""
        found = []
        now = self._clock()
        for state in (freed, *self._hosts.values()):
            if state.failures >= self._failures and now < state.closed_again_at:
                continue  # those in its line give up within WAIT
            while state.line and self._busy < self._slots and state.busy < self._slots_a_host:
                ticket = state.line.popleft()
                self._start(state, ticket)
                found.append(ticket)
        return found

    def _state(self, host: str) -> _Host:
        state = self._hosts.get(host)
        if state is None:
            state = self._hosts[host] = _Host()
            if len(self._hosts) > _HOSTS:
                idle = next((h for h, s in self._hosts.items() if not s.busy and not s.line and s is not state), None)
                if idle is not None:
                    del self._hosts[idle]
        self._hosts.move_to_end(host)
        return state

    def health(self) -> tuple[HostHealth, ...]:
        """Say how every registry does, for people."""
        with self._lock:
            now = self._clock()
            return tuple(
                HostHealth(h, s.busy, len(s.line), s.failures, s.failures >= self._failures and now < s.closed_again_at)
                for h, s in sorted(self._hosts.items())
            )


@record(kw_only=False)
class HostHealth:
    """One registry: gatherings under way, waiting ones, failures in a row, and whether its breaker is open."""

    host: str
    busy: int
    waiting: int
    failures: int
    open: bool
