"""The path of a job through each of the simulated systems, over real sockets."""

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.core.model import Source, Verdict
from receiver.simulator import Simulator, SimulatorSettings
from receiver.storage.queries import Page

from .hurry import hurried
from .world import REQUESTS, World, ended, until

SETTLED_BY = {
    "netnut": Source.CALLBACK,
    "pulse": Source.CALLBACK,
    "yandex": Source.POLL,
    "perplexity": Source.POLL,
    "perplexity-webhook": Source.CALLBACK,
    "runway": Source.POLL,
    "firecrawl": Source.CALLBACK,
}


def collecting(seen: list[Job]) -> Callable[[Receiver], None]:
    """Register a handler for every end, which collects."""

    def prepare(receiver: Receiver) -> None:
        @receiver.on(name="collect", state="any")
        async def collect(job: Job) -> None:
            seen.append(job)

    return prepare


@pytest.mark.parametrize("provider", SETTLED_BY)
async def test_a_job_goes_from_submission_to_handler_and_replay(world: World, provider: str) -> None:
    """Each system's job succeeds, its result reaches the handler once, and a replay brings it once more."""
    seen: list[Job] = []
    async with world.receiver(collecting(seen)) as receiver:
        job = await receiver.submit(provider, REQUESTS[provider], metadata={"topic": "coffee"})
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, SETTLED_BY[provider])
        assert [one.metadata for one in seen] == [{"topic": "coffee"}]
        assert seen[0].result is not None
        assert isinstance(seen[0].result.json(), dict)
        replayed = await receiver.replay(job.id)
        assert replayed.handlers == ["collect"]
        await ended(receiver, job)
        record = await world.record(receiver, job)
        runs = [one for one in record.attempts if one.step == "dispatch"]
        assert [(one.outcome, one.replay_id) for one in runs] == [
            ("succeeded", ""),
            ("succeeded", replayed.replay_id),
        ]
        assert seen[0].result == seen[1].result
        assert len(world.simulator.jobs(provider)) == 1


async def test_a_lost_callback_is_settled_by_poll(world: World) -> None:
    """When the callback that should have come does not, the job is not stuck: polling takes over."""
    world.cadence(expected="1s")
    world.simulator.faults("netnut", "lost")
    async with world.receiver() as receiver:
        done = await ended(receiver, await receiver.submit("netnut", REQUESTS["netnut"]))
        assert (done.state, done.settled_by, done.callbacks) == (JobState.SUCCEEDED, Source.POLL, 0)


@pytest.mark.parametrize("provider", ["netnut", "perplexity-webhook"])
async def test_an_early_callback_is_settled_by_its_token(world: World, provider: str) -> None:
    """A callback that arrives before the submit answer was stored is taken, and the answer joins it."""
    world.simulator.faults(provider, "early")
    async with world.receiver() as receiver:
        job = await receiver.submit(provider, REQUESTS[provider])
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        assert done.remote_id == world.simulator.jobs(provider)[0].id
        first = (await world.record(receiver, job)).callbacks[0]
        assert first.verdict is Verdict.ACCEPTED


async def test_an_early_account_wide_callback_is_claimed_by_the_submit_answer(world: World) -> None:
    """A webhook for a remote id that nobody knows yet is held until the submit answer claims it."""
    world.simulator.faults("pulse", "early")
    async with world.receiver() as receiver:
        job = await receiver.submit("pulse", REQUESTS["pulse"])
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        assert len(await receiver.running.store.jobs(Page())) == 1


async def test_a_forged_callback_changes_nothing(world: World) -> None:
    """A stranger's signature is answered 401, quarantined, and the job goes on as if it had not come."""
    world.cadence(expected="1s")
    world.simulator.faults("perplexity-webhook", "forged")
    async with world.receiver() as receiver:
        job = await receiver.submit("perplexity-webhook", REQUESTS["perplexity-webhook"])
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.POLL)
        record = await world.record(receiver, job)
        assert {(one.verdict, one.code) for one in record.callbacks} == {
            (Verdict.REJECTED, "signature_mismatch")
        }
        assert {one.status for one in world.simulator.callbacks("perplexity-webhook")} == {401}


async def test_a_hundred_copies_at_once_make_one_completion(world: World) -> None:
    """100 copies of one callback at once: all acknowledged, one completion, one dispatch for each handler."""
    seen: list[Job] = []
    world.simulator.faults("perplexity-webhook", {"name": "burst", "times": 100})
    async with world.receiver(collecting(seen)) as receiver:
        job = await receiver.submit("perplexity-webhook", REQUESTS["perplexity-webhook"])
        done = await ended(receiver, job)
        await world.simulator.idle(timeout=60)
        sent = world.simulator.callbacks("perplexity-webhook")
        assert len(sent) == 100
        assert {one.status for one in sent} == {200}
        assert len(seen) == 1
        assert done.state is JobState.SUCCEEDED
        record = await world.record(receiver, job)
        assert record.job.callbacks == 100
        verdicts = [one.verdict for one in record.callbacks]
        assert verdicts.count(Verdict.ACCEPTED) == 1
        assert verdicts.count(Verdict.DUPLICATE) <= 20
        assert len([one for one in record.attempts if one.step == "dispatch"]) == 1


async def test_a_lying_wake_up_changes_only_the_time_of_the_next_fetch(world: World) -> None:
    """An unsigned callback with a wrong status and another URL starts a look at the known address, no more."""
    world.simulator.faults("netnut", "never")
    async with world.receiver() as receiver:
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        remote = world.simulator.jobs("netnut")[0].id
        lie = {"traceId": remote, "status_code": 500, "response_url": "https://attacker.example/steal"}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(world.callback_url("netnut"), json=lie)
        assert answer.status_code == 200

        async def refused() -> bool:
            found = (await world.record(receiver, job)).attempts
            return ("fetch", "refused", "fetch_refused") in [(a.step, a.outcome, a.code) for a in found]

        await until(lambda: any(one.method == "GET" for one in world.simulator.requests("netnut")))
        await until(refused)
        after = await receiver.job(job.id)
        assert after.state.rank < JobState.FETCHING.rank
        assert after.response_url == world.simulator.base_url("netnut") + f"/search/response/{remote}"


async def test_without_async_the_posted_body_is_the_result(world: World) -> None:
    """A NetNut job submitted without async gets its full result posted, and that is the result."""
    async with world.receiver() as receiver:
        job = await receiver.submit("netnut", {**REQUESTS["netnut"], "async": False})
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        callback = (await world.record(receiver, job)).callbacks[0]
        body = (await receiver.running.store.callback(callback.id)).body
        assert await receiver.running.store.result(done) == body


async def test_without_a_public_url_a_job_is_polled(world: World) -> None:
    """With no public URL nothing is asked for a callback: the job is asynchronous, and polled."""
    del world.environ["RECEIVER_PUBLIC_URL"]
    async with world.receiver() as receiver:
        done = await ended(receiver, await receiver.submit("netnut", {**REQUESTS["netnut"], "async": False}))
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.POLL)
        assert world.simulator.jobs("netnut")[0].submission.callback_url is None


async def test_a_success_after_timed_out_still_reaches_the_handlers(world: World) -> None:
    """`timed_out` is no outcome: a genuine one that comes later replaces it once and is dispatched."""
    seen: list[Job] = []
    world.simulator.faults("perplexity-webhook", "never")
    async with world.receiver(collecting(seen)) as receiver:
        job = await receiver.submit("perplexity-webhook", REQUESTS["perplexity-webhook"], deadline=0.6)
        assert (await ended(receiver, job)).state is JobState.TIMED_OUT
        world.simulator.release(world.simulator.jobs("perplexity-webhook")[0].id)

        async def replaced() -> bool:
            return (await receiver.job(job.id)).state is JobState.SUCCEEDED

        await until(replaced)
        await ended(receiver, job)
        assert [one.state for one in seen] == [JobState.TIMED_OUT, JobState.SUCCEEDED]


async def test_a_single_use_result_is_fetched_once_and_kept(world: World) -> None:
    """Pulse's large result is deleted by its first download: it is asked for once and stored whole."""
    world.simulator.faults("pulse", "large_result")
    async with world.receiver() as receiver:
        job = await receiver.submit("pulse", REQUESTS["pulse"])
        done = await ended(receiver, job)
        assert done.state is JobState.SUCCEEDED
        assert done.held is not None
        assert len(await receiver.running.store.result(done)) == done.held.size
        asked = [one for one in world.simulator.requests("pulse") if "large_results" in one.path]
        assert len(asked) == 1


async def test_an_expired_result_ends_the_job_as_expired(world: World) -> None:
    """A provider that answers 404 for two minutes after it said that it succeeded makes the job expired."""
    world.simulator.faults("perplexity-webhook", "expired", "lost")
    async with hurried(world, pace=100) as receiver:
        job = await receiver.submit("perplexity-webhook", REQUESTS["perplexity-webhook"])
        remote = world.simulator.jobs("perplexity-webhook")[0].id
        secret = receiver.running.keys.job_secret(
            job.id, receiver.running.catalog["perplexity-webhook"], master=receiver.running.keys.newest
        )
        body = f'{{"job_id": "{remote}", "status": "COMPLETED"}}'.encode()
        signature = hmac.new(secret, body, "sha256").hexdigest()
        await world.simulator.idle(timeout=60)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            headers = {"x-perplexity-signature": signature}
            answer = await client.post(
                world.callback_url("perplexity-webhook"), content=body, headers=headers
            )
        assert answer.status_code == 200
        done = await ended(receiver, job)
        assert (done.state, done.error and done.error.code) == (JobState.EXPIRED, "result_expired")


@pytest.mark.parametrize(
    ("sent", "described"),
    [("base64", 'encoding = "base64"'), ("sha256=", 'encoding = "hex"\nprefix = "sha256="')],
)
async def test_the_encoding_of_perplexitys_signature_is_a_setting(
    tmp_path: Path, sent: Literal["base64", "sha256="], described: str
) -> None:
    """The source does not say how it is written: hex by default, and a copy of the description says otherwise."""
    settings = SimulatorSettings(run_seconds=0.2, perplexity_signature=sent)
    async with Simulator(settings=settings) as simulator:
        world = World(tmp_path, simulator)
        file = tmp_path / "providers" / "perplexity-webhook.toml"
        file.write_text(
            file.read_text(encoding="utf-8").replace('\nencoding = "hex"', "\n" + described), encoding="utf-8"
        )
        async with world.receiver() as receiver:
            done = await ended(
                receiver, await receiver.submit("perplexity-webhook", REQUESTS["perplexity-webhook"])
            )
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
