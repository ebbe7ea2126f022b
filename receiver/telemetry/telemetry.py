"""Telemetry: OpenTelemetry as the application has set it up, or set up here from the variables ``OTEL_*``."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar, Final

import structlog
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.core import Metric

from receiver import logs
from receiver.storage.store import Store
from receiver.telemetry.looks import TracedCollect, TracedDownload, TracedSteps
from receiver.telemetry.meters import Meters
from receiver.telemetry.spans import Spans, TracedDispatch, TracedIngest, TracedSubmit
from receiver.worker.steps import Kinds

log = structlog.get_logger(__name__)

#: Seconds that what is left may take to leave, of the ten in which the process must have ended.
_LEAVING: Final = 2.0


class Telemetry:
    """Traces and metrics of one receiver.

    Where the application has set OpenTelemetry up before the receiver starts, that is used, and it is the
    application's to end it. Else it is set up here, for the whole process: over OTLP and HTTP, to where
    OTEL_EXPORTER_OTLP_ENDPOINT and its like say.
    """

    #: What was set up here: once it was shut down it takes nothing more, and cannot be replaced as the process's own.
    _ours: ClassVar[list[TracerProvider | MeterProvider]] = []

    def __init__(
        self,
        *,
        store: Store,
        clock: Callable[[], int],
        gather: Callable[[], Awaitable[Sequence[Metric]]],
        environ: Mapping[str, str],
    ) -> None:
        self._own: list[TracerProvider | MeterProvider] = []
        self._environ = environ
        tracer = self._tracer_provider().get_tracer("receiver", version("receiver"))
        self.spans = Spans(tracer, store=store, clock=clock)
        meter = self._meter_provider().get_meter("receiver", version("receiver"))
        self._meters = Meters(meter, gather=gather)
        logs.place = self.spans.place

    @property
    def kinds(self) -> Kinds:
        """The steps, with spans around them."""
        spans: dict[str, Any] = {"spans": self.spans}
        return Kinds(
            submit=partial(TracedSubmit, **spans),
            ingest=partial(TracedIngest, **spans),
            steps=partial(TracedSteps, **spans),
            dispatch=partial(TracedDispatch, **spans),
            collect=TracedCollect,
            download=partial(TracedDownload, **spans),
        )

    def start(self) -> None:
        """Begin to measure."""
        self._meters.start()

    async def stop(self) -> None:
        """Let what is left leave, for two seconds at most."""
        await self._meters.stop()
        await self.spans.close()
        logs.place = None
        loop = asyncio.get_running_loop()
        left = asyncio.Event()

        def shut_down() -> None:
            for provider in self._own:
                provider.shutdown()
            try:
                loop.call_soon_threadsafe(left.set)
            except RuntimeError:
                return  # it took longer, and the loop is gone

        # Not a pool's thread: one that waits for a collector must not keep the process alive.
        threading.Thread(target=shut_down, name="receiver-telemetry", daemon=True).start()
        try:
            async with asyncio.timeout(_LEAVING):
                await left.wait()
        except TimeoutError:
            log.warning("telemetry_left_behind", seconds=_LEAVING)

    def _tracer_provider(self) -> trace.TracerProvider:
        known = trace.get_tracer_provider()
        if not isinstance(known, trace.ProxyTracerProvider) and known not in self._ours:
            return known
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        made = TracerProvider(resource=self._resource(), shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        if known not in self._ours:
            trace.set_tracer_provider(made)
        self._keep(made)
        return made

    def _meter_provider(self) -> metrics.MeterProvider:
        known = metrics.get_meter_provider()
        if type(known).__name__ != "_ProxyMeterProvider" and known not in self._ours:
            return known
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415

        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        made = MeterProvider([reader], resource=self._resource(), shutdown_on_exit=False)
        if known not in self._ours:
            metrics.set_meter_provider(made)
        self._keep(made)
        return made

    def _keep(self, made: TracerProvider | MeterProvider) -> None:
        self._own.append(made)
        self._ours.append(made)

    def _resource(self) -> Resource:
        named = "OTEL_SERVICE_NAME" in self._environ or "service.name=" in self._environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        return Resource.create({} if named else {SERVICE_NAME: "receiver"})
