"""More open jobs than a provider may be asked about: each has its turn, and what was asked for waits for none."""

import json
from typing import Final

import pytest

from receiver import JobState

from .stub import Asked, Reply, stub
from .world import World, until

#: Keeps results for so long after the submission, and may be asked ten times a second about jobs that want to be polled
#: four times as often.
DESCRIPTION: Final = """
name = "slow"
title = "Slow"
origins = ["https://slow.example"]
deadline = "{deadline}"
sources = [{{ url = "https://slow.example/docs", read = "2026-11-29" }}]

[submit]
url = "https://slow.example/jobs"
answer = "job"

[poll]
url = ["https://slow.example/jobs/{{id}}"]
answer = "job"
every = "1s"
longest = "1s"

[cancel]
url = "https://slow.example/jobs/{{id}}/cancel"

[retention]
keeps = "{keeps}"
counted_from = "submission"

[limits]
rate = 10
concurrency = 4

[shapes.job]
id = ["id"]
status = "state"
states = {{ running = "running", done = "succeeded", stopped = "canceled" }}
result = "result"
"""
_JOBS: Final = 40


@pytest.mark.parametrize(("deadline", "keeps"), [("2h", "12h"), ("1m", "30s")])
async def test_jobs_that_run_for_ever_do_not_hold_up_those_that_are_done(
    world: World, deadline: str, keeps: str
) -> None:
    """Whether deletion is far or near: the later half is done all along, and is found out; a wish to cancel is sent."""
    (world.folder / "providers" / "slow.toml").write_text(DESCRIPTION.format(deadline=deadline, keeps=keeps))
    asked: list[str] = []
    #: How often the provider had been asked by then.
    cancelled: list[int] = []

    async def slow(one: Asked) -> Reply:
        if one.path.endswith("/cancel"):
            cancelled.append(len(provider.gets()))
            return Reply(body=b'{"id": "r1", "state": "stopped"}')
        if one.method == "POST":
            asked.append(f"r{len(asked)}")
            return Reply(body=json.dumps({"id": asked[-1], "state": "running"}).encode())
        name = one.path.rpartition("/")[2]
        state = "running" if int(name[1:]) < _JOBS // 2 else "done"
        return Reply(body=json.dumps({"id": name, "state": state, "result": [1]}).encode())

    async with stub(slow) as provider:
        world.environ["RECEIVER_SLOW_BASE_URL"] = provider.url
        async with world.receiver() as receiver:
            jobs = [await receiver.submit("slow", {}) for _ in range(_JOBS)]
            await until(lambda: len(provider.gets()) >= _JOBS // 2)
            before = len(provider.gets())
            await receiver.running.cancel(jobs[1].id)
            await until(lambda: bool(cancelled))
            # As many as it may be sent in two seconds.
            assert cancelled[0] - before <= 20

            async def done() -> bool:
                found = [(await receiver.job(one.id)).state for one in jobs[_JOBS // 2 :]]
                return set(found) <= {JobState.SUCCEEDED}

            await until(done, pause=0.2)
