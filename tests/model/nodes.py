"""Nodes: real receivers in this process, which are started, stopped, and killed between any two awaits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from receiver import Receiver, Settings
from receiver.clock import StepWatch
from receiver.storage.store import Store
from tests.model.handlers import Diary, register
from tests.model.loop import KilledError, Life

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.history import History
    from tests.model.loop import ModelLoop

#: What the clocks of the nodes say when the model begins: milliseconds since the Unix epoch.
EPOCH: Final = 1_795_000_000_000
#: No answer is waited for by a clock: it comes, or its node dies.
_LONG: Final = 1e9


@dataclass
class Clock:
    """The clock of all nodes, which can be set."""

    loop: ModelLoop
    #: By how many milliseconds it is ahead of the truth.
    ahead: int = 0

    def __call__(self) -> int:
        """The time that it tells."""
        return EPOCH + self.loop.now + self.ahead

    def model_time(self, told: int) -> int:
        """When it will tell that time."""
        return told - EPOCH - self.ahead


class Node:
    """One receiver, from its start to its end."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        clock: Clock,
        history: History,
        *,
        diary: Diary | None,
        beats: bool = False,
    ) -> None:
        self.name = name
        self.life = Life(clock.loop)
        self._clock = clock
        self._history = history
        #: Whether it gives signs of life by the model's time, rather than by that of its thread.
        self._beats = beats
        self.began = clock.loop.now
        self.ready = self.stopping = False
        self.receiver = Receiver(settings, clock=clock)
        self._stores: list[Store] = []
        self._client: httpx.AsyncClient | None = None
        if diary is not None:
            register(self.receiver, diary, node=name, life=self.life)

    async def start(self) -> None:
        """Start; raises KilledError where it does not live to see the end of it."""
        self._history.tell("node starts", node=self.name, fuse=self.life.fuse)
        await self.life.do(self._start())
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.receiver.asgi), base_url="http://receiver", timeout=_LONG
        )
        self.ready = True

    async def _start(self) -> None:
        running = await self.receiver.start()
        if running.worker is None:
            return
        if self._beats:
            running.presence._ending.set()
        follow = running.worker._follow_clock
        follow._steady = lambda: self._clock.loop.now
        # As every deployed one does: its own clock, or the database's where several nodes share that.
        follow._watch = StepWatch(clock=self._clock, steady=follow._steady)

    def beat(self) -> None:
        """Give a sign of life, and hear of the others."""
        if self._beats and self.ready and self.life.alive and self.receiver._running is not None:
            self.receiver._running.presence._give_sign()
            self.receiver._running.presence._look_around()

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        """Ask it; raises KilledError where it dies before it has answered."""
        assert self._client is not None
        return await self.life.do(self._client.request(method, path, **options))

    async def stop(self) -> bool:
        """Stop as upon SIGTERM; whether it lived to see the end of it."""
        self._history.tell("node stops", node=self.name)
        self.stopping, self.ready = True, False
        try:
            await self.life.do(self.receiver.stop())
            self._history.tell("node stopped", node=self.name)
        except KilledError:
            return False
        self.life.kill()
        return True

    def killable(self) -> bool:
        """Whether there is something to be killed."""
        return self.life.alive and bool(list(self._held()))

    def _held(self) -> Iterator[Store]:
        """Its store, also where it has just begun to start."""
        running = self.receiver._running
        if running is not None:
            yield running.store
            return
        for task in self.life.tasks:
            coroutine: Any = task.get_coro()
            while coroutine is not None and hasattr(coroutine, "cr_frame"):
                frame = coroutine.cr_frame
                if frame is not None and isinstance(found := frame.f_locals.get("store"), Store):
                    yield found
                coroutine = coroutine.cr_await

    def drop(self) -> None:
        """Take its database from it, as the kernel does from a process that has been killed.

        What its writer has begun is committed or not; what only waits for it never will be.
        """
        self.ready = False
        for store in list(self._held()):
            store._writer._waiting.clear()
            store._writer.close()
            store._reader.close()
            store.driver.close()

    async def bury(self) -> None:
        """Close what the kernel would have closed long ago."""
        running = self.receiver._running
        if running is not None:
            await running.outbound.close()
        self.life.bury()
