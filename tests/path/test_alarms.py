"""Alarms over real sockets: callbacks stop, somebody is told, and they come back."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from receiver import Job, Receiver
from receiver.cli import main
from receiver.core.alarms.alarm import CALM, DISK_LOW, OF_ONE_NODE, Finding
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Source
from receiver.storage import alarms
from receiver.storage.alarms import Looked
from tests.sinks.sides import Http

from .described import Clock
from .world import API_TOKEN, REQUESTS, World, ended, until


def sinks(folder: Path, text: str) -> str:
    """A file of sinks."""
    path = folder / "sinks.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


async def jobs(receiver: Receiver, provider: str, many: int) -> list[Job]:
    """Jobs from their submission to their end."""
    made = [await receiver.submit(provider, REQUESTS[provider]) for _ in range(many)]
    return [await ended(receiver, one) for one in made]


async def command(world: World, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """What a command prints."""
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    done = await asyncio.to_thread(CliRunner().invoke, main, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def raised(text: str) -> dict[tuple[str, str], float]:
    """What the metrics say of alarms."""
    return {
        (sample.labels["name"], sample.labels["provider"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "receiver_alarm"
    }


async def test_an_outage_of_callbacks_is_told_of_and_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling takes over, the alarm names the provider, everybody can see it, and a callback clears it."""
    world.cadence(every="1s", expected="1s")
    side = Http()
    world.environ["RECEIVER_SINKS"] = sinks(
        world.folder, f'[sinks.ops]\nto = "{side.to}"\nalarms = true\ncompletions = false\n'
    )
    async with (
        world.receiver() as receiver,
        httpx.AsyncClient(trust_env=False, timeout=60, base_url=world.url) as http,
    ):
        running = receiver.running
        alarming = running.alarming
        await alarming.stop()  # what it does by the clock is done here by ours
        for one in await jobs(receiver, "perplexity-webhook", 6):
            assert one.settled_by is Source.CALLBACK
        await alarming.round(now=running.clock() + MINUTE)
        assert await running.store.read(alarms.raised) == []

        for _ in range(4):
            world.simulator.faults("perplexity-webhook", "lost")
        for one in await jobs(receiver, "perplexity-webhook", 4):
            assert one.settled_by is Source.POLL
        now = running.clock() + 2 * MINUTE
        assert await alarming.round(now=now)
        assert not await alarming.round(now=now + SECOND)
        (silent,) = await running.store.read(alarms.raised)
        assert (silent.name, silent.provider) == ("callbacks_silent", "perplexity-webhook")
        assert "none of the last 4 jobs" in silent.cause
        assert "they take 30 s at most" in silent.cause

        assert await alarming.tell(now=now) == 1
        ((headers, body),) = side.requests
        told = json.loads(body)["alarm"]
        assert headers["ce-type"] == "receiver.alarm.raised.v1"
        assert (headers["ce-id"], told["provider"]) == (f"{silent.id}:raised", "perplexity-webhook")
        assert told["cause"] == silent.cause
        assert told["advice"].startswith("Ask 'receiver doctor'")

        ready = (await http.get("/readyz?verbose")).json()
        assert (ready["ready"], [one["name"] for one in ready["alarms"]]) == (True, ["callbacks_silent"])
        assert raised((await http.get("/metrics")).text) == {("callbacks_silent", "perplexity-webhook"): 1}
        api = await http.get("/v1/alarms", headers={"authorization": f"Bearer {API_TOKEN}"})
        assert [one["id"] for one in api.json()["alarms"]] == [silent.id]
        shown = await command(world, monkeypatch, "alarms", "list")
        assert "callbacks_silent perplexity-webhook (critical, raised" in shown
        assert silent.cause in shown
        checks = json.loads(await command(world, monkeypatch, "doctor", "--json"))["checks"]
        assert [one["text"] for one in checks if one["name"] == "alarm callbacks_silent perplexity-webhook"]

        await jobs(receiver, "perplexity-webhook", 1)
        now += MINUTE
        await alarming.round(now=now)
        await alarming.round(now=now + CALM)
        assert await running.store.read(alarms.raised) == []
        assert await alarming.tell(now=now + CALM) == 1
        assert side.requests[1][0]["ce-type"] == "receiver.alarm.cleared.v1"
        assert raised((await http.get("/metrics")).text) == {("callbacks_silent", "perplexity-webhook"): 0}
        assert await command(world, monkeypatch, "alarms", "list") == "No alarm is raised.\n"
        assert "cleared" in await command(world, monkeypatch, "alarms", "list", "--all")
    side.close()


async def test_a_sink_that_is_away_is_told_later(world: World) -> None:
    """What it did not take waits, across restarts, and it is told once it is back; completions do not go there."""
    side = Http()
    side.answers += [(503, {"retry-after": "0"})]
    world.environ["RECEIVER_SINKS"] = sinks(
        world.folder,
        f'[sinks.ops]\nto = "{side.to}"\nalarms = true\ncompletions = false\nfirst_wait = 1\n',
    )
    world.environ["RECEIVER_DISK_FLOOR"] = str(shutil.disk_usage(world.folder).total * 2)
    async with world.receiver() as receiver:
        await until(lambda: len(side.requests) == 1)
        assert [one.name for one in await receiver.running.store.read(alarms.raised)] == ["disk_low"]
        await jobs(receiver, "yandex", 1)
        assert await receiver.running.store.handlers() == []
    async with world.receiver() as receiver:
        await until(lambda: len(side.requests) == 2)

        async def none_left() -> bool:
            return await receiver.running.store.read(alarms.untold) == 0

        await until(none_left)
    assert {json.loads(body)["alarm"]["name"] for _, body in side.requests} == {"disk_low"}
    side.close()


async def test_a_sink_that_stays_away_is_told_for_a_day(world: World) -> None:
    """Then it is given up, after one more attempt: what it would be told has long become old."""
    clock, side = Clock(), Http()
    side.answers += [(503, {})] * 9
    world.environ["RECEIVER_SINKS"] = sinks(
        world.folder, f'[sinks.ops]\nto = "{side.to}"\nalarms = true\ncompletions = false\n'
    )
    low = Finding(name=DISK_LOW, subject="here", cause="full", advice="prune")
    async with world.receiver(clock.wind) as receiver:
        running = receiver.running
        await running.alarming.stop()
        found = Looked(
            names=OF_ONE_NODE, subject="here", findings=(low,), sinks=("ops",), now=running.clock()
        )
        await running.store.write(alarms.settle, found)
        for ahead, untold in ((0, 1), (23 * HOUR, 1), (2 * DAY, 0)):
            clock.ahead = ahead
            before = len(side.requests)
            await running.alarming.tell(now=running.clock())
            assert len(side.requests) == before + 1
            assert await running.store.read(alarms.untold) == untold
    side.close()


async def test_what_was_seen_at_a_host_that_is_gone_is_let_go(world: World) -> None:
    """Nobody is there to take it back."""
    async with world.receiver() as receiver:
        running = receiver.running
        await running.alarming.stop()
        now = running.clock()
        low = Finding(name=DISK_LOW, subject="gone-host", cause="full", advice="prune")
        await running.store.write(
            alarms.settle, Looked(names=OF_ONE_NODE, subject="gone-host", findings=(low,), now=now)
        )
        for at in (now + MINUTE, now + MINUTE + CALM):
            await running.alarming.round(now=at)
        assert await running.store.read(alarms.raised) == []


async def test_a_round_is_cheap(world: World) -> None:
    """A round of a quiet receiver asks little; a large record is measured by the bench."""
    async with world.receiver() as receiver:
        await receiver.running.alarming.stop()
        spent: list[Any] = []
        for _ in range(5):
            began = time.process_time()
            await receiver.running.alarming.findings(now=receiver.running.clock())
            spent.append(time.process_time() - began)
        assert min(spent) < 0.05
