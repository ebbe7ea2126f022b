"""Gather: read which files a stored result links to, so that they are fetched."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from receiver.catalog import Catalog
from receiver.core.asking.exchange import HttpRequest
from receiver.core.description.provider import Provider
from receiver.core.errors import FetchRefusedError, UnreadableError
from receiver.core.file import Download, File, FileState
from receiver.core.files.links import Link, legible, links, names_in_answer, reads_result
from receiver.core.job.transition import Move
from receiver.core.model import Job, Result, Source
from receiver.metrics import Metrics
from receiver.outbound.vetting import vet
from receiver.storage import files, results
from receiver.storage.claims import Claimed
from receiver.storage.files import Gathered
from receiver.storage.settlements import timeline
from receiver.storage.store import Store
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

#: Files of one result that are listed, fetched or not; of more it is told only how many there are.
_MOST_LISTED: Final = 20_000
REFUSED: Final = "file_refused"
TOO_MANY: Final = "too_many_files"


class Gather:
    """Reads results for the files that they link to.

    Args:
        most: Files of one result that are fetched.
        largest: Bytes that one may have.
        notify: Told that there are files to fetch.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        clock: Callable[[], int],
        metrics: Metrics,
        most: int,
        largest: int,
        notify: Callable[[], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics
        self._most = most
        self._largest = largest
        self._notify = notify
        # One at a time, for memory's sake.
        self._reading = asyncio.Semaphore(1)

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Read one result and record what it links to; the move that it made, if any."""
        job, started = claimed.job, self._clock()
        provider = self._catalog.named(job.provider)
        found: list[Link] = []
        total, code = 0, None
        async with self._reading:
            content = await self._result(job) if reads_result(provider) else Result()
            answer = await self._answer(job) if names_in_answer(provider) else Result()
            try:
                found, total = await off_loop(_links, content, answer, provider, job, now=started)
            except UnreadableError as error:
                # The result links to nothing that could be found; it is a result all the same.
                code = error.code
            del content, answer
        listed = [self._file(provider, one) for one in found]
        wanted = [
            self._download(provider, job.id, link, now=started)
            for link, file in zip(found, listed, strict=True)
            if file.state is FileState.WAITING
        ]
        lost = total - len(wanted)
        if total > self._most:
            code = TOO_MANY
        elif lost:
            code = REFUSED
        now = self._clock()
        entry = timeline(
            job.id,
            step="files",
            started_at=started,
            now=now,
            outcome="found",
            code=code,
            number=claimed.due.attempt,
            detail={"files": total, "lost": lost},
        )
        move = await self._store.write(
            files.gather,
            Gathered(due=claimed.due, files=tuple(listed), downloads=tuple(wanted), log=entry, now=now),
        )
        if lost:
            log.warning("files_lost", job=job.id, provider=job.provider, code=code, count=lost)
            self._metrics.files(job.provider, FileState.LOST, count=lost)
        if move is not None and move.completed:
            self._metrics.settled(job.provider, move.job.settled_by or Source.POLL, move.job.state)
        if wanted:
            self._notify()
        return move

    async def _result(self, job: Job) -> Result:
        content = await self._store.result(job)
        return Result() if job.held is None else Result(content=content, content_type=job.held.content_type)

    async def _answer(self, job: Job) -> Result:
        """What told how the job ended, whole; empty where that is not kept."""
        found = await self._store.read(results.answered, job)
        if isinstance(found, Result):
            return found
        if found is None:
            return Result()
        content = await self._store.read(results.read_whole, job.id, found)
        return Result(content=content, content_type=found.content_type)

    def _file(self, provider: Provider, link: Link) -> File:
        code = None
        if link.number > self._most:
            code = TOO_MANY
        elif not link.origin or not (link.written_out or may_be_asked(provider, link.url)):
            code = REFUSED
        return File(
            number=link.number,
            name=link.name,
            place=link.place,
            source=link.source,
            state=FileState.WAITING if code is None else FileState.LOST,
            code=code,
        )

    def _download(self, provider: Provider, job_id: str, link: Link, *, now: int) -> Download:
        return Download(
            job_id=job_id,
            number=link.number,
            provider=provider.name,
            url=link.url,
            origin=link.origin,
            authenticated=link.authenticated,
            largest=min(link.largest or self._largest, self._largest),
            run_at=now,
            expires_at=link.expires_at,
        )


def _links(
    content: Result, answer: Result, provider: Provider, job: Job, *, now: int
) -> tuple[list[Link], int]:
    """The files that a result links to, or an answer names, and how many there are; takes time, and a thread."""
    return links(
        legible(content.content, content.content_type),
        provider,
        job,
        answer=legible(answer.content, answer.content_type),
        most=_MOST_LISTED,
        now=now,
    )


def may_be_asked(provider: Provider, url: str) -> bool:
    """Whether a file may be asked for there, as far as its address tells; what it resolves to is looked at later."""
    request = HttpRequest(purpose="download", method="GET", url=url, anywhere=not provider.lists(url))
    try:
        vet(provider, request)
    except FetchRefusedError:
        return False
    return True
