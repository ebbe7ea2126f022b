"""What raises each alarm, keeps it, and ends it, in a record whose clock is turned by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from receiver.core.alarms import alarm
from receiver.core.asking.exchange import Seen
from receiver.core.circuit import Sign
from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.file import Download
from receiver.core.handler import HandlerSpec
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Failure, JobState, Observation
from receiver.core.reading.observation import WORD_UNLISTED
from receiver.storage import circuits, files, tally
from receiver.storage.dispatches import DispatchSettled
from receiver.storage.nodes import Node
from receiver.storage.settlements import timeline
from receiver.storage.tally import Tallied
from tests.core.making import NOW, SIGNED, description
from tests.storage.making import ACME, DONE, Desk, arrival, callback

if TYPE_CHECKING:
    import pytest

    from receiver.core.model import Job
    from receiver.running import Running

GIB: Final = 1 << 30
#: So much is free on every disk, and the floor that the receiver is given.
ROOM: Final = 100 * GIB
FLOOR: Final = 4 * GIB


class Scene(Desk):
    """A record, and the time."""

    def __init__(self, running: Running, patch: pytest.MonkeyPatch) -> None:
        super().__init__(running.store)
        self.running = running
        self.now = NOW
        self._patch = patch
        self.job: Job | None = None

    def free(self, size: int) -> None:
        """Have so many bytes be free on every disk: nobody fills a real one for a test."""
        usage = type(shutil.disk_usage("/"))(ROOM, ROOM - size, size)
        self._patch.setattr(shutil, "disk_usage", lambda _: usage)

    async def later(self, by: int) -> None:
        """Let time pass."""
        self.now += by

    async def asked(self, count: int) -> None:
        """So many jobs, none of which is called back for."""
        for _ in range(count):
            self.now += SECOND
            self.job = await self.submitted(remote_id=f"r{self.now}", created_at=self.now)

    async def ended(self, many: int = 1) -> None:
        """So many jobs that were called back for."""
        for _ in range(many):
            await self.asked(1)
            assert self.job is not None
            await self.call(self.job, DONE, at=self.now)

    async def counted(self, **words: int) -> None:
        """So many callbacks with these verdicts."""
        some = [Tallied(kind="callback", provider="acme", word=word, count=n) for word, n in words.items()]
        await self.store.write(tally.add, ("n", self.now, some))

    async def handler(self, name: str = "mail") -> None:
        """A handler that some node has."""
        node = Node(name="n", role="serve", handlers=(HandlerSpec(name=name),))
        await self.store.join(node, only=False, now=self.now)

    async def failed(self, **more: Sign) -> None:
        """What waits for the handler has its last attempt, in vain."""
        for dispatch, _ in await self.work("mail", at=self.now):
            log = timeline(
                dispatch.job_id,
                step="dispatch",
                started_at=self.now,
                now=self.now,
                outcome="failed",
                handler="mail",
            )
            retry_at = self.now + HOUR if more else None
            error = Failure(code="ValueError", text="trace")
            settled = DispatchSettled(dispatch=dispatch, log=log, error=error, retry_at=retry_at, **more)
            assert await self.store.settle_dispatches([settled]) == [True]

    async def seen(self, word: str, attention: str) -> None:
        """The provider answers with a word that somebody should look at."""
        self.now += MINUTE
        await self.look(
            Seen(seen=Observation(state=JobState.RUNNING, word=word, attention=attention)), at=self.now
        )

    def proved(self, key: str) -> None:
        """The newest callback was proved by a key."""
        assert self.job is not None
        with self.store.driver.write() as tx:
            tx.run("UPDATE callback SET key_id = :key WHERE job_id = :job", {"key": key, "job": self.job.id})


Deed: TypeAlias = Callable[[Scene], Awaitable[None]]


class Case(NamedTuple):
    """How one alarm is raised and ended; ``below`` comes first and raises nothing, ``between`` keeps it."""

    name: str
    provider: str
    subject: str
    below: Deed
    above: Deed
    between: Deed
    over: Deed


async def nothing(_: Scene) -> None:
    """Where a rule has no band, time alone passes."""


def then(*deeds: Deed) -> Deed:
    """One after the other."""

    async def all_of(scene: Scene) -> None:
        for one in deeds:
            await one(scene)

    return all_of


def wait(by: int) -> Deed:
    """Let time pass."""
    return lambda scene: scene.later(by)


async def _rejected(scene: Scene) -> None:
    await scene.store.ingest(arrival(callback(ACME, DONE, rejected="signature_mismatch", at=scene.now)))
    await scene.counted(rejected=1, accepted=9)


async def _notified(scene: Scene) -> None:
    scene.job = await scene.submitted(created_at=scene.now, keep_ms=3 * HOUR)
    await scene.call(scene.job, {"status": "done", "result_url": "https://api.acme.example/r"}, at=scene.now)


async def _urgent(scene: Scene) -> None:
    ((urgent_at,),) = scene.rows("SELECT urgent_at FROM due WHERE step = 'look'")
    scene.now = urgent_at + 2 * MINUTE


async def _linked(scene: Scene, state: str, code: str | None) -> None:
    scene.job = await scene.submitted(created_at=scene.now)
    link = Download(
        job_id=scene.job.id,
        number=1,
        provider="acme",
        url="https://files.acme.example/1",
        origin="https://files.acme.example",
        largest=1,
        run_at=scene.now,
        expires_at=scene.now + 2 * HOUR,
    )
    with scene.store.driver.write() as tx:
        if state == "waiting":
            tx.insert("download", files.DOWNLOAD.columns, [files.DOWNLOAD.row(link)])
        row = (scene.job.id, 1, state, "a", "b", "c", code)
        tx.insert("file", "job_id, number, state, name, place, source, code", [row])


async def _fetched(scene: Scene) -> None:
    with scene.store.driver.write() as tx:
        tx.run("DELETE FROM download")


async def _discarded(scene: Scene) -> None:
    ((job_id, _),) = scene.rows("SELECT job_id, handler FROM dispatch WHERE state = 'dead'")
    (dead,) = (await scene.store.record(job_id)).dispatches
    assert await scene.store.discard_dispatch(dead, now=scene.now)


async def _resumed(scene: Scene) -> None:
    assert await scene.store.write(circuits.resume, "mail")


async def _abandoned(scene: Scene) -> None:
    assert scene.job is not None
    await scene.store.abandon(scene.job.id, now=scene.now)


async def _served(scene: Scene) -> None:
    for dispatch, _ in await scene.work("mail", at=scene.now):
        await scene.finish(dispatch, at=scene.now)


async def _replaced(scene: Scene) -> None:
    names = [one.id for one in scene.running.keys.verifying(ACME, job_id=None, master=None)]
    for at, key in ((0, 0), (2 * DAY, 1), (26 * HOUR, 0)):
        scene.now += at
        await scene.ended()
        scene.proved(names[1 - key])


async def _proved_anew(scene: Scene) -> None:
    await scene.ended()
    scene.proved(scene.running.keys.verifying(ACME, job_id=None, master=None)[0].id)


def _disk(size: int) -> Deed:
    async def free(scene: Scene) -> None:
        scene.free(size)

    return free


def _worker(name: str) -> Deed:
    return lambda scene: scene.store.join(Node(name=name, role="worker"), only=False, now=scene.now)


def _cases() -> list[Case]:
    asked: Deed = lambda scene: scene.asked(1)  # noqa: E731  (a name says what it is)
    ended: Deed = lambda scene: scene.ended()  # noqa: E731
    failed: Deed = lambda scene: scene.failed()  # noqa: E731
    handler: Deed = lambda scene: scene.handler()  # noqa: E731
    attention = {
        word: (lambda scene, word=word: scene.seen("held", word)) for word in (NEEDS_ACTION, WORD_UNLISTED)
    }
    opens = Sign(word="fails", most=1, wait=HOUR)
    return [
        Case(
            alarm.CALLBACKS_SILENT,
            "acme",
            "",
            below=then(lambda scene: scene.ended(6), wait(MINUTE), asked, asked, wait(MINUTE)),
            above=then(asked, wait(MINUTE)),
            between=nothing,
            over=ended,
        ),
        Case(
            alarm.REJECTIONS_HIGH,
            "acme",
            "",
            below=_rejected,
            above=lambda scene: scene.counted(rejected=9),
            between=lambda scene: scene.counted(accepted=50),
            over=lambda scene: scene.counted(accepted=100),
        ),
        Case(
            alarm.RESULTS_EXPIRING,
            "acme",
            "",
            below=_notified,
            above=_urgent,
            between=nothing,
            over=_abandoned,
        ),
        Case(
            alarm.FILES_EXPIRING,
            "acme",
            "",
            below=then(lambda scene: _linked(scene, "waiting", None), wait(HOUR - SECOND)),
            above=wait(2 * MINUTE),
            between=nothing,
            over=_fetched,
        ),
        Case(
            alarm.FILES_LOST,
            "acme",
            "",
            below=lambda scene: _linked(scene, "stored", None),
            above=then(wait(SECOND), lambda scene: _linked(scene, "lost", "file_gone")),
            between=nothing,
            over=wait(DAY + SECOND),
        ),
        Case(
            alarm.DEAD_LETTERS,
            "acme",
            "mail",
            below=then(handler, ended),
            above=failed,
            between=nothing,
            over=_discarded,
        ),
        Case(
            alarm.CIRCUIT_OPEN,
            "",
            "mail",
            below=then(handler, ended),
            above=lambda scene: scene.failed(sign=opens),
            between=nothing,
            over=_resumed,
        ),
        Case(
            alarm.JOBS_OVERDUE,
            "acme",
            "",
            below=then(asked, wait(2 * HOUR)),
            above=wait(20 * MINUTE),
            between=nothing,
            over=_abandoned,
        ),
        Case(
            alarm.BACKLOG_OLD,
            "",
            "mail",
            below=then(handler, ended, wait(2 * MINUTE)),
            above=wait(4 * MINUTE),
            between=then(_served, ended, wait(2 * MINUTE)),
            over=_served,
        ),
        Case(
            NEEDS_ACTION,
            "acme",
            "held",
            below=asked,
            above=attention[NEEDS_ACTION],
            between=nothing,
            over=_abandoned,
        ),
        Case(
            WORD_UNLISTED,
            "acme",
            "held",
            below=asked,
            above=attention[WORD_UNLISTED],
            between=nothing,
            over=wait(DAY),
        ),
        Case(
            alarm.OLD_KEY_IN_USE,
            "acme",
            "",
            below=ended,
            above=_replaced,
            between=then(_proved_anew, wait(5 * HOUR)),
            over=wait(DAY),
        ),
        Case(
            alarm.DISK_LOW,
            "",
            "",
            below=_disk(FLOOR),
            above=_disk(FLOOR - 1),
            between=_disk(FLOOR + FLOOR // 8),
            over=_disk(2 * FLOOR),
        ),
        Case(
            alarm.NODE_SILENT,
            "",
            "gone",
            below=_worker("gone"),
            above=wait(HOUR),
            between=nothing,
            over=_worker("new"),
        ),
    ]


CASES: Final = _cases()


def described() -> str:
    """Acme's description as a file."""
    return "\n".join(f"{name} = {_toml(value)}" for name, value in description(**SIGNED).items())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
