"""Spans of what is got from providers: pages, answers, files; in the job's trace, or linked to it hours later."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from receiver import Job, JobState
from receiver.core.model import HOUR
from receiver.simulator import fault
from tests.files.conftest import Here, poll
from tests.files.shelf import Kept, shelf

from .described import Clock, describe
from .hurry import hurried
from .stub import stub
from .test_reasons import BROKEN, NAME, Made, told
from .test_traces import GIVEN, TRACE, named, spans, trace_of
from .world import REQUESTS, World, ended

__all__ = ["spans"]


@pytest.fixture(autouse=True)
def watched(spans: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """Every test here has an application that has set OpenTelemetry up."""
    return iter([spans])


def facts(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes without the prefix."""
    return {name.removeprefix("receiver."): value for name, value in (span.attributes or {}).items()}


async def test_each_page_of_a_result_has_a_span(world: World, spans: InMemorySpanExporter) -> None:
    """Which page it was, one that had to be asked for again too, and the look that makes one document of all."""
    world.environ["RECEIVER_OTEL"] = "1"
    world.simulator.faults("firecrawl", fault("page_5xx", part="3"))
    async with hurried(world) as receiver:
        await ended(receiver, await receiver.submit("firecrawl", REQUESTS["firecrawl"], traceparent=GIVEN))
    found = named(spans)
    # The first page came with the answer about the job's state, and the third was refused once.
    assert [facts(one)["page"] for one in found["page firecrawl"]] == [2, 3, 3]
    (joined,) = found["join firecrawl"]
    assert facts(joined)["pages"] == 3
    assert {trace_of(one) for one in (*found["page firecrawl"], joined)} == {TRACE}
    assert "https" not in str([one.attributes for one in found["page firecrawl"]])


async def test_asking_why_a_job_failed_has_a_span(world: World, spans: InMemorySpanExporter) -> None:
    """The callback said that it failed; what asks for the provider's last word is no ordinary poll."""
    world.environ["RECEIVER_OTEL"] = "1"
    async with stub(Made(BROKEN)) as provider:
        describe(world, provider, where="body")
        async with world.receiver() as receiver:
            done = await told(world, provider, receiver)
    assert done.state is JobState.FAILED
    (submit,), (answer,) = named(spans)[f"submit {NAME}"], named(spans)[f"answer {NAME}"]
    assert (facts(answer)["job"], facts(answer)["state"], answer.kind) == (done.id, "failed", SpanKind.CLIENT)
    assert trace_of(answer) == trace_of(submit)
    assert "upside down" not in str(answer.attributes)


async def with_files(folder: Path, *, traceparent: str = GIVEN, **kept: Kept) -> tuple[Job, str]:
    """Have a job end whose result links to *kept*; the address of the shelf, too."""
    async with shelf() as serving:
        here = Here(folder, serving, f"sqlite:///{folder}/receiver.db")
        here.links(**kept)
        async with here.receiver(RECEIVER_OTEL="1") as receiver:
            done = await here.run(receiver, traceparent=traceparent)
            await ended(receiver, done)
        return done, serving.url


async def test_each_attempt_at_a_file_has_a_span(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """Which file it was, how large, how it ended; what brought nothing is an error with its code, and no address."""
    done, url = await with_files(tmp_path, first=Kept(body=b"one" * 1000), second=Kept(status=410))
    found = named(spans)
    assert [facts(one)["job"] for one in found["files made-up"]] == [done.id]
    downloads = found["download made-up"]
    (stored,) = [one for one in downloads if facts(one)["file"] == 1]
    assert (facts(stored)["outcome"], facts(stored)["bytes"], facts(stored)["attempt"]) == ("stored", 3000, 1)
    assert stored.status.status_code is StatusCode.UNSET
    again, lost = [one for one in downloads if facts(one)["file"] == 2]
    assert (facts(again)["outcome"], facts(again)["code"], facts(again)["attempt"]) == (
        "failed",
        "status_410",
        1,
    )
    assert (facts(lost)["outcome"], facts(lost)["code"], facts(lost)["attempt"]) == ("lost", "file_gone", 2)
    assert (again.status.status_code, lost.status.description) == (StatusCode.ERROR, "file_gone")
    assert {trace_of(one) for one in downloads} == {TRACE}
    assert url not in str([one.attributes for one in spans.get_finished_spans()])


async def test_a_file_that_is_fetched_hours_later_is_linked(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    """Its span begins a trace of its own that is linked to the job's."""
    clock = Clock()
    async with shelf() as serving:
        here = Here(tmp_path, serving, f"sqlite:///{tmp_path}/receiver.db")
        here.describe(deadline="10h")
        here.links(first=Kept(body=b"x"))
        async with here.receiver(clock.wind, RECEIVER_OTEL="1") as receiver:
            job = await receiver.submit("made-up", {"a": 1}, traceparent=GIVEN)
            clock.ahead = 2 * HOUR
            await poll(receiver, job)
            await receiver.wait(job.id, timeout=15)
    (download,) = named(spans)["download made-up"]
    assert trace_of(download) != TRACE
    assert [trace.format_trace_id(link.context.trace_id) for link in download.links] == [TRACE]


async def test_a_cancellation_and_a_fetch_have_spans(world: World, spans: InMemorySpanExporter) -> None:
    """In the job's trace each; a fetch that a callback asks for, and the wish to end a job at its provider."""
    world.environ["RECEIVER_OTEL"] = "1"
    world.simulator.faults("pulse", "never")
    async with hurried(world) as receiver:
        job = await receiver.submit("pulse", REQUESTS["pulse"], traceparent=GIVEN)
        await receiver.cancel(job.id)
        await ended(receiver, job)
        fetched = await receiver.submit("netnut", REQUESTS["netnut"], traceparent=GIVEN)
        await ended(receiver, fetched)
    found = named(spans)
    (cancel,) = found["cancel pulse"]
    (fetch,) = found["fetch netnut"]
    assert (facts(cancel)["job"], facts(cancel)["step"], cancel.kind) == (job.id, "cancel", SpanKind.CLIENT)
    assert (facts(fetch)["job"], facts(fetch)["state"]) == (fetched.id, "succeeded")
    assert {trace_of(one) for one in (cancel, fetch)} == {TRACE}
