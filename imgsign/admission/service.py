"""POST /validate and /mutate: bytes in, a verdict out, on the loop of reviews.

A review whose images are all remembered is answered without waiting for anything; for the others the loop goes
on meanwhile. No answer with status 200 is without a verdict: what cannot be read is a denial if it can be
addressed (its uid was readable), else 4xx; an internal error is a denial too. What says "not now" is 503 with
``Retry-After``, which the API server repeats within its own timeout (client-go rest/with_retry.go); nothing
else does it repeat.

Bounds: 8 MiB a body, 64 MiB of bodies and 1,000 reviews at once, 5 s for a body to arrive, 256 images a
review. The deadline of a review is its ``?timeout=`` less a second, counted from its first byte here.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imgsign.admission.answer import answer, audit_fields, refuse
from imgsign.admission.asked import Asked
from imgsign.admission.audit import RECENT, Audit
from imgsign.admission.judge import Judge
from imgsign.admission.judgement import Judgement
from imgsign.admission.metrics import Metrics
from imgsign.admission.plan import Gate, Plan, plan
from imgsign.admission.pull_secrets import secrets_named
from imgsign.admission.review import REVIEW_LIMIT, Response, Review, parse_review
from imgsign.admission.snapshot import Snapshot
from imgsign.errors import InvalidReview
from imgsign.wire import printable

BODY_SECONDS = 5.0
"""For a body to arrive: the API server has it ready before it connects."""

BODIES_LIMIT = 64 * 1024 * 1024
"""Bytes of all bodies being read or judged."""

REVIEWS_LIMIT = 1000
"""Reviews at once."""

IMAGES_LIMIT = 256
"""Images of one review that have to be asked for; a Pod has some."""

MARGIN = 1.0
"""Seconds of a review's timeout left for the way back."""

_INLINE = 128 * 1024  # bytes of a body that is parsed on the loop; a larger one in a thread
_TIMEOUT = re.compile(r"(?:^|&)timeout=([0-9]{1,3})s(?:&|$)")
_PATHS = {"/validate": Gate.VALIDATE, "/mutate": Gate.MUTATE}
_JSON = ("content-type", "application/json")
_TEXT = ("content-type", "text/plain; charset=utf-8")
_CLOSE = ("connection", "close")
_RETRY = ("retry-after", "1")

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

Scope = Any  # Granian's RSGI scope and protocol have no types
Protocol = Any


class _Refused(Exception):  # not an error of the tree: an HTTP status
    """A request that gets no verdict."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


@dataclass(slots=True)
class _Call:
    """One request on its way."""

    gate: Gate
    began: float
    deadline: float
    uid: str | None = None


class Service:
    """Answers reviews; all on one loop's thread. ``welcome`` is false until all is loaded."""

    def __init__(
        self,
        judge: Judge,
        metrics: Metrics,
        audit: Audit,
        snapshot: Snapshot,
        *,
        pool: Executor,
        timeout: float,
        pull_secrets: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        log: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        """Answer by ``snapshot`` until another one is set; ``timeout`` (seconds) where a request names none."""
        self._judge = judge
        self._metrics = metrics
        self._audit = audit
        self.snapshot = snapshot
        self._pool = pool
        self._timeout = timeout
        self._pull_secrets = pull_secrets
        self._clock = clock
        self._now = now
        self._log = log
        self.welcome = False
        self.reviews = 0
        self._bytes = 0
        self._reading: dict[asyncio.Task[Any] | None, float] = {}
        metrics.inflight.set_function(lambda: self.reviews)
        self.recent: deque[bytes] = deque(maxlen=RECENT)

    async def handle(self, scope: Scope, protocol: Protocol, *, closing: bool) -> None:
        """Answer one request; ``closing`` ends its connection."""
        last = (_CLOSE,) if closing else ()
        try:
            body = await self._answer(scope, protocol)
        except _Refused as e:
            self._metrics.refusal(e.status)
            protocol.response_bytes(e.status, [_TEXT, *e.headers, *last], e.text.encode() + b"\n")
            return
        protocol.response_bytes(200, [_JSON, *last], body)

    async def _answer(self, scope: Scope, protocol: Protocol) -> bytes:
        call, length = self._check(scope)
        self.reviews += 1
        self._bytes += length
        try:
            raw = await self._body(protocol, length)
            return await self._review(call, raw)
        finally:
            self.reviews -= 1
            self._bytes -= length

    def _check(self, scope: Scope) -> tuple[_Call, int]:
        """Look at a request's head."""
        began = self._clock()
        gate = _PATHS.get(scope.path)
        if gate is None:
            raise _Refused(404, "not found: this is POST /validate and POST /mutate")
        if scope.method != "POST":
            raise _Refused(405, "POST an AdmissionReview", ("allow", "POST"))
        headers = scope.headers
        kind = headers.get("content-type") or "application/json"
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise _Refused(415, "post application/json")
        text = headers.get("content-length")
        if text is None or headers.get("content-encoding") is not None:
            raise _Refused(411 if text is None else 415, "post it whole: Content-Length, no Content-Encoding")
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise _Refused(400, "bad Content-Length", _CLOSE)
        length = int(text)
        if length > REVIEW_LIMIT:
            raise _Refused(413, f"a review has at most {REVIEW_LIMIT} bytes", _CLOSE)
        if not self.welcome:
            raise _Refused(503, "not ready yet", _RETRY)
        if self.reviews >= REVIEWS_LIMIT or self._bytes + length > BODIES_LIMIT:
            raise _Refused(503, "too many reviews at once", _RETRY)
        found = _TIMEOUT.search(scope.query_string)
        timeout = min(30.0, float(found[1])) if found is not None else self._timeout
        return _Call(gate, began, began + max(timeout - MARGIN, timeout / 2)), length

    async def _body(self, protocol: Protocol, length: int) -> bytes:
        """Read the body; a client that does not send it keeps a connection waiting, nothing else."""
        task = asyncio.current_task()
        self._reading[task] = self._clock() + BODY_SECONDS
        try:
            raw = await protocol()
        except asyncio.CancelledError:  # by sweep() alone: nobody else knows the task
            raise _Refused(408, f"the body did not arrive within {BODY_SECONDS:g} s", _CLOSE) from None
        except Exception:  # noqa: BLE001  # Granian's for a client that went away
            raise _Refused(400, "the body did not arrive", _CLOSE) from None
        finally:
            del self._reading[task]
        if len(raw) != length:
            raise _Refused(400, "the body is not as long as its Content-Length", _CLOSE)
        return bytes(raw)

    def sweep(self) -> None:
        """Give up bodies that are overdue; called about once a second, which costs less than a timer a request."""
        now = self._clock()
        for task, end in list(self._reading.items()):
            if task is not None and now >= end:
                task.cancel()

    async def _review(self, call: _Call, raw: bytes) -> bytes:
        """Judge a body; from here on there is a denial or 400, whatever happens."""
        snapshot = self.snapshot
        try:
            review = parse_review(raw) if len(raw) <= _INLINE else await self._parse_aside(raw)
            call.uid = review.uid
            planned = plan(review, call.gate, snapshot.rulebook)
            secrets = secrets_named(raw) if self._pull_secrets else ()
            judgements = await self._judgements(planned, snapshot, call.deadline, secrets)
            response = answer(planned, judgements)
            self._note(call, planned, judgements, response, snapshot)
            return response.to_json()
        except InvalidReview as e:
            if e.uid is None:
                raise _Refused(400, printable(e.message)) from None
            return self._refuse(call, e.uid, "bad-review", e.message, e.hint)
        except Exception as e:  # noqa: BLE001  # an uncaught exception must never look like a verdict that allows
            where = traceback.extract_tb(e.__traceback__)[-1]
            self._log(f"internal error: {type(e).__name__} at {where.name}:{where.lineno} in review {call.uid}")
            if call.uid is None:
                raise _Refused(500, "internal error") from None
            return self._refuse(call, call.uid, "internal-error", "internal error of the webhook", "see its log")

    async def _parse_aside(self, raw: bytes) -> Review:
        """Parse a large body in a thread: the loop has others to answer."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, parse_review, raw)

    async def _judgements(
        self, planned: Plan, snapshot: Snapshot, deadline: float, secrets: tuple[str, ...]
    ) -> Mapping[str, Judgement]:
        """Judge what the plan wants: each image once, all at the same time."""
        found: dict[str, Judgement] = {}
        missing: list[Asked] = []
        if not planned.wanted:
            return found
        namespace = planned.review.namespace if secrets else ""
        for wanted in planned.wanted[:IMAGES_LIMIT]:
            asked = snapshot.asked(wanted, namespace, secrets)
            judgement = self._judge.peek(asked)
            if judgement is None:
                missing.append(asked)
            else:
                found[wanted.key] = judgement
        if missing:
            judged = await asyncio.gather(*(self._judge.judge(asked, deadline) for asked in missing))
            found.update((asked.wanted.key, judgement) for asked, judgement in zip(missing, judged, strict=True))
        return found  # what is not in it is undecided, and denied: see answer()

    # What is said of it

    def _note(
        self, call: _Call, planned: Plan, judgements: Mapping[str, Judgement], response: Response, snapshot: Snapshot
    ) -> None:
        fields = audit_fields(planned, judgements, response)
        policy = snapshot.policies.get(planned.rules.policy)
        digest = None if policy is None else f"sha256:{policy.policy_digest}"
        fields["policy_digest"], fields["message"] = digest, response.message
        self._write(call, fields)
        operation = planned.review.operation
        self._metrics.review(call.gate.value, operation, response.verdict, self._clock() - call.began)
        self._metrics.images(judgements.values())

    def _refuse(self, call: _Call, uid: str, code: str, message: str, hint: str | None) -> bytes:
        """Deny what could not be judged."""
        response = refuse(uid, code, message, hint)
        fields = {"uid": uid, "gate": call.gate.value, "verdict": response.verdict, "codes": response.codes}
        self._write(call, {**fields, "message": response.message})
        self._metrics.review(call.gate.value, "?", "denied", self._clock() - call.began)
        return response.to_json()

    def _write(self, call: _Call, fields: Mapping[str, object]) -> None:
        milliseconds = round((self._clock() - call.began) * 1000, 3)
        time_text = self._now().replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        line = _ENCODE({"time": time_text, **fields, "milliseconds": milliseconds}).encode()
        self._audit.write(line)
        self.recent.append(line)
