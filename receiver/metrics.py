"""Metrics for Prometheus: what happened in this process, and how the record stands when it is asked."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from receiver.core.alarms.alarm import Alarm
from receiver.core.circuit import Circuit
from receiver.core.model import SECOND, Value

log = structlog.get_logger(__name__)

_COUNTERS: Final = {
    "callbacks": ("Callbacks by what became of them.", ("provider", "verdict")),
    "requests_refused": ("Requests answered 4xx before anything was recorded.", ("route", "status")),
    "addresses_missed": ("Requests to what is nearly an address of ours.", ("provider", "kind")),
    "jobs_settled": ("Ended jobs by what settled them.", ("provider", "by", "state")),
    "steps": ("Submissions, polls, fetches and cancellations.", ("step", "provider", "outcome")),
    "unlisted_words": (
        "Words for a state that the description of their provider does not list, by what they were taken for.",
        ("provider", "state"),
    ),
    "dispatches": ("Attempts of handlers.", ("handler", "outcome")),
    "files": ("Files that results link to, stored or lost.", ("provider", "state")),
    "file_bytes": ("Bytes of files that were stored.", ("provider",)),
    "completions_unhandled": ("Ended jobs that no registered handler wants.", ("provider", "state")),
    "event_loop_blocked_seconds": ("Seconds in which something kept the event loop from turning.", ()),
    "process_frozen_seconds": ("Seconds in which the whole process stood still.", ()),
}
_MOMENTS: Final = {
    "last_callback": ("When the last genuine callback of a provider came.", ("provider",)),
    "key_last_used": ("When a key last proved a callback.", ("provider", "key")),
}
_GENUINE: Final = {"accepted", "duplicate", "unreadable"}


class TableSize(Value, frozen=True, kw_only=True):
    """How much room a table takes, in bytes, and how many of its rows are dead; ``None`` where nobody counts."""

    table: str
    size: int
    dead_rows: int | None = None


class Running(NamedTuple):
    """How much runs in one slot: a handler's, or that for the requests to a provider."""

    slot: str
    many: int
    #: For how many seconds the one that began first has been running.
    longest: float
    #: How many of them take longer than they should.
    overdue: int


class Alarms(NamedTuple):
    """The alarms that are raised or were within a month, and when somebody last looked."""

    known: Sequence[Alarm]
    looked_at: int


class Metrics:
    """Counters of one process, and gauges read from the store at each scrape.

    Counted here in plain numbers, on the event loop alone, and put into Prometheus' form only when somebody asks.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _COUNTERS}
        #: Whether any registered handler wants the jobs of a provider that end in a state; whoever knows says so.
        self.is_wanted: Callable[[str, str], bool] = lambda _provider, _state: True
        #: What runs here at this moment; whoever runs it says so.
        self.running: Callable[[], Sequence[Running]] = list
        #: The circuits that hold dispatches up; whoever knows says so.
        self.circuits: Callable[[], Sequence[Circuit]] = list
        #: How often sinks were told in the commit of a completion, by name; whoever knows says so.
        self.notified: Callable[[], Mapping[str, int]] = dict
        #: Why no file is fetched here, if none is: a code; whoever fetches them says so.
        self.downloads_paused: Callable[[], str | None] = lambda: None
        self._moments: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in _MOMENTS}
        # The counters of every callback, looked up once.
        self._callbacks, self._jobs_settled = self._counts["callbacks"], self._counts["jobs_settled"]
        self._last_callback, self._key_last_used = (
            self._moments["last_callback"],
            self._moments["key_last_used"],
        )

    def callback(self, provider: str, verdict: str, *, now: int) -> None:
        """Count a callback."""
        self._callbacks[provider, verdict] += 1
        if verdict in _GENUINE:
            self._last_callback[provider,] = now

    def verified(self, provider: str, key_id: str, *, now: int) -> None:
        """Note that a key proved a callback: once the old one of a rotation is silent, it can be retired."""
        self._key_last_used[provider, key_id] = now

    def refused(self, route: str, status: int) -> None:
        """Count a request that was refused."""
        self._counts["requests_refused"][route, str(status)] += 1

    def missed(self, provider: str, kind: str) -> None:
        """Count a request to what is nearly an address of ours."""
        self._counts["addresses_missed"][provider, kind] += 1

    def settled(self, provider: str, by: str, state: str) -> None:
        """Count the end of a job; log it where no handler wants it."""
        self._jobs_settled[provider, by, state] += 1
        if not self.is_wanted(provider, state):
            unhandled = self._counts["completions_unhandled"]
            unhandled[provider, state] += 1
            # Logged each time the count has doubled, because somebody may have no handlers on purpose.
            if (count := unhandled[provider, state]).bit_count() == 1:
                log.warning(
                    "completion_unhandled",
                    provider=provider,
                    state=state,
                    count=count,
                    see="receiver handlers list",
                )

    def step(self, step: str, provider: str, outcome: str) -> None:
        """Count a request to a provider."""
        self._counts["steps"][step, provider, outcome] += 1

    def unlisted(self, provider: str, state: str) -> None:
        """Count a word that the description of its provider does not list."""
        self._counts["unlisted_words"][provider, state] += 1

    def files(self, provider: str, state: str, *, count: int = 1, size: int = 0) -> None:
        """Count files that came to their end, and the bytes of those that are stored."""
        self._counts["files"][provider, state] += count
        if size:
            self._counts["file_bytes"][provider,] += size

    def dispatch(self, handler: str, outcome: str) -> None:
        """Count an attempt of a handler."""
        self._counts["dispatches"][handler, outcome] += 1

    def stood(self, what: str, seconds: float) -> None:
        """Count seconds in which *what* stood still: event_loop_blocked or process_frozen."""
        self._counts[f"{what}_seconds"][()] += seconds  # type: ignore[assignment]  # seconds have fractions

    def tallies(self) -> Counter[tuple[str, str, str]]:
        """What was counted so far, as charts show it: callbacks by verdict, jobs by how they ended."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (provider, verdict), count in self._callbacks.items():
            found["callback", provider, verdict] = count
        for (provider, _, state), count in self._jobs_settled.items():
            found["job", provider, state] += count
        return found

    def families(
        self,
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
            counts: How the record stands; ``None`` where the store does not answer.
            sizes: How much room the tables take.
            failed: What was not committed, by the code of the error.
            alarms: The alarms of the last month; ``None`` where the store does not answer.
            refusing: Whether callbacks cannot be recorded.
            counted_at: When the record stood so.
            now: The time.
        """
        standing = () if counts is None else _standing(counts, counted_at, now)
        commits, running = _commits(failed, refusing=refusing), _running(self.running())
        circuits, paused = _circuits(self.circuits()), _paused(self.downloads_paused())
        raised = () if alarms is None else _alarms(alarms, now)
        return [*self._families(), *commits, *standing, *raised, *_room(sizes), *running, circuits, paused]

    def _counted(self, name: str) -> Counter[tuple[str, ...]]:
        if name != "dispatches":
            return self._counts[name]
        return self._counts[name] + Counter(
            {(one, "succeeded"): many for one, many in self.notified().items()}
        )

    def _families(self) -> Iterable[Metric]:
        for name, (text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(f"receiver_{name}", text, labels=labels)
            for values, count in self._counted(name).items():
                counter.add_metric(values, count)
            yield counter
        for name, (text, labels) in _MOMENTS.items():
            moment = GaugeMetricFamily(f"receiver_{name}_timestamp_seconds", text, labels=labels)
            for values, at in self._moments[name].items():
                moment.add_metric(values, at / SECOND)
            yield moment


def exposition(families: Sequence[Metric]) -> bytes:
    """*families* in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


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


class _Given:
    """Metrics that were collected elsewhere, handed to Prometheus' writer."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


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
