"""What a killed process, a cut connection and a restart cost: nothing."""

import asyncio
import hmac
from typing import Any

import httpx
import pytest

from receiver.core.signature.token import job_secret, master_key

from .world import MASTER_KEY, REQUESTS, Process, World, until

COUNTING = """
import os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(state="any", name="count", first_wait=0.1)
def count(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{job.id} {job.state}\\n")
"""
SLOW = COUNTING.replace(
    "def count(job):", "def count(job):\n    time.sleep(float(os.environ.get('PAUSE', '30')))"
)


async def submit(process: Process, provider: str) -> dict[str, Any]:
    """Submit through the API; what it answers."""
    answer = await process.request(
        "POST", "/v1/jobs", json={"provider": provider, "request": REQUESTS[provider]}
    )
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def state(process: Process, job_id: str) -> str:
    """The job's state, by the API."""
    return str((await process.request("GET", f"/v1/jobs/{job_id}")).json()["state"])


def runs(world: World, job_id: str) -> int:
    """How often the handler has run for a job."""
    text = world.runs.read_text(encoding="utf-8") if world.runs.exists() else ""
    return sum(line.startswith(job_id) for line in text.splitlines())


async def test_kill_between_ack_and_handler_loses_nothing(world: World) -> None:
    """A kill -9 after the 200 and before the handler has finished: the next process runs it to its end."""
    async with world.process(SLOW) as process:
        job = await submit(process, "perplexity-webhook")

        async def acknowledged() -> bool:
            return any(one.status == 200 for one in world.simulator.callbacks("perplexity-webhook"))

        await until(acknowledged)
        process.kill()
        assert runs(world, job["id"]) == 0
        (world.folder / "my_handlers.py").write_text(COUNTING, encoding="utf-8")
        await process.start()
        assert await state(process, job["id"]) == "succeeded"
        await until(lambda: runs(world, job["id"]) == 1)
        assert len(world.simulator.jobs("perplexity-webhook")) == 1


async def test_a_restart_resumes_fetches_and_polls(world: World) -> None:
    """Jobs that were waiting for a poll or a fetch when the process died go on in the next one."""
    # The simulator may give its callback up while nobody listens; then it is polling that goes on.
    world.cadence(expected="1s")
    async with world.process(COUNTING) as process:
        world.simulator.faults("netnut", {"name": "poll_5xx", "times": 2})
        polled = await submit(process, "yandex")
        fetched = await submit(process, "netnut")
        process.kill()
        await process.start()
        for job in (polled, fetched):

            async def over(job_id: str = job["id"]) -> bool:
                return runs(world, job_id) >= 1

            await until(over)
            assert await state(process, job["id"]) == "succeeded"


async def test_a_callback_while_nobody_listens_is_taken_at_the_next_try(world: World) -> None:
    """The provider's retry after our restart finds its address valid: tokens are derived, not remembered."""
    world.simulator.faults("perplexity-webhook", "lost")
    async with world.process(COUNTING) as process:
        job = await submit(process, "perplexity-webhook")
        remote = world.simulator.jobs("perplexity-webhook")[0].id
        process.kill()
        await process.start()
        secret = job_secret(job["id"], provider="perplexity-webhook", key=master_key(MASTER_KEY)).hex()
        body = f'{{"job_id":"{remote}","status":"COMPLETED","response":{{"choices":[]}}}}'.encode()
        signature = hmac.new(secret.encode(), body, "sha256").hexdigest()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(
                world.callback_url("perplexity-webhook"),
                content=body,
                headers={"x-perplexity-signature": signature},
            )
        assert answer.status_code == 200
        await until(lambda: runs(world, job["id"]) == 1)


@pytest.mark.parametrize(("provider", "sent"), [("netnut", 1), ("perplexity", 2)])
async def test_a_crash_between_post_and_answer_bills_once(world: World, provider: str, sent: int) -> None:
    """NetNut takes no idempotency key, so nothing is sent again; Perplexity does, and knows the repetition.

    Without an answer NetNut's job goes on by its callback: the token in its URL is all that is needed.
    """
    # It ends once somebody listens again: a callback is given up after a while.
    world.simulator.faults(provider, {"name": "submit_slow", "seconds": 3}, "never")

    def posts() -> int:
        return sum(one.method == "POST" for one in world.simulator.requests(provider))

    async with world.process(COUNTING) as process:
        sending = asyncio.create_task(submit(process, provider))
        await until(lambda: posts() > 0)
        process.kill()
        await asyncio.wait({sending})
        sending.exception()
        await process.start()
        (taken,) = world.simulator.jobs(provider)
        world.simulator.release(taken.id)

        async def settled() -> bool:
            listed = (await process.request("GET", "/v1/jobs")).json()["jobs"]
            return bool(listed) and listed[0]["state"] == "succeeded"

        await until(settled)
        assert len(world.simulator.jobs(provider)) == 1
        assert posts() == sent


async def test_an_answer_that_never_came_bills_once(world: World) -> None:
    """The provider took the job and cut the connection: the job waits for its callback, and is not sent again."""
    world.simulator.faults("netnut", "submit_drop")
    async with world.receiver() as receiver:
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        assert (job.state, job.submission) == ("submitting", "unknown")

        async def succeeded() -> bool:
            return (await receiver.job(job.id)).state == "succeeded"

        await until(succeeded)
        assert len(world.simulator.jobs("netnut")) == 1
        assert (await receiver.job(job.id)).remote_id == world.simulator.jobs("netnut")[0].id


async def test_sigterm_drains_and_exits_within_ten_seconds(world: World) -> None:
    """SIGTERM: a running handler finishes, its lease is given back, and the process ends with 0."""
    begun = world.folder / "begun"
    slow = SLOW.replace("'30'", "'1.5'").replace(
        "    time.sleep(", '    Path("begun").touch()\n    time.sleep(', 1
    )
    async with world.process(slow) as process:
        job = await submit(process, "perplexity-webhook")
        await until(begun.exists)
        assert process.running is not None
        process.running.terminate()
        assert await asyncio.to_thread(process.running.wait, 10) == 0
        assert runs(world, job["id"]) == 1
