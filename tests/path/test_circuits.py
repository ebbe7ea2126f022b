"""A handler that fails in a row is left alone but for one trial at a time; the first success closes its circuit."""

from typing import Any

import httpx

from receiver import Away, Job, Receiver, Retry
from receiver.storage import circuits

from .hurry import hurried
from .world import API_TOKEN, REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"


async def submitted(receiver: Receiver, many: int) -> list[Job]:
    """So many jobs."""
    return [await receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(many)]


async def standing(world: World, name: str) -> dict[str, Any]:
    """How the API shows a handler."""
    async with httpx.AsyncClient(base_url=world.url, trust_env=False, timeout=60) as client:
        answer = await client.get("/v1/handlers", headers={"authorization": f"Bearer {API_TOKEN}"})
    (found,) = [one for one in answer.json()["handlers"] if one["name"] == name]
    return dict(found)


async def test_a_circuit_opens_and_closes(world: World) -> None:
    """Broken, it is tried now and then, and no completion loses an attempt; mended, everything is handled."""
    broken, calls = True, 0

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, circuit=2, attempts=3, first_wait=2, longest_wait=2, concurrency=1)
        async def shaky(_job: Job) -> None:
            nonlocal calls
            calls += 1
            if broken:
                raise ConnectionError("the database of the user is gone")

    async with hurried(world, prepare) as receiver:
        jobs = await submitted(receiver, 6)

        async def is_open() -> bool:
            return bool((await standing(world, "shaky"))["circuit"]["state"] == "open")

        await until(is_open)
        shown = (await standing(world, "shaky"))["circuit"]
        assert shown["failures"] >= 2
        assert shown["error"]["code"] == "ConnectionError"
        # Trials fail, and go on to fail: with three attempts each they would have been used up long ago.
        begun = calls
        await until(lambda: calls >= begun + 6)

        async def is_told() -> bool:
            async with httpx.AsyncClient(base_url=world.url, trust_env=False, timeout=60) as client:
                told = (await client.get("/metrics")).text
            return 'receiver_circuit_open{handler="shaky",state="open"} 1.0' in told

        await until(is_told)
        broken = False
        for job in jobs:
            await ended(receiver, job)
            record = await world.record(receiver, job)
            assert record.dispatches == []
            assert [one.outcome for one in record.attempts if one.step == "dispatch"][-1] == "succeeded"
        assert (await standing(world, "shaky"))["circuit"]["state"] == "closed"


async def test_what_only_asks_for_another_try_opens_nothing(world: World) -> None:
    """`Retry` is what a handler wants, and one completion that nothing helps counts once: others go on."""
    calls: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, circuit=2, attempts=4, first_wait=0.1, longest_wait=0.1)
        async def asks(job: Job) -> None:
            calls.append(job.id)
            raise Retry(after=0.1)

        @receiver.on(SIGNED, circuit=2, attempts=4, first_wait=0.1, longest_wait=0.1)
        async def hopeless(_job: Job) -> None:
            raise ValueError("always")

    async with hurried(world, prepare) as receiver:
        (job,) = await submitted(receiver, 1)
        await ended(receiver, job)
        record = await world.record(receiver, job)
        assert sorted((one.handler, one.attempt, one.state) for one in record.dispatches) == [
            ("asks", 4, "dead"),
            ("hopeless", 4, "dead"),
        ]


async def test_what_is_away_opens_it_and_a_person_may_close_it(world: World) -> None:
    """`Away` counts each time, whatever it is about; paused by hand nothing is tried at all until it is resumed."""
    away, calls = True, 0

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, circuit=3, first_wait=0.2, longest_wait=60)
        async def far(_job: Job) -> None:
            nonlocal calls
            calls += 1
            if away:
                raise Away("nobody answers there")

    async with hurried(world, prepare) as receiver:
        (job,) = await submitted(receiver, 1)

        async def state() -> str:
            return str((await standing(world, "far"))["circuit"]["state"])

        async def is_open() -> bool:
            return await state() == "open"

        await until(is_open)
        headers = {"authorization": f"Bearer {API_TOKEN}"}
        async with httpx.AsyncClient(
            base_url=world.url, trust_env=False, timeout=60, headers=headers
        ) as client:
            answer = await client.post("/v1/handlers/far/pause")
            assert (answer.status_code, answer.json()["circuit"]["by"]) == (200, "API token")
            away, begun = False, calls
            assert (await receiver.running.store.read(circuits.circuits))[0].state == "paused"
            assert await state() == "paused"
            answer = await client.post("/v1/handlers/far/resume")
            assert (answer.status_code, answer.json()["circuit"]["state"]) == (200, "closed")
            assert (await client.post("/v1/handlers/nobody/pause")).json()["code"] == "handler_unknown"
        await ended(receiver, job)
        assert calls == begun + 1
        assert {
            one.code for one in (await world.record(receiver, job)).attempts if one.step == "dispatch"
        } == {
            "handler_away",
            None,
        }
