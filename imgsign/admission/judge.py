"""Wanted images -> judgements: remembered, under way already, or gathered and judged within limits.

What is wanted was sorted out before (:mod:`imgsign.admission.plan`, scope first). Here, in this order: what is
remembered; for a tag one resolve, whose digest is the one that is judged and pinned; then the gathering, once
for all who wait for the same image under the same policy.

- A judgement is remembered under (policy, trust, digest, reference with its tag); see :mod:`imgsign.admission.cache`.
- Work at a registry needs a slot (:mod:`imgsign.admission.limits`) and runs in a thread; waiting for it takes
  none, so a hundred reviews that hang on a dead registry cost the others nothing.
- A gathering runs under a deadline of its own, never shorter than the server's default: who asks with
  ``?timeout=1s`` does not spoil it for the others, and its judgement is there when the API server asks again.

:meth:`Judge.peek` answers at once or not at all; :meth:`Judge.judge` waits on the running loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from imgsign.admission.asked import Asked
from imgsign.admission.cache import ENTRIES, Bounded, Flights, VerdictKey, life
from imgsign.admission.judgement import Judgement, Ruling
from imgsign.admission.limits import WAIT, Busy, Limits, Ticket
from imgsign.admission.metrics import Metrics
from imgsign.admission.places import ImagePlaces
from imgsign.decision import Decision
from imgsign.errors import ImgsignError, Unavailable
from imgsign.gather import GATE_LIMITS
from imgsign.oci import Manifest
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.resolve import Target
from imgsign.stores import Store
from imgsign.workflow import verify_manifest

T = TypeVar("T")


class DeadlinePassed(Unavailable):
    """The review's time was over before the registry was done."""


@record
class Times:
    """Seconds. ``gather``: the least deadline of a gathering; ``tag``: 0 resolves each tag for each review."""

    ttl: float = 600.0
    negative_ttl: float = 10.0
    tag: float = 0.0
    gather: float = 9.0


class Judge:
    """Judges images; one for a process. :meth:`peek` and :meth:`judge` belong to the loop's thread."""

    def __init__(
        self,
        places: ImagePlaces,
        *,
        pool: Executor,
        limits: Limits,
        metrics: Metrics,
        times: Times,
        entries: int = ENTRIES,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Remember nothing yet; work at registries runs in ``pool``."""
        self._places = places
        self._pool = pool
        self.limits = limits
        self._metrics = metrics
        self._times = times
        self._clock = clock
        self._now = now
        self._verdicts: Bounded[VerdictKey, Judgement] = Bounded(entries, clock)
        self._tags: Bounded[tuple[object, ...], Digest] = Bounded(entries, clock)
        self._flights: Flights[tuple[object, ...], Any] = Flights()  # Any: judgements and manifests

    @property
    def entries(self) -> int:
        """Judgements remembered."""
        return len(self._verdicts)

    def peek(self, asked: Asked) -> Judgement | None:
        """Judge without waiting for anything; ``None`` if that takes a request."""
        key = asked.verdict_key
        if key is None:
            digest = self._tag(asked)
            if digest is None:
                return None
            key = asked.key_of(digest)
        return self._remembered(asked, key)

    async def judge(self, asked: Asked, deadline: float) -> Judgement:
        """Judge an image :meth:`peek` knew nothing of, by a time of the clock; what fails on the way is undecided."""
        try:
            return await self._judge(asked, deadline)
        except Busy as e:
            return Judgement.undecided(asked.reference, "busy", e.message, e.hint)
        except DeadlinePassed as e:
            return Judgement.undecided(asked.reference, "deadline", e.message, e.hint)
        except ImgsignError as e:
            return Judgement.failed(asked.reference, e)

    async def _judge(self, asked: Asked, deadline: float) -> Judgement:
        reference, manifest = asked.reference, None
        if reference.digest is None:
            manifest = await self._resolve(asked, deadline)
            reference = reference.at(manifest.digest)
            if (found := self._remembered(asked, asked.key_of(manifest.digest))) is not None:
                return found
        digest = reference.digest
        if digest is None:
            raise RuntimeError("a resolved reference has a digest")
        work = self._gathering(asked, reference, digest, manifest)
        key = (asked.key_of(digest), asked.wanted.need, asked.identity)
        return _named(asked, await self._work(reference.repository.registry, key, work, deadline))

    async def _resolve(self, asked: Asked, deadline: float) -> Manifest:
        """Ask what a tag is now; within the window of seconds once for all."""
        reference = asked.reference
        tag_key: tuple[object, ...] = ("tag", reference, asked.identity)
        # Without a window another review's resolve is too old: it began before this review.
        key = tag_key if self._times.tag else (*tag_key, object())
        until = max(deadline, self._clock() + self._times.gather)

        def work() -> Manifest:
            manifest = self._store(asked, until).fetch(reference.tag or "latest")
            self._tags.put(tag_key, manifest.digest, self._times.tag)
            return manifest

        return await self._work(reference.repository.registry, key, work, deadline)

    def _gathering(
        self, asked: Asked, reference: Reference, digest: Digest, manifest: Manifest | None
    ) -> Callable[[], Judgement]:
        """Make the work that judges one image and remembers the judgement."""

        def work() -> Judgement:
            kept = self._verdicts.get(asked.key_of(digest))
            if kept is not None:  # remembered since :meth:`peek` looked
                return kept
            began = self._clock()
            store = self._store(asked, began + self._times.gather)
            found = manifest or store.fetch(digest)
            target = Target(name=reference, store=store, what=digest, place=str(reference.repository))
            decision = verify_manifest(
                target, found, asked.policy.policy, asked.policy.trust, now=self._now(), limits=GATE_LIMITS
            )
            self._metrics.gathered.observe(self._clock() - began)
            return self._remember(asked, digest, decision)

        return work

    def _store(self, asked: Asked, until: float) -> Store:
        return self._places.store(asked.reference.repository, until, namespace=asked.namespace, secrets=asked.secrets)

    # What is remembered

    def _tag(self, asked: Asked) -> Digest | None:
        if not self._times.tag:
            return None
        found = self._tags.get(("tag", asked.reference, asked.identity))
        if found is not None:
            self._metrics.cache("tag-hit")
        return found

    def _remembered(self, asked: Asked, key: VerdictKey) -> Judgement | None:
        found = self._verdicts.get(key)
        if found is None:
            self._metrics.cache("miss")
            return None
        self._metrics.cache("hit" if found.ruling is Ruling.ALLOWED else "negative-hit")
        return _named(asked, found)

    def _remember(self, asked: Asked, digest: Digest, decision: Decision) -> Judgement:
        judgement = Judgement.of(asked.reference, decision)
        seconds = life(
            allowed=decision.allowed,
            inconclusive=decision.inconclusive,
            valid_until=decision.valid_until,
            now=self._now(),
            ttl=self._times.ttl,
            negative_ttl=self._times.negative_ttl,
        )
        # Without the decision, which holds the manifest and every signature: a hundred times the rest.
        self._verdicts.put(asked.key_of(digest), replace(judgement, decision=None, cached=True), seconds)
        return judgement

    # Work in threads

    async def _work(self, host: str, key: tuple[object, ...], work: Callable[[], T], deadline: float) -> T:
        """Have work done once for a key, in a thread with a slot of a host, and wait for it until the deadline.

        Raises:
            Busy: no slot in time.
            DeadlinePassed: the deadline came first.
            ImgsignError: whatever ``work`` raises.
        """
        future, new = self._flights.join(key)
        if new:
            self._start(host, future, work)
        else:
            self._metrics.cache("joined")
        waiter = asyncio.wrap_future(future)
        left = deadline - self._clock()
        await asyncio.wait({waiter}, timeout=max(0.0, left))
        if not waiter.done():
            waiter.add_done_callback(_forget)
            raise DeadlinePassed(f"the deadline of the review has passed while asking {host}", hint="try again")
        result: T = waiter.result()
        return result

    def _start(self, host: str, future: Future[Any], work: Callable[[], Any]) -> None:
        future.set_running_or_notify_cancel()  # from now on no waiter can cancel it
        ticket: Ticket | None = None

        def begin() -> None:
            self._pool.submit(run)

        def run() -> None:
            failed = False
            try:
                result = work()
            except Exception as e:  # noqa: BLE001  # whoever waits must be told
                failed = isinstance(e, Unavailable)
                self._end(host, "failed" if failed else "refused", failed=failed)
                future.set_exception(e)
            else:
                self._end(host, "ok", failed=False)
                future.set_result(result)

        def give_up() -> None:
            if ticket is not None and self.limits.give_up(ticket):
                self._metrics.at_registry(host, "no-slot")
                future.set_exception(Busy(f"no slot to ask {host} within {WAIT:g} s", hint="try again"))

        try:
            ticket = self.limits.ask(host, begin)
        except Busy as e:
            self._metrics.at_registry(host, "no-slot")
            future.set_exception(e)
            return
        if not ticket.started:
            asyncio.get_running_loop().call_later(WAIT, give_up)

    def _end(self, host: str, result: str, *, failed: bool) -> None:
        self._metrics.at_registry(host, result)
        self.limits.done(host, failed=failed)


def _forget(waiter: asyncio.Future[Any]) -> None:
    """Take the result of work nobody waits for any more, so that its error is not reported as lost."""
    if not waiter.cancelled():
        waiter.exception()


def _named(asked: Asked, judgement: Judgement) -> Judgement:
    """Call a judgement by what was asked for: R:T and R:T@D share one."""
    return judgement if judgement.text == asked.wanted.key else replace(judgement, text=asked.wanted.key)
