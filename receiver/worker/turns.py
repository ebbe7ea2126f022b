"""Turns: repeats a piece of work: at once while there is more to do, else when it is told of news, or after a pause."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from receiver.core.errors import StoreUnavailableError

log = structlog.get_logger(__name__)

#: Without news the worker looks again after at most this many seconds, jittered.
_LONGEST_NAP: Final = 1.0


class Turns:
    """Takes one turn after another.

    Args:
        turn: Takes one, and says whether there is more to do at once.
        away: Called when one could not be taken, because the store was away.
        pause: Seconds from one turn to the next, whatever news there is.
        again: Seconds after which one more turn follows a turn that news brought about; without it none does.
    """

    def __init__(
        self,
        turn: Callable[[], Coroutine[Any, Any, bool]],
        *,
        away: Callable[[], None],
        pause: float = 0.0,
        again: float | None = None,
    ) -> None:
        self._turn = turn
        self._away = away
        self._pause = pause
        self._again = again
        self._news = asyncio.Event()
        #: Whether the turn that is being taken is the last.
        self.ending = False

    def notify(self) -> None:
        """Say that there may be something to do."""
        self._news.set()

    def end(self) -> None:
        """Let the turn that is being taken be the last."""
        self.ending = True
        self._news.set()

    async def run(self) -> None:
        """Take turns until told to end."""
        while not self.ending:
            told = self._news.is_set()
            self._news.clear()
            try:
                more = await self._turn()
            except StoreUnavailableError as error:
                log.warning("worker_waits_for_store", reason=str(error))
                self._away()
                more = False
            except Exception:
                log.exception("worker_failed")
                more = False
            if not more:
                if self._pause:
                    await asyncio.sleep(self._pause)
                nap = _LONGEST_NAP * (0.5 + random.random() / 2)
                if told and self._again is not None:
                    nap = self._again
                try:
                    async with asyncio.timeout(nap):
                        await self._news.wait()
                except TimeoutError:
                    continue
