"""The vendors' own clients, pointed at the simulator, notice nothing.

Each is imported where it is used: together they take seconds, and every process of pytest's reads this file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from receiver.simulator import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import perplexity
    import pulse

    from receiver.simulator import Simulator


@pytest.fixture
async def chat(sim: Simulator) -> AsyncIterator[perplexity.AsyncPerplexity]:
    """Give the vendor's client, perplexityai."""
    import perplexity

    async with perplexity.AsyncPerplexity(
        api_key="key", base_url=sim.base_url("perplexity"), max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def extractor(sim: Simulator) -> AsyncIterator[pulse.AsyncPulse]:
    """Give the vendor's client, pulse-python-sdk."""
    import pulse

    client = pulse.AsyncPulse(api_key="key", base_url=sim.base_url("pulse"), timeout=5, max_retries=0)
    yield client
    await client._client_wrapper.httpx_client.httpx_client.aclose()


async def test_perplexity_to_the_end(chat: perplexity.AsyncPerplexity) -> None:
    """The client submits, polls to COMPLETED, reads the response, and lists the job."""
    job = await chat.async_.chat.completions.create(
        request={"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]},
        idempotency_key="k",
    )
    seen: list[str] = [job.status]
    while seen[-1] != "COMPLETED":
        await asyncio.sleep(0.002)
        seen.append((await chat.async_.chat.completions.get(job.id)).status)
    assert set(seen) <= {"CREATED", "IN_PROGRESS", "COMPLETED"}
    job = await chat.async_.chat.completions.get(job.id)
    assert job.response is not None
    assert job.response.status == "PENDING"
    assert job.response.choices[0].message.content
    assert job.response.usage is not None
    assert job.response.usage.cost.total_cost > 0
    listed = await chat.async_.chat.completions.list()
    assert [entry.id for entry in listed.requests] == [job.id]


async def test_perplexity_fails(chat: perplexity.AsyncPerplexity, sim: Simulator) -> None:
    """The client sees a failed job with its message, and raises its own errors."""
    import perplexity

    sim.faults("perplexity", {"name": "failed", "value": "out of tokens"})
    job = await chat.async_.chat.completions.create(
        request={"model": "sonar", "messages": [{"role": "user", "content": "?"}]}
    )
    await sim.idle(timeout=60)
    job = await chat.async_.chat.completions.get(job.id)
    assert (job.status, job.error_message) == ("FAILED", "out of tokens")
    assert job.failed_at
    with pytest.raises(perplexity.NotFoundError):
        await chat.async_.chat.completions.get("unknown")


def _submit_and_get(base_url: str) -> str:
    import perplexity

    with perplexity.Perplexity(api_key="key", base_url=base_url) as client:
        job = client.async_.chat.completions.create(
            request={"model": "sonar", "messages": [{"role": "user", "content": "?"}]}
        )
        return client.async_.chat.completions.get(job.id).id


async def test_perplexity_synchronously(sim: Simulator) -> None:
    """The synchronous client works as well, and retries what it may on its own."""
    sim.faults("perplexity", "submit_5xx")
    job_id = await asyncio.to_thread(_submit_and_get, sim.base_url("perplexity"))
    assert sim.job(job_id)
    assert [request.status for request in sim.requests("perplexity")] == [503, 200, 200]


async def test_pulse_to_the_end(extractor: pulse.AsyncPulse) -> None:
    """pulse-python-sdk submits by URL, polls to "completed" and reads the result."""
    ack = await extractor.extract(file_url="https://example.com/a.pdf", async_=True)
    job_id = ack.job_id
    assert job_id
    job = await extractor.jobs.get_job(job_id)
    while job.status != "completed":
        assert job.status in {"pending", "processing"}
        await asyncio.sleep(0.01)
        job = await extractor.jobs.get_job(job_id)
    assert job.result is not None
    assert job.result["page_count"] == 1


async def test_pulse_at_once(extractor: pulse.AsyncPulse) -> None:
    """pulse-python-sdk uploads a file and gets the extraction, a split and a schema as answers."""
    extraction = await extractor.extract(file=("a.pdf", b"%PDF"))
    assert extraction.markdown
    assert extraction.extraction_id
    split = await extractor.split(extraction_id=extraction.extraction_id)
    assert split.split_output
    schema = await extractor.schema(extraction_id=extraction.extraction_id)
    assert schema.schema_id


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=None)])
async def test_pulse_cancels(extractor: pulse.AsyncPulse) -> None:
    """pulse-python-sdk cancels a job and sees it canceled."""
    ack = await extractor.extract(file_url="https://example.com/a.pdf", async_=True)
    assert ack.job_id
    cancelled = await extractor.jobs.cancel_job(ack.job_id)
    assert cancelled.job_id == ack.job_id
    assert (await extractor.jobs.get_job(ack.job_id)).status == "canceled"


async def test_pulse_large_result(extractor: pulse.AsyncPulse, sim: Simulator) -> None:
    """A large result is at a URL that pulse-python-sdk can download once, and then is gone."""
    from pulse.errors import GoneError

    sim.faults("pulse", "large_result")
    ack = await extractor.extract(file_url="https://example.com/a.pdf", async_=True)
    assert ack.job_id
    await sim.idle(timeout=60)
    job = await extractor.jobs.get_job(ack.job_id)
    assert job.result is not None
    assert job.result["is_url"] is True
    assert job.result["url"] == f"{sim.base_url('pulse')}/large_results/{ack.job_id}"
    assert (await extractor.large_results.get_large_result(ack.job_id)).markdown
    with pytest.raises(GoneError) as gone:
        await extractor.large_results.get_large_result(ack.job_id)
    assert gone.value.body.error.message
    assert sim.job(ack.job_id).downloads == 1


async def test_pulse_errors(extractor: pulse.AsyncPulse, sim: Simulator) -> None:
    """pulse-python-sdk knows the errors by their status."""
    import pulse
    from pulse.errors import NotFoundError, UnauthorizedError

    with pytest.raises(NotFoundError):
        await extractor.jobs.get_job("unknown")
    stranger = pulse.AsyncPulse(api_key="", base_url=sim.base_url("pulse"), max_retries=0)
    with pytest.raises(UnauthorizedError):
        await stranger.jobs.get_job("unknown")
    await stranger._client_wrapper.httpx_client.httpx_client.aclose()


@pytest.mark.parametrize(
    "settings", [SimulatorSettings(run_seconds=0.02, video_seconds=0.0, brief_seconds=60.0)]
)
async def test_runway_to_the_end(sim: Simulator, http: httpx.AsyncClient) -> None:
    """The SDK runwayml submits, polls to SUCCEEDED, and gives links that anyone can follow; each time fresh ones."""
    import runwayml

    async with runwayml.AsyncRunwayML(
        api_key="key", base_url=sim.base_url("runway"), max_retries=0
    ) as client:
        made = await client.image_to_video.create(
            model="gen4_turbo", prompt_image="https://example.com/a.png", ratio="1280:720"
        )
        await sim.idle(timeout=60)
        task = await client.tasks.retrieve(made.id)
        assert task.status == "SUCCEEDED"
        for url in task.output:
            assert (await http.get(url)).status_code == 200
        again = await client.tasks.retrieve(made.id)
        assert again.status == "SUCCEEDED"
        assert not set(again.output) & set(task.output)
        with pytest.raises(runwayml.NotFoundError):
            await client.tasks.retrieve("unknown")


async def test_firecrawl_to_the_end(sim: Simulator) -> None:
    """The SDK firecrawl-py starts a crawl and reads every page of it."""
    from firecrawl import AsyncFirecrawl

    client = AsyncFirecrawl(api_key="key", api_url=sim.base_url("firecrawl"))
    started = await client.start_crawl("https://example.com", limit=10)
    await sim.idle(timeout=60)
    crawl = await client.get_crawl_status(started.id)
    assert (crawl.status, crawl.next) == ("completed", None)
    assert [document.metadata.source_url for document in crawl.data if document.metadata] == [
        f"https://example.com/pages/{number}" for number in range(1, 7)
    ]
