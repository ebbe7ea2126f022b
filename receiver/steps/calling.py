"""Calling: how a handler's function is called, in a thread or on the event loop, within its time."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

from receiver.core.model import Job
from receiver.timers import LateError


class Guarded:
    """Awaits a handler, and before each step that it goes on makes sure that it is still ours to do.

    A process that was frozen for longer than its lease may wake up in the middle of a handler that another node runs
    meanwhile: two would do the same work at once.

    Args:
        work: What the handler's function returned.
        doubtful: Whether others may have taken it since it was last made sure of.
        confirm: Makes sure, and says whether the work still is ours.
    """

    def __init__(
        self,
        work: Awaitable[object],
        *,
        doubtful: Callable[[], bool],
        confirm: Callable[[], Awaitable[bool]],
    ) -> None:
        self._work = work
        self._doubtful = doubtful
        self._confirm = confirm
        #: Whether it was found to be another's, and was cancelled for that.
        self.lost = False

    def __await__(self) -> Generator[Any, Any, object]:
        inner: Any = self._work.__await__()
        step = partial(inner.send, None)
        while True:
            try:
                waited = step()
            except StopIteration as end:
                return end.value
            try:
                step = partial(inner.send, (yield waited))
                if self._doubtful() and not (yield from self._confirm().__await__()):
                    self.lost = True
                    step = partial(inner.throw, asyncio.CancelledError("Another node runs it."))
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as thrown:  # noqa: BLE001  (it is for the handler to deal with)
                step = partial(inner.throw, thrown)


async def in_thread(function: Callable[[Job], object], job: Job, timeout: float) -> None:  # noqa: ASYNC109
    """Run a plain function in a thread of its own.

    A thread cannot be stopped. Past the timeout we go on waiting, so that slot and lease are kept until it
    ends; only then is the attempt's failure recorded and the next one possible.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        failure: BaseException | None = None
        try:
            refuse_unrun(context.run(function, job), plain=True)
        except BaseException as error:  # noqa: BLE001  (SystemExit in a handler must not pass for success)
            failure = error
        try:
            loop.call_soon_threadsafe(_resolve, ended, failure)
        except RuntimeError:
            return  # the process is ending; the lease lapses and the attempt counts

    # Not a pool: a pool's threads are joined at exit, and a stuck handler must not keep the process alive.
    threading.Thread(target=run, name="receiver-handler", daemon=True).start()
    done, _ = await asyncio.wait({ended}, timeout=timeout)
    late = not done
    failure = await ended
    if late:
        raise LateError
    if failure is not None:
        raise failure


def refuse_unrun(returned: object, *, plain: bool) -> None:
    """Raise TypeError where nothing of the function has run, or not all of it: its work is what it *returned*."""
    if returned is None:
        return
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise TypeError(
            "The handler is a generator, which does nothing unless it is iterated; leave yield out."
        )
    if not isinstance(returned, Awaitable) or (isinstance(returned, asyncio.Future) and returned.done()):
        return
    if isinstance(returned, Coroutine):
        returned.close()
    what = "a coroutine" if isinstance(returned, Coroutine) else f"an awaitable {type(returned).__name__}"
    if plain:
        raise TypeError(f"The handler is a plain function that returned {what}; write it as async def.")
    raise TypeError(f"The handler returned {what}, which nobody awaits; write await before it.")


def _resolve(ended: "asyncio.Future[BaseException | None]", failure: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(failure)
