"""The circuits of sinks: a broker that is away opens one, its return closes it, and a 410 pauses for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.storage import circuits
from tests.path.conftest import world
from tests.path.world import REQUESTS, World, ended, until
from tests.sinks import servers, sides

if TYPE_CHECKING:
    from pathlib import Path

    from receiver import Receiver
    from receiver.core.circuit import Circuit

__all__ = ["world"]

SIGNED = "perplexity-webhook"


def configured(world: World, to: str, **more: float) -> None:
    """Configure one sink."""
    lines = [f"{name} = {value}" for name, value in more.items()]
    file = world.folder / "sinks.toml"
    file.write_text("\n".join(["[sinks.jobs]", f'to = "{to}"', *lines]), encoding="utf-8")
    world.environ["RECEIVER_SINKS"] = str(file)


async def circuit(receiver: Receiver) -> Circuit | None:
    """How the sink's circuit stands."""
    found = [one for one in await receiver.running.store.registered() if one.name == "sink:jobs"]
    return found[0].circuit


async def test_a_broker_that_is_away_opens_it_and_its_return_closes_it(world: World, tmp_path: Path) -> None:
    """Nothing is lost and no attempt is used up, though each has only one."""
    (tmp_path / "broker").mkdir()
    with servers.nats(tmp_path / "broker") as server:
        side = sides.Nats(server, provider=SIGNED)
        await side.prepare()
        configured(world, side.to, attempts=1, circuit=3, first_wait=0.1, longest_wait=0.3)
        async with world.receiver() as receiver:
            server.kill()
            jobs = [await receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(5)]

            async def opened() -> bool:
                found = await circuit(receiver)
                return found is not None and found.state == "open" and found.trials > 0

            await until(opened)
            found = await circuit(receiver)
            assert found is not None
            assert found.error is not None
            assert found.error.code == "sink_away"
            server.start()
            for job in jobs:
                await ended(receiver, job)
                assert (await world.record(receiver, job)).dispatches == []
            assert await circuit(receiver) is None
            assert {name for name, _ in await side.received()} == {job.id for job in jobs}


async def test_410_pauses_a_sink_until_a_person_resumes_it(world: World, http_side: sides.Http) -> None:
    """One that wants no more is asked no more, whatever ends meanwhile; resumed, it gets everything."""
    http_side.answers.append((410, {}))
    configured(world, http_side.to, first_wait=0.05, longest_wait=0.05)
    async with world.receiver() as receiver:
        first = await receiver.submit(SIGNED, REQUESTS[SIGNED])

        async def paused() -> bool:
            found = await circuit(receiver)
            return found is not None and found.state == "paused"

        await until(paused)
        second = await receiver.submit(SIGNED, REQUESTS[SIGNED])

        async def waits() -> bool:
            return len((await world.record(receiver, second)).dispatches) == 1

        await until(waits)
        found = await circuit(receiver)
        assert found is not None
        assert found.error is not None
        assert (found.error.code, found.who) == ("sink_gone", None)
        assert len(http_side.requests) == 1
        await receiver.running.store.write(circuits.resume, "sink:jobs")
        receiver.running.notify()
        for job in (first, second):
            await ended(receiver, job)
        assert {name for name, _ in (await http_side.received())[1:]} == {first.id, second.id}
