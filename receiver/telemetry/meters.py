"""Meters: what ``/metrics`` shows, through OpenTelemetry."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar, Final

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from prometheus_client.core import Metric

log = structlog.get_logger(__name__)

#: Seconds between two looks at the metrics; what is exported is the last one.
_EVERY: Final = 10.0


class Meters:
    """Observes the metrics from ``start`` to ``stop``.

    They are gathered on the event loop, where they are counted; the exporter, in a thread of its own, is given what was
    gathered last. An instrument is made once in a process and never goes away, so what was gathered is the process's:
    a receiver that is started after another one was stopped is measured as that one was.
    """

    _last: ClassVar[dict[str, Metric]] = {}

    def __init__(self, meter: Meter, *, gather: Callable[[], Awaitable[Sequence[Metric]]]) -> None:
        self._meter = meter
        self._gather = gather
        self._known: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Gather a last time, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        await self._look()

    async def _run(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_EVERY)

    async def _look(self) -> None:
        try:
            found = await self._gather()
        except Exception:
            log.exception("metrics_not_gathered")
            return
        Meters._last = {one.name: one for one in found}
        for one in found:
            if one.name not in self._known:
                self._known.add(one.name)
                self._make(one)

    def _make(self, metric: Metric) -> None:
        observe = partial(self._observe, metric.name)
        if metric.type == "counter":
            self._meter.create_observable_counter(metric.name, [observe], description=metric.documentation)
        else:
            self._meter.create_observable_gauge(metric.name, [observe], description=metric.documentation)

    def _observe(self, name: str, _options: CallbackOptions) -> Iterator[Observation]:
        metric = self._last.get(name)
        for sample in metric.samples if metric is not None else ():
            yield Observation(sample.value, dict(sample.labels))
