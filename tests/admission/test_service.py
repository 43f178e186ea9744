"""The webhook's handler and its judge over the registry simulator: no socket, no Granian."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imgsign import Reference, key_policy
from imgsign.admission import service as service_module
from imgsign.admission.asked import NamedPolicy
from imgsign.admission.audit import Audit
from imgsign.admission.judge import Judge, Times
from imgsign.admission.limits import Limits
from imgsign.admission.metrics import Metrics
from imgsign.admission.places import ImagePlaces, PlaceOptions
from imgsign.admission.plan import Rulebook
from imgsign.admission.service import Service
from imgsign.admission.settings import NamespaceRules, Settings
from imgsign.admission.snapshot import Snapshot
from imgsign.errors import Unavailable
from imgsign.signing import SignOptions, sign
from imgsign.stores import Store
from tests.admission.test_cache import Clock
from tests.bench.admission_body import body
from tests.signing_keys import signer
from tests.simulator import Simulator
from tests.stores.memory_store import MemoryStore

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
"""All is in the year the tests were written in."""


class Inline(Executor):
    """Runs at once, in the calling thread; or keeps what it is given until told to go on."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], object]] = []
        self.hold = False

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.hold:
            self.kept.append(fn)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


class Places(ImagePlaces):
    """Gives every repository one store, and counts."""

    def __init__(self, store: Store) -> None:
        super().__init__({}, PlaceOptions())
        self.found = store
        self.asked = 0
        self.error: Exception | None = None

    def store(self, *args: object, **kw: object) -> Store:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.found


class Headers(dict[str, str]):
    """RSGI's headers, as far as they are read."""


class Request:
    """A request and what was answered; RSGI's scope and protocol in one."""

    def __init__(self, raw: bytes, path: str = "/validate", query: str = "timeout=10s", **headers: str) -> None:
        self.raw, self.path, self.query_string, self.method = raw, path, query, "POST"
        self.headers = Headers({"content-type": "application/json", "content-length": str(len(raw))})
        self.headers.update({k.replace("_", "-"): v for k, v in headers.items()})
        self.status = 0
        self.answered: dict[str, str] = {}
        self.text = b""
        self.sends: Callable[[], Awaitable[bytes]] = self._send

    async def _send(self) -> bytes:
        return self.raw

    def __call__(self) -> Awaitable[bytes]:
        return self.sends()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], text: bytes) -> None:
        self.status, self.answered, self.text = status, dict(headers), text

    @property
    def response(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)["response"]
        return found


class World:
    """A webhook before a store with one signed and one unsigned image."""

    def __init__(self, **times: float) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.out = io.BytesIO()
        self.pool = Inline()
        self.logged: list[str] = []
        self.places = Places(MemoryStore())
        self.judge = Judge(
            self.places,
            pool=self.pool,
            limits=Limits(self.clock),
            metrics=self.metrics,
            times=Times(**times),
            clock=self.clock,
            now=lambda: NOW + timedelta(seconds=self.clock.time - 1000),
        )
        policy, trust = key_policy([signer("release").public_key])
        named = NamedPolicy(name="p", policy=policy, trust=trust, policy_digest="a" * 64, trust_digest="b" * 64)
        rulebook = Rulebook(Settings(default=NamespaceRules(policy="p")), {"p": policy})
        self.audit = Audit(self.out)
        self.service = Service(
            self.judge,
            self.metrics,
            self.audit,
            Snapshot(rulebook=rulebook, policies={"p": named}),
            pool=self.pool,
            timeout=10,
            clock=self.clock,
            now=lambda: NOW,
            log=self.logged.append,
        )
        self.service.welcome = True

    def ask(self, request: Request, *, closing: bool = False) -> Request:
        asyncio.run(self.service.handle(request, request, closing=closing))
        return request

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.service.recent]


@pytest.fixture
def world() -> World:
    return World()


UNKNOWN = "r.example/app@sha256:" + "0" * 64


def test_an_image_that_is_not_there_is_undecided_and_asked_for_again(world: World) -> None:
    for _ in range(2):
        request = world.ask(Request(body([UNKNOWN])))
        assert (request.status, request.response["allowed"]) == (200, False)
        assert "[not-found]" in request.response["status"]["message"]
    assert world.places.asked == 2
    assert [line["verdict"] for line in world.lines()] == ["undecided", "undecided"]


def test_a_failing_registry_opens_the_breaker_and_is_then_not_asked(world: World) -> None:
    world.places.error = Unavailable("cannot reach r.example")
    codes = []
    for number in range(7):
        request = world.ask(Request(body([f"r.example/app{number}@sha256:{'0' * 64}"])))
        codes.append(request.response["auditAnnotations"]["codes"])
    assert codes == ["unavailable"] * 5 + ["busy"] * 2
    assert world.places.asked == 5


def test_a_rejected_name_costs_no_request(world: World) -> None:
    world.service.snapshot = Snapshot(
        rulebook=Rulebook(
            Settings(default=NamespaceRules(policy="p")),
            {
                "p": type(world.service.snapshot.policies["p"].policy)(
                    default=world.service.snapshot.policies["p"].policy.default, scopes={}
                )
            },
        ),
        policies=world.service.snapshot.policies,
    )
    request = world.ask(Request(body([UNKNOWN])))
    assert "[no-scope]" in request.response["status"]["message"]
    assert world.places.asked == 0


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"content_length": "8388609"}, 413, b"a review has at most 8388608 bytes\n"),
        ({"content_length": "-1"}, 400, b"bad Content-Length\n"),
        ({"content_length": "\u00b2"}, 400, b"bad Content-Length\n"),
        ({"content_length": "9" * 16}, 400, b"bad Content-Length\n"),
        ({"content_length": "3"}, 400, b"the body is not as long as its Content-Length\n"),
        ({"content_type": "text/plain"}, 415, b"post application/json\n"),
        ({"content_encoding": "gzip"}, 415, b"post it whole: Content-Length, no Content-Encoding\n"),
    ],
)
def test_a_request_that_is_no_review_is_refused(
    world: World, headers: Mapping[str, str], status: int, said: bytes
) -> None:
    request = world.ask(Request(b"{}", **headers))
    assert (request.status, request.text) == (status, said)
    assert world.service.reviews == 0


def test_while_not_ready_a_review_is_to_be_repeated(world: World) -> None:
    world.service.welcome = False
    request = world.ask(Request(body([UNKNOWN])))
    assert (request.status, request.answered["retry-after"]) == (503, "1")


def test_too_many_bodies_at_once_are_to_be_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "BODIES_LIMIT", 1000)
    request = world.ask(Request(body([UNKNOWN])))
    assert (request.status, request.answered["retry-after"]) == (503, "1")


def test_a_draining_server_asks_to_close_with_the_answer(world: World) -> None:
    assert world.ask(Request(body([UNKNOWN])), closing=True).answered["connection"] == "close"
    assert "connection" not in world.ask(Request(body([UNKNOWN]))).answered


def test_a_body_that_never_comes_is_given_up(world: World) -> None:
    request = Request(body([UNKNOWN]))

    async def never() -> bytes:
        world.clock.time += 6
        asyncio.get_running_loop().call_soon(world.service.sweep)
        await asyncio.Event().wait()
        return b""

    request.sends = never
    world.ask(request)
    assert request.status == 408
    assert world.service.reviews == 0


def test_an_internal_error_is_a_denial_and_tells_no_one_its_text(world: World) -> None:
    world.places.error = RuntimeError("password=hunter2")
    request = world.ask(Request(body([UNKNOWN])))
    assert request.response["allowed"] is False
    assert "internal error of the webhook [internal-error]" in request.response["status"]["message"]
    assert world.logged[0].startswith("internal error: RuntimeError at store:")
    seen = request.text + b"".join(world.service.recent) + "".join(world.logged).encode()
    assert b"hunter2" not in seen


def test_the_audit_line_says_who_asked_for_what_and_what_was_answered(world: World) -> None:
    world.ask(Request(body([UNKNOWN], uid="u-1")))
    (line,) = world.lines()
    assert {k: line[k] for k in ("time", "uid", "gate", "operation", "kind", "namespace", "name", "verdict")} == {
        "time": "2026-11-24T12:00:00.000000Z",
        "uid": "u-1",
        "gate": "validate",
        "operation": "CREATE",
        "kind": "Pod",
        "namespace": "shop",
        "name": "web-7c9d",
        "verdict": "undecided",
    }
    assert line["images"] == [
        {"image": UNKNOWN, "digest": None, "verdict": "undecided", "code": "not-found", "cached": False}
    ]
    assert line["policy_digest"] == f"sha256:{'a' * 64}"
    assert line["milliseconds"] == 0.0


def test_an_unreadable_review_with_a_uid_is_denied_and_noted(world: World) -> None:
    raw = json.dumps(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "u-9", "operation": 1}}
    ).encode()
    request = world.ask(Request(raw))
    assert (request.status, request.response["uid"], request.response["allowed"]) == (200, "u-9", False)
    assert [line["uid"] for line in world.lines()] == ["u-9"]


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("timeout=10s", 9), ("timeout=2s", 1), ("timeout=1s", 0.5), ("", 9), ("timeout=99s", 29), ("timeout=x", 9)],
)
def test_the_deadline_is_the_timeout_less_a_second(world: World, query: str, seconds: float) -> None:
    call, _ = world.service._check(Request(b"{}", query=query))
    assert call.deadline - world.clock.time == seconds


def test_a_slow_gathering_ends_in_an_undecided_denial_at_the_deadline(world: World) -> None:
    world.pool.hold = True
    request = Request(body([UNKNOWN]), query="timeout=1s")
    world.ask(request)
    assert "[deadline]" in request.response["status"]["message"]
    # Its work goes on, for whoever asks next.
    (work,) = world.pool.kept
    work()
    assert world.metrics.render().count(b'result="refused"} 1.0') == 1


# With signed images


SIGNED = Reference.parse("registry.test/app:1")


class Signed(World):
    """A webhook before a simulated registry with one signed image."""

    def __init__(self, expires: timedelta | None = None, **times: float) -> None:
        super().__init__(**times)
        self.sim = Simulator()
        self.image = self.sim.put_image("app", tag="1")
        self.unsigned = self.sim.put_image("other", tag="1")
        transport = self.sim.transport()
        options = SignOptions(lifetime=expires)
        sign([SIGNED], signer("release"), options, locate=lambda r: self.sim.store(r.path, transport), now=NOW)
        self.transport = self.sim.transport()
        self.places.found = self.sim.store("app", self.transport)

    def verdict(self, image: object, path: str = "/validate") -> bool:
        request = self.ask(Request(body([str(image)]), path=path))
        assert request.status == 200
        found: bool = request.response["allowed"]
        return found


def test_an_allowed_image_is_asked_for_once_until_its_ttl() -> None:
    world = Signed(ttl=600)
    pinned = SIGNED.at(world.image.digest)
    assert [world.verdict(pinned) for _ in range(3)] == [True] * 3
    assert world.places.asked == 1
    world.clock.time += 600
    assert world.verdict(pinned) is True
    assert world.places.asked == 2
    assert [line["images"][0]["cached"] for line in world.lines()] == [False, True, True, False]


def test_a_remembered_verdict_ends_with_the_signature() -> None:
    world = Signed(expires=timedelta(seconds=30), ttl=600)
    pinned = SIGNED.at(world.image.digest)
    assert world.verdict(pinned) is True
    world.clock.time += 29
    assert world.verdict(pinned) is True
    assert world.places.asked == 1
    world.clock.time += 1
    assert world.verdict(pinned) is False


def test_a_denial_is_forgotten_after_seconds_so_that_a_new_signature_is_seen() -> None:
    world = Signed(negative_ttl=10)
    world.places.found = world.sim.store("other", world.transport)
    other = Reference.parse("registry.test/other:1")
    pinned = other.at(world.unsigned.digest)
    assert [world.verdict(pinned), world.verdict(pinned)] == [False, False]
    assert world.places.asked == 1
    transport = world.sim.transport()
    sign([other], signer("release"), SignOptions(), locate=lambda r: world.sim.store(r.path, transport), now=NOW)
    world.clock.time += 10
    assert world.verdict(pinned) is True


def test_what_mutate_judged_is_what_validate_remembers() -> None:
    world = Signed()
    assert world.verdict(SIGNED, "/mutate") is True
    asked = world.places.asked
    assert world.verdict(SIGNED.at(world.image.digest)) is True
    assert world.places.asked == asked


def test_a_signature_for_one_tag_is_not_remembered_for_another() -> None:
    world = Signed()
    assert world.verdict(SIGNED.at(world.image.digest)) is True
    moved = Reference.parse("registry.test/app:2").at(world.image.digest)
    assert world.verdict(moved) is False


def test_another_policy_finds_nothing_remembered() -> None:
    world = Signed()
    pinned = SIGNED.at(world.image.digest)
    assert world.verdict(pinned) is True
    policy, trust = key_policy([signer("bench").public_key])
    named = NamedPolicy(name="p", policy=policy, trust=trust, policy_digest="a" * 64, trust_digest="c" * 64)
    rulebook = Rulebook(Settings(default=NamespaceRules(policy="p")), {"p": policy})
    world.service.snapshot = Snapshot(rulebook=rulebook, policies={"p": named})
    assert world.verdict(pinned) is False


@pytest.mark.parametrize(("window", "resolves"), [(0.0, 3), (60.0, 1)])
def test_a_tag_is_resolved_for_each_review_unless_a_window_is_set(window: float, resolves: int) -> None:
    world = Signed(tag=window)
    for _ in range(3):
        assert world.verdict(SIGNED, "/mutate") is True
    # One gathering; the rest are resolves.
    assert world.places.asked - 1 == resolves


def test_a_tag_is_resolved_again_after_its_window() -> None:
    world = Signed(tag=60)
    assert world.verdict(SIGNED, "/mutate") is True
    world.clock.time += 60
    asked = world.places.asked
    assert world.verdict(SIGNED, "/mutate") is True
    assert world.places.asked == asked + 1


def test_many_reviews_of_one_new_image_cause_one_gathering() -> None:
    world = Signed()
    world.pool.hold = True
    requests = [Request(body([str(SIGNED.at(world.image.digest))], uid=f"u-{n}")) for n in range(50)]

    async def storm() -> None:
        reviews = [asyncio.ensure_future(world.service.handle(r, r, closing=False)) for r in requests]
        for _ in range(10):
            await asyncio.sleep(0)
        (work,) = world.pool.kept
        work()
        await asyncio.gather(*reviews)

    asyncio.run(storm())
    assert [r.response["allowed"] for r in requests] == [True] * 50
    assert [r.response["uid"] for r in requests] == [f"u-{n}" for n in range(50)]


def test_what_is_remembered_holds_no_manifest_and_no_signature() -> None:
    world = Signed()
    world.verdict(SIGNED.at(world.image.digest))
    (kept,) = [entry for _, entry in world.judge._verdicts._kept.values()]
    assert kept.decision is None
    assert kept.cached is True
