"""Each rule of alarms on a real record, by a clock that is turned by hand, and what every face tells of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from receiver import Receiver, Settings
from receiver.cli import main
from receiver.cli.finding import WARN
from receiver.cli.record_checks import check_record
from receiver.core.alarms.alarm import CALM, SEVERITIES
from receiver.core.model import SECOND
from receiver.exposition import exposition
from receiver.storage import alarms
from receiver.worker.alarming import EVERY
from tests.path.alarming import CASES, FLOOR, ROOM, Scene, described
from tests.path.test_alarms import raised
from tests.storage.making import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from receiver.cli.finding import Check
    from receiver.core.alarms.alarm import Alarm
    from tests.path.alarming import Case

#: Checks of the doctor that tell what an alarm would, as it is now.
CHECKS = {
    "dead_letters": "dead letters",
    "circuit_open": "circuit mail",
    "jobs_overdue": "overdue jobs",
    "rejections_high": "quarantine acme",
    "needs_action": "action acme",
    "word_unlisted": "word acme",
}


class Watch:
    """A receiver whose rounds are made one by one, and all that tells of alarms."""

    def __init__(self, receiver: Receiver, scene: Scene, case: Case, told: Path) -> None:
        self._receiver = receiver
        self.scene = scene
        self._case = case
        self._told = told

    async def round(self) -> list[Alarm]:
        """Look once more; what is known of the alarm by then, the first first."""
        self.scene.now += EVERY
        assert await self.scene.running.alarming.round(now=self.scene.now)
        await self.scene.running.alarming.tell(now=self.scene.now)
        known = await self.scene.store.read(alarms.everything)
        return [one for one in reversed(known) if one.name == self._case.name and self._is_meant(one)]

    def _is_meant(self, one: Alarm) -> bool:
        return one.provider == self._case.provider and self._case.subject in {"", one.subject}

    def events(self) -> list[dict[str, Any]]:
        """What the sink was told."""
        lines = self._told.read_text().splitlines() if self._told.exists() else []
        events = [json.loads(line) for line in lines]
        return [one for one in events if one["source"] == f"/alarms/{self._case.name}"]

    async def metric(self) -> float | None:
        """What Prometheus is told."""
        text = exposition(await self.scene.running.gathering()).decode()
        return raised(text).get((self._case.name, self._case.provider))

    async def ready(self) -> list[dict[str, Any]]:
        """The alarms of readyz?verbose."""
        transport = httpx.ASGITransport(app=self._receiver.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            found = (await client.get("/readyz?verbose")).json()["alarms"]
        return [one for one in found if one["name"] == self._case.name]

    async def listed(self) -> list[dict[str, Any]]:
        """What ``receiver alarms list`` shows of it."""
        done = await asyncio.to_thread(CliRunner().invoke, main, ["alarms", "list", "--json"])
        return [one for one in json.loads(done.stdout)["alarms"] if one["name"] == self._case.name]

    async def doctor(self) -> list[Check]:
        """What the doctor warns of, as the record says."""
        return [one async for one in check_record(self.scene.running, None) if one.status == WARN]


@pytest.fixture
async def watch(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Watch]:
    """A receiver on a new SQLite file that knows Acme and tells a file of alarms."""
    case: Case = request.param
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "acme.toml").write_text(described())
    told = tmp_path / "alarms.jsonl"
    (tmp_path / "sinks.toml").write_text(
        f'[sinks.ops]\nto = "file://{told}"\nalarms = true\ncompletions = false\n'
    )
    environ = {
        "RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db",
        "RECEIVER_SECRET_KEY": "a master key for tests that is long enough",
        "RECEIVER_API_TOKEN": "the API token of the tests",
        "RECEIVER_PUBLIC_URL": "http://127.0.0.1:9",
        "RECEIVER_PROVIDERS_DIR": str(tmp_path / "providers"),
        "RECEIVER_SINKS": str(tmp_path / "sinks.toml"),
        "RECEIVER_DISK_FLOOR": str(FLOOR),
        "ACME_SECRET": f"{SECRET}\n{SECRET} of before",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    scenes: list[Scene] = []
    receiver = Receiver(Settings.load(environ), clock=lambda: scenes[0].now if scenes else 0)
    running = await receiver.start(worker=False)
    await running.alarming.stop()  # what it does by its own clock is done here by ours
    scenes.append(Scene(running, monkeypatch))
    scenes[0].free(ROOM)
    yield Watch(receiver, scenes[0], case, told)
    await receiver.stop()


@pytest.mark.parametrize(
    ("watch", "case"), [pytest.param(one, one, id=one.name) for one in CASES], indirect=["watch"]
)
async def test_each_alarm_is_raised_once_told_everywhere_and_cleared_once(watch: Watch, case: Case) -> None:
    """Below its limit it is not raised; between its limits it stays; a minute after its cause is gone it is cleared."""
    scene = watch.scene
    await case.below(scene)
    assert await watch.round() == []
    assert (await watch.metric(), await watch.ready(), watch.events()) == (None, [], [])

    await case.above(scene)
    (first,) = await watch.round()
    for _ in range(2):
        (again,) = await watch.round()
        assert (again.id, again.cleared_at) == (first.id, None)
    assert again.cause.endswith(".")
    assert case.provider in again.cause
    (event,) = watch.events()
    assert (event["type"], event["id"]) == ("receiver.alarm.raised.v1", f"{first.id}:raised")
    assert await watch.metric() == 1
    (listed,) = await watch.listed()
    (ready,) = await watch.ready()
    for told in (event["data"]["alarm"], listed, ready):
        assert (told["id"], told["severity"]) == (first.id, SEVERITIES[case.name])
        assert (told["provider"], told["subject"]) == (case.provider or None, first.subject or None)
        assert told["advice"] == again.advice
    assert event["data"]["alarm"]["cause"] == first.cause
    assert listed["cause"] == ready["cause"] == again.cause
    name = f"alarm {case.name} {case.provider}".rstrip()
    (check,) = [one for one in await watch.doctor() if one.name in {name, CHECKS.get(case.name)}]
    assert check.next
    assert check.name != name or (check.text, check.next) == (again.cause.rstrip("."), again.advice)

    await case.between(scene)
    for _ in range(2 * CALM // EVERY if case.between.__name__ != "nothing" else 0):
        assert [(one.id, one.cleared_at) for one in await watch.round()] == [(first.id, None)]

    await case.over(scene)
    for _ in range(CALM // EVERY):
        assert [(one.id, one.cleared_at) for one in await watch.round()] == [(first.id, None)]
    for _ in range(3):
        (cleared,) = await watch.round()
        assert cleared.cleared_at is not None
    assert [one["type"] for one in watch.events()] == [
        "receiver.alarm.raised.v1",
        "receiver.alarm.cleared.v1",
    ]
    assert watch.events()[1]["id"] == f"{first.id}:cleared"
    assert (await watch.metric(), await watch.ready()) == (0, [])
    assert await watch.listed() == []


def test_every_alarm_that_there_is_has_its_case() -> None:
    """One that is added is tried too."""
    assert {one.name for one in CASES} == set(SEVERITIES)
    assert EVERY < CALM < EVERY * SECOND
