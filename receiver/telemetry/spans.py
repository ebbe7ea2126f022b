"""Spans: what is done for a job, in its trace, or beside it with a link where hours lie between."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from receiver.core.errors import ReceiverError, StoreUnavailableError
from receiver.core.model import HOUR, Callback, Dispatch, Job
from receiver.core.trace import passed_on
from receiver.handlers import Handler
from receiver.steps.dispatch import RunDispatch
from receiver.steps.ingest import Answer, Ingest
from receiver.steps.order import Order, Submitted
from receiver.steps.proving import Way
from receiver.steps.submit import Submit
from receiver.storage import traces
from receiver.storage.arrivals import Receipt
from receiver.storage.dispatches import DispatchSettled
from receiver.storage.store import Store

#: What is done for a job within this time of its submission is in its trace; what comes later is linked to it.
_NEAR: Final = HOUR
#: For how many jobs it is remembered, for lines of the log, which trace they belong to.
_REMEMBERED: Final = 10_000
_form: Final = TraceContextTextMapPropagator()
_SERVER_ERROR: Final = 500
#: The job that the callback turned out to be about which is being taken.
_taken: ContextVar[list[Receipt]] = ContextVar("receiver_taken")


class Spans:
    """Makes spans."""

    def __init__(self, tracer: Tracer, *, store: Store, clock: Callable[[], int]) -> None:
        self._tracer = tracer
        self._store = store
        self._clock = clock
        self._jobs: OrderedDict[str, str] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def around(self, name: str, kind: SpanKind, *, job: Job, facts: Mapping[str, Any]) -> Iterator[Span]:
        """A span around what is done for *job*; what happens within belongs to it."""
        known = context_of(job.traceparent)
        near = known is not None and self._clock() - job.created_at <= _NEAR
        # Where nothing is known the span has a trace of its own: what runs here runs for many jobs.
        within = (
            trace.set_span_in_context(NonRecordingSpan(known), Context()) if near and known else Context()
        )
        links = [Link(known)] if known is not None and not near else []
        with self._begun(name, kind, within, links=links, facts=_facts(job) | dict(facts)) as span:
            self.remember(job.id, known or span.get_span_context())
            yield span

    @contextmanager
    def within(
        self, name: str, kind: SpanKind, traceparent: str | None, facts: Mapping[str, Any]
    ) -> Iterator[Span]:
        """A span within *traceparent*, or else within whatever span is current."""
        known = context_of(traceparent)
        outer = None if known is None else trace.set_span_in_context(NonRecordingSpan(known), Context())
        with self._begun(name, kind, outer, links=[], facts=facts) as span:
            yield span

    @contextmanager
    def _begun(
        self,
        name: str,
        kind: SpanKind,
        within: Context | None,
        *,
        links: list[Link],
        facts: Mapping[str, Any],
    ) -> Iterator[Span]:
        span = self._tracer.start_span(name, context=within, kind=kind, links=links, attributes=dict(facts))
        try:
            # What was raised is not recorded whole: its words may hold what no trace is to hold.
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield span
        except BaseException as error:
            code = error.code if isinstance(error, ReceiverError) else type(error).__name__
            span.set_attribute("receiver.code", code)
            span.set_status(Status(StatusCode.ERROR, code))
            raise
        finally:
            span.end()

    async def traced(self, job: Job) -> Job:
        """*job* with its traceparent, which is not loaded on the way of a look."""
        if job.traceparent is not None:
            return job
        try:
            found = await self._store.read(traces.traceparent, job.id)
        except StoreUnavailableError:
            return job
        return replace(job, traceparent=found)

    def end_later(self, span: Span, job_id: str | None, *, at: int) -> None:
        """End *span* as of *at* (nanoseconds), once it is linked to the job that it turned out to be about."""

        async def end() -> None:
            try:
                if job_id is not None:
                    known = context_of(await self._store.read(traces.traceparent, job_id))
                    if known is not None:
                        span.add_link(known)
            except StoreUnavailableError:
                pass  # the span only lacks its link
            finally:
                span.end(end_time=at)

        task = asyncio.get_running_loop().create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def start(self, name: str, kind: SpanKind, facts: Mapping[str, Any]) -> Span:
        """A span that is ended elsewhere."""
        return self._tracer.start_span(name, kind=kind, attributes=dict(facts))

    async def close(self) -> None:
        """Let spans that are still to be linked end."""
        if self._ending:
            await asyncio.wait(self._ending)

    def remember(self, job_id: str, place: SpanContext) -> None:
        """Remember which trace a job belongs to."""
        self._jobs[job_id] = trace.format_trace_id(place.trace_id)
        self._jobs.move_to_end(job_id)
        if len(self._jobs) > _REMEMBERED:
            self._jobs.popitem(last=False)

    def place(self, line: Mapping[str, Any]) -> dict[str, str]:
        """Which trace a line of the log belongs to: that of the current span, or that of the job it is about."""
        current = trace.get_current_span().get_span_context()
        if current.is_valid:
            return {
                "trace": trace.format_trace_id(current.trace_id),
                "span": trace.format_span_id(current.span_id),
            }
        known = self._jobs.get(line.get("job") or "")
        return {} if known is None else {"trace": known}


class TracedSubmit(Submit):
    """Submits, within a span that the job is then said to belong to."""

    def __init__(self, *, spans: Spans, **parts: Any) -> None:  # noqa: ANN401  (those of Submit)
        super().__init__(**parts)
        self._spans = spans

    async def __call__(self, order: Order) -> Submitted:
        """Submit; see ``Submit``."""
        facts = {"receiver.provider": order.provider}
        with self._spans.within(
            f"submit {order.provider}", SpanKind.CLIENT, order.traceparent, facts
        ) as span:
            submitted = await super().__call__(
                replace(order, traceparent=_written(span) or order.traceparent)
            )
            job = submitted.job
            self._spans.remember(job.id, context_of(job.traceparent) or span.get_span_context())
            span.set_attributes(
                _facts(job) | {"receiver.new": submitted.new, "receiver.state": job.state.value}
            )
            return submitted


class TracedDispatch(RunDispatch):
    """Runs handlers, each attempt within a span."""

    def __init__(self, *, spans: Spans, **parts: Any) -> None:  # noqa: ANN401  (those of RunDispatch)
        super().__init__(**parts)
        self._spans = spans

    async def run(
        self, dispatch: Dispatch, job: Job, *, handler: Handler, doubts: int, stopping: Callable[[], bool]
    ) -> DispatchSettled:
        """Run one attempt; see ``RunDispatch``."""
        facts = {
            "receiver.handler": dispatch.handler,
            "receiver.attempt": dispatch.attempt,
            "receiver.dispatch": dispatch.id,
        }
        with self._spans.around(
            f"dispatch {dispatch.handler}", SpanKind.CONSUMER, job=job, facts=facts
        ) as span:
            # Not set back: the task ends with the handler, and its context with it.
            passed_on.set(_written(span))
            ended = await super().run(dispatch, job, handler=handler, doubts=doubts, stopping=stopping)
            span.set_attribute("receiver.outcome", ended.log.outcome)
            if ended.error is not None:
                span.set_attribute("receiver.code", ended.error.code)
                span.set_status(Status(StatusCode.ERROR, ended.error.code))
            return ended


class TracedIngest(Ingest):
    """Takes callbacks, each within a span that is linked to its job's once that is known."""

    def __init__(self, *, spans: Spans, **parts: Any) -> None:  # noqa: ANN401  (those of Ingest)
        super().__init__(**parts)
        self._spans = spans

    async def __call__(self, way: Way, **request: Any) -> Answer:  # noqa: ANN401  (that of Ingest)
        """Take one callback; see ``Ingest``."""
        name = way.provider.name
        facts = {"receiver.provider": name, "receiver.bytes": len(request["body"])}
        span = self._spans.start(f"callback {name}", SpanKind.SERVER, facts)
        taken: list[Receipt] = []
        mark = _taken.set(taken)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                answer = await super().__call__(way, **request)
            span.set_attributes(
                {"receiver.verdict": answer.verdict, "http.response.status_code": answer.status}
            )
            if answer.code is not None:
                span.set_attribute("receiver.code", answer.code)
            if answer.status >= _SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR, answer.code))
        finally:
            _taken.reset(mark)
            job_id = taken[0].job_id if taken else None
            if job_id is not None:
                span.set_attribute("receiver.job", job_id)
            # The sender is not kept waiting for what only the span needs.
            self._spans.end_later(span, job_id, at=time.time_ns())
        return answer

    def _answer(self, callback: Callback, receipt: Receipt, status: int, told: str | None) -> Answer:
        _taken.get().append(receipt)
        trace.get_current_span().set_attribute("receiver.callback", callback.id)
        return super()._answer(callback, receipt, status, told)


def context_of(traceparent: str | None) -> SpanContext | None:
    """What *traceparent* stands for; ``None`` for none."""
    if traceparent is None:
        return None
    found = trace.get_current_span(_form.extract({"traceparent": traceparent}, Context())).get_span_context()
    return found if found.is_valid else None


def _written(span: Span) -> str | None:
    """The ``traceparent`` of *span*."""
    carrier: dict[str, str] = {}
    _form.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get("traceparent")


def _facts(job: Job) -> dict[str, Any]:
    facts = {
        "receiver.job": job.id,
        "receiver.provider": job.provider,
        "receiver.operation": job.operation,
        "receiver.remote_id": job.remote_id,
    }
    return {name: value for name, value in facts.items() if value}
