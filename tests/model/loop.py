"""An event loop whose time moves only when the model says so, and lives that end between any two awaits.

All waits of a receiver, of its timers and of the provider go by this loop's time: an hour takes as long as what
happens in it. The loop knows when nothing more can happen at the present moment (no callback is ready, no socket
readable, no thread at work); then time may leap. What belongs to a life that has ended is never run again: no
``except``, no ``finally``, as after SIGKILL.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
#: Seconds of real time after which what keeps the loop busy is taken for stuck.
STUCK: Final = 60.0
#: The rooms whose futures are answered by threads.
_ANSWERED_BY_THREADS: Final = ("receiver.storage.", "receiver.steps.dispatch")


class KilledError(Exception):
    """The life in which something was done has ended before it was."""


class Life:
    """What is run in the name of one node, until it is killed."""

    def __init__(self, loop: ModelLoop) -> None:
        self._loop = loop
        self.alive = True
        #: After so many more turns of its own it is killed; ``None``: it is not.
        self.fuse: int | None = None
        self.turns = 0
        #: Whether there is already something that can be killed.
        self.killable: Callable[[], bool] = lambda: True
        self.tasks: set[asyncio.Task[Any]] = set()
        #: What was never run: kept, so that nothing of it is cleaned up by the garbage collector.
        self.unrun: list[Any] = []
        self.ended: asyncio.Future[None] = loop.create_future()
        self.context = copy_context()
        self.context.run(LIFE.set, self)

    def run(self, callback: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401  (a callback's own)
        """Take one turn, unless it is over."""
        if self.alive and self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0 and self.killable():
                self.kill()
        if not self.alive:
            self.unrun.append((callback, args))
            return
        self.turns += 1
        callback(*args)

    def kill(self) -> None:
        """End it here: nothing of it runs any more."""
        if self.alive:
            self.alive = False
            self.fuse = None
            Context().run(self._loop.call_soon, self._announce)

    def _announce(self) -> None:
        self._loop.hang_up(self)
        if not self.ended.done():
            self.ended.set_result(None)

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* in this life; raises KilledError if it ends meanwhile."""
        if not self.alive:
            work.close()
            raise KilledError
        task = self.context.run(self._loop.create_task, work)
        await asyncio.wait({task, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            done: T = task.result()
            return done
        raise KilledError

    def bury(self) -> None:
        """Lay it where the garbage collector finds nothing to clean up, which would be a last act of it."""
        self.alive = False
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        GRAVES.append((list(self.tasks), self.unrun))


#: What is left of lives: tasks that never end. A round leaves some hundred kilobytes here.
GRAVES: Final[list[Any]] = []
LIFE: Final[ContextVar[Life | None]] = ContextVar("life", default=None)


class _Selector(selectors.DefaultSelector):
    """Tells the loop when it would wait for nothing."""

    loop: ModelLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if self.loop.threads_at_work():
            return super().select(0.2)
        return [] if self.loop.tell_idle() else super().select(0.02)


class ModelLoop(asyncio.SelectorEventLoop):
    """The loop; its time is in milliseconds since the model's beginning."""

    def __init__(self) -> None:
        self._watched = _Selector()
        self._watched.loop = self
        self.now = 0
        self._idle: asyncio.Future[None] | None = None
        self._answers: list[tuple[asyncio.Future[Any], Life | None]] = []
        self._agenda: list[tuple[int, int, asyncio.Future[None]]] = []
        self._places = itertools.count()
        self._busy_since: float | None = None
        #: Threads of handlers that hang because they are meant to.
        self.hanging: list[Life] = []
        super().__init__(self._watched)

    # -- time ----------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the model's beginning."""
        return self.now / 1000

    async def pause(self, milliseconds: float) -> None:
        """Wait until so much of the model's time has passed."""
        done = self.create_future()
        heapq.heappush(self._agenda, (self.now + max(int(milliseconds), 0), next(self._places), done))
        await done

    def open_later(self, gate: threading.Event, seconds: float) -> None:
        """Open *gate* after so many seconds of the model's time."""

        async def open_it() -> None:
            await self.pause(seconds * 1000)
            gate.set()

        Context().run(self.create_task, open_it())

    def next_on_agenda(self) -> int | None:
        """When somebody's pause ends."""
        while self._agenda and self._agenda[0][2].done():
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def leap(self, to: int) -> None:
        """Let time pass."""
        self.now = max(self.now, to)
        while self._agenda and self._agenda[0][0] <= self.now:
            _, _, done = heapq.heappop(self._agenda)
            if not done.done():
                done.set_result(None)

    async def settled(self) -> None:
        """Wait until nothing more can happen at the present moment."""
        self._idle = self.create_future()
        await self._idle

    def tell_idle(self) -> bool:
        """Say that nothing can happen; whether anybody waited for that."""
        if self._idle is None or self._idle.done():
            return False
        self._idle.set_result(None)
        return True

    def threads_at_work(self) -> bool:
        """Whether a thread still has something to answer to anybody alive."""
        self._answers = [
            (one, life) for one, life in self._answers if not one.done() and (life is None or life.alive)
        ]
        busy = len(self._answers) > sum(life.alive for life in self.hanging)
        if not busy:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = time.monotonic()
        elif time.monotonic() - self._busy_since > STUCK:
            raise RuntimeError(f"threads did not answer within {STUCK} s: {self._answers}")
        return busy

    # -- lives ---------------------------------------------------------------------------------------------

    def hang_up(self, life: Life) -> None:
        """Close the connections on which *life* waits, as the kernel does; nobody will read them any more."""
        for key in list(self._watched.get_map().values()):
            waiting = [one for one in key.data if one is not None]
            if any(one._context.get(LIFE) is life for one in waiting):
                self.remove_reader(key.fd)
                self.remove_writer(key.fd)
                with socket.socket(fileno=os.dup(key.fd)) as connection, suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future; one that a thread will answer is watched."""
        future = super().create_future()
        if sys._getframe(1).f_globals.get("__name__", "").startswith(_ANSWERED_BY_THREADS):
            self._answers.append((future, LIFE.get()))
        return future

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Give a thread something to do; its answer is watched."""
        future = super().run_in_executor(executor, func, *args)
        self._answers.append((future, LIFE.get()))
        return future

    def call_soon(  # type: ignore[override]
        self,
        callback: Any,  # noqa: ANN401
        *args: Any,  # noqa: ANN401
        context: Context | None = None,
    ) -> Any:  # noqa: ANN401
        """Run *callback* in the next turn, if its life lasts."""
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(life.run, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Any,  # noqa: ANN401
        *args: Any,  # noqa: ANN401
        context: Context | None = None,
    ) -> Any:  # noqa: ANN401
        """Run *callback* at that time, if its life lasts."""
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, life.run, callback, *args, context=context)

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> Any:  # noqa: ANN401
        """Make a task, as one of its life's."""
        task = super().create_task(coro, name=name, context=context)
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            life.tasks.add(task)
            task.add_done_callback(life.tasks.discard, context=Context())
        return task
