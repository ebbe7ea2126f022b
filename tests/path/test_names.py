"""What follows from knowing a job's name at its provider: it is asked about, canceled, and not sent again."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.core.errors import ConflictError
from receiver.core.model import Source

from .described import describe, hook, replies, signature
from .stub import Asked, Reply, Stub, stub
from .world import World, ended, until

NAME = "made-up"


class Made:
    """A provider that loses its answers to submissions."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {"id": "r1", "state": "running"}
        self.canceled = 0

    async def __call__(self, asked: Asked) -> Reply:
        """Say how the job stands, or cancel it."""
        if asked.path == "/jobs":
            raise ConnectionResetError
        if asked.path.endswith("/cancel"):
            self.canceled += 1
            self.says = {"id": "r1", "state": "stopped"}
            return replies({})
        return replies(self.says)


async def unknown(receiver: Receiver, **more: Any) -> Job:  # noqa: ANN401
    """A job whose submission nobody answered."""
    job = await receiver.submit(NAME, {}, **more)
    assert (job.state, job.submission, job.remote_id) == (JobState.SUBMITTING, "unknown", None)
    return job


async def call(provider: Stub, document: dict[str, Any], *, signed: bool = True) -> None:
    """Call back at the job's own address."""
    body = json.dumps(document).encode()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        headers = signature(body) if signed else {}
        assert (await client.post(hook(provider.asked), content=body, headers=headers)).status_code == 200


async def test_a_job_whose_name_a_callback_tells_is_asked_about(world: World) -> None:
    """The submit answer was lost, and so is the last callback: polling takes over once a callback was expected."""
    made = Made()
    async with stub(made) as provider:
        describe(world, provider, where="body", delivers="result", expected="1s", deadline="1h")
        async with world.receiver() as receiver:
            job = await unknown(receiver)
            await call(provider, {"id": "r1", "state": "running"})
            known = await receiver.job(job.id)
            assert (known.remote_id, known.state) == ("r1", JobState.RUNNING)
            made.says = {"id": "r1", "state": "done", "result": 1}
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.POLL)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "confirmed wake-up"])
async def test_the_wish_to_cancel_is_sent_once_the_name_is_known(world: World, *, signed: bool) -> None:
    """Made while nobody knew what to call the job at its provider; a callback or a look tells that."""
    made = Made()
    async with stub(made) as provider:
        describe(world, provider, where="body", signed=signed, cancels=True)
        async with world.receiver() as receiver:
            job = await unknown(receiver)
            await receiver.running.cancel(job.id)
            await asyncio.sleep(0.2)
            assert made.canceled == 0
            await call(provider, {"id": "r1", "state": "running"} if signed else {"id": "r1"}, signed=signed)
            done = await ended(receiver, job)
            assert (done.state, done.settled_by, made.canceled) == (JobState.CANCELED, Source.CANCEL, 1)


async def test_a_job_whose_name_is_known_is_not_sent_again(world: World) -> None:
    """The provider has it, although it never answered: sent again it would be billed twice."""
    made = Made()
    async with stub(made) as provider:
        describe(world, provider, where="body", signed=False)
        async with world.receiver() as receiver:
            job = await unknown(receiver)
            await call(provider, {"id": "r1"}, signed=False)

            async def known() -> bool:
                return (await receiver.job(job.id)).remote_id == "r1"

            await until(known)
            with pytest.raises(ConflictError):
                await receiver.running.store.resubmit(job.id, now=receiver.running.clock())
