"""Wait: for the end of a job, whatever settles it and whichever process does."""

import asyncio
from typing import Final

from msgspec.structs import replace

from receiver.core.errors import ReceiverError
from receiver.core.model import Job
from receiver.news import News
from receiver.steps.lending import Lending
from receiver.storage.results import loaded
from receiver.storage.store import Store

#: The longest that one request waits, in seconds: proxies give up after a minute.
LONGEST_REQUEST: Final = 60.0


class WaitTimeoutError(ReceiverError):
    """The job has not ended yet; it goes on, and can be waited for again.

    Args:
        job: The job as it stands.
    """

    code = "wait_timed_out"
    status = 504

    def __init__(self, message: str = "", *, job: Job | None = None) -> None:
        super().__init__(message)
        self.job = job


class Wait:
    """Waits for the ends of jobs."""

    def __init__(self, *, store: Store, lending: Lending, news: News) -> None:
        self._store = store
        self._lending = lending
        self._news = news

    async def __call__(self, job_id: str, *, timeout: float | None = None) -> Job:  # noqa: ASYNC109
        """The job once it has ended, with its result.

        Args:
            job_id: Which one.
            timeout: Seconds after which the wait is given up; the job goes on. None: never.

        Raises:
            NotFoundError: there is no such job.
            WaitTimeoutError: it has not ended in time.
        """
        job = await self.until_ended(job_id, patience=timeout)
        if not job.state.ended:
            raise WaitTimeoutError(
                f"{job.id} is {job.state} after {timeout:g} seconds. It goes on: wait for it again with "
                f"receiver.wait({job.id!r}), or on the command line with 'receiver jobs wait {job.id}'.",
                job=job,
            )
        if job.held is not None or job.answered:
            job = await self._store.read(loaded, job)
        if job.files_when != "never":
            job = replace(job, files=await self._lending.files(job.id))
        return job

    async def until_ended(self, job_id: str, *, patience: float | None, leaves: bool = False) -> Job:
        """The job as it stands when it has ended, or after *patience* seconds; raises NotFoundError.

        With *leaves* it also returns when this process is about to end: a caller from outside can ask again.
        """
        loop = asyncio.get_running_loop()
        until = None if patience is None else loop.time() + patience
        while True:
            job = await self._store.job(job_id)
            left = None if until is None else until - loop.time()
            over = (left is not None and left <= 0) or (leaves and self._news.ending)
            if job.state.ended or over:
                return job
            await (self._news.wait() if left is None else self._news.wait(left))
