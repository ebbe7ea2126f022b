"""Group commit: one thread takes whatever waits as one transaction, so that all of it shares one fsync.

There is no linger timer: while one transaction is being written the next one's members gather by themselves.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from receiver.core.errors import ReceiverError, StoreUnavailableError
from receiver.storage.driver import Driver, Transaction

log = structlog.get_logger(__name__)

Method = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
#: One transaction takes at most this many members.
CAP: Final = 512
#: Past this many waiting, the next is refused at once: memory stays bounded while the database is gone.
MOST_WAITING: Final = 20_000


class _Wish:
    """One member of a transaction to come."""

    __slots__ = ("future", "item", "loop", "method")

    def __init__(self, method: Method, item: object, loop: asyncio.AbstractEventLoop) -> None:
        self.method = method
        self.item = item
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


class Writer:
    """The one thread of this process that writes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._waiting: deque[_Wish] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="receiver-writer", daemon=True)
        self._thread.start()

    async def call(self, method: Method, item: Any) -> Any:  # noqa: ANN401
        """Run *method* for *item* in the next transaction; return its answer once it is committed.

        Raises:
            StoreUnavailableError: it was not committed.
        """
        wish = _Wish(method, item, asyncio.get_running_loop())
        with self._news:
            if len(self._waiting) >= MOST_WAITING or self._closing:
                raise StoreUnavailableError("Too much waits for the database already; try again.")
            self._waiting.append(wish)
            self._news.notify()
        return await wish.future

    def close(self) -> None:
        """Commit what waits, then stop."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            with self._news:
                while not self._waiting and not self._closing:
                    self._news.wait()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), CAP))]
            if not batch:
                return
            self._settle(batch, self._together(batch))
            try:
                self._driver.relax()
            except Exception as error:  # noqa: BLE001  (the next one tries again; commits are unharmed)
                log.warning("checkpoint_failed", error=str(error))

    def _together(self, batch: Sequence[_Wish]) -> list[Any]:
        groups: dict[Method, list[int]] = {}
        for place, wish in enumerate(batch):
            groups.setdefault(wish.method, []).append(place)
        outcomes: list[Any] = [None] * len(batch)
        try:
            with self._driver.write() as tx:
                for method, places in groups.items():
                    answers = method(tx, [batch[place].item for place in places])
                    for place, answer in zip(places, answers, strict=True):
                        outcomes[place] = answer
        except StoreUnavailableError as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  (one bad row must not take the others with it)
            if len(batch) == 1:
                return [error]
            return [outcome for wish in batch for outcome in self._together([wish])]
        return outcomes

    @staticmethod
    def _settle(batch: Sequence[_Wish], outcomes: Sequence[Any]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        for wish, outcome in zip(batch, outcomes, strict=True):
            by_loop.setdefault(wish.loop, []).append((wish.future, outcome))
            if isinstance(outcome, Exception) and not isinstance(outcome, ReceiverError):
                log.error("write_failed", error=repr(outcome), exc_info=outcome)
        for loop, answers in by_loop.items():
            try:
                loop.call_soon_threadsafe(_answer, answers)
            except RuntimeError:
                log.warning("answer_undeliverable", waiting=len(answers))


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in answers:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
