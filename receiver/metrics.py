"""Metrics: what happened in this process, counted."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from receiver.core.alarms.alarm import Alarm
from receiver.core.model import Value

if TYPE_CHECKING:
    from receiver.core.circuit import Circuit

log = structlog.get_logger(__name__)

COUNTERS: Final = {
    "callbacks": ("Callbacks by what became of them.", ("provider", "verdict")),
    "requests_refused": (
        "Requests answered 4xx before anything was recorded, or 503 because too many read the feed.",
        ("route", "status"),
    ),
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
MOMENTS: Final = {
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
        self.counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in COUNTERS}
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
        self.moments: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in MOMENTS}
        # The counters of every callback, looked up once.
        self._callbacks, self._jobs_settled = self.counts["callbacks"], self.counts["jobs_settled"]
        self._last_callback, self._key_last_used = (
            self.moments["last_callback"],
            self.moments["key_last_used"],
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
        self.counts["requests_refused"][route, str(status)] += 1

    def missed(self, provider: str, kind: str) -> None:
        """Count a request to what is nearly an address of ours."""
        self.counts["addresses_missed"][provider, kind] += 1

    def settled(self, provider: str, by: str, state: str) -> None:
        """Count the end of a job; log it where no handler wants it."""
        self._jobs_settled[provider, by, state] += 1
        if not self.is_wanted(provider, state):
            unhandled = self.counts["completions_unhandled"]
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
        self.counts["steps"][step, provider, outcome] += 1

    def unlisted(self, provider: str, state: str) -> None:
        """Count a word that the description of its provider does not list."""
        self.counts["unlisted_words"][provider, state] += 1

    def files(self, provider: str, state: str, *, count: int = 1, size: int = 0) -> None:
        """Count files that came to their end, and the bytes of those that are stored."""
        self.counts["files"][provider, state] += count
        if size:
            self.counts["file_bytes"][provider,] += size

    def dispatch(self, handler: str, outcome: str) -> None:
        """Count an attempt of a handler."""
        self.counts["dispatches"][handler, outcome] += 1

    def stood(self, what: str, seconds: float) -> None:
        """Count seconds in which *what* stood still: event_loop_blocked or process_frozen."""
        self.counts[f"{what}_seconds"][()] += seconds  # type: ignore[assignment]  # seconds have fractions

    def tallies(self) -> Counter[tuple[str, str, str]]:
        """What was counted so far, as charts show it: callbacks by verdict, jobs by how they ended."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (provider, verdict), count in self._callbacks.items():
            found["callback", provider, verdict] = count
        for (provider, _, state), count in self._jobs_settled.items():
            found["job", provider, state] += count
        return found

    def counted(self, name: str) -> Counter[tuple[str, ...]]:
        """The counter of that name."""
        if name != "dispatches":
            return self.counts[name]
        return self.counts[name] + Counter(
            {(one, "succeeded"): many for one, many in self.notified().items()}
        )
