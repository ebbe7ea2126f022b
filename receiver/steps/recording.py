"""Recording: a job is in the store before it is sent, however long that cannot be written."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from receiver.core.errors import CommitUnknownError, ConflictError, NothingSentError, StoreUnavailableError
from receiver.core.job.urgency import ASKED
from receiver.core.model import Due, Job, Step
from receiver.storage.records import NewJob
from receiver.storage.spool import HeldOrder, Spool
from receiver.storage.store import Store
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

#: Seconds between looks whether a job was recorded whose commit was not answered.
_LOOKS: Final = (0.1, 0.2, 0.5, 1.0, 1.0, 2.0, 2.0)


class Recording:
    """Records jobs that are to be sent, and holds those of which nobody knows whether they are recorded."""

    def __init__(self, *, store: Store, spool: Spool[HeldOrder], clock: Callable[[], int]) -> None:
        self._store = store
        self._spool = spool
        self._clock = clock

    async def __call__(self, new: NewJob) -> tuple[Job, bool] | None:
        """Record a job; what is recorded, and whether it is new. ``None`` where nobody knows, and it is held.

        Raises:
            NothingSentError: it could not be recorded.
        """
        try:
            return await self._store.submit(new)
        except CommitUnknownError as error:
            log.warning("commit_unknown", job=new.job.id, reason=str(error))
        except StoreUnavailableError as error:
            raise NothingSentError(
                f"The job could not be recorded, so nothing was sent: try again. {error}"
            ) from error
        # The job may be recorded, and would then be sent one day. So it is recorded again until that is known.
        again = replace(new, again=True)
        for wait in _LOOKS:
            try:
                return await self._store.submit(again)
            except StoreUnavailableError:
                await asyncio.sleep(wait)
        due = Due(
            job_id=new.job.id,
            step=Step.SUBMIT,
            provider=new.job.provider,
            run_at=new.job.created_at,
            lane=ASKED,
        )
        await off_loop(self._spool.put, HeldOrder(due=due, new=new))
        return None

    async def later(self, new: NewJob) -> tuple[Job, bool] | None:
        """Record a job that is held, once that can be.

        ``None`` where its deadline came before, or where another process is to send it.
        """
        again, job_id = replace(new, again=True), new.job.id
        recorded = None
        while recorded is None and self._clock() < new.job.deadline_at:
            try:
                recorded = await self._store.submit(again)
            except StoreUnavailableError:
                await asyncio.sleep(_LOOKS[-1])
        # What is in the spool was not sent, and whoever finds it there sends it: so it is surely gone before.
        gone = await off_loop(self._spool.drop, job_id, surely=True)
        return recorded if gone else None

    async def recover(self) -> None:
        """Record what processes held that are gone: nobody has sent it, so whoever comes first may."""
        for held in await off_loop(self._spool.take):
            job_id = held.new.job.id
            log.warning("order_found", job=job_id)
            try:
                await self._store.submit(replace(held.new, again=True, free=True))
            except ConflictError as error:
                log.error("order_refused", job=job_id, reason=str(error))
                await off_loop(self._spool.refuse, job_id)
            except StoreUnavailableError as error:
                log.warning("order_held", job=job_id, reason=str(error))
                self._spool.leave(job_id)
            else:
                await off_loop(self._spool.drop, job_id)

    def close(self) -> None:
        """Hold nothing any more: what is in the spool is for whoever starts next."""
        self._spool.close()
