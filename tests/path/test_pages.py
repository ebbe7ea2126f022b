"""Results that come in pages: all of them, in order, each kept as it came, and asked for no oftener than it must be."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from receiver import Job, JobState, Receiver, Settings
from receiver.core.model import HOUR, SECOND, Source
from receiver.simulator import Fault, fault
from receiver.storage import pages
from receiver.storage.pages import StoredPage

from .described import Clock, describe, hook, replies, signature
from .hurry import hurried
from .stub import Asked, Reply, stub
from .world import API_TOKEN, REQUESTS, World, ended, until

Order: TypeAlias = Fault | str
CRAWL = REQUESTS["firecrawl"]
URLS = [f"https://example.com/pages/{number}" for number in range(1, 7)]
#: The keys of a shape whose documents come in pages.
PAGED = 'result = "."\nitems = "rows"\nnext = "next"'


def pages_of(world: World, path: str = "/v2/crawl/") -> list[str]:
    """The pages that the simulator was asked for, the first as 0."""
    asked = [one.path for one in world.simulator.requests("firecrawl") if one.method == "GET"]
    return [one.partition("?skip=")[2] or "0" for one in asked if path in one]


async def stored(receiver: Receiver, job: Job) -> list[StoredPage]:
    """What is stored of a job's pages."""
    return await receiver.running.store.read(pages.stored, job.id)


async def codes(world: World, receiver: Receiver, job: Job) -> list[str | None]:
    """The codes that a job's looks failed with, in order, each once."""
    record = await world.record(receiver, job)
    return list(dict.fromkeys(one.code for one in record.attempts if one.outcome in {"failed", "refused"}))


def urls_of(result: bytes) -> list[str]:
    """The addresses that a crawl's documents came from."""
    return [one["metadata"]["sourceURL"] for one in json.loads(result)["data"]]


async def test_all_pages_make_one_result(world: World) -> None:
    """The result is the first page with the items of all, in order; every page is kept byte for byte beside it."""
    async with world.receiver() as receiver:
        job = await ended(receiver, await receiver.submit("firecrawl", CRAWL))
        assert (job.state, job.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        result = await receiver.running.store.result(job)
        found = await stored(receiver, job)
        arrived = [await receiver.running.store.read(pages.read, job.id, one.number) for one in found]
        first = json.loads(arrived[0])
        assert json.loads(result) == first | {
            "data": [row for page in arrived for row in json.loads(page)["data"]]
        }
        assert urls_of(result) == URLS
        assert [(one.number, one.items, one.size) for one in found] == [
            (number, 2, len(page)) for number, page in enumerate(arrived, start=1)
        ]
        assert [one.sha256 for one in found] == [hashlib.sha256(page).hexdigest() for page in arrived]
        assert job.held is not None
        assert (job.held.size, job.held.sha256) == (len(result), hashlib.sha256(result).hexdigest())
        assert pages_of(world) == ["0", "2", "4"]


async def test_a_page_that_is_refused_is_asked_for_again(world: World) -> None:
    """What is here stays here: the pages before it are not asked for a second time, but for the first."""
    world.simulator.faults("firecrawl", fault("page_5xx", part="3"))
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("firecrawl", CRAWL))
        assert urls_of(await receiver.running.store.result(job)) == URLS
        assert pages_of(world) == ["0", "2", "4", "0", "4"]
        assert await codes(world, receiver, job) == ["status_503"]


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (fault("page_gone", times=2), "status_404"),
        (fault("page_garbled"), "body_not_json"),
        (fault("page_pending"), None),
    ],
)
async def test_a_page_that_is_not_there_yet_is_waited_for(
    world: World, order: Order, code: str | None
) -> None:
    """404, a page of HTML, a page that is not ready: each is asked for again, and the result is whole."""
    world.simulator.faults("firecrawl", order)
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("firecrawl", CRAWL))
        assert urls_of(await receiver.running.store.result(job)) == URLS
        assert await codes(world, receiver, job) == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("order", "code"),
    [("page_repeats", "page_repeated"), (fault("page_gone", status=410), "status_410")],
)
async def test_a_page_that_cannot_be_had_ends_the_job_with_the_retention(
    world: World,
    order: Order,
    code: str,
) -> None:
    """The job is ``fetching`` as long as the provider keeps the result, and then expired; the timeline says why."""
    world.simulator.faults("firecrawl", order)
    clock = Clock()
    async with world.receiver(clock.wind) as receiver:
        job = await receiver.submit("firecrawl", CRAWL)

        async def stuck() -> bool:
            return code in await codes(world, receiver, job)

        await until(stuck)
        assert (await receiver.job(job.id)).state is JobState.FETCHING
        assert [one.number for one in await stored(receiver, job)] == [1]
        clock.ahead = 25 * HOUR

        async def over() -> bool:
            # No clock ends a job unasked: it is asked again for ten minutes.
            clock.ahead += 10 * SECOND
            receiver.running.notify()
            return (await receiver.job(job.id)).state.ended

        await until(over, pause=0.05)
        done = await receiver.job(job.id)
        assert (done.state, done.held) == (JobState.EXPIRED, None)
        assert done.error is not None
        assert done.error.code in {"result_unreachable", "result_expired"}


async def test_pages_are_bounded_in_number_and_in_size(world: World) -> None:
    """Beyond RECEIVER_MAX_PAGES, and beyond RECEIVER_MAX_RESULT bytes of all, no further page is asked for."""
    world.environ |= {"RECEIVER_MAX_PAGES": "4", "RECEIVER_MAX_RESULT": "5000"}
    world.simulator.faults("firecrawl", fault("many_pages", size=8))
    world.simulator.faults("firecrawl", fault("huge_body", size=2000))
    async with world.receiver() as receiver:
        for code, kept in (("too_many_pages", 4), ("result_too_large", 2)):
            job = await receiver.submit("firecrawl", CRAWL)

            async def bounded(job: Job = job, code: str = code) -> bool:
                return code in await codes(world, receiver, job)

            await until(bounded)
            assert len(await stored(receiver, job)) == kept
            assert (await receiver.job(job.id)).state is JobState.FETCHING


async def test_a_next_page_at_a_private_address_is_refused(world: World) -> None:
    """A next page at an address that nobody should ask is not asked for, and the timeline says so."""
    world.simulator.faults("firecrawl", fault("page_elsewhere", value="https://169.254.169.254/x", part="1"))
    async with world.receiver() as receiver:
        job = await receiver.submit("firecrawl", CRAWL)

        async def refused() -> bool:
            return "fetch_refused" in await codes(world, receiver, job)

        await until(refused)
        assert (await receiver.job(job.id)).state is JobState.FETCHING


# -- providers of a test's own --------------------------------------------------------------------------------


def serving(documents: dict[str, Any]) -> Callable[[Asked], Awaitable[Reply]]:
    """Answer the submission, and below it what *documents* has for a path; 404 for others."""

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "j1", "state": "queued"})
        document = documents.get(asked.path)
        if isinstance(document, Reply):
            return document
        return Reply(status=404) if document is None else replies(document)

    return answer


@pytest.mark.parametrize("signed", [True, False])
async def test_a_callback_with_a_first_page_is_no_whole_result(world: World, signed: bool) -> None:  # noqa: FBT001
    """Signed or not, it is word that the job is done: the provider is asked, and every page is fetched."""
    documents: dict[str, Any] = {
        "/jobs/j1": {"id": "j1", "state": "queued"},
        "/jobs/j1?page=2": {"id": "j1", "state": "done", "rows": [2]},
    }
    paged = {"id": "j1", "state": "done", "rows": [1], "next": "/jobs/j1?page=2"}
    shape = 'result = "."\nitems = "rows"\nnext = "next"'
    async with stub(serving(documents)) as provider:
        describe(
            world,
            provider,
            where="body",
            delivers="result",
            signed=signed,
            every="1h",
            event=f'status = "state"\nstates = {{ done = "succeeded" }}\n{shape}' if signed else shape,
        )
        # The keys of a job's shape in a description of this test's own are replaced by those of pages.
        file = Path(world.environ["RECEIVER_PROVIDERS_DIR"]) / "made-up.toml"
        text = file.read_text(encoding="utf-8").replace(
            'result = "result"\nresult_url = "result_url"', shape, 1
        )
        file.write_text(text, encoding="utf-8")
        async with world.receiver() as receiver:
            job = await receiver.submit("made-up", {})
            documents["/jobs/j1"] = paged
            body = json.dumps(paged).encode()
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                headers = signature(body) if signed else {}
                assert (await client.post(hook(provider.asked), content=body, headers=headers)).is_success
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
            assert json.loads(await receiver.running.store.result(done))["rows"] == [1, 2]


# -- crashes and nodes ----------------------------------------------------------------------------------------


async def test_kill_between_two_pages_goes_on_where_it_stood(world: World) -> None:
    """A kill -9 after the first pages: the next process asks for those that are missing, and for no other."""
    world.simulator.faults("firecrawl", fault("many_pages", size=6), fault("slow_body", seconds=0.3))
    handlers = "from receiver import Receiver\nreceiver = Receiver()\n"
    async with world.process(handlers) as process:
        answer = await process.request("POST", "/v1/jobs", json={"provider": "firecrawl", "request": CRAWL})
        job_id = answer.json()["id"]

        async def some() -> bool:
            record = (await process.request("GET", f"/v1/jobs/{job_id}")).json()
            return len(record["pages"]) >= 2

        await until(some)
        process.kill()
        before = pages_of(world)
        await process.start()

        async def over() -> bool:
            record = (await process.request("GET", f"/v1/jobs/{job_id}")).json()
            return bool(record["state"] == "succeeded")

        await until(over)
        result = await process.request("GET", f"/v1/jobs/{job_id}/result")
        assert urls_of(result.content) == [f"https://example.com/pages/{number}" for number in range(1, 13)]
        # The page that was on its way when the process died is asked for again, and no other.
        after = pages_of(world)[len(before) :]
        assert not set(after) & set(before[:-1])
        assert sorted({*before, *after}, key=int) == ["0", "2", "4", "6", "8", "10"]


async def test_two_nodes_share_the_pages_of_many_results(world: World, migrated_url: str) -> None:
    """On PostgreSQL each page is asked for by one of them, whoever had the page before it."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    world.simulator.faults("firecrawl", fault("many_pages", size=4), count=None)
    async with world.receiver() as receiver:
        other = Receiver(Settings.load(world.environ))
        await other.start()
        try:
            jobs = [await receiver.submit("firecrawl", CRAWL) for _ in range(8)]
            done = [await ended(receiver, job) for job in jobs]
            assert {one.state for one in done} == {JobState.SUCCEEDED}
            for one in done:
                assert len(urls_of(await receiver.running.store.result(one))) == 8
            assert sorted(pages_of(world)) == sorted(["0", "2", "4", "6"] * 8)
        finally:
            await other.stop()


# -- what is told of them -------------------------------------------------------------------------------------


async def test_every_face_tells_of_pages(world: World) -> None:
    """The job's JSON and timeline, the result's route, each page by itself, and a replay."""

    def prepare(receiver: Receiver) -> None:
        @receiver.on("firecrawl", name="collect")
        def collect(job: Job) -> None:
            assert job.result is not None

    async with world.receiver(prepare) as receiver:
        job = await ended(receiver, await receiver.submit("firecrawl", CRAWL))
        headers = {"authorization": f"Bearer {API_TOKEN}"}
        async with httpx.AsyncClient(
            base_url=world.url, headers=headers, trust_env=False, timeout=60
        ) as client:
            record = (await client.get(f"/v1/jobs/{job.id}")).json()
            assert [one["number"] for one in record["pages"]] == [1, 2, 3]
            told = [one["detail"] for one in record["timeline"] if one.get("step") in {"poll", "fetch"}]
            assert [one.get("page") for one in told] == [1, 2, 3, None]
            assert told[-1] == {"pages": 3, "items": 6}
            result = await client.get(f"/v1/jobs/{job.id}/result")
            assert result.headers["x-receiver-pages"] == "3"
            assert urls_of(result.content) == URLS
            for one in record["pages"]:
                page = await client.get(f"/v1/jobs/{job.id}/pages/{one['number']}")
                assert hashlib.sha256(page.content).hexdigest() == one["sha256"]
                again = await client.get(page.url, headers={"if-none-match": page.headers["etag"]})
                assert again.status_code == 304
            for number in ("0", "4", "x", "1" * 30):
                missing = await client.get(f"/v1/jobs/{job.id}/pages/{number}")
                assert (missing.status_code, missing.json()["code"]) == (404, "page_missing")
            replayed = await client.post(f"/v1/jobs/{job.id}/replay", json={"dry_run": True})
            assert replayed.json()["pages"] == 3


async def test_a_result_that_is_one_answer_costs_nothing_more(world: World) -> None:
    """A crawl of one page is polled as any job, and no page is kept beside its result."""
    world.simulator.faults("firecrawl", fault("many_pages", size=1))
    async with world.receiver() as receiver:
        job = await ended(receiver, await receiver.submit("firecrawl", CRAWL))
        record = await world.record(receiver, job)
        assert [one.outcome for one in record.attempts if one.step in {"poll", "fetch"}] == ["succeeded"]
        assert record.pages == []
        assert pages_of(world) == ["0"]
