"""Group commit: one thread takes whatever waits as one transaction, so that all of it shares one fsync.

There is no linger timer: while one transaction is being written the next one's members gather by themselves. It begins
once the answers of the last have left, so that those who wait for them can be in it.
"""

import asyncio
import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import msgspec
import structlog

from receiver.core.errors import (
    CommitUnknownError,
    DoneUnknownError,
    ReceiverError,
    StoreUnavailableError,
)
from receiver.storage.driver import ContendedError, Driver, Transaction
from receiver.timers import Deadlines

log = structlog.get_logger(__name__)

Method = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
#: One transaction takes at most this many members.
CAP: Final = 512
#: Past this many waiting, the next is refused at once: memory stays bounded while the database is gone.
MOST_WAITING: Final = 20_000
#: Seconds that answers are waited for to leave; an event loop that is held up does not hold up the others.
_MOST_LEAVING: Final = 0.01
#: How often a transaction is tried that others are in the way of.
_TRIES: Final = 3
#: The code of an error that says that a part of the database cannot be read or written.
DAMAGED: Final = "database_damaged"
#: Seconds between two looks after the database while it is written to.
_BETWEEN_LOOKS: Final = 0.01
#: Seconds after which the database is looked after although nothing is written.
_LONGEST_REST: Final = 1.0


class _Wish(msgspec.Struct, eq=False):
    """One member of a transaction to come."""

    writer: "Writer"
    method: Method
    item: Any
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    outcome: Any = None
    taken: bool = False
    withdrawn: bool = False
    due: float = math.inf

    def expire(self) -> None:
        """Its caller's patience is at an end."""
        # Another event loop than the caller's may look at the clock, and the caller's may be gone.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.writer.withdraw, self)


class _Bell:
    """Wakes the one thread that waits for it; rung before it is waited for, it is heard then.

    It is a lock that the ringer releases. What the standard library offers is built of two: whoever is woken waits once
    more, for whoever woke it.
    """

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """Have the one that waits, or will wait next, go on."""
        with suppress(RuntimeError):  # it was rung already
            self._silent.release()

    def wait(self, seconds: float) -> bool:
        """Wait until it is rung, for at most so many *seconds*; whether it was."""
        return self._silent.acquire(timeout=seconds)


class Writer:
    """The one thread of this process that writes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        #: What was not committed, by the code of the error.
        self.failed: Counter[str] = Counter()
        self._waiting: deque[_Wish] = deque()
        #: Held while a wish is taken, or withdrawn.
        self._taking = threading.Lock()
        self._bell = _Bell()
        #: Whether the answers of the last transaction have left, and when they are no longer waited for.
        self._left, self._leave_by = True, 0.0
        self._closing = self._told = False
        self._deadlines = Deadlines()
        self._thread = threading.Thread(target=self._serve, name="receiver-writer", daemon=True)
        self._thread.start()

    async def call(self, method: Method, item: Any, *, patience: float | None = None) -> Any:  # noqa: ANN401
        """Run *method* for *item* in the next transaction; return its answer once it is committed.

        Args:
            method: What is run, for all items of one transaction at once.
            item: What it is run for.
            patience: How many seconds to wait. What has not begun by then is dropped, so that callbacks whose
                senders have been told to try again do not pile up while the database is gone.

        Raises:
            StoreUnavailableError: it was not committed, or not in time.
        """
        if len(self._waiting) >= MOST_WAITING or self._closing:
            raise StoreUnavailableError("Too much waits for the database already; try again.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        wish = _Wish(self, method, item, loop, future)
        self._waiting.append(wish)
        if not self._told:
            # Once everything that is ready now has had its turn: what comes together is written together.
            self._told = True
            loop.call_soon(self._tell)
        if patience is None:
            return await future
        wish.due = loop.time() + patience
        self._deadlines.watch(wish, loop)
        try:
            return await future
        finally:
            self._deadlines.forget(wish)
            if future.cancelled():
                self.withdraw(wish)
            # Otherwise these names, an exception and, by its traceback, this frame would hold each other and the item.
            del future, wish, item

    def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._bell.ring()
        self._thread.join()
        late = list(self._waiting)
        self._give_up([late], StoreUnavailableError("The store is closed."))
        self._settle(late)

    def _tell(self) -> None:
        self._told = False
        self._bell.ring()

    def withdraw(self, wish: _Wish) -> None:
        """Tell the caller of *wish* that it has come to nothing, and drop it if nobody has taken it yet."""
        future = wish.future
        with self._taking:
            if not wish.taken:
                # The wish keeps its place in the row, but not what it holds, which may be large: neither the item nor
                # the future, whose exception holds, by its traceback, everything that waited for it.
                wish.item, wish.withdrawn = None, True
                wish.future = wish.loop.create_future()
                wish.future.cancel()
        if not future.done():
            future.set_exception(StoreUnavailableError("The database did not answer in time; try again."))

    def _serve(self) -> None:
        looked = -math.inf
        while self._serve_once():
            # After each commit it would cost a tenth of what a lone callback does. While nothing is written, it is once
            # a rest.
            now = time.monotonic()
            if now - looked < _BETWEEN_LOOKS:
                continue
            looked = now
            try:
                self._driver.relax()
            except StoreUnavailableError:
                continue  # those who want to write or read hear it
            except Exception as error:  # noqa: BLE001  (the next one tries again; commits are unharmed)
                log.warning("checkpoint_failed", error=str(error))

    def _serve_once(self) -> bool:
        """Write what waits, or rest; whether there may be more. What was written is not held while we wait for that."""
        groups = self._take()
        if groups is None:
            return False
        # Where several nodes write, a transaction holds the rows of one method, locked in the order of their
        # keys; with two methods in it two nodes could each wait for the other.
        gone: StoreUnavailableError | None = None
        for part in [groups] if self._driver.exclusive else [[group] for group in groups]:
            if gone is None:
                gone = self._write(part)
            else:
                self._give_up(part, gone)
            self._settle(list(chain.from_iterable(part)))
        return True

    def _take(self) -> list[list[_Wish]] | None:
        """Wait for the next wishes, by method, or a second; ``None`` once everything is done and we are to stop."""
        groups: defaultdict[Method, list[_Wish]] = defaultdict(list)
        while not groups:
            leaving = 0.0 if self._left else self._leave_by - time.monotonic()
            if self._waiting and leaving > 0.0:
                self._bell.wait(leaving)
            elif self._waiting:
                self._fill(groups)
            elif self._closing:
                return None
            elif not self._bell.wait(_LONGEST_REST):
                return []
        return list(groups.values())

    def _fill(self, groups: defaultdict[Method, list[_Wish]]) -> None:
        """Take what waits, as far as one transaction may."""
        with self._taking:
            for _ in range(min(len(self._waiting), CAP)):
                wish = self._waiting.popleft()
                wish.taken = True
                if not wish.withdrawn:
                    groups[wish.method].append(wish)

    def _write(self, groups: Sequence[Sequence[_Wish]]) -> StoreUnavailableError | None:
        """Carry out *groups*, each the wishes of one method, as one transaction; why not, if the database is gone."""
        wishes = list(chain.from_iterable(groups))
        for _ in range(_TRIES):
            try:
                outcomes: list[Any] = []
                with self._driver.write() as tx:
                    for group in groups:
                        outcomes += group[0].method(tx, [wish.item for wish in group])
            except ContendedError as contended:
                log.info("write_contended", reason=str(contended))
                failure: Exception = StoreUnavailableError(
                    "Other transactions got in the way each time; try again."
                )
            except StoreUnavailableError as error:
                if error.code == DAMAGED and len(wishes) > 1:
                    # The damaged page may concern only one of them.
                    failure = error
                    break
                self._give_up(groups, error)
                return _told_to_others(error)
            except Exception as error:  # noqa: BLE001  (one bad row must not take the others with it)
                failure = error
                break
            else:
                for wish, outcome in zip(wishes, outcomes, strict=True):
                    wish.outcome = outcome
                return None
        if len(wishes) == 1:
            self._give_up(groups, failure)
            return None
        return self._write_one_by_one(wishes)

    def _write_one_by_one(self, wishes: Sequence[_Wish]) -> StoreUnavailableError | None:
        for place, wish in enumerate(wishes, start=1):
            if (gone := self._write([[wish]])) is not None:
                # Not asked once more for each of those that are left: only to connect may take seconds.
                self._give_up([wishes[place:]], gone)
                return gone
        return None

    def _settle(self, batch: Sequence[_Wish]) -> None:
        for loop in {wish.loop for wish in batch}:
            self._left, self._leave_by = False, time.monotonic() + _MOST_LEAVING
            try:
                loop.call_soon_threadsafe(self._answer, batch, loop)
            except RuntimeError:
                log.warning("answer_undeliverable", waiting=len(batch))
                self._left = True

    def _answer(self, batch: Sequence[_Wish], loop: asyncio.AbstractEventLoop) -> None:
        for wish in batch:
            future, outcome = wish.future, wish.outcome
            if wish.loop is not loop or future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        # In the next turn of the loop those who waited go on, and in the one after that what they had to say leaves.
        loop.call_soon(loop.call_soon, self._answered)

    def _answered(self) -> None:
        """The answers have left: whoever waited for that goes on, and nobody is woken for nothing."""
        self._left = True
        if self._waiting:
            self._bell.ring()

    def _give_up(self, groups: Sequence[Sequence[_Wish]], error: Exception) -> None:
        """Have everybody in *groups* told why nothing came of it."""
        code = error.code if isinstance(error, ReceiverError) else "write_failed"
        if code == "write_failed":
            log.error("write_failed", error=repr(error), exc_info=error)
        for wish in chain.from_iterable(groups):
            wish.outcome = error
            self.failed[code] += 1


def _told_to_others(error: StoreUnavailableError) -> StoreUnavailableError | None:
    """The error for the wishes after the one that met *error*; ``None`` if they may go on."""
    if error.code == DAMAGED:
        return None
    if isinstance(error, CommitUnknownError):
        # None of them has begun: that the other's commit is unknown casts no doubt on them.
        code = StoreUnavailableError.code if isinstance(error, DoneUnknownError) else error.code
        return StoreUnavailableError(
            "The database cannot be used right now; nothing was acknowledged.", code=code
        )
    return error
