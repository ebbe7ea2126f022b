"""Submission: recorded before it is sent, sent as the provider wants it, and never silently sent twice."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.core.errors import ConfigurationError, ConflictError, RequestError, StoreUnavailableError
from receiver.core.model import Source
from receiver.simulator import Simulator, SimulatorSettings
from receiver.simulator.front import ReceivedRequest
from receiver.storage.queries import Page
from tests.ports import free_port

from .hurry import PACE, hurried
from .world import API_TOKEN, REQUESTS, World, ended, until


def posts(world: World, provider: str) -> list[ReceivedRequest]:
    """The submissions that the provider was sent."""
    return [one for one in world.simulator.requests(provider) if one.method == "POST"]


def headers(request: ReceivedRequest) -> dict[str, str]:
    """Its headers by name."""
    return dict(request.headers)


async def attempts(world: World, receiver: Receiver, job: Job) -> list[tuple[str, str | None]]:
    """What the timeline says about submitting."""
    record = await world.record(receiver, job)
    return [(one.outcome, one.code) for one in record.attempts if one.step == "submit"]


# -- what the provider answers -----------------------------------------------------------------------------


async def test_a_refused_submission_fails_with_the_providers_words(world: World) -> None:
    """A 4xx ends the job as failed; what the provider said is kept, and nothing is sent again."""
    world.simulator.faults("netnut", {"name": "submit_4xx", "status": 400})
    async with hurried(world) as receiver:
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        assert (job.state, job.submission, job.settled_by) == (JobState.FAILED, "refused", Source.SUBMIT)
        assert job.error is not None
        assert job.error.code == "submission_refused_400"
        assert "refused on demand" in job.error.text
        assert await attempts(world, receiver, job) == [("refused", "submission_refused_400")]
        assert (await world.record(receiver, job)).due == []
        assert len(posts(world, "netnut")) == 1


async def test_a_busy_provider_is_asked_again_after_the_time_it_names(world: World) -> None:
    """429 with Retry-After: the provider took nothing, so the same job is sent again then, and billed once."""
    world.simulator.faults("netnut", {"name": "submit_429", "seconds": 1})
    async with hurried(world) as receiver:
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        assert job.state is JobState.SUBMITTING
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED
        first, second = posts(world, "netnut")
        tries = [one for one in (await world.record(receiver, job)).attempts if one.step == "submit"]
        assert tries[1].started_at - tries[0].started_at >= 1000
        assert first.body == second.body
        assert len(world.simulator.jobs("netnut")) == 1
        words = [("retrying", "too_many_requests"), ("accepted", None)]
        assert await attempts(world, receiver, job) == words


async def test_a_provider_that_cannot_be_reached_is_tried_again(world: World) -> None:
    """Nobody listens: nobody can have heard, so the job waits and is sent once somebody does."""
    port = free_port()
    world.environ["RECEIVER_NETNUT_BASE_URL"] = f"http://127.0.0.1:{port}/netnut"
    async with hurried(world) as receiver:
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        assert (job.state, job.submission) == (JobState.SUBMITTING, "sending")
        async with Simulator(port=port, settings=SimulatorSettings(run_seconds=0.1)) as late:
            assert (await ended(receiver, job)).state is JobState.SUCCEEDED
            assert len(late.jobs("netnut")) == 1
        assert (await attempts(world, receiver, job))[0] == ("retrying", "never_connected")


async def test_a_server_error_without_idempotency_is_not_sent_again(world: World) -> None:
    """5xx of a provider that recognises no repetition: unknown, never resent, and settled by its callback."""
    world.simulator.faults("netnut", "submit_5xx")
    async with hurried(world) as receiver, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        job = await receiver.submit("netnut", {**REQUESTS["netnut"], "async": False})
        assert (job.state, job.submission) == (JobState.SUBMITTING, "unknown")
        assert await attempts(world, receiver, job) == [("unknown", "status_503")]
        await asyncio.sleep(3 / PACE)
        (sent,) = posts(world, "netnut")
        url = json.loads(sent.body)["callback_url"]
        answer = await client.post(url, json={"traceID": "late", "response": {"text": "after all"}})
        assert answer.status_code == 200
        done = await ended(receiver, job)
        assert (done.state, done.settled_by, done.remote_id) == (
            JobState.SUCCEEDED,
            Source.CALLBACK,
            "late",
        )
        assert len(posts(world, "netnut")) == 1


async def test_a_server_error_with_idempotency_is_sent_again(world: World) -> None:
    """5xx of a provider that takes an idempotency key: the same request with the same key, one job."""
    world.simulator.faults("perplexity", "submit_5xx")
    async with hurried(world) as receiver:
        job = await receiver.submit("perplexity", REQUESTS["perplexity"])
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED
        first, second = posts(world, "perplexity")
        assert first.body == second.body
        assert json.loads(first.body)["idempotency_key"] == job.id
        assert len(world.simulator.jobs("perplexity")) == 1


async def test_the_submit_answer_survives_a_locked_database(world: World) -> None:
    """The provider's answer names a job that is paid for: it is recorded as soon as the database is back."""
    world.simulator.faults("perplexity", {"name": "submit_slow", "seconds": 0.3})
    async with world.receiver() as receiver:
        sending = asyncio.create_task(receiver.submit("perplexity", REQUESTS["perplexity"]))
        await until(lambda: len(posts(world, "perplexity")) == 1)
        holder = sqlite3.connect(world.folder / "receiver.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            await asyncio.sleep(2.2)
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        await asyncio.wait({sending})
        job = sending.result()
        assert job.remote_id == world.simulator.jobs("perplexity")[0].id
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED
        assert len(world.simulator.jobs("perplexity")) == 1


async def test_nothing_is_sent_that_could_not_be_recorded(world: World) -> None:
    """While the database is locked a submission raises, and the provider hears nothing."""
    async with world.receiver() as receiver:
        holder = sqlite3.connect(world.folder / "receiver.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(StoreUnavailableError):
                await receiver.submit("netnut", REQUESTS["netnut"])
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        assert posts(world, "netnut") == []


# -- what is asked of us -----------------------------------------------------------------------------------


async def test_an_idempotency_key_names_one_request(world: World) -> None:
    """The same key with the same request is the same job, also at once; with another request a conflict."""
    async with hurried(world) as receiver:
        asked = REQUESTS["netnut"]
        both = await asyncio.gather(
            *(receiver.submit("netnut", asked, idempotency_key="order 7") for _ in range(5))
        )
        again = await receiver.submit("netnut", asked, idempotency_key="order 7")
        assert {one.id for one in [*both, again]} == {again.id}
        assert len(posts(world, "netnut")) == 1
        with pytest.raises(ConflictError) as caught:
            await receiver.submit("netnut", {**asked, "prompt": "tea"}, idempotency_key="order 7")
        assert caught.value.code == "idempotency_key_reused"
        with pytest.raises(ConflictError):
            await receiver.submit("perplexity", REQUESTS["perplexity"], idempotency_key="order 7")
        assert len(world.simulator.jobs()) == 1


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"provider": "nobody"}, "provider_unknown", "provider"),
    ({"provider": "pulse", "operation": "translate"}, "operation_unknown", "operation"),
    ({"provider": "netnut", "operation": "search"}, "operation_unknown", "operation"),
    (
        {"provider": "netnut", "request": {"callback_url": "https://example.com"}},
        "request_field_reserved",
        "request.callback_url",
    ),
    ({"provider": "netnut", "deadline": 0}, "request_invalid", "deadline"),
    ({"provider": "netnut", "deadline": -1}, "request_invalid", "deadline"),
    ({"provider": "netnut", "deadline": float("nan")}, "request_invalid", "deadline"),
    ({"provider": "netnut", "idempotency_key": ""}, "request_invalid", "idempotency_key"),
    ({"provider": "netnut", "idempotency_key": "a\nb"}, "request_invalid", "idempotency_key"),
    ({"provider": "netnut", "request": {"prompt": object()}}, "request_invalid", "request"),
    ({"provider": "netnut", "metadata": {"x": object()}}, "request_invalid", "metadata"),
    ({"provider": "pulse", "request": {"file": "/nowhere/at/all"}}, "file_unreadable", "request.file"),
]


async def test_what_cannot_be_carried_out_is_not_recorded(world: World) -> None:
    """A mistake in the order raises with a code and the field to change; no job, no request."""
    async with hurried(world) as receiver:
        for order, code, field in MISTAKES:
            with pytest.raises(RequestError) as caught:
                await receiver.submit(**{"request": REQUESTS.get(order["provider"], {}), **order})
            assert (caught.value.code, caught.value.field) == (code, field)
        assert await receiver.running.store.jobs(Page()) == []
        assert world.simulator.requests() == []


async def test_missing_credentials_are_told_before_anything_is_recorded(world: World) -> None:
    """Without NETNUT_PASSWORD there is no job; the sentence names the variables."""
    del world.environ["NETNUT_PASSWORD"]
    async with hurried(world) as receiver:
        with pytest.raises(ConfigurationError, match="NETNUT_USERNAME and NETNUT_PASSWORD") as caught:
            await receiver.submit("netnut", REQUESTS["netnut"])
        assert caught.value.code == "credentials_missing"
        assert await receiver.running.store.jobs(Page()) == []
        assert world.simulator.requests() == []


@pytest.mark.parametrize("key", ["pplx-1\n2", "pplx-\u200b1", "pplx-\u201c1\u201d", "pplx-\udcfc"])
async def test_credentials_that_no_request_can_carry_are_told_before_anything_is_recorded(
    world: World, key: str
) -> None:
    """Nothing could have been sent, so nobody is told that its outcome is unknown; and the doctor knows."""
    world.environ["PERPLEXITY_API_KEY"] = key
    async with hurried(world) as receiver:
        with pytest.raises(ConfigurationError, match="Authorization of perplexity") as caught:
            await receiver.submit("perplexity", REQUESTS["perplexity"])
        assert caught.value.code == "credentials_unusable"
        assert key not in str(caught.value)
        provider = receiver.running.catalog.named("perplexity")
        assert receiver.running.keys.lacks(provider).unusable == str(caught.value)
        assert await receiver.running.store.jobs(Page()) == []
        assert world.simulator.requests() == []


async def test_a_deadline_belongs_to_the_job(world: World) -> None:
    """The deadline is the caller's where one is given, the description's otherwise."""
    world.simulator.faults("netnut", "never", count=None)
    async with hurried(world) as receiver:
        given = await receiver.submit("netnut", REQUESTS["netnut"], deadline=0.4)
        described = await receiver.submit("netnut", REQUESTS["netnut"])
        assert given.deadline_at - given.created_at == 400
        assert described.deadline_at - described.created_at == 2 * 3600 * 1000
        done = await ended(receiver, given)
        assert (done.state, done.settled_by) == (JobState.TIMED_OUT, Source.DEADLINE)
        assert (await receiver.job(described.id)).state is not JobState.TIMED_OUT


async def test_an_unknown_submission_is_sent_again_or_given_up_by_a_person(world: World) -> None:
    """`resubmit` sends it once more, `abandon` ends it as timed out; only an unknown one can be sent again."""
    world.simulator.faults("netnut", "submit_drop", "lost", count=2)
    seen: list[Job] = []
    async with hurried(world, lambda receiver: receiver.on(state="any", name="see")(seen.append)) as receiver:
        resent = await receiver.submit("netnut", REQUESTS["netnut"])
        given_up = await receiver.submit("netnut", REQUESTS["netnut"])
        assert (resent.submission, given_up.submission) == ("unknown", "unknown")
        running = receiver.running
        await running.store.resubmit(resent.id, now=running.clock())
        done = await ended(receiver, resent)
        assert done.state is JobState.SUCCEEDED
        with pytest.raises(ConflictError) as caught:
            await running.store.resubmit(resent.id, now=running.clock())
        assert caught.value.code == "not_resubmittable"
        await running.store.abandon(given_up.id, now=running.clock())
        over = await ended(receiver, given_up)
        assert (over.state, over.error and over.error.code) == (JobState.TIMED_OUT, "abandoned")
        assert [one.state for one in seen] == [JobState.SUCCEEDED, JobState.TIMED_OUT]
        assert len(posts(world, "netnut")) == 3


# -- as each provider wants it -----------------------------------------------------------------------------


async def test_pulse_gets_a_file_by_path_as_multipart(world: World, tmp_path: Path) -> None:
    """`file` names a file of this machine; Pulse gets its bytes and name, and the other fields beside it."""
    content = bytes(range(256)) * 10
    (tmp_path / "invoice.pdf").write_bytes(content)
    async with hurried(world) as receiver:
        asked = {"file": str(tmp_path / "invoice.pdf"), "pages": "1-2", "figure": {"describe": True}}
        job = await receiver.submit("pulse", asked)
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED
        (sent,) = posts(world, "pulse")
        assert sent.path == "/extract"
        assert headers(sent)["content-type"].startswith("multipart/form-data")
        assert headers(sent)["x-api-key"] == "pulse key"
        assert content in sent.body
        assert str(tmp_path).encode() not in sent.body
        assert world.simulator.jobs("pulse")[0].submission.request == {
            "file": {"filename": "invoice.pdf", "size": len(content)},
            "async": "true",
            "pages": "1-2",
            "figure": '{"describe": true}',
        }


async def test_pulse_gets_a_file_by_address_as_multipart_too(world: World) -> None:
    """`file_url` is a field of the same form."""
    async with hurried(world) as receiver:
        await receiver.submit("pulse", REQUESTS["pulse"], operation="extract")
        (sent,) = posts(world, "pulse")
        assert headers(sent)["content-type"].startswith("multipart/form-data")
        asked = world.simulator.jobs("pulse")[0].submission.request
        assert asked == {"file_url": REQUESTS["pulse"]["file_url"], "async": "true"}


async def test_pulse_gets_its_other_operations_as_json(world: World) -> None:
    """Split and schema have paths of their own and take JSON; their jobs go the same way."""
    async with hurried(world) as receiver:
        for operation in ("split", "schema"):
            job = await receiver.submit("pulse", {"extraction_id": "e1"}, operation=operation)
            done = await ended(receiver, job)
            assert (done.state, done.operation) == (JobState.SUCCEEDED, operation)
            sent = posts(world, "pulse")[-1]
            assert sent.path == f"/{operation}"
            assert headers(sent)["content-type"] == "application/json"
            assert json.loads(sent.body) == {"extraction_id": "e1", "async": True}


async def test_a_file_of_the_server_is_refused_through_the_api(world: World) -> None:
    """A remote caller cannot have the server read a file for it: 422, and nothing is recorded."""
    async with hurried(world) as receiver, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(
            f"{world.url}/v1/jobs",
            json={"provider": "pulse", "request": {"file": "/etc/hostname"}},
            headers={"authorization": f"Bearer {API_TOKEN}"},
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "file_not_allowed")
        assert await receiver.running.store.jobs(Page()) == []
        assert world.simulator.requests() == []


async def test_a_field_called_file_is_the_callers_own_where_no_file_is_sent(world: World) -> None:
    """Only a provider that takes a form is sent a file; in JSON, ``file`` is a field like any other."""
    async with hurried(world) as receiver:
        await receiver.submit("netnut", {**REQUESTS["netnut"], "file": "report.txt"})
        assert json.loads(posts(world, "netnut")[0].body)["file"] == "report.txt"


async def test_yandex_gets_its_headers(world: World) -> None:
    """Api-Key, folder and an idempotency key that is the job's own id."""
    async with hurried(world) as receiver:
        job = await receiver.submit("yandex", REQUESTS["yandex"])
        (sent,) = posts(world, "yandex")
        assert sent.path == "/foundationModels/v1/completionAsync"
        found = headers(sent)
        assert found["authorization"] == "Api-Key yandex key"
        assert found["x-folder-id"] == "folder"
        assert found["idempotency-key"] == job.id
        assert json.loads(sent.body) == REQUESTS["yandex"]


async def test_yandex_takes_a_token_where_there_is_no_key(world: World) -> None:
    """YANDEX_IAM_TOKEN is used where YANDEX_API_KEY is not set."""
    del world.environ["YANDEX_API_KEY"]
    world.environ["YANDEX_IAM_TOKEN"] = "a token"
    async with hurried(world) as receiver:
        await receiver.submit("yandex", REQUESTS["yandex"])
        assert headers(posts(world, "yandex")[0])["authorization"] == "Bearer a token"


async def test_perplexity_gets_the_request_wrapped(world: World) -> None:
    """The caller gives what the synchronous API takes; it is wrapped, with the idempotency key beside it."""
    async with hurried(world) as receiver:
        job = await receiver.submit("perplexity", REQUESTS["perplexity"])
        (sent,) = posts(world, "perplexity")
        assert json.loads(sent.body) == {"request": REQUESTS["perplexity"], "idempotency_key": job.id}
        assert headers(sent)["authorization"] == "Bearer perplexity key"


async def test_perplexity_with_webhook_gets_address_and_secret(world: World) -> None:
    """Address and secret of the one job stand beside the wrapped request; the secret is hex text."""
    async with hurried(world) as receiver:
        await receiver.submit("perplexity-webhook", REQUESTS["perplexity-webhook"])
        body = json.loads(posts(world, "perplexity-webhook")[0].body)
        assert body["request"] == REQUESTS["perplexity-webhook"]
        assert body["webhook"]["url"].startswith(f"{world.url}/callbacks/perplexity-webhook/")
        assert len(bytes.fromhex(body["webhook"]["secret"])) == 32
