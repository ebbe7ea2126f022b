"""One round: orders, accidents and the passing of time, all by the seed."""

from __future__ import annotations

import asyncio
import io
from contextlib import redirect_stderr
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from receiver import Settings, logs
from receiver.core.errors import StoreUnavailableError
from receiver.storage.retention import Prune
from tests.model import apis
from tests.model.apis import DAY, HOUR, MINUTE, SECOND
from tests.model.callers import API_TOKEN, Callers
from tests.model.deliveries import Deliveries
from tests.model.handlers import Diary
from tests.model.history import History
from tests.model.loop import KilledError, ModelLoop
from tests.model.nodes import Clock, Node
from tests.model.oracle import Oracle
from tests.model.provider import Providers
from tests.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.model.apis import Api
    from tests.model.record import Database

MASTER_KEY: Final = "a master key that no log may show and that is long enough"
#: How long the world may need to come to rest.
_PATIENCE: Final = 12 * DAY


@dataclass(frozen=True)
class Plan:
    """How many of everything."""

    nodes: int
    lasts: int
    orders: int
    kills: int
    stops: int
    outages: int
    steps: int


class Machine:
    """The world of one round."""

    #: Whether nodes give signs of life by the model's time; where it leaps far, they would be taken for gone.
    beats = False

    def __init__(self, seed: int, database: Database, folder: Path, loop: ModelLoop, *, nodes: int) -> None:
        self.random = Random(f"plan/{seed}")
        self.loop = loop
        self.database = database
        self.record = Record(database)
        self.history = History(seed, database.name, loop)
        self.clock = Clock(loop)
        self.apis = self.invent()
        self.providers = Providers(seed, self.apis, self.history, loop)
        self.callers = Callers(self.providers, self.history, self.record, loop)
        self.deliveries = Deliveries(self.providers, self.history, loop, self.callers.post)
        self.providers.answering = lambda random: self._spawn(self._fail(random))
        self.providers.waiting = lambda random: self._spawn(self._stop(random))
        self.providers.traffic.nodes = nodes
        self.diary = Diary(self.providers, self.history, loop)
        self.oracle = Oracle(self.record, self.providers, self.deliveries, self.diary, self.history, loop)
        self.plan = Plan(
            nodes=nodes,
            lasts=self.random.choice([10, 30, 90]) * MINUTE,
            orders=self.random.randint(5, 12),
            kills=self.random.choice([0, 1, 3, 6]),
            stops=self.random.choice([0, 1, 2]),
            outages=self.random.choice([0, 0, 1, 2]),
            steps=self.random.choice([0, 0, 1, 2]),
        )
        self.nodes = self.callers.nodes
        self.graves: list[Node] = []
        self._folder = folder
        self._started = 0
        self._ended_at = self._bare_until = 0
        self._failing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._mourning: set[asyncio.Task[None]] = set()
        self._log = io.StringIO()

    def invent(self) -> list[Api]:
        """The APIs of this round."""
        kinds = self.random.sample(apis.KINDS, 4)
        return [apis.invent(f"api{n}", kind, self.random) for n, kind in enumerate(kinds)]

    async def run(self) -> None:
        """Let everything happen, wait until it is quiet, and judge; raises BrokenPromiseError."""
        with redirect_stderr(self._log):
            logs.configure("info")
        await self.providers.start()
        for api in self.apis:
            self.history.tell("api", **{name: getattr(api, name) for name in api.__dataclass_fields__})
            apis.describe(api, self._folder / "providers")
        self.settings = Settings.load(self._environ())
        try:
            await self.happen()
            await self._settle()
        finally:
            await self._clean_up()
        self._check_log()
        self.history.check()

    def _environ(self) -> dict[str, str]:
        return {
            "RECEIVER_PUBLIC_URL": "https://hooks.example",
            "RECEIVER_DATABASE_URL": self.database.url,
            "RECEIVER_SECRET_KEY": MASTER_KEY,
            "RECEIVER_API_TOKEN": API_TOKEN,
            "RECEIVER_PROVIDERS_DIR": str(self._folder / "providers"),
            "RECEIVER_LISTEN": "0",
            "RECEIVER_SPOOL": str(self._folder / "spool"),
            "MODEL_API_KEY": apis.API_KEY,
            "MODEL_WEBHOOK_SECRET": apis.WEBHOOK_SECRET,
            **{
                f"RECEIVER_{api.name.upper()}_BASE_URL": f"{self.providers.url}/{api.name}"
                for api in self.apis
            },
        }

    # -- what happens --------------------------------------------------------------------------------------

    async def happen(self) -> None:
        """All that happens before there is calm."""
        plan, random = self.plan, self.random
        self.history.tell("plan", **plan.__dict__)
        for _ in range(plan.nodes):
            await self.start()
        for number in range(1, plan.orders + 1):
            self.later(random.uniform(0, 0.7) * plan.lasts, self.callers.order(number))
        for work, times in (
            (self._kill, plan.kills),
            (self._stop, plan.stops),
            (self._fail, plan.outages),
            (self._set_clock, plan.steps),
            (self._forge, 4),
            (self.callers.cancel, 2),
            (self.callers.replay, 1),
        ):
            for _ in range(times):
                self.later(random.uniform(0.02, 1) * plan.lasts, work(Random(random.random())))
        await self.advance(plan.lasts)

    async def _settle(self) -> None:
        """Have no more accidents, and wait until nothing is left to wait for."""
        self.history.tell("calm")
        self.providers.calm = True
        if self._failing:
            self._recover()
        for node in self.nodes:
            node.life.fuse = None
            if not len(node.receiver.handlers):
                node.life.kill()
        if not self.nodes and not self._tasks:
            await self.start()
        await self.advance(self.loop.now + _PATIENCE, until=self._at_rest)
        self.oracle.judge()
        await self._check_results()
        await self._prune()

    def _at_rest(self) -> bool:
        """Whether everything is as it should be in the end, or will never change again."""
        if self._tasks or not self.nodes:
            return False
        nothing_ahead = self.record.next_due() is None and self.loop.next_on_agenda() is None
        return nothing_ahead or self.oracle.quiet()

    async def advance(self, end: int, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, no faster than things happen."""
        while True:
            await self.loop.settled()
            self.oracle.watch()
            self.watch()
            if self.loop.now >= end or until():
                return
            self.loop.leap(min(end, self._next()))

    def watch(self) -> None:
        """Look at what this kind of round is about."""

    def _next(self) -> int:
        now = self.loop.now
        # Below the hour after which a handler that gives no sign of life is taken for gone.
        times = [now + 50 * MINUTE]
        if (when := self.loop.next_on_agenda()) is not None:
            times.append(when)
        if not any(node.life.alive for node in self.nodes):
            return min(times)
        if self._failing:
            times.append(now + 2 * SECOND)
        elif (due := self.record.next_due()) is not None:
            when = self.clock.model_time(due)
            times.append(when if when > now else now + SECOND)
        if self.callers.asking or self.diary.under_way() or any(self.providers.under_way.values()):
            times.append(now + 5 * SECOND)
        return max(min(times), now + 1)

    def later(self, after: float, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* after so many milliseconds."""

        async def wait() -> None:
            try:
                await self.loop.pause(after)
                await work
            finally:
                work.close()

        self._spawn(wait())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.history.breaks("the model itself works", repr(error))

    # -- nodes ---------------------------------------------------------------------------------------------

    async def start(self, fuse: int | None = None) -> None:
        """Start a node, which is killed after *fuse* turns."""
        self._started += 1
        name = f"n{self._started}"
        diary = None if self._forgets_handlers(name) else self.diary
        node = Node(name, self.settings, self.clock, self.history, diary=diary, beats=self.beats)
        node.life.fuse = None if self.providers.calm else fuse
        node.life.killable = node.killable
        self.nodes.append(node)
        self.providers.traffic.node_begins()
        watching = asyncio.ensure_future(self._mourn(node))
        self._mourning.add(watching)
        try:
            await node.start()
        except KilledError:
            return
        except StoreUnavailableError as error:
            self.history.tell("node refuses", node=node.name, error=repr(error))
            node.life.kill()

    def _forgets_handlers(self, name: str) -> bool:
        """Whether somebody forgot to name the handlers: for less than the hour after which they are gone."""
        random, now = self.providers.random("bare", name), self.loop.now
        # Not at the very first start, when nothing is registered yet.
        known = self._started > self.plan.nodes and now - self._ended_at < 10 * MINUTE
        if not known or self.providers.calm or now < self._bare_until or random.random() > 0.15:
            return False
        self._bare_until = now + 3 * HOUR
        self.later(random.uniform(1, 25) * MINUTE, self._remember(name))
        return True

    async def _remember(self, name: str) -> None:
        for node in self.nodes:
            if node.name == name and node.ready:
                await node.stop()
                break

    async def _mourn(self, node: Node) -> None:
        """Wait for the end of a node, and start another after a while."""
        await node.life.ended
        if not node.stopping:
            self.history.tell("node killed", node=node.name)
            self.oracle.kills.append(self.loop.now)
        node.drop()
        self.nodes.remove(node)
        self._ended_at = self.loop.now
        self.graves.append(node)
        random = self.providers.random("downtime", node.name)
        away = random.choice([1, 1, 10, 60, 300]) * SECOND
        if random.random() < 0.1 and not self.providers.calm and len(node.receiver.handlers):
            away = random.choice([1, 3]) * HOUR
        fuse = random.randrange(400) if random.random() < 0.2 and not self.providers.calm else None
        self.later(away, self.start(fuse))

    async def _kill(self, random: Random) -> None:
        if self.providers.calm or (node := self.callers.ready(random)) is None:
            return
        node.life.fuse = random.choice([random.randrange(30), random.randrange(600)])
        self.history.tell("node will be killed", node=node.name, turns=node.life.fuse)

    async def _stop(self, random: Random) -> None:
        if (node := self.callers.ready(random)) is None:
            return
        began = self.loop.now
        stopped = await node.stop()
        left = [name for name, since in self.providers.awaited.items() if since <= began]
        if stopped and left and self.plan.nodes == 1:
            self.history.breaks("a stop waits for the answers to submissions", f"{node.name}: {left}")

    async def _fail(self, random: Random) -> None:
        if self._failing or self.providers.calm:
            return
        self._failing = True
        self.database.fail()
        self.history.tell("database fails")
        await self.loop.pause(random.choice([2, 20, 60, 300]) * SECOND)
        if self._failing:
            self._recover()

    def _recover(self) -> None:
        self.database.recover()
        self._failing = False
        self.history.tell("database is back")

    async def _set_clock(self, random: Random) -> None:
        by = random.choice([-10 * MINUTE, -30 * SECOND, 30 * SECOND, 10 * MINUTE, 3 * HOUR])
        self.clock.ahead += by
        self.providers.traffic.clock_set()
        self.history.tell("clock set", by=by)

    async def _forge(self, random: Random) -> None:
        remotes = list(self.providers.remotes.values())
        if remotes:
            await self.deliveries.forge(random.choice(remotes), random.randrange(1000))

    async def _prune(self) -> None:
        """Delete what is old, and repeat what was told of it long ago: nothing comes of that any more."""
        node = self.callers.ready(self.random)
        if node is None:
            return
        self.loop.leap(self.loop.now + 5 * DAY)
        await self.loop.settled()
        now = self.clock()
        running = node.receiver.running
        await node.life.do(running.store.prune(Prune(before=now, now=now)))
        left, runs = {job.id for job in self.record.jobs()}, len(self.diary.runs)
        self.history.tell("pruned", left=len(left))
        await self.deliveries.repeat()
        await self.loop.settled()
        if more := {job.id for job in self.record.jobs()} - left:
            self.history.breaks("a late retry of what was pruned is a duplicate", f"it made {more}")
        if len(self.diary.runs) != runs:
            self.history.breaks("a late retry of what was pruned is a duplicate", f"{self.diary.runs[runs:]}")

    # -- the end -------------------------------------------------------------------------------------------

    async def _check_results(self) -> None:
        """What was stored can be read, as the provider gave it."""
        for job in self.record.jobs():
            node = self.callers.ready(self.random)
            if job.state != "succeeded" or node is None:
                continue
            answer = await self.callers.ask(node, "GET", f"/v1/jobs/{job.id}/result")
            one = self.providers.remotes.get(job.remote_id or "")
            if one is None or answer.status_code != 200 or answer.json() != one.result():
                self.history.breaks("results are as the provider gave them", f"{job.id}: {answer.text[:200]}")

    def _check_log(self) -> None:
        """No secret, token, signature or body in a log line."""
        text = self._log.getvalue()
        secrets = {MASTER_KEY, API_TOKEN, apis.API_KEY, apis.WEBHOOK_SECRET, "the answer of", "question "}
        for one in self.providers.remotes.values():
            secrets |= {one.secret or API_TOKEN, (one.hook or API_TOKEN).rsplit("/", 1)[-1]}
        for secret in sorted(secrets | self.deliveries.signatures):
            if secret in text:
                at = text.index(secret)
                self.history.breaks("no secret in a log line", text[max(at - 200, 0) : at + 80])

    async def _clean_up(self) -> None:
        self.diary.release()
        for task in [*self._tasks, *self._mourning]:
            task.cancel()
        await self.deliveries.close()
        for node in self.nodes:
            node.life.kill()
            node.drop()
        for node in [*self.nodes, *self.graves]:
            await node.bury()
        await self.providers.close()
        self.database.close()
