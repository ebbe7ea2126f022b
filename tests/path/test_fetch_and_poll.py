"""Asking the provider: patiently, within bounds, at the addresses we know, and never twice for what is used up."""

import asyncio
import hmac
import json
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.core.model import MINUTE, SECOND, Source, Verdict
from receiver.simulator.front import ReceivedRequest

from .hurry import PACE, hurried
from .stub import Asked, Reply, always, stub
from .world import PATIENCE, REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"
NETNUT = REQUESTS["netnut"]


async def looks(world: World, receiver: Receiver, job: Job) -> list[tuple[str, str, str | None]]:
    """What the timeline says about polls and fetches."""
    record = await world.record(receiver, job)
    return [(one.step, one.outcome, one.code) for one in record.attempts if one.step in {"poll", "fetch"}]


def gets(world: World, provider: str) -> list[ReceivedRequest]:
    """The questions that the provider was asked."""
    return [one for one in world.simulator.requests(provider) if one.method == "GET"]


async def wake(world: World, times: int = 1) -> list[int]:
    """Send the last NetNut job's notification *times* at once; the answers' statuses."""
    remote = world.simulator.jobs("netnut")[-1].id
    url = world.callback_url("netnut")
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        bodies = [{"traceId": remote, "status_code": 200, "n": n} for n in range(times)]
        answers = await asyncio.gather(*(client.post(url, json=body) for body in bodies))
    return [answer.status_code for answer in answers]


# -- answers that are none ---------------------------------------------------------------------------------


async def test_a_poll_that_fails_is_repeated(world: World) -> None:
    """5xx: noted in the timeline, asked again, and the job succeeds."""
    world.simulator.faults("perplexity", "poll_5xx")
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("perplexity", REQUESTS["perplexity"]))
        assert (job.state, job.settled_by) == (JobState.SUCCEEDED, Source.POLL)
        assert await looks(world, receiver, job) == [
            ("poll", "failed", "status_503"),
            ("poll", "succeeded", None),
        ]


async def test_retry_after_is_obeyed(world: World) -> None:
    """429 with Retry-After: the next question comes no sooner than the provider asked for."""
    world.simulator.faults("perplexity", {"name": "poll_429", "seconds": 2})
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("perplexity", REQUESTS["perplexity"]))
        assert job.state is JobState.SUCCEEDED
        refused, answered = (
            one for one in (await world.record(receiver, job)).attempts if one.step == "poll"
        )
        assert answered.started_at - refused.started_at >= 2000
        assert (await looks(world, receiver, job))[0] == ("poll", "failed", "status_429")


async def test_an_answer_that_trickles_is_given_up(world: World) -> None:
    """A body may take only so long, however steadily it comes; the look has failed and is repeated."""
    world.simulator.faults("perplexity", {"name": "slow_body", "seconds": 120})
    async with hurried(world) as receiver:
        receiver.running.outbound._patience = 0.5
        job = await receiver.submit("perplexity", REQUESTS["perplexity"])

        async def failed() -> bool:
            return ("poll", "failed", "no_answer") in await looks(world, receiver, job)

        await until(failed)
        record = await world.record(receiver, job)
        # The whole body would take two minutes; how soon the end was noticed says how busy the machine is.
        assert max(one.duration_ms for one in record.attempts if one.step == "poll") < 60_000 * PACE
        remote = world.simulator.jobs("perplexity")[0].id
        world.simulator.faults("perplexity", {"name": "slow_body", "seconds": 0.1}, job_id=remote)
        receiver.running.outbound._patience = PATIENCE
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED


async def test_an_answer_that_is_too_large_is_not_taken(world: World) -> None:
    """Over RECEIVER_MAX_RESULT: `result_too_large` in the timeline, and the job has not succeeded by it."""
    world.environ["RECEIVER_MAX_RESULT"] = "100000"
    world.simulator.faults("perplexity", {"name": "huge_body", "size": 1_000_000})
    async with hurried(world, pace=200) as receiver:
        job = await receiver.submit("perplexity", REQUESTS["perplexity"], deadline=60)
        done = await ended(receiver, job)
        assert ("poll", "failed", "result_too_large") in await looks(world, receiver, job)
        assert (done.state, done.held) == (JobState.TIMED_OUT, None)


async def test_a_single_use_result_that_is_too_large_is_not_asked_for_twice(world: World) -> None:
    """Its download has begun, so it is used up: the job ends as expired, with `result_lost`."""
    world.environ["RECEIVER_MAX_RESULT"] = "100000"
    world.simulator.faults("pulse", "large_result", {"name": "huge_body", "size": 1_000_000})
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
        assert ("fetch", "failed", "result_too_large") in await looks(world, receiver, job)
        assert (job.state, job.error and job.error.code) == (JobState.EXPIRED, "result_lost")
        assert len([one for one in gets(world, "pulse") if "large_results" in one.path]) == 1


async def test_a_redirect_is_not_followed(world: World) -> None:
    """`fetch_refused` in the timeline, nothing is sent to where it points, and the polls go on."""
    async with always(Reply(body=b"{}")) as elsewhere, hurried(world) as receiver:
        redirect = {"name": "redirect", "value": elsewhere.url + "/search", "times": 1}
        world.simulator.faults("netnut", redirect)
        job = await ended(receiver, await receiver.submit("netnut", NETNUT))
        assert job.state is JobState.SUCCEEDED
        assert ("fetch", "failed", "fetch_refused") in await looks(world, receiver, job)
        assert elsewhere.asked == []


async def test_a_404_before_success_is_not_the_end(world: World) -> None:
    """A provider that never said that it succeeded cannot have deleted a result: the deadline decides."""
    world.simulator.faults("perplexity", "expired")
    async with hurried(world) as receiver:
        job = await receiver.submit("perplexity", REQUESTS["perplexity"], deadline=6)
        await until(lambda: len(gets(world, "perplexity")) >= 1)
        await asyncio.sleep(0.1)
        assert (await receiver.job(job.id)).state.rank < JobState.FETCHING.rank
        assert (await ended(receiver, job)).state is JobState.TIMED_OUT


async def test_an_operations_early_error_is_not_the_end(world: World) -> None:
    """Yandex may show an error while it still rolls back: only `done` ends the operation."""
    world.simulator.faults("yandex", {"name": "early_error", "value": "response"}, "never")
    async with hurried(world) as receiver:
        job = await receiver.submit("yandex", REQUESTS["yandex"])
        await until(lambda: len(gets(world, "yandex")) >= 1)
        await asyncio.sleep(0.2)
        assert (await receiver.job(job.id)).state is JobState.RUNNING
        world.simulator.release(world.simulator.jobs("yandex")[0].id)
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("provider", ["pulse", "yandex", "perplexity", SIGNED])
async def test_a_failed_job_ends_with_the_providers_reason(world: World, provider: str) -> None:
    """Every system that documents a failure: the job is failed, and the provider's words are kept."""
    world.cadence(expected="1s")
    faults: list[str | dict[str, Any]] = [{"name": "failed", "value": "the page is upside down"}]
    if provider == SIGNED:
        faults.append("lost")
    world.simulator.faults(provider, *faults)
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit(provider, REQUESTS[provider]))
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert "the page is upside down" in job.error.text
        assert job.held is None


# -- what is used up ---------------------------------------------------------------------------------------


async def test_a_single_use_result_whose_fetch_was_cut_off_is_never_asked_for_again(world: World) -> None:
    """Killed between the start of the fetch and its end: no second GET; the job says that it is lost."""
    world.simulator.faults("pulse", "large_result", {"name": "slow_body", "seconds": 5})

    def downloads() -> int:
        return len([one for one in gets(world, "pulse") if "large_results" in one.path])

    async with world.process("from receiver import Receiver\nreceiver = Receiver()\n") as process:
        order = {"provider": "pulse", "request": REQUESTS["pulse"]}
        job_id = (await process.request("POST", "/v1/jobs", json=order)).json()["id"]
        await until(lambda: downloads() == 1)
        process.kill()
        await process.start()
        found: dict[str, Any] = {}

        async def over() -> bool:
            found.update((await process.request("GET", f"/v1/jobs/{job_id}")).json())
            return found["state"] in {"expired", "succeeded"}

        await until(over)
        assert (found["state"], found["error"]["code"]) == ("expired", "result_lost")
        assert downloads() == 1


async def test_a_fresh_address_of_a_single_use_result_is_asked(world: World) -> None:
    """The first address was cut off; the provider names another one, and that one is fetched, once."""
    downloads: list[str] = []

    async def pulse(asked: Asked) -> Reply:
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        if asked.path.startswith("/large/"):
            downloads.append(asked.path)
            if len(downloads) == 1:
                raise ConnectionResetError
            return Reply(body=b'{"markdown": "# here"}')
        url = f"{provider.url}/large/{len(downloads)}"
        return Reply(
            body=json.dumps(
                {"job_id": "p1", "status": "completed", "result": {"is_url": True, "url": url}}
            ).encode()
        )

    world.cadence(expected="1s")
    async with stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert (job.state, downloads) == (JobState.SUCCEEDED, ["/large/0", "/large/1"])
            assert await receiver.running.store.result(job) == b'{"markdown": "# here"}'


# -- races -------------------------------------------------------------------------------------------------


async def test_a_callback_that_overtakes_a_poll_with_another_outcome_wins(world: World) -> None:
    """While a poll hears FAILED, the callback says COMPLETED and is committed first: one completion."""
    seen: list[Job] = []
    world.cadence(expected="1s")
    world.simulator.faults(SIGNED, "failed", "lost", {"name": "slow_body", "seconds": 0.5})
    async with world.receiver(lambda receiver: receiver.on(state="any", name="see")(seen.append)) as receiver:
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        remote = world.simulator.jobs(SIGNED)[0].id
        await until(lambda: len(gets(world, SIGNED)) == 1)
        lie = {"name": "lying_status", "value": "COMPLETED"}
        (sent,) = await world.simulator.send_callback(SIGNED, remote, lie)
        assert sent.status == 200
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)

        async def heard() -> bool:
            return ("poll", "superseded", None) in [
                (step, outcome, None) for step, outcome, _ in await looks(world, receiver, job)
            ]

        await until(heard)
        assert (await receiver.job(job.id)).state is JobState.SUCCEEDED
        assert [one.state for one in seen] == [JobState.SUCCEEDED]


async def test_a_callback_that_comes_after_a_poll_with_another_outcome_is_evidence(world: World) -> None:
    """The poll heard FAILED and was committed first: COMPLETED is acknowledged, kept, and changes nothing."""
    seen: list[Job] = []
    world.cadence(expected="1s")
    world.simulator.faults(SIGNED, "failed", "lost")
    async with hurried(world, lambda receiver: receiver.on(state="any", name="see")(seen.append)) as receiver:
        job = await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        assert (job.state, job.settled_by) == (JobState.FAILED, Source.POLL)
        remote = world.simulator.jobs(SIGNED)[0].id
        lie = {"name": "lying_status", "value": "COMPLETED"}
        (sent,) = await world.simulator.send_callback(SIGNED, remote, lie)
        assert sent.status == 200
        record = await world.record(receiver, job)
        assert record.job.state is JobState.FAILED
        assert [(one.verdict, one.code) for one in record.callbacks] == [
            (Verdict.DUPLICATE, "conflicting_outcome")
        ]
        await asyncio.sleep(0.1)
        assert [one.state for one in seen] == [JobState.FAILED]


async def test_many_wake_ups_at_once_make_one_fetch_at_a_time(world: World) -> None:
    """Fifty notifications while the result is being fetched: all acknowledged, one fetch, one result."""
    world.simulator.faults("netnut", "lost", {"name": "slow_body", "seconds": 0.5})
    async with hurried(world) as receiver:
        job = await receiver.submit("netnut", NETNUT)
        await world.simulator.idle(timeout=60)
        statuses = await wake(world, times=50)
        assert set(statuses) == {200}
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        assert len(gets(world, "netnut")) == 1
        assert done.callbacks == 50


@pytest.mark.parametrize("woken", [False, True], ids=["by the clock", "by a wake-up"])
async def test_a_wake_up_during_a_look_is_followed_by_another_look(world: World, *, woken: bool) -> None:
    """What the provider answers now may be older than the wake-up: it is asked once more, right after."""
    release, ready = asyncio.Event(), False

    async def netnut(asked: Asked) -> Reply:
        if asked.method == "POST":
            ack = {"traceId": "t1", "response_url": f"{provider.url}/search/response/t1"}
            return Reply(body=json.dumps(ack).encode())
        if ready:
            return Reply(body=b'{"traceID": "t1", "response": {"text": "done"}}')
        await release.wait()
        return Reply(body=b'{"traceId": "t1", "status": "processing"}')

    world.cadence(every="120s", expected="120s" if woken else "1s")
    async with stub(netnut) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        world.environ["RECEIVER_NETNUT_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await receiver.submit("netnut", NETNUT)
            url = json.loads(provider.asked[0].body)["callback_url"]
            if woken:
                assert (await client.post(url, json={"traceId": "t1"})).status_code == 200
            await until(lambda: len(provider.gets()) == 1)
            assert (await client.post(url, json={"traceId": "t1"})).status_code == 200
            ready = True
            at = receiver.running.clock()
            release.set()
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
            # Not only when its next poll is due.
            assert done.ended_at is not None
            assert done.ended_at - at < 60 * SECOND
            assert len(provider.gets()) == 2


# -- bounds ------------------------------------------------------------------------------------------------


async def test_after_the_deadline_is_asked_rarely(world: World) -> None:
    """The deadline ends the job as timed out; the provider hears no more about it for ten minutes."""
    world.simulator.faults("perplexity", "never")
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("perplexity", REQUESTS["perplexity"], deadline=2))
        assert (job.state, job.settled_by) == (JobState.TIMED_OUT, Source.DEADLINE)
        before = len(world.simulator.requests("perplexity"))
        assert before <= 4
        await asyncio.sleep(3 / PACE)
        assert len(world.simulator.requests("perplexity")) == before
        assert job.ended_at is not None
        assert [one.run_at for one in (await world.record(receiver, job)).due] == [job.ended_at + 10 * MINUTE]


async def test_polls_keep_to_their_cadence(world: World) -> None:
    """One question a second as described, whatever else wakes the worker."""
    world.simulator.faults("yandex", "never")
    async with hurried(world) as receiver:
        job = await receiver.submit("yandex", REQUESTS["yandex"])
        began = receiver.running.clock()
        await until(lambda: len(gets(world, "yandex")) >= 3)
        seconds = (receiver.running.clock() - began) / SECOND
        assert len(gets(world, "yandex")) <= seconds + 2
        # A job that is polled for hours must not fill its timeline with "not yet".
        assert len(await looks(world, receiver, job)) <= 1


async def test_a_signed_non_terminal_callback_moves_the_job_and_nothing_else(world: World) -> None:
    """IN_PROGRESS is recorded as running; nothing is dispatched and nothing fetched."""
    seen: list[Job] = []
    world.simulator.faults(SIGNED, "never")
    async with hurried(world, lambda receiver: receiver.on(state="any", name="see")(seen.append)) as receiver:
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        keys = receiver.running.keys
        secret = keys.job_secret(job.id, receiver.running.catalog[SIGNED], master=keys.newest)
        body = json.dumps({"job_id": job.remote_id, "status": "IN_PROGRESS", "response": None}).encode()
        signature = {"x-perplexity-signature": hmac.new(secret, body, "sha256").hexdigest()}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(world.callback_url(SIGNED), content=body, headers=signature)
        assert answer.status_code == 200
        record = await world.record(receiver, job)
        assert record.job.state is JobState.RUNNING
        assert [one.verdict for one in record.callbacks] == [Verdict.ACCEPTED]
        await asyncio.sleep(0.2)
        assert seen == []
        assert gets(world, SIGNED) == []
