"""A 404 is not believed at once: replicas lag, addresses run out, and a status may be older than its own callback."""

import json
from typing import Any

import httpx
import pytest

from receiver import JobState
from receiver.core.model import Source

from .described import Clock, describe, hook, replies, signature
from .hurry import hurried
from .stub import Asked, Reply, Stub, stub
from .world import World, ended, until

NAME = "made-up"
RUNNING = {"id": "r1", "state": "running"}
DONE = {"id": "r1", "state": "done", "result": {"answer": 42}}


async def call(provider: Stub, document: dict[str, Any]) -> int:
    """Call back, signed; the answer's status."""
    body = json.dumps(document).encode()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return (await client.post(hook(provider.asked), content=body, headers=signature(body))).status_code


async def test_a_404_at_the_status_after_a_signed_success_is_asked_again(world: World) -> None:
    """The replica that we ask does not know of the job for a moment: the result is taken from the next answer."""
    answers = [Reply(status=404), Reply(status=404), replies(DONE)]

    async def answer(asked: Asked) -> Reply:
        return replies({"id": "r1", "state": "queued"}) if asked.method == "POST" else answers.pop(0)

    async with stub(answer) as provider:
        describe(world, provider, where="body", keeps=("7d", "completion"))
        async with hurried(world) as receiver:
            job = await receiver.submit(NAME, {})
            assert await call(provider, {"id": "r1", "state": "done"}) == 200
            done = await ended(receiver, job)
            assert (done.state, done.settled_by, answers) == (JobState.SUCCEEDED, Source.CALLBACK, [])


async def test_a_404_at_the_result_is_asked_again_at_a_fresh_address(world: World) -> None:
    """The provider is polled in between, and the address that it names then is the one that is asked."""

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path.startswith("/results/"):
            return replies({"answer": 42}) if asked.path.endswith("/3") else Reply(status=404)
        polls = sum(one.path == "/jobs/r1" for one in provider.asked)
        return replies({"id": "r1", "state": "done", "result_url": f"{provider.url}/results/{polls}"})

    async with stub(answer) as provider:
        describe(world, provider, where="body", keeps=("7d", "completion"))
        async with hurried(world) as receiver:
            job = await receiver.submit(NAME, {})
            assert await call(provider, {"id": "r1", "state": "done"}) == 200
            done = await ended(receiver, job)
            assert done.state is JobState.SUCCEEDED
            assert await receiver.running.store.result(done) == b'{"answer": 42}'
            paths = [one.path for one in provider.gets()]
            assert paths == [part for n in (1, 2, 3) for part in ("/jobs/r1", f"/results/{n}")]


async def test_a_404_does_not_use_up_an_address_that_can_be_used_once(world: World) -> None:
    """Nothing was given away: asked again at the same address, which is all that the provider names."""
    answers = [Reply(status=404), replies({"answer": 42})]

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path.startswith("/results/"):
            return answers.pop(0)
        return replies({"id": "r1", "state": "done", "result_url": f"{provider.url}/results/1"})

    async with stub(answer) as provider:
        describe(world, provider, where="body", fetch="single_use = true")
        async with hurried(world) as receiver:
            job = await receiver.submit(NAME, {})
            assert await call(provider, {"id": "r1", "state": "done"}) == 200
            done = await ended(receiver, job)
            assert (done.state, answers) == (JobState.SUCCEEDED, [])


@pytest.mark.parametrize(
    ("status", "patience", "looks", "seconds"),
    [(404, "2m", (4, 9), 120), (404, "10s", (3, 6), 10), (410, "2m", (1, 1), 0)],
    ids=["404", "404 where it is set", "410"],
)
async def test_what_stays_away_is_expired(
    world: World, status: int, patience: str, looks: tuple[int, int], seconds: int
) -> None:
    """A 404 once it was asked again for as long as the description says, two minutes by default; a 410 at once."""

    async def answer(asked: Asked) -> Reply:
        return replies({"id": "r1", "state": "queued"}) if asked.method == "POST" else Reply(status=status)

    async with stub(answer) as provider:
        describe(world, provider, where="body", fetch=f'patience = "{patience}"')
        async with hurried(world, pace=60) as receiver:
            job = await receiver.submit(NAME, {})
            assert await call(provider, {"id": "r1", "state": "done"}) == 200
            done = await ended(receiver, job)
            assert (done.state, done.error and done.error.code) == (JobState.EXPIRED, "result_expired")
            assert done.ended_at is not None
            assert done.succeeded_at is not None
            assert seconds * 1000 <= done.ended_at - done.succeeded_at
            assert looks[0] <= len(provider.gets()) <= looks[1]


@pytest.mark.parametrize("late", [False, True], ids=["open", "timed out"])
async def test_a_status_that_lags_behind_its_own_wake_up_is_followed(world: World, *, late: bool) -> None:
    """The provider calls, and says "running" for seconds to come: it is asked again soon, and the job is no loss."""
    clock, lag = Clock(), [9]

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        lag[0] -= 1
        return replies(DONE if lag[0] < 0 else RUNNING)

    async with stub(answer) as provider:
        describe(world, provider, where="body", signed=False, every="1h", expected="1h", deadline="6h")
        async with world.receiver(clock.wind) as receiver:
            job = await receiver.submit(NAME, {})
            if late:
                job = await receiver.running.store.abandon(job.id, now=clock())
                clock.ahead = 3 * 86_400_000
            lag[0] = 2
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                assert (await client.post(hook(provider.asked), json={"id": "r1"})).status_code == 200

            async def over() -> bool:
                return (await receiver.job(job.id)).state is JobState.SUCCEEDED

            await until(over)
            done = await receiver.job(job.id)
            assert (done.settled_by, len(provider.gets())) == (Source.CALLBACK, 3)


async def test_a_wake_up_that_is_never_borne_out_is_let_be(world: World) -> None:
    """After a few minutes the provider is asked no more often than before, whoever sent the wake-up."""

    async def answer(asked: Asked) -> Reply:
        return replies({"id": "r1", "state": "queued"} if asked.method == "POST" else RUNNING)

    async with stub(answer) as provider:
        describe(world, provider, where="body", signed=False, every="1h", expected="1h", deadline="6h")
        async with hurried(world, pace=200) as receiver:
            job = await receiver.submit(NAME, {})
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                assert (await client.post(hook(provider.asked), json={"id": "r1"})).status_code == 200

            async def let_be() -> bool:
                return len(provider.gets()) > 0 and (await receiver.job(job.id)).woken_by is None

            await until(let_be)
            assert len(provider.gets()) <= 12
            (due,) = (await world.record(receiver, job)).due
            assert due.run_at > receiver.running.clock() + 30 * 60_000
            assert not (await receiver.job(job.id)).state.ended
