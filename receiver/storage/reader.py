"""Reads, beside the writer: each has a connection of its own, and rows that are asked for together share one."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from receiver.core.errors import ReceiverError, StoreUnavailableError
from receiver.storage.driver import Driver, Transaction

T = TypeVar("T")
_THREADS: Final = 4
_CLOSED: Final = "The store is closed."
#: How rows are read by their keys: an answer for each, in the same order; an error for one that is not there.
_Query = Callable[[Transaction, Sequence[str]], Sequence[T | ReceiverError]]
#: A row that is asked for: how it is read, by what key, and who waits for it.
_Wish = tuple[_Query[Any], str, "asyncio.Future[Any]"]


class Reader:
    """The threads of this process that read."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="receiver-reader")
        self._wishes: defaultdict[asyncio.AbstractEventLoop, list[_Wish]] = defaultdict(list)

    async def call(self, work: Callable[[], T]) -> T:
        """Run *work* in one of the threads; raises StoreUnavailableError once they are closed."""
        try:
            done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError as error:
            raise StoreUnavailableError(_CLOSED) from error
        return await done

    async def read(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        """Read in a transaction of its own, however long it takes."""

        def run() -> T:
            with self._driver.read() as tx:
                return query(tx, *args, **kwargs)

        return await self.call(run)

    async def row(self, query: _Query[T], key: str) -> T:
        """Read a single row; what one turn of the event loop asks for is read in one go.

        To give a thread something to do costs more than to read a row.
        """
        loop = asyncio.get_running_loop()
        wishes = self._wishes[loop]
        if not wishes:
            loop.call_soon(self._send, loop)
        future: asyncio.Future[T] = loop.create_future()
        wishes.append((query, key, future))
        return await future

    def close(self) -> None:
        """Finish what is being read."""
        self._threads.shutdown()

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        wishes = self._wishes.pop(loop)
        try:
            self._threads.submit(self._read_rows, loop, wishes)
        except RuntimeError:
            closed = StoreUnavailableError(_CLOSED)
            _answer(wishes, [closed] * len(wishes))

    def _read_rows(self, loop: asyncio.AbstractEventLoop, wishes: Sequence[_Wish]) -> None:
        # While the database is away whoever asks gives up soon, and once it is back that is not to be read first.
        wishes = [one for one in wishes if not one[2].done()]
        if not wishes:
            return
        try:
            with self._driver.read() as tx:
                found = _found(tx, wishes)
        except StoreUnavailableError as error:
            found = [error] * len(wishes)
        except Exception as error:  # noqa: BLE001  (one bad row must not take the others with it)
            if len(wishes) > 1:
                for wish in wishes:
                    self._read_rows(loop, [wish])
                return
            found = [error]
        try:
            loop.call_soon_threadsafe(_answer, wishes, found)
        except RuntimeError:
            return  # the loop is closed, and nobody waits any more


def _found(tx: Transaction, wishes: Sequence[_Wish]) -> list[Any]:
    """The answers to *wishes*: a statement for all that are read in the same way."""
    keys: defaultdict[_Query[Any], list[str]] = defaultdict(list)
    for query, key, _ in wishes:
        keys[query].append(key)
    answers = {query: iter(query(tx, some)) for query, some in keys.items()}
    return [next(answers[query]) for query, _, _ in wishes]


def _answer(wishes: Sequence[_Wish], found: Sequence[Any]) -> None:
    for (_, _, future), one in zip(wishes, found, strict=True):
        if future.done():
            continue
        if isinstance(one, Exception):
            future.set_exception(one)
        else:
            future.set_result(one)
