"""Metrics for Prometheus: what happened in this process, and how the record stands when it is asked."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily

from receiver.core.model import SECOND, TableSize


class Metrics:
    """Counters of one process, and gauges read from the store at each scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._callbacks = self._counter(
            "callbacks", "Callbacks by what became of them.", "provider", "verdict"
        )
        self._settled = self._counter(
            "jobs_settled", "Ended jobs by what settled them.", "provider", "by", "state"
        )
        self._steps = self._counter(
            "steps", "Submissions, polls, fetches and cancellations.", "step", "provider", "outcome"
        )
        self._dispatches = self._counter("dispatches", "Attempts of handlers.", "handler", "outcome")
        self._last = self._moment(
            "last_callback", "When the last genuine callback of a provider came.", "provider"
        )
        self._key_used = self._moment(
            "key_last_used", "When a key last proved a callback.", "provider", "key"
        )

    def _moment(self, name: str, text: str, *labels: str) -> Callable[..., Gauge]:
        gauge = Gauge(f"receiver_{name}_timestamp_seconds", text, labels, registry=self._registry)
        return cache(gauge.labels)

    def _counter(self, name: str, text: str, *labels: str) -> Callable[..., Counter]:
        return cache(Counter(f"receiver_{name}", text, labels, registry=self._registry).labels)

    def callback(self, provider: str, verdict: str, *, now: int) -> None:
        """Count a callback."""
        self._callbacks(provider, verdict).inc()
        if verdict in {"accepted", "duplicate", "unreadable"}:
            self._last(provider).set(now / SECOND)

    def verified(self, provider: str, key_id: str, *, now: int) -> None:
        """Note that a key proved a callback: once the old one of a rotation is silent, it can be retired."""
        self._key_used(provider, key_id).set(now / SECOND)

    def settled(self, provider: str, by: str, state: str) -> None:
        """Count the end of a job."""
        self._settled(provider, by, state).inc()

    def step(self, step: str, provider: str, outcome: str) -> None:
        """Count a request to a provider."""
        self._steps(step, provider, outcome).inc()

    def dispatch(self, handler: str, outcome: str) -> None:
        """Count an attempt of a handler."""
        self._dispatches(handler, outcome).inc()

    def exposition(self, counts: dict[str, Any], sizes: Sequence[TableSize], *, now: int) -> bytes:
        """Everything in Prometheus' text format; *counts* and *sizes* are what the store says."""
        snapshot = CollectorRegistry()
        snapshot.register(_Standing(counts, sizes, now))
        return generate_latest(self._registry) + generate_latest(snapshot)


class _Standing:
    """How the record stands."""

    def __init__(self, counts: dict[str, Any], sizes: Sequence[TableSize], now: int) -> None:
        self._counts = counts
        self._sizes = sizes
        self._now = now

    def collect(self) -> list[GaugeMetricFamily]:
        counts = self._counts
        jobs = GaugeMetricFamily(
            "receiver_jobs", "Jobs that have not succeeded.", labels=["provider", "state"]
        )
        overdue = GaugeMetricFamily(
            "receiver_jobs_overdue", "Open jobs past their deadline.", labels=["provider"]
        )
        late: dict[str, int] = {}
        for one in counts["jobs"]:
            jobs.add_metric([one["provider"], one["state"]], one["count"])
            late[one["provider"]] = late.get(one["provider"], 0) + one["overdue"]
        for provider, count in sorted(late.items()):
            overdue.add_metric([provider], count)
        silent = GaugeMetricFamily(
            "receiver_callbacks_overdue",
            "Open jobs whose callback should have come and did not; they are polled.",
            labels=["provider"],
        )
        for provider, count in sorted(counts["callbacks_overdue"].items()):
            silent.add_metric([provider], count)
        plain = {
            "due": ("Steps that are due.", counts["due"]),
            "oldest_due_age_seconds": ("Age of the oldest due step.", self._age(counts["oldest_due"])),
            "dispatches_ready": ("Dispatches that wait.", counts["dispatches_ready"]),
            "oldest_dispatch_age_seconds": (
                "Age of the oldest waiting dispatch.",
                self._age(counts["oldest_dispatch"]),
            ),
            "dispatches_dead": ("Dead letters.", counts["dispatches_dead"]),
        }
        gauges = [jobs, overdue, silent, *self._room()]
        for name, (text, value) in plain.items():
            gauge = GaugeMetricFamily(f"receiver_{name}", text)
            gauge.add_metric([], value)
            gauges.append(gauge)
        return gauges

    def _room(self) -> list[GaugeMetricFamily]:
        size = GaugeMetricFamily(
            "receiver_table_bytes",
            "What a table takes with its indexes; on SQLite the file and its log.",
            labels=["table"],
        )
        dead = GaugeMetricFamily(
            "receiver_table_dead_rows", "Rows that the database has not cleaned up yet.", labels=["table"]
        )
        for one in self._sizes:
            size.add_metric([one.table], one.size)
            if one.dead_rows is not None:
                dead.add_metric([one.table], one.dead_rows)
        return [size, dead]

    def _age(self, since: int | None) -> float:
        return 0.0 if since is None else max(self._now - since, 0) / SECOND
