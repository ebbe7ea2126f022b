"""What is tried again is tried a last time: submissions, cancellations, and how long a provider is left alone."""

from contextlib import AsyncExitStack

import pytest

from receiver import Job, JobState, Receiver
from receiver.core.model import MINUTE
from tests.ports import free_port

from .described import Clock, describe, replies
from .hurry import hurried
from .stub import Asked, Reply, stub
from .world import World, ended, until

PACE = 100


@pytest.mark.parametrize("nobody", [True, False], ids=["nobody listens", "too busy"])
async def test_a_submission_is_tried_ten_times(world: World, *, nobody: bool) -> None:
    """It surely did not arrive, ten times over: then the job has failed, and its caller can know that."""

    async def busy(_: Asked) -> Reply:
        return Reply(status=429)

    async with stub(busy) as provider:
        describe(world, provider, deadline="10d")
        if nobody:
            world.environ["RECEIVER_MADE_UP_BASE_URL"] = f"http://127.0.0.1:{free_port()}"
        async with hurried(world, pace=PACE) as receiver:
            job = await ended(receiver, await receiver.submit("made-up", {}))
            tried = [one for one in (await world.record(receiver, job)).attempts if one.step == "submit"]
            # It was put off meanwhile, where the provider was left alone: that uses nothing up.
            tried = [one for one in tried if one.code != "provider_busy"]
            assert job.state is JobState.FAILED
            assert len(tried) == 10
            assert (await world.record(receiver, job)).due == []
            if not nobody:
                assert len(provider.asked) == 10


@pytest.mark.parametrize("lost", [False, True], ids=["put off", "perhaps taken"])
async def test_a_submission_waits_no_longer_than_its_deadline(world: World, *, lost: bool) -> None:
    """Put off for an hour by the provider: it was not bought, and the job says so, unless an answer was lost before."""

    async def busy(_: Asked) -> Reply:
        if lost and len(provider.asked) == 1:
            raise ConnectionResetError
        return Reply(status=429, headers={"retry-after": "3600"})

    async with stub(busy) as provider:
        describe(world, provider, deadline="2m", idempotent=True)
        async with hurried(world, pace=PACE) as receiver:
            job = await ended(receiver, await receiver.submit("made-up", {}))
            end = (JobState.TIMED_OUT, "deadline_passed") if lost else (JobState.FAILED, "never_accepted")
            assert (job.state, job.error and job.error.code) == end
            assert job.submission == ("unknown" if lost else "refused")
            # A provider that asks for patience is left alone for a quarter of an hour, whatever is due.
            assert job.ended_at is not None
            assert 0 <= job.ended_at - job.deadline_at <= 17 * MINUTE
            sent = [one for one in provider.asked if one.method == "POST"]
            assert len(sent) == 1 + lost


async def test_a_cancellation_is_tried_eight_times(world: World) -> None:
    """The provider takes it at no time: after eight attempts it hears no more of it, and the job goes on."""

    async def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/cancel"):
            return Reply(status=503)
        return replies({"id": "r1", "state": "running"})

    def sent() -> int:
        return len([one for one in provider.asked if one.path.endswith("/cancel")])

    async with stub(answer) as provider:
        describe(world, provider, deadline="10d", every="1h", cancels=True)
        async with hurried(world, pace=PACE) as receiver:
            job = await receiver.submit("made-up", {})
            await receiver.running.cancel(job.id)

            async def over() -> bool:
                steps = {one.step.value for one in (await world.record(receiver, job)).due}
                return steps == {"look"}

            await until(over)
            assert sent() == 8
            assert not (await receiver.job(job.id)).state.ended


async def test_a_cancellation_ends_with_its_job(world: World) -> None:
    """The job ends while the provider goes on to refuse: it is not asked to cancel what is over."""

    async def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/cancel"):
            return Reply(status=503)
        return replies({"id": "r1", "state": "running"} | says)

    def sent() -> int:
        return len([one for one in provider.asked if one.path.endswith("/cancel")])

    says: dict[str, object] = {}
    async with stub(answer) as provider:
        describe(world, provider, deadline="10d", every="10s", cancels=True)
        async with hurried(world, pace=PACE) as receiver:
            job = await receiver.submit("made-up", {})
            await receiver.running.cancel(job.id)
            await until(lambda: sent() >= 2)
            says |= {"state": "done", "result": 1}
            done = await ended(receiver, job)
            assert (done.state, (await world.record(receiver, job)).due) == (JobState.SUCCEEDED, [])
            assert sent() < 8


@pytest.mark.parametrize("restarts", [False, True], ids=["served all the time", "restarted past it"])
async def test_a_submission_of_unknown_outcome_waits_for_its_deadline(
    world: World, *, restarts: bool
) -> None:
    """Nobody can be asked about it and nobody calls: it ends then, is sent no second time, and handlers are told."""
    clock, seen = Clock(), list[JobState]()

    async def answer(_: Asked) -> Reply:
        raise ConnectionResetError

    def prepare(receiver: Receiver) -> None:
        clock.wind(receiver)

        @receiver.on(state="any", name="all")
        async def note(job: Job) -> None:
            seen.append(job.state)

    async with stub(answer) as provider, AsyncExitStack() as serving:
        describe(world, provider, where="body", deadline="2h")
        receiver = await serving.enter_async_context(world.receiver(prepare))
        job = await receiver.submit("made-up", {})
        assert (job.state, job.submission) == (JobState.SUBMITTING, "unknown")
        clock.ahead = job.deadline_at - job.created_at - 5 * MINUTE
        receiver.running.notify()
        assert not (await receiver.job(job.id)).state.ended
        if restarts:
            await serving.aclose()
        clock.ahead += 5 * MINUTE
        if restarts:
            receiver = await serving.enter_async_context(world.receiver(prepare))
        receiver.running.notify()
        done = await ended(receiver, job)
        assert (done.state, done.error and done.error.code) == (JobState.TIMED_OUT, "deadline_passed")
        assert seen == [JobState.TIMED_OUT]
        assert len(provider.asked) == 1


async def test_a_provider_is_left_alone_for_a_quarter_of_an_hour_at_most(world: World) -> None:
    """It names a day: other jobs of it are not held up for longer than that."""
    at: list[int] = []

    async def answer(asked: Asked) -> Reply:
        at.append(receiver.running.clock())
        if len(at) == 2:
            return Reply(status=429, headers={"retry-after": "86400"})
        return replies(
            {"id": asked.path.rsplit("/")[-1] if asked.method == "GET" else "r1", "state": "running"}
        )

    async with stub(answer) as provider:
        describe(world, provider, deadline="10d", every="10s")
        async with hurried(world, pace=PACE) as receiver:
            await receiver.submit("made-up", {})
            await until(lambda: len(at) == 2)
            assert provider.gets()
            await receiver.submit("made-up", {})
            await until(lambda: len(at) >= 3)
            assert 14 * MINUTE <= at[2] - at[1] <= 20 * MINUTE
