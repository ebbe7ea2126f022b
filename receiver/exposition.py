"""What is measured, in Prometheus' form: made when somebody asks for it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from receiver.core.circuit import Circuit
from receiver.core.model import SECOND
from receiver.metrics import COUNTERS, MOMENTS, Alarms, Metrics, Running, TableSize

#: The content type of an exposition.
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def families(
    metrics: Metrics,
    counts: dict[str, Any] | None,
    sizes: Sequence[TableSize],
    *,
    failed: Mapping[str, int],
    alarms: Alarms | None = None,
    refusing: bool,
    counted_at: int,
    now: int,
) -> list[Metric]:
    """Everything that is measured.

    Args:
        metrics: What happened in this process.
        counts: How the record stands; ``None`` where the store does not answer.
        sizes: How much room the tables take.
        failed: What was not committed, by the code of the error.
        alarms: The alarms of the last month; ``None`` where the store does not answer.
        refusing: Whether callbacks cannot be recorded.
        counted_at: When the record stood so.
        now: The time.
    """
    standing = () if counts is None else _standing(counts, counted_at, now)
    commits, running = _commits(failed, refusing=refusing), _running(metrics.running())
    circuits, paused = _circuits(metrics.circuits()), _paused(metrics.downloads_paused())
    raised = () if alarms is None else _alarms(alarms, now)
    return [*_counted(metrics), *commits, *standing, *raised, *_room(sizes), *running, circuits, paused]


def exposition(families: Sequence[Metric]) -> bytes:
    """*families* in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given:
    """Metrics that were collected elsewhere, handed to Prometheus' writer."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _counted(metrics: Metrics) -> Iterable[Metric]:
    """What happened in this process."""
    for name, (text, labels) in COUNTERS.items():
        counter = CounterMetricFamily(f"receiver_{name}", text, labels=labels)
        for values, count in metrics.counted(name).items():
            counter.add_metric(values, count)
        yield counter
    for name, (text, labels) in MOMENTS.items():
        moment = GaugeMetricFamily(f"receiver_{name}_timestamp_seconds", text, labels=labels)
        for values, at in metrics.moments[name].items():
            moment.add_metric(values, at / SECOND)
        yield moment


def _running(running: Sequence[Running]) -> Iterable[Metric]:
    """What runs at this moment."""
    texts = {
        "many": ("work_running", "Handlers and requests to providers that run in this process."),
        "longest": ("work_longest_seconds", "For how long the one that began first has been running."),
        "overdue": (
            "work_overdue",
            "Of those, how many take longer than they should, such as a handler past its timeout that goes on.",
        ),
    }
    for field, (name, text) in texts.items():
        gauge = GaugeMetricFamily(f"receiver_{name}", text, labels=["slot"])
        for one in running:
            gauge.add_metric([one.slot], getattr(one, field))
        yield gauge


def _circuits(circuits: Sequence[Circuit]) -> Metric:
    """Which handlers are left alone."""
    gauge = GaugeMetricFamily(
        "receiver_circuit_open",
        "1 for a handler or sink that is left alone: open after failures in a row, or paused.",
        labels=["handler", "state"],
    )
    for one in circuits:
        gauge.add_metric([one.handler, one.state], 1)
    return gauge


def _paused(code: str | None) -> Metric:
    """Whether files are left where they are."""
    gauge = GaugeMetricFamily(
        "receiver_downloads_paused",
        "1 while this process fetches no file, by why: its disk has too little room, the file store cannot be used.",
        labels=["code"],
    )
    if code is not None:
        gauge.add_metric([code], 1)
    return gauge


def _commits(failed: Mapping[str, int], *, refusing: bool) -> Iterable[Metric]:
    """Whether the store takes what it is given."""
    counter = CounterMetricFamily(
        "receiver_not_committed", "What was to be written and was not committed.", labels=["code"]
    )
    for code, count in sorted(failed.items()):
        counter.add_metric([code], count)
    yield counter
    text = "1 while callbacks can be recorded; 0 where the database does not answer or the last one failed."
    yield GaugeMetricFamily("receiver_store_ready", text, value=int(not refusing))


def _standing(counts: Mapping[str, Any], counted_at: int, now: int) -> Iterable[Metric]:
    """How the record stands."""
    jobs = GaugeMetricFamily("receiver_jobs", "Jobs that have not succeeded.", labels=["provider", "state"])
    overdue = GaugeMetricFamily(
        "receiver_jobs_overdue", "Open jobs past their deadline.", labels=["provider"]
    )
    late = Counter[str]()
    for one in counts["jobs"]:
        jobs.add_metric([one["provider"], one["state"]], one["count"])
        late[one["provider"]] += one["overdue"]
    for provider, count in sorted(late.items()):
        overdue.add_metric([provider], count)
    silent = GaugeMetricFamily(
        "receiver_callbacks_overdue",
        "Open jobs whose callback should have come and did not; they are polled.",
        labels=["provider"],
    )
    for provider, count in sorted(counts["callbacks_overdue"].items()):
        silent.add_metric([provider], count)
    files = GaugeMetricFamily(
        "receiver_files_waiting",
        "Files that results link to and that are still to be fetched.",
        labels=["provider"],
    )
    for provider, count in sorted(counts["files_waiting"].items()):
        files.add_metric([provider], count)
    yield from (jobs, overdue, silent, files)
    plain = {
        "due": ("Steps that are due.", counts["due"]),
        "oldest_due_age_seconds": ("Age of the oldest due step.", _age(counts["oldest_due"], now)),
        "dispatches_ready": ("Dispatches that wait.", counts["dispatches_ready"]),
        "oldest_dispatch_age_seconds": (
            "Age of the oldest waiting dispatch.",
            _age(counts["oldest_dispatch"], now),
        ),
        "dispatches_dead": ("Dead letters.", counts["dispatches_dead"]),
        "record_age_seconds": (
            "How old these figures of the record are: of a large one the last count is shown.",
            _age(counted_at, now),
        ),
    }
    for name, (text, value) in plain.items():
        yield GaugeMetricFamily(f"receiver_{name}", text, value=value)


def _alarms(alarms: Alarms, now: int) -> Iterable[Metric]:
    """What somebody must see to."""
    gauge = GaugeMetricFamily(
        "receiver_alarm",
        "How many alarms of a name are raised; 0 where one was cleared within a month.",
        labels=["name", "provider"],
    )
    raised = Counter[tuple[str, str]]()
    for one in alarms.known:
        raised[one.name, one.provider] += one.cleared_at is None
    for labels, count in sorted(raised.items()):
        gauge.add_metric(labels, count)
    yield gauge
    yield GaugeMetricFamily(
        "receiver_alarms_age_seconds",
        "How long ago some node last looked for alarms.",
        value=_age(alarms.looked_at, now),
    )


def _room(sizes: Sequence[TableSize]) -> Iterable[Metric]:
    """What the tables take."""
    size = GaugeMetricFamily(
        "receiver_table_bytes",
        "What a table takes with its indexes; on SQLite the file and its log.",
        labels=["table"],
    )
    dead = GaugeMetricFamily(
        "receiver_table_dead_rows", "Rows that the database has not cleaned up yet.", labels=["table"]
    )
    for one in sizes:
        size.add_metric([one.table], one.size)
        if one.dead_rows is not None:
            dead.add_metric([one.table], one.dead_rows)
    return (size, dead)


def _age(since: int | None, now: int) -> float:
    return 0.0 if since is None else max(now - since, 0) / SECOND
