"""No clock ends a job unasked: deadlines, retentions and our guesses, with the receiver there or away."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from receiver import Job, JobState, Receiver
from receiver.core.model import DAY, HOUR, MINUTE, Source

from .described import Clock, describe, hook, replies, signature
from .hurry import hurried
from .stub import Asked, Reply, stub
from .world import World, ended, until

NAME = "made-up"


class Made:
    """What the provider says: a document, a status, or nothing at all."""

    def __init__(self) -> None:
        self.says: dict[str, Any] | int | None = {"id": "r1", "state": "running"}

    async def __call__(self, asked: Asked) -> Reply:
        """Take a submission, or say it."""
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if self.says is None:
            raise ConnectionResetError
        return Reply(status=self.says) if isinstance(self.says, int) else replies(self.says)


DONE = {"id": "r1", "state": "done", "result": {"answer": 42}}


def collecting(seen: list[Job]) -> Any:  # noqa: ANN401
    """Have every end put into *seen*."""
    return lambda receiver: receiver.on(NAME, state="any", name="see")(seen.append)


async def submitted(receiver: Receiver, **more: Any) -> Job:  # noqa: ANN401
    """A job of the provider."""
    return await receiver.submit(NAME, {"x": 1}, **more)


@pytest.mark.parametrize("keeps", [("7d", "completion"), None], ids=["documented", "guessed"])
@pytest.mark.parametrize("away", [3 * HOUR, 30 * DAY], ids=["hours", "weeks"])
async def test_a_job_that_ended_while_the_receiver_was_away_is_asked_about(
    world: World, keeps: tuple[str, str] | None, away: int
) -> None:
    """However long after its deadline: one question first, and its answer is the outcome, told once."""
    seen: list[Job] = []
    clock, made = Clock(), Made()
    async with stub(made) as provider:
        describe(world, provider, deadline="2h", every="10m", keeps=keeps)
        async with world.receiver(clock.preparing(collecting(seen))) as receiver:
            job = await submitted(receiver)
        made.says, clock.ahead = DONE, away
        async with world.receiver(clock.preparing(collecting(seen))) as receiver:
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.POLL)
            assert [one.state for one in seen] == [JobState.SUCCEEDED]
            assert len(provider.gets()) == 1


async def test_a_provider_that_is_away_at_the_deadline_is_waited_for(world: World) -> None:
    """The first question at the deadline gets no answer; the next ones do, and the job is no loss."""
    clock, made = Clock(), Made()
    async with stub(made) as provider:
        describe(world, provider, deadline="2h", every="10m")
        async with world.receiver(clock.wind) as receiver:
            job = await submitted(receiver)
            made.says, clock.ahead = None, 3 * HOUR
            receiver.running.notify()
            await until(lambda: len(provider.gets()) >= 2)
            assert not (await receiver.job(job.id)).state.ended
            made.says = DONE
            assert (await ended(receiver, job)).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("says", "code", "told"),
    [
        (None, "deadline_passed", "no_answer"),
        (503, "deadline_passed", "status_503"),
        (401, "deadline_passed", "status_401"),
        ({"id": "r1"}, "answer_unusable", "status_missing"),
        ({**DONE, "result": "x" * 5000}, "result_too_large", "larger than RECEIVER_MAX_RESULT"),
        ({**DONE, "id": "r2"}, "deadline_passed", "answer_for_another_job"),
    ],
    ids=["silent", "broken", "refusing", "odd", "too large", "another's"],
)
async def test_a_provider_that_stays_away_ends_the_wait(
    world: World,
    says: Any,  # noqa: ANN401
    code: str,
    told: str,
) -> None:
    """Without an answer that says how the job stands: about ten minutes after the deadline, and not before.

    What came instead is told.
    """
    world.environ["RECEIVER_MAX_RESULT"] = "4096"
    made = Made()
    async with stub(made) as provider:
        describe(world, provider, deadline="2m", every="30s")
        async with hurried(world, pace=300) as receiver:
            job = await submitted(receiver)
            made.says = says
            done = await ended(receiver, job)
            assert done.error is not None
            assert (done.state, done.error.code) == (JobState.TIMED_OUT, code)
            assert told in done.error.text
            assert done.ended_at is not None
            assert 10 * MINUTE <= done.ended_at - done.deadline_at <= 25 * MINUTE


async def test_a_short_deadline_of_the_caller_is_asked_at(world: World) -> None:
    """Shorter than a callback is expected: the provider is asked before it, and at it, as everybody is."""
    made = Made()
    async with stub(made) as provider:
        describe(world, provider, where="body", expected="10m")
        async with world.receiver() as receiver:
            job = await submitted(receiver, deadline=5.0)
            await until(lambda: len(provider.gets()) >= 1)
            made.says = DONE
            assert (await ended(receiver, job)).state is JobState.SUCCEEDED


async def test_a_success_that_nobody_called_about_is_found_after_the_deadline(world: World) -> None:
    """A job that timed out is looked at rarely, and handlers hear of what is found."""
    seen: list[Job] = []
    clock, made = Clock(), Made()
    async with stub(made) as provider:
        describe(world, provider, deadline="1s", keeps=("1h", "completion"))
        async with world.receiver(clock.preparing(collecting(seen))) as receiver:
            job = await submitted(receiver)
            assert (await ended(receiver, job)).state is JobState.TIMED_OUT
            made.says, before = DONE, len(provider.gets())
            clock.ahead = 11 * MINUTE
            receiver.running.notify()

            async def replaced() -> bool:
                return (await receiver.job(job.id)).state is JobState.SUCCEEDED

            await until(replaced)
            await ended(receiver, job)
            assert len(provider.gets()) == before + 1
            assert [one.state for one in seen] == [JobState.TIMED_OUT, JobState.SUCCEEDED]


async def test_no_guess_of_ours_ends_a_result_that_was_told_of(world: World) -> None:
    """Told of a success and away for longer than we guess that results are kept: it is asked for, and there."""
    clock, made = Clock(), Made()
    made.says = None
    async with stub(made) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        describe(world, provider, where="body", every="10m")
        async with world.receiver(clock.wind) as receiver:
            job = await submitted(receiver)
            body = json.dumps({"id": "r1", "state": "done"}).encode()
            answer = await client.post(hook(provider.asked), content=body, headers=signature(body))
            assert answer.status_code == 200
        clock.ahead = 4 * DAY
        async with world.receiver(clock.wind) as receiver:
            await until(lambda: len(provider.gets()) >= 2)
            assert (await receiver.job(job.id)).state is JobState.FETCHING
            made.says = DONE
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)


async def test_a_job_that_is_given_up_leaves_the_provider_in_peace(world: World) -> None:
    """After the deadline it is asked a few times, ever more rarely, until it cannot have the result any more."""
    made = Made()
    async with stub(made) as provider:
        describe(world, provider, deadline="1m", every="20s", keeps=("2h", "completion"))
        async with hurried(world, pace=2000) as receiver:
            job = await ended(receiver, await submitted(receiver))
            assert job.state is JobState.TIMED_OUT

            async def over() -> bool:
                return not (await world.record(receiver, job)).due

            await until(over)
            asked = len(provider.gets())
            assert 4 <= asked <= 16
            await asyncio.sleep(0.5)
            assert len(provider.gets()) == asked


async def test_a_lost_callback_is_missed_as_soon_as_others_would_have_come(world: World) -> None:
    """Jobs took seconds lately: one whose callback is lost is looked after in half a minute, not in an hour."""
    clock, made = Clock(), Made()
    async with stub(made) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        describe(world, provider, where="body", delivers="result", expected="1h", deadline="6h")
        async with world.receiver(clock.wind) as receiver:
            for n in range(3):
                job = await submitted(receiver)
                clock.ahead += 5000
                body = json.dumps({"id": "r1", "state": "done", "result": n}).encode()
                url = json.loads(provider.asked[-1].body)["hook"]
                assert (await client.post(url, content=body, headers=signature(body))).status_code == 200
                assert (await ended(receiver, job)).settled_by is Source.CALLBACK
            clock.ahead += 1000
            job = await submitted(receiver)
            (due,) = (await world.record(receiver, job)).due
            assert job.submitted_at is not None
            assert 30_000 <= due.run_at - job.submitted_at <= 31_000
            made.says, clock.ahead = DONE, clock.ahead + 31_000
            receiver.running.notify()
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.POLL)


async def test_a_description_may_go_once_its_jobs_have_ended(world: World) -> None:
    """One that timed out is still to be looked at: the receiver starts all the same, and says so once."""
    clock = Clock()
    async with stub(Made()) as provider:
        describe(world, provider, deadline="1s")
        async with world.receiver(clock.wind) as receiver:
            job = await submitted(receiver)
            assert (await ended(receiver, job)).state is JobState.TIMED_OUT
        (Path(world.environ["RECEIVER_PROVIDERS_DIR"]) / f"{NAME}.toml").unlink()
        clock.ahead = DAY
        with capture_logs() as lines:
            async with world.receiver(clock.wind) as receiver:
                for _ in range(20):
                    receiver.running.notify()
                    await asyncio.sleep(0.02)
                assert (await receiver.job(job.id)).state is JobState.TIMED_OUT
        assert [one["provider"] for one in lines if one["event"] == "provider_undescribed"] == [NAME]
