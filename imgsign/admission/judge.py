"""One image -> one ruling: remembered, under way already, or gathered and judged within limits.

Order (numbered in the code): the scope first, before any request and any look at the cache; then what is
remembered; then, for a tag, one resolve, whose digest is the one that is judged and pinned; then the gathering,
once for all who wait for the same image under the same policy.

- A ruling is remembered under (policy, trust, digest, reference with its tag); see :mod:`imgsign.admission.cache`.
- Work at a registry needs a slot (:mod:`imgsign.admission.limits`) and runs in a thread; waiting for it takes
  none, so a hundred reviews that hang on a dead registry cost the others nothing.
- A gathering runs under a deadline of its own, never shorter than the server's default: who asks with
  ``?timeout=1s`` does not spoil it for the others, and its ruling is there when the API server asks again.
- A host that no scope names is never asked: under the policy's default nothing is resolved, not even to pin it.

:meth:`Judge.peek` answers at once or not at all; :meth:`Judge.rule` waits on the running loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from imgsign.admission.cache import ENTRIES, Bounded, Flights, VerdictKey, life
from imgsign.admission.limits import WAIT, Busy, Limits
from imgsign.admission.metrics import Metrics
from imgsign.admission.places import ImagePlaces
from imgsign.admission.ruling import Ruling, accepted_unsigned, ruling_of, undecided
from imgsign.admission.snapshot import NamedPolicy
from imgsign.decision import Decision, Evidence
from imgsign.errors import ImgsignError, Unavailable
from imgsign.evaluate import evaluate
from imgsign.oci import Image, Manifest
from imgsign.policy.model import Reject
from imgsign.reference import Digest, Reference
from imgsign.resolve import Target
from imgsign.workflow import verify_manifest

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One image of one review. ``pin``: its digest is wanted even where no signature is."""

    reference: Reference
    policy: NamedPolicy
    pin: bool = False
    namespace: str = ""
    secrets: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose credentials it is read with."""
        return (self.namespace, *self.secrets) if self.secrets else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. ``gather``: the least deadline of a gathering; ``tag``: 0 resolves each tag for each review."""

    ttl: float = 600.0
    negative_ttl: float = 10.0
    tag: float = 0.0
    gather: float = 9.0


class Judge:
    """Rules on images; one for a process. :meth:`peek` and :meth:`rule` belong to the loop's thread."""

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
        self._limits = limits
        self._metrics = metrics
        self._times = times
        self._clock = clock
        self._now = now
        self._verdicts: Bounded[VerdictKey, Ruling] = Bounded(entries, clock)
        self._tags: Bounded[tuple[object, ...], Digest] = Bounded(entries, clock)
        self._flights: Flights[tuple[object, ...], Any] = Flights()  # Any: rulings and manifests

    @property
    def entries(self) -> int:
        """Rulings remembered."""
        return len(self._verdicts)

    @property
    def limits(self) -> Limits:
        """The slots and breakers."""
        return self._limits

    def peek(self, asked: Asked) -> Ruling | None:
        """Rule without waiting for anything; ``None`` if that takes a request."""
        # (1) The scope.
        policy = asked.policy.policy
        rule = policy.rule_for(asked.reference.repository)
        if any(isinstance(r, Reject) for r in rule.require):
            image = Image(name=asked.reference, manifest=None)
            return ruling_of(evaluate(policy, asked.policy.trust, image, Evidence(), now=self._now()))
        named = rule.scope is not None
        if not rule.needs_evidence and (asked.reference.digest is not None or not asked.pin or not named):
            return accepted_unsigned(asked.reference, rule)
        # (2) What is remembered.
        digest = asked.reference.digest or self._tag(asked)
        if digest is None:
            return None
        if not rule.needs_evidence:
            return accepted_unsigned(asked.reference.at(digest), rule)
        return self._remembered(asked, digest)

    async def rule(self, asked: Asked, deadline: float) -> Ruling:
        """Rule on an image :meth:`peek` knew nothing of, by a time of the clock; what fails is an inconclusive denial."""
        try:
            return await self._rule(asked, deadline)
        except ImgsignError as e:
            return undecided(asked.reference, e)

    async def _rule(self, asked: Asked, deadline: float) -> Ruling:
        reference, manifest = asked.reference, None
        if reference.digest is None:
            # (3) One resolve; within the window of seconds one for all.
            manifest = await self._resolve(asked, deadline)
            reference = reference.at(manifest.digest)
            rule = asked.policy.policy.rule_for(reference.repository)
            if not rule.needs_evidence:
                return accepted_unsigned(reference, rule)
            if (found := self._remembered(asked, manifest.digest)) is not None:
                return found
        elif not asked.policy.policy.rule_for(reference.repository).needs_evidence:
            return accepted_unsigned(reference, asked.policy.policy.rule_for(reference.repository))
        # (4) One gathering for all who wait for this image.
        key = (_key(asked, reference.digest), asked.identity)
        work = self._gathering(asked, reference, manifest)
        ruling: Ruling = await self._work(reference.repository.registry, key, work, deadline)
        return ruling

    async def _resolve(self, asked: Asked, deadline: float) -> Manifest:
        reference = asked.reference
        key: tuple[object, ...] = ("tag", reference, asked.identity)
        if not self._times.tag:
            key = (*key, object())  # of its own: another review's resolve began before this one
        until = self._until(deadline)

        def work() -> Manifest:
            manifest = self._store(asked, until).fetch(reference.tag or "latest")
            self._tags.put(("tag", reference, asked.identity), manifest.digest, self._times.tag)
            return manifest

        manifest: Manifest = await self._work(reference.repository.registry, key, work, deadline)
        return manifest

    def _gathering(self, asked: Asked, reference: Reference, manifest: Manifest | None) -> Callable[[], Ruling]:
        """Make the work that judges one image and remembers the ruling."""
        digest, policy = reference.digest, asked.policy
        if digest is None:
            raise ValueError("a gathering needs a digest")

        def work() -> Ruling:
            kept = self._verdicts.get(_key(asked, digest))
            if kept is not None:  # remembered since :meth:`peek` looked
                return kept
            began = self._clock()
            store = self._store(asked, began + self._times.gather)
            found = manifest or store.fetch(digest)
            target = Target(name=reference, store=store, what=digest, place=str(reference.repository))
            decision = verify_manifest(target, found, policy.policy, policy.trust, now=self._now())
            self._metrics.gathered.observe(self._clock() - began)
            return self._remember(_key(asked, digest), decision)

        return work

    def _store(self, asked: Asked, until: float) -> Any:  # Any: a Store, whose protocol is stores'
        secrets = asked.secrets if self._places.uses_pull_secrets else ()
        return self._places.store(asked.reference.repository, until, namespace=asked.namespace, secrets=secrets)

    def _until(self, deadline: float) -> float:
        return max(deadline, self._clock() + self._times.gather)

    # What is remembered

    def _tag(self, asked: Asked) -> Digest | None:
        if not self._times.tag:
            return None
        found = self._tags.get(("tag", asked.reference, asked.identity))
        if found is not None:
            self._metrics.cache("tag-hit")
        return found

    def _remembered(self, asked: Asked, digest: Digest) -> Ruling | None:
        found = self._verdicts.get(_key(asked, digest))
        self._metrics.cache("miss" if found is None else "hit" if found.allowed else "negative-hit")
        return found

    def _remember(self, key: VerdictKey, decision: Decision) -> Ruling:
        ruling = ruling_of(decision)
        seconds = life(
            allowed=decision.allowed,
            inconclusive=decision.inconclusive,
            valid_until=decision.valid_until,
            now=self._now(),
            ttl=self._times.ttl,
            negative_ttl=self._times.negative_ttl,
        )
        self._verdicts.put(key, ruling.remembered(), seconds)
        return ruling

    # Work in threads

    async def _work(self, host: str, key: tuple[object, ...], work: Callable[[], T], deadline: float) -> T:
        """Have work done once for a key, in a thread with a slot of a host, and wait for it until the deadline.

        Raises:
            Busy: no slot in time. Unavailable: the deadline came first. Whatever ``work`` raises.
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
            raise Unavailable(f"the deadline of the review has passed while asking {host}")
        result: T = waiter.result()
        return result

    def _start(self, host: str, future: Future[Any], work: Callable[[], Any]) -> None:
        future.set_running_or_notify_cancel()  # from now on no waiter can cancel it
        ticket = None

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
            if ticket is not None and self._limits.give_up(ticket):
                self._metrics.at_registry(host, "no-slot")
                future.set_exception(Busy(f"no slot to ask {host} within {WAIT:g} s", hint="try again"))

        try:
            ticket = self._limits.ask(host, begin)
        except Busy as e:
            self._metrics.at_registry(host, "no-slot")
            future.set_exception(e)
            return
        if not ticket.started:
            asyncio.get_running_loop().call_later(WAIT, give_up)

    def _end(self, host: str, result: str, *, failed: bool) -> None:
        self._metrics.at_registry(host, result)
        self._limits.done(host, failed=failed)


def _forget(waiter: asyncio.Future[Any]) -> None:
    """Take the result of work nobody waits for any more, so that its error is not reported as lost."""
    if not waiter.cancelled():
        waiter.exception()


def _key(asked: Asked, digest: Digest | None) -> VerdictKey:
    return VerdictKey(asked.policy.policy_digest, asked.policy.trust_digest, str(digest), str(asked.reference.name))
