"""Lending results to handlers: one copy for all handlers of a job, and no more bytes at once than there is room for.

Eight results of 60 MiB for three handlers each would be half a gigabyte three times over. Whoever wants a result in
pieces is lent none.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from receiver.core.model import Held, Job, Result
from receiver.files.store import FileStore
from receiver.files.stored import StoredFile, stored_file
from receiver.storage import files
from receiver.storage.results import answer_at, loaded, read_slice
from receiver.storage.store import Store

#: A job, and where its result and its answer lie.
_Key: TypeAlias = tuple[str, Held | None, Held | None]
#: Bytes of results that are lent at once; a single one may be larger.
ROOM: Final = 256 * 1024 * 1024


class Pieces(Result, frozen=True, kw_only=True):
    """A result that is read piece by piece; ``content`` stays empty.

    ``async for piece in job.result``; in a plain function, which has a thread of its own, ``for piece in job.result``.
    """

    #: Reads the piece of that number; empty past the end.
    read: Callable[[int], Coroutine[Any, Any, bytes]]
    loop: asyncio.AbstractEventLoop

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Read on, until all of it is read."""
        number = 0
        while piece := await self.read(number):
            yield piece
            number += 1

    def __iter__(self) -> Iterator[bytes]:
        """Read on, until all of it is read, in a thread that is not the event loop's."""
        number = 0
        while piece := asyncio.run_coroutine_threadsafe(self.read(number), self.loop).result():
            yield piece
            number += 1

    def json(self) -> Any:  # noqa: ANN401
        """Raise TypeError: it is not here as a whole."""
        raise TypeError(
            "This handler takes its results in pieces; register it without pieces=True for a whole one."
        )

    def text(self) -> str:
        """Raise TypeError: it is not here as a whole."""
        return str(self.json())


class Lending:
    """Lends stored results to handlers."""

    def __init__(self, store: Store, *, files: FileStore, room: int = ROOM) -> None:
        self._store = store
        self._files = files
        self._room = room
        #: What is lent, or being read: by job and place.
        self._lent: dict[_Key, asyncio.Task[Job]] = {}
        self._borrowers: Counter[_Key] = Counter()
        #: Whoever waits for room waits in a row, or a large one would wait for ever.
        self._row = asyncio.Lock()
        self._returned = asyncio.Event()

    @asynccontextmanager
    async def lend(self, job: Job, *, pieces: bool = False) -> AsyncIterator[Job]:
        """*job* with its result and its answer, if it has them: whole, or to be read in *pieces*.

        Raises:
            StoreUnavailableError: they cannot be read.
        """
        if job.files_when != "never":
            job = replace(job, files=await self.files(job.id))
        if (job.held is None and not job.answered) or (job.answer is not None and not pieces):
            yield job
            return
        if pieces:
            at = await self._store.read(answer_at, job) if job.answered else None
            yield replace(
                job,
                result=None if job.held is None else self._pieces(job.id, job.held),
                answer=None if at is None else self._pieces(job.id, at),
            )
            return
        key = job.id, job.held, job.answer_held
        size = sum(one.size for one in (job.held, job.answer_held) if one is not None)
        if key not in self._lent:
            async with self._row:
                while key not in self._lent and not self._fits(size):
                    self._returned.clear()
                    await self._returned.wait()
        if key not in self._lent:
            self._lent[key] = asyncio.create_task(self._store.read(loaded, job))
        self._borrowers[key] += 1
        try:
            # A caller that gives up while the result is read does not take it from the others.
            found = await asyncio.shield(self._lent[key])
            yield replace(job, result=found.result, answer=found.answer)
        finally:
            self._borrowers[key] -= 1
            if not self._borrowers[key]:
                del self._borrowers[key]
                self._lent.pop(key).cancel()
                self._returned.set()

    async def files(self, job_id: str) -> tuple[StoredFile, ...]:
        """The files of a job, which can be opened as far as they are stored; raises StoreUnavailableError."""
        found = await self._store.read(files.of_job, job_id)
        return tuple(stored_file(one, self._files) for one in found)

    def _fits(self, size: int) -> bool:
        lent = sum(held.size for _, *parts in self._lent for held in parts if held is not None)
        return not lent or lent + size <= self._room

    def _pieces(self, job_id: str, held: Held) -> Pieces:
        async def read(number: int) -> bytes:
            return await self._store.read(read_slice, job_id, held, number=number)

        return Pieces(
            content_type=held.content_type,
            size=held.size,
            sha256=held.sha256,
            read=read,
            loop=asyncio.get_running_loop(),
        )
