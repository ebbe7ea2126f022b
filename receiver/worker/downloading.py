"""Downloading: claims files that are to be fetched, as many at once as there is room for, and has them fetched."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from receiver.core.errors import StoreUnavailableError
from receiver.files.store import DiskLowError, FileStore, FileStoreError
from receiver.files.sweeping import Sweeping
from receiver.steps.download import FetchFile
from receiver.storage import downloads
from receiver.storage.downloads import DownloadClaim, Fetching
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: Files that a process fetches from one origin at once.
EACH: Final = 8


class Downloading:
    """Fetches files.

    Args:
        completed: Told that a job has ended, so that there are dispatches.
        floor: Bytes that are to stay free.
    """

    def __init__(
        self,
        *,
        store: Store,
        step: FetchFile,
        kept: FileStore,
        clock: Callable[[], int],
        owner: str,
        lease_ms: int,
        floor: int,
        sweeping: Sweeping,
        completed: Callable[[], None],
    ) -> None:
        self._store = store
        self._step = step
        self._kept = kept
        self._clock = clock
        self._owner = owner
        self._lease_ms = lease_ms
        self._floor = floor
        self._sweeping = sweeping
        self._completed = completed
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        #: Called when there is room for another one.
        self.freed: Callable[[], None] = lambda: None
        #: Why nothing is fetched, if nothing is: a code, and a sentence.
        self.paused: str | None = None
        self.trouble: str | None = None
        #: The last origin whose turn it was.
        self._after = ""

    @property
    def running(self) -> int:
        """How many are being fetched."""
        return len(self._tasks)

    async def __call__(self) -> bool:
        """Claim what is to be fetched, and begin; whether there may be more at once."""
        free = self._kept.at_once - len(self._tasks)
        if free <= 0 or not await self._store.read(downloads.waiting, self._clock()):
            return False
        if not await self._has_room():
            return False
        claimed = await self._store.write(
            downloads.claim,
            DownloadClaim(
                owner=self._owner,
                limit=free,
                each=EACH,
                busy=dict(self._busy),
                closed=self._step.closed(),
                after=self._after,
                lease_ms=self._lease_ms,
                now=self._clock(),
            ),
        )
        for one in claimed:
            self._begin(one)
        if len(claimed) < free:
            # Of very many origins some are looked at, the next time the next ones.
            self._after = await self._store.read(downloads.turn, self._after)
        return len(claimed) == free

    async def sweep(self) -> None:
        """Delete files that no job has any more."""
        try:
            swept = await self._sweeping()
        except FileStoreError as error:
            log.warning("files_not_swept", code=error.code, reason=str(error))
            return
        if swept.files or swept.unfinished:
            log.info("files_swept", files=swept.files, unfinished=swept.unfinished, bytes=swept.bytes)

    async def drain(self, *, patience: float) -> None:
        """Stop: what is being fetched is left to whoever goes on with it."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)

    async def _has_room(self) -> bool:
        trouble = await self._shut()
        why = None if trouble is None else trouble.code
        self.trouble = None if trouble is None else f"No file is fetched: {trouble}"
        if why != self.paused:
            self.paused = why
            if why is None:
                log.info("downloads_go_on")
            else:
                log.error("downloads_paused", code=why, see=f"receiver explain {why}")
        return why is None

    async def _shut(self) -> FileStoreError | None:
        """Why nothing can be stored now."""
        try:
            room = await self._kept.room()
        except FileStoreError as error:
            return error
        if room is None or room >= self._floor:
            return None
        return DiskLowError(
            f"less than {self._floor} bytes (RECEIVER_DISK_FLOOR) are free at {self._kept.where}."
        )

    def _begin(self, fetching: Fetching) -> None:
        origin = fetching.download.origin
        self._busy[origin] += 1
        task = asyncio.get_running_loop().create_task(self._fetch(fetching))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._busy[origin] -= 1
            if not self._busy[origin]:
                del self._busy[origin]
            self.freed()

        task.add_done_callback(ended)

    async def _fetch(self, fetching: Fetching) -> None:
        try:
            move = await self._step(fetching)
        except StoreUnavailableError as error:
            # The lease of the download lapses, and the download comes back.
            log.warning("download_not_settled", job=fetching.job.id, reason=str(error))
        except Exception:
            log.exception("download_failed", job=fetching.job.id, file=fetching.download.number)
        else:
            if move is not None and move.completed:
                self._completed()
