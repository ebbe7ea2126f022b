"""Keeping what a provider gives once, a result or a page of one, until the store takes it."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from receiver.core.asking.exchange import Seen
from receiver.core.errors import NotFoundError, StoreUnavailableError
from receiver.core.job.looking import Finding, Interrupted, Lost, Unanswered
from receiver.core.job.transition import Move
from receiver.core.model import JobState
from receiver.core.reading.pagination import ResultPage
from receiver.outbound.answer import Sink
from receiver.steps.settling import Looks, until_stored
from receiver.storage import dues, pages, spent
from receiver.storage.claims import Claimed, LookClaim
from receiver.storage.looks import ELSEWHERE
from receiver.storage.spool import HeldResult, Spool
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

#: States that are replaced by a result that is there after all.
_LATE: Final = {JobState.TIMED_OUT, JobState.EXPIRED}


class Keeping:
    """Holds what is given once: in memory, and in the spool as soon as the database does not take it."""

    def __init__(self, looks: Looks, *, spool: Spool[HeldResult], owner: str, lease_ms: int) -> None:
        self._store = looks.store
        self._clock = looks.clock
        self._settling = looks.settling
        self._spool = spool
        self._owner = owner
        self._lease_ms = lease_ms

    def sink(self, job_id: str) -> Sink:
        """Where the bytes of a result of a job go as they arrive."""

        async def sink(part: int, number: int, content: bytes) -> None:
            await self._store.write_chunks(job_id, part=part, first=number, content=content)

        return sink

    async def concerns(self, claimed: Claimed) -> bool:
        """Whether what *claimed* would ask for has come already, and is not stored."""
        return claimed.due.spent_url is not None and await off_loop(self._spool.has, claimed.job.id)

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Store what has come; the move it made, if any."""
        job_id, started = claimed.job.id, self._clock()
        found = await off_loop(self._spool.take_one, job_id)
        if found is None:
            # Another process has it in hand, or this one at its other end.
            return await self._settling(claimed, Unanswered(code=ELSEWHERE), started=started)
        if await self._fits(found.finding.page, job_id):
            return await self._store_sometime(claimed, found, started)
        await off_loop(self._spool.drop, job_id)
        return await self._settling(claimed, Interrupted(), started=started)

    async def once(
        self,
        claimed: Claimed,
        url: str,
        get: Callable[[Sink], Awaitable[Finding]],
        *,
        elsewhere: bool,
        started: int,
    ) -> Move | None:
        """Get by *get* what *url* gives a single time, unless that was begun before; the move it made, if any.

        Args:
            claimed: The look.
            url: The address.
            get: Asks, and puts what comes in pieces where it is told to.
            elsewhere: Whether the provider can be asked for another address.
            started: When the look began.
        """
        if await self._store.read(spent.asked, claimed.job.id, url):
            # A GET of this address was begun and never settled: it must not be asked a second time.
            return await self._settling(claimed, Interrupted() if elsewhere else Lost(), started=started)
        # If nobody knows whether this was committed, it is written again: otherwise the address could be on record as
        # asked although nobody asked it.
        if not await until_stored(lambda: self._store.spend(claimed.due, url), doubted=True):
            return None
        came = False
        await off_loop(self._spool.ask, claimed.job.id)
        try:
            move = await self._ask(claimed, get, started)
            came = True
        finally:
            self._spool.asked(claimed.job.id, came=came or self._spool.has(claimed.job.id))
        return move

    async def recover(self) -> None:
        """Store what was given once: to processes that are no more, or to this one, when another was at the job."""
        for result in await off_loop(self._spool.take):
            job_id, now = result.due.job_id, self._clock()
            log.warning("result_found", job=job_id)
            try:
                await self._recover(result, now=now)
            except NotFoundError:
                self._spool.pass_over(job_id)
            finally:
                self._spool.leave(job_id)
        for job_id in await off_loop(self._spool.deserted):
            try:
                await self._store.job(job_id)
            except NotFoundError:
                self._spool.pass_over(job_id)
                continue
            if not self._spool.has(job_id):
                # The process died while it asked: nobody will bring what it was given.
                await self._store.write(dues.disown, job_id)
            self._spool.forget(job_id)

    async def _ask(
        self, claimed: Claimed, get: Callable[[Sink], Awaitable[Finding]], started: int
    ) -> Move | None:
        write = self.sink(claimed.job.id)
        waiting: list[tuple[int, int, bytes]] = []

        async def sink(part: int, number: int, content: bytes) -> None:
            # The provider waits for nobody's database: what cannot be stored yet stays here, in its order.
            if not waiting:
                try:
                    await write(part, number, content)
                except StoreUnavailableError as error:
                    log.warning("result_held", job=claimed.job.id, reason=str(error))
                else:
                    return
            waiting.append((part, number, content))

        finding = await get(sink)
        if not isinstance(finding, Seen):
            return await until_stored(lambda: self._settling(claimed, finding, started=started))
        if not waiting:
            try:
                return await self._settling(claimed, finding, started=started)
            except StoreUnavailableError as error:
                log.warning("result_held", job=claimed.job.id, reason=str(error))
        result = HeldResult(due=claimed.due, finding=finding, pieces=tuple(waiting))
        waiting.clear()
        if await off_loop(self._spool.put, result):
            self._spool.asked(claimed.job.id, came=True)
        return await self._store_sometime(claimed, result, started)

    async def _store_sometime(self, claimed: Claimed, result: HeldResult, started: int) -> Move | None:
        try:
            return await until_stored(lambda: self._hand_over(claimed, result, started))
        finally:
            self._spool.leave(claimed.job.id)

    async def _recover(self, result: HeldResult, *, now: int) -> None:
        job = await self._store.job(result.due.job_id)
        if job.state.ended and job.state not in _LATE:
            await off_loop(self._spool.drop, job.id)
            return
        wish = LookClaim(job_id=job.id, owner=self._owner, lease_ms=self._lease_ms, now=now)
        claimed = await self._store.claim_look(wish)
        if claimed is None:
            return  # another process works on it; the next round looks again
        if await self._fits(result.finding.page, job.id):
            await self._hand_over(claimed, result, now)
        else:
            await off_loop(self._spool.drop, job.id)

    async def _fits(self, page: ResultPage | None, job_id: str) -> bool:
        """Whether *page* is the one that comes next: meanwhile another may have begun the result anew."""
        if page is None:
            return True
        have = await self._store.read(pages.stored, job_id)
        return page.number == len(have) + 1 and (not have or have[-1].next_url == page.url)

    async def _hand_over(self, claimed: Claimed, result: HeldResult, started: int) -> Move | None:
        write = self.sink(claimed.job.id)
        for piece in result.pieces:
            await write(*piece)
        move = await self._settling(claimed, result.finding, started=started)
        # Another may have given the job up meanwhile; then there is a later turn for it.
        if move is not None or (await self._store.job(claimed.job.id)).held is not None:
            await off_loop(self._spool.drop, claimed.job.id)
        return move
