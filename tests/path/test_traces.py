"""Traces: a job's traceparent from submission to sink, spans of what is done, and nothing of it unless asked for."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from msgspec.structs import replace
from opentelemetry import metrics, trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from receiver import Job, Receiver, logs
from receiver.core.errors import ConfigurationError, RequestError
from receiver.core.model import HOUR
from receiver.core.trace import parse_traceparent
from tests.sinks.sides import Http

from .world import API_TOKEN, PATIENCE, REQUESTS, World, ended, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"
EXPORTER = InMemorySpanExporter()
READER = InMemoryMetricReader()
CALLS = "perplexity-webhook"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """An application that has set OpenTelemetry up, as may be done once in a process."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([READER]))
    EXPORTER.clear()
    yield EXPORTER
    EXPORTER.clear()


def named(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """The spans that have ended, by name."""
    found: dict[str, list[ReadableSpan]] = {}
    for one in exporter.get_finished_spans():
        found.setdefault(one.name, []).append(one)
    return found


def trace_of(span: ReadableSpan) -> str:
    """The trace that it belongs to."""
    assert span.context is not None
    return trace.format_trace_id(span.context.trace_id)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (GIVEN, True),
        (f" {GIVEN}\t", True),
        (f"01-{TRACE}-b7ad6b7169203331-01-what.comes", True),
        (f"{GIVEN}-more", False),
        (f"ff-{TRACE}-b7ad6b7169203331-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (GIVEN.upper(), False),
        (f"01-{TRACE}-b7ad6b7169203331-01-{'x' * 200}", False),
        ("", False),
    ],
)
def test_a_traceparent_is_what_others_take_for_one(text: str, *, read: bool) -> None:
    """OpenTelemetry's own reader agrees, but for blanks, which a header may have, and for what is endless."""
    from receiver.telemetry.spans import context_of  # noqa: PLC0415  (it needs OpenTelemetry)

    found = parse_traceparent(text)
    assert found == (text.strip() if read else None)
    assert len(text) > 200 or (context_of(text.strip()) is not None) == read


async def test_a_traceparent_goes_from_the_request_to_handler_and_sink(world: World) -> None:
    """Without OpenTelemetry: the header of POST /v1/jobs is kept; the provider never hears of it."""
    side = Http()
    world.environ["RECEIVER_SINK_OUT"] = side.to
    seen: list[Job] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(CALLS)
        async def keep(job: Job) -> None:
            seen.append(job)

    async with (
        world.receiver(prepare) as receiver,
        httpx.AsyncClient(trust_env=False, timeout=60, base_url=world.url) as http,
    ):
        http.headers["authorization"] = f"Bearer {API_TOKEN}"
        for header in (GIVEN, "nonsense"):
            order = {"provider": CALLS, "request": REQUESTS[CALLS], "metadata": {"n": header}}
            answer = await http.post("/v1/jobs", json=order, headers={"traceparent": header})
            assert answer.status_code == 202
            await ended(receiver, await receiver.job(answer.json()["id"]))
        assert answer.json()["traceparent"] is None
        shown = await http.get(f"/v1/jobs/{seen[0].id}")
        with pytest.raises(RequestError, match="traceparent is four parts"):
            await receiver.submit(CALLS, REQUESTS[CALLS], traceparent="nonsense")
    assert shown.json()["traceparent"] == GIVEN
    assert {one.metadata["n"]: one.traceparent for one in seen} == {GIVEN: GIVEN, "nonsense": None}
    assert [headers.get("ce-traceparent") for headers, _ in side.requests] == [GIVEN, None]
    assert not any("traceparent" in headers for headers, _ in side.requests)
    requests = world.simulator.requests(CALLS)
    assert requests
    assert not any(name == "traceparent" for one in requests for name, _ in one.headers)
    side.close()


async def test_what_is_done_for_a_job_stands_in_its_trace(world: World, spans: InMemorySpanExporter) -> None:
    """Submission, polls and handlers; the callback is linked; lines of the log say trace and job."""
    side = Http()
    world.environ |= {"RECEIVER_OTEL": "1", "RECEIVER_SINK_OUT": side.to}
    world.cadence(every="1s", expected="1h")
    tracer = trace.get_tracer("a handler")

    def prepare(receiver: Receiver) -> None:
        @receiver.on(CALLS)
        def work(job: Job) -> None:
            with tracer.start_as_current_span("work of the handler"):
                assert job.traceparent is not None

        @receiver.on("yandex", attempts=1)
        async def fails(job: Job) -> None:
            raise ValueError(f"the words of {job.id}")

    with structlog.testing.capture_logs(processors=[logs._describe]) as told:
        async with world.receiver(prepare) as receiver:
            with tracer.start_as_current_span("a caller"):
                called = await receiver.submit(CALLS, REQUESTS[CALLS])
            polled = await receiver.submit("yandex", REQUESTS["yandex"], traceparent=GIVEN)
            await ended(receiver, called)
            await ended(receiver, polled)
    found = named(spans)
    (caller,), (submit,) = found["a caller"], found[f"submit {CALLS}"]
    assert submit.parent == caller.context
    assert submit.attributes is not None
    assert submit.attributes["receiver.job"] == called.id
    (callback,) = found[f"callback {CALLS}"]
    assert [link.context for link in callback.links] == [
        replace_remote(submit.context) if submit.context else None
    ]
    assert callback.attributes is not None
    assert (callback.attributes["receiver.verdict"], callback.attributes["receiver.job"]) == (
        "accepted",
        called.id,
    )
    (dispatch,), (inner,) = found["dispatch work"], found["work of the handler"]
    assert trace_of(dispatch) == trace_of(submit) == trace_of(inner) == trace_of(caller)
    assert dispatch.parent is not None
    assert submit.context is not None
    assert dispatch.parent.span_id == submit.context.span_id
    assert inner.parent is not None
    assert inner.parent == dispatch.context
    assert {trace_of(one) for one in (*found["submit yandex"], *found["poll yandex"])} == {TRACE}
    (failed,) = found["dispatch fails"]
    assert failed.status.description == "ValueError"
    assert not failed.events
    assert "the words" not in str(failed.attributes)

    by_event: dict[str, list[Any]] = {}
    for line in told:
        by_event.setdefault(line["event"], []).append(line)
    for event in ("submission_accepted", "dispatch_succeeded"):
        lines = [one for one in by_event[event] if one["job"] == called.id]
        assert {one["trace"] for one in lines} == {trace_of(submit)}
    assert by_event["callback_accepted"][0]["trace"] == trace_of(callback)
    assert by_event["dispatch_dead"][0]["trace"] == TRACE
    sent = {headers["ce-subject"]: headers for headers, _ in side.requests}
    assert sent[called.id]["ce-traceparent"] == called.traceparent
    assert trace_of(submit) in sent[called.id]["traceparent"]
    side.close()


def replace_remote(context: trace.SpanContext) -> trace.SpanContext:
    """*context* as it is read from a traceparent."""
    return trace.SpanContext(
        context.trace_id, context.span_id, is_remote=True, trace_flags=context.trace_flags
    )


async def test_what_comes_hours_later_is_linked(world: World, spans: InMemorySpanExporter) -> None:
    """It begins a trace of its own; a span that lasts for hours helps nobody."""
    world.environ["RECEIVER_OTEL"] = "1"
    async with world.receiver() as receiver:
        job = await ended(receiver, await receiver.submit(CALLS, REQUESTS[CALLS], traceparent=GIVEN))
        telemetry = receiver.running.telemetry
        assert telemetry is not None
        late = replace(job, created_at=job.created_at - 2 * HOUR)
        for one in (job, late):
            with telemetry.spans.around("something", SpanKind.CLIENT, job=one, facts={}):
                pass
    near, far = named(spans)["something"]
    assert (trace_of(near), near.links) == (TRACE, ())
    assert trace_of(far) != TRACE
    assert [trace.format_trace_id(link.context.trace_id) for link in far.links] == [TRACE]


async def test_the_metrics_are_measured_as_prometheus_shows_them(
    world: World, spans: InMemorySpanExporter
) -> None:
    """The same names, labels and values; those of the receiver that runs, whatever ran here before."""
    world.environ["RECEIVER_OTEL"] = "1"
    async with world.receiver():
        pass  # it has nothing to tell of callbacks
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=60) as http:
        await ended(receiver, await receiver.submit(CALLS, REQUESTS[CALLS]))
        shown = (await http.get(f"{world.url}/metrics")).text
    assert f'receiver_callbacks_total{{provider="{CALLS}",verdict="accepted"}} 1.0' in shown
    data = READER.get_metrics_data()
    assert data is not None
    points = {
        one.name: [
            (dict(point.attributes or {}), getattr(point, "value", None)) for point in one.data.data_points
        ]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for one in scope.metrics
    }
    assert ({"provider": CALLS, "verdict": "accepted"}, 1) in points["receiver_callbacks"]
    assert points["receiver_store_ready"] == [({}, 1)]


class Collector:
    """What takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: set[str] = set()
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                        collector.services |= {
                            one.value.string_value
                            for one in resource.resource.attributes
                            if one.key == "service.name"
                        }
                        collector.spans += [one for scope in resource.scope_spans for one in scope.spans]
                else:
                    request = ExportMetricsServiceRequest.FromString(body)
                    collector.metrics |= {
                        one.name
                        for resource in request.resource_metrics
                        for scope in resource.scope_metrics
                        for one in scope.metrics
                    }
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


HANDLERS = """
from receiver import Receiver
receiver = Receiver()

@receiver.on()
async def done(job): pass
"""


async def test_a_process_exports_to_a_collector_what_it_did(world: World) -> None:
    """Over OTLP and HTTP, without code: what is left leaves when the process is told to stop."""
    collector = Collector()
    world.environ |= {
        "RECEIVER_OTEL": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with world.process(HANDLERS) as process:
        order = {"provider": CALLS, "request": REQUESTS[CALLS]}
        answer = await process.request("POST", "/v1/jobs", json=order)
        job = answer.json()["id"]
        await until(lambda: "dispatch done" in {one.name for one in collector.spans})
        assert process.running is not None
        process.running.terminate()
        await asyncio.to_thread(process.running.wait, 15)
    names = {one.name for one in collector.spans}
    assert {f"submit {CALLS}", f"callback {CALLS}", "dispatch done"} <= names
    assert collector.services == {"receiver"}
    assert "receiver_callbacks" in collector.metrics
    lines = [
        json.loads(one) for one in (world.folder / "serve.log").read_text().splitlines() if one[0] == "{"
    ]
    (line,) = [one for one in lines if one["event"] == "dispatch_succeeded"]
    (submit,) = [one for one in collector.spans if one.name == f"submit {CALLS}"]
    assert (line["job"], line["trace"]) == (job, submit.trace_id.hex())
    collector.close()


async def test_a_collector_that_is_away_keeps_nobody_from_ending(world: World) -> None:
    """The process has ended within its ten seconds, with 0, and says what it left behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        world.environ |= {
            "RECEIVER_OTEL": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        async with world.process(HANDLERS) as process:
            await process.request("POST", "/v1/jobs", json={"provider": CALLS, "request": REQUESTS[CALLS]})
            assert process.running is not None
            process.running.terminate()
            assert await asyncio.to_thread(process.running.wait, PATIENCE) == 0
    assert "telemetry_left_behind" in (world.folder / "serve.log").read_text()


async def test_without_the_extra_the_start_says_what_to_install(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that cannot be kept to is no silent no."""
    monkeypatch.setattr("receiver.running.find_spec", lambda _name: None)
    world.environ["RECEIVER_OTEL"] = "1"
    with pytest.raises(ConfigurationError, match=r"pip install '\.\[otel\]'") as raised:
        await Receiver(settings_of(world)).start()
    assert raised.value.code == "otel_missing"


def settings_of(world: World) -> Any:  # noqa: ANN401
    """The settings of a receiver there."""
    from receiver import Settings  # noqa: PLC0415

    return Settings.load(world.environ)


def test_nothing_of_it_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A receiver that runs has heard of no OpenTelemetry."""
    code = (
        "import asyncio, sys\n"
        "from receiver import Receiver, Settings\n"
        "async def main():\n"
        f"    settings = {{'RECEIVER_DATABASE_URL': 'sqlite:///{tmp_path}/r.db', 'RECEIVER_SECRET_KEY': 'k' * 32}}\n"
        "    receiver = Receiver(Settings.load(settings))\n"
        "    await receiver.start()\n"
        "    await receiver.stop()\n"
        "asyncio.run(main())\n"
        "assert not [one for one in sys.modules if one.startswith('opentelemetry')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
