"""What the webhook counts, for Prometheus; names per https://prometheus.io/docs/practices/naming/.

Labels are few-valued: operation, endpoint, verdict, code, cache state, result, and the registry's host (only
those that the policy let the webhook ask: bounded by :data:`HOSTS`, the rest are "other"). Never an image, a
namespace, a user. Alert on the API server's own ``apiserver_admission_webhook_fail_open_count`` and
``_rejection_count`` besides: what never reached this process is counted only there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from imgsign.admission.judgement import Judgement

HOSTS = 64
"""Registries with a label of their own."""

CODES = 64
"""Verdict codes with a label of their own: all there are, and a net."""

_REVIEW_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
_GATHER_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)


class _Counts(Protocol):
    def inc(self, amount: float = 1) -> None: ...


class _Observes(Protocol):
    def observe(self, amount: float) -> None: ...


class Metrics:
    """All metrics of a process, in a collection of their own."""

    def __init__(self) -> None:
        """Count from zero."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each, which nobody reads
        self.registry = r = CollectorRegistry()
        p = "imgsign_admission"
        self._reviews = Counter(
            f"{p}_reviews", "Reviews answered, by what was answered.", ("endpoint", "operation", "verdict"), registry=r
        )
        self._seconds = Histogram(
            f"{p}_review_seconds",
            "Time from a review's first byte to its answer.",
            ("endpoint",),
            buckets=_REVIEW_BUCKETS,
            registry=r,
        )
        self._images = Counter(f"{p}_images", "Images judged.", ("verdict", "code"), registry=r)
        self._cache = Counter(f"{p}_cache_events", "Look-ups of remembered verdicts and tags.", ("event",), registry=r)
        self._gathers = Histogram(
            f"{p}_gather_seconds", "Time to gather and judge one image.", buckets=_GATHER_BUCKETS, registry=r
        )
        self._registry_results = Counter(
            f"{p}_registry_results", "How work at a registry ended.", ("host", "result"), registry=r
        )
        self._http = Counter(f"{p}_http_refusals", "Requests refused before a verdict.", ("status",), registry=r)
        self._reloads = Counter(f"{p}_reload", "Reloads of policy or certificate.", ("what", "result"), registry=r)
        self.entries = Gauge(f"{p}_cache_entries", "Verdicts remembered.", registry=r)
        self.inflight = Gauge(f"{p}_inflight", "Reviews being answered.", registry=r)
        self.ready = Gauge(f"{p}_ready", "1 while reviews are welcome.", registry=r)
        self._loaded = Gauge(
            f"{p}_reload_last_success_timestamp_seconds", "When it was last loaded.", ("what",), registry=r
        )
        self._stale = Gauge(f"{p}_reload_failing", "1 while the newest files cannot be used.", ("what",), registry=r)
        self.tls_not_after = Gauge(f"{p}_tls_not_after_timestamp_seconds", "When the certificate ends.", registry=r)
        self._policy = Gauge(f"{p}_policy_info", "The policies in force.", ("name", "digest"), registry=r)
        self.audit_dropped = Counter(f"{p}_audit_dropped", "Audit lines that standard output did not take.", registry=r)
        self._known: dict[tuple[object, ...], _Counts] = {}
        self._observers: dict[str, _Observes] = {}
        self._hosts: set[str] = set()
        self._codes: set[str] = set()
        self.gathered: _Observes = self._gathers

    def review(self, endpoint: str, operation: str, verdict: str, seconds: float) -> None:
        """Count an answered review."""
        self._counter(self._reviews, endpoint, operation, verdict).inc()
        observer = self._observers.get(endpoint)
        if observer is None:
            observer = self._observers[endpoint] = self._seconds.labels(endpoint)
        observer.observe(seconds)

    def images(self, judgements: Iterable[Judgement]) -> None:
        """Count the judged images of a review."""
        counted: dict[tuple[str, str], int] = {}
        for judgement in judgements:
            key = judgement.ruling.value, judgement.code
            counted[key] = counted.get(key, 0) + 1
        for (verdict, code), count in counted.items():
            self._counter(self._images, verdict, _few(code, self._codes, CODES)).inc(count)

    def cache(self, event: str) -> None:
        """Count a look-up: hit, negative-hit, miss, joined (waited for another review's work), tag-hit."""
        self._counter(self._cache, event).inc()

    def cache_use(self) -> tuple[int, int]:
        """Return how many look-ups of verdicts found something, and how many nothing."""
        counted = {
            s.labels["event"]: int(s.value) for m in self._cache.collect() for s in m.samples if "_total" in s.name
        }
        return counted.get("hit", 0) + counted.get("negative-hit", 0), counted.get("miss", 0)

    def at_registry(self, host: str, result: str) -> None:
        """Count how work at a registry ended: ok, failed, refused (by its limits)."""
        self._counter(self._registry_results, _few(host, self._hosts, HOSTS), result).inc()

    def refusal(self, status: int) -> None:
        """Count a request that was refused without a verdict."""
        self._counter(self._http, str(status)).inc()

    def reload(self, what: str, *, ok: bool, now: float) -> None:
        """Count a reload; ``now`` is seconds since 1970."""
        self._counter(self._reloads, what, "ok" if ok else "failed").inc()
        self._stale.labels(what).set(0 if ok else 1)
        if ok:
            self._loaded.labels(what).set(now)

    def policies(self, digests: dict[str, str]) -> None:
        """Say which policies are in force, by name."""
        self._policy.clear()
        for name, digest in digests.items():
            self._policy.labels(name, digest).set(1)

    def render(self) -> bytes:
        """Write all in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, family: Counter, *labels: str) -> _Counts:
        """Return the counter of label values; looking it up in the family takes some microseconds."""
        key = (family, *labels)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = family.labels(*labels)
        return found


def _few(value: str, known: set[str], most: int) -> str:
    """Keep a label few-valued, whoever chooses its values."""
    if value not in known:
        if len(known) >= most:
            return "other"
        known.add(value)
    return value
