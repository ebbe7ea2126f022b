"""A provider that never answers, and another one beside it: real processes, one on SQLite and two on PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .described import describe, replies
from .stub import Asked, Reply, stub
from .world import Process, World, until

#: Submissions to the one that hangs: many times what it may be sent at once.
HANGING = 30
#: So many are answered, and nothing is that is asked about them.
KNOWN = 6
GOOD = 6
QUIET = "from receiver import Receiver\nreceiver = Receiver()\n"


class Provider:
    """Answers at once, and counts what it is asked by kind: each job is canceled, or fetched after three polls."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.url = ""

    async def __call__(self, asked: Asked) -> Reply:
        """Answer."""
        name = asked.path.split("/")[2] if asked.path.count("/") > 1 else f"r{self.asked['submit'] + 1}"
        kind = "submit"
        if asked.path.endswith("/cancel"):
            kind = "cancel"
        elif asked.method == "GET":
            kind = "fetch" if asked.path.startswith("/big/") else "poll"
        self.asked[kind] += 1
        self.asked[f"{kind} {name}"] += 1
        match kind:
            case "fetch":
                return Reply(body=b"[1]")
            case "cancel":
                return replies({"id": name, "state": "stopped"})
            case "poll" if self.asked[f"cancel {name}"]:
                return replies({"id": name, "state": "stopped"})
            case "poll" if self.asked[f"poll {name}"] >= 3:
                return replies({"id": name, "state": "done", "result_url": f"{self.url}/big/{name}"})
        return replies({"id": name, "state": "running"})


@asynccontextmanager
async def serving(world: World, nodes: int) -> AsyncIterator[list[Process]]:
    """So many processes of one database, each at a port of its own."""
    (world.folder / "my_handlers.py").write_text(QUIET, encoding="utf-8")
    started: list[Process] = []
    try:
        for _ in range(nodes):
            own = World(world.folder, world.simulator)
            own.environ = world.environ | {"RECEIVER_PORT": str(own.port)}
            started.append(Process(own))
            await started[-1].start()
        yield started
    finally:
        for one in started:
            one.kill()


@pytest.mark.parametrize("nodes", [1, 2])
async def test_whoever_hangs_delays_nobody_else(
    world: World, nodes: int, request: pytest.FixtureRequest
) -> None:
    """One answers nothing any more; the other one's jobs are submitted, polled, fetched and canceled."""
    if nodes == 2:
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    released, inside, known = asyncio.Event(), Counter[str](), 0

    async def hang(asked: Asked) -> Reply:
        nonlocal known
        if asked.method == "POST" and known < KNOWN:
            known += 1
            return replies({"id": f"h{known}", "state": "running"})
        inside[asked.method] += 1
        await released.wait()
        return Reply(status=500)

    good = Provider()
    async with stub(hang) as bad, stub(good) as provider:
        good.url = provider.url
        describe(world, bad, name="hanging", idempotent=True)
        describe(world, provider, name="good", cancels=True)
        async with serving(world, nodes) as started:

            async def submit(name: str, number: int) -> Any:  # noqa: ANN401  (JSON)
                node = started[number % nodes]
                answer = await node.request("POST", "/v1/jobs", json={"provider": name, "request": {}})
                return answer.json()

            await asyncio.gather(*(submit("hanging", number) for number in range(KNOWN)))
            await until(lambda: inside["GET"] > 0)
            stuck = [asyncio.ensure_future(submit("hanging", number)) for number in range(HANGING)]
            try:
                await until(lambda: inside["POST"] > 0)
                jobs = await asyncio.gather(*(submit("good", number) for number in range(GOOD)))
                assert all(one["remote_id"] for one in jobs)
                for number, one in enumerate(jobs[: GOOD // 2]):
                    node = started[number % nodes]
                    assert (await node.request("DELETE", f"/v1/jobs/{one['id']}")).status_code == 202

                async def over() -> bool:
                    found = [
                        (await started[-1].request("GET", f"/v1/jobs/{one['id']}")).json() for one in jobs
                    ]
                    return sorted(one["state"] for one in found) == ["canceled"] * 3 + ["succeeded"] * 3

                await until(over)
                # Nothing that hangs had to end for that.
                assert not released.is_set()
                assert sum(not one.done() for one in stuck) > 0
                assert (good.asked["fetch"], good.asked["cancel"]) == (GOOD // 2, GOOD // 2)
            finally:
                released.set()
                for one in stuck:
                    one.cancel()
                await asyncio.gather(*stuck, return_exceptions=True)
