"""Download: fetch one file that a result links to, into the file store as it arrives."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from msgspec.structs import replace

from receiver.catalog import Catalog
from receiver.core.errors import (
    ConfigurationError,
    FetchRefusedError,
    ProviderError,
    ReceiverError,
    UnreadableError,
)
from receiver.core.file import Download, File, FileState
from receiver.core.files.links import legible, written_out
from receiver.core.job.transition import Move
from receiver.core.model import DAY, MINUTE, SECOND, Job, Source
from receiver.core.retry import Backoff
from receiver.files.opening import Marking
from receiver.files.store import DiskLowError, FileStore, FileStoreError, Writing
from receiver.metrics import Metrics
from receiver.outbound.downloads import Downloads
from receiver.steps.arriving import AgainError, Arriving, GoneError, TooLargeError
from receiver.steps.renewing import Renewing
from receiver.steps.unpacking import is_packed, unpacked
from receiver.storage import downloads, files
from receiver.storage.downloads import DownloadSettled, Fetching, Progress
from receiver.storage.settlements import timeline
from receiver.storage.store import Store
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

_RETRIES: Final = Backoff(first=SECOND, longest=5 * MINUTE, attempts=1_000_000)
#: Seconds after which what is there is made safe.
_SECURE_AFTER: Final = 10.0
#: How long one waits for room, in milliseconds.
_AFTER_FULL: Final = 15 * SECOND
#: For how long a file that we could not store is still waited for after its provider has deleted it.
_OURS: Final = DAY
#: The codes of a file that is lost.
TOO_LARGE: Final = "file_too_large"
GONE: Final = "file_gone"
UNREACHABLE: Final = "file_unreachable"
REFUSED: Final = "file_refused"


class _SupersededError(Exception):
    """Somebody else has it by now."""


class FetchFile:
    """Fetches files.

    Args:
        bytes_of_job: That all files of one job may have together.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        source: Downloads,
        kept: FileStore,
        marking: Marking,
        renewing: Renewing,
        clock: Callable[[], int],
        metrics: Metrics,
        lease_ms: int,
        bytes_of_job: int,
    ) -> None:
        self.store = store
        self.catalog = catalog
        self.source = source
        self.kept = kept
        self.marking = marking
        self.renewing = renewing
        self.clock = clock
        self.metrics = metrics
        self.lease_ms = lease_ms
        self.bytes_of_job = bytes_of_job
        #: Origins that asked to be left alone, and until when.
        self.paused: dict[str, int] = {}

    def closed(self) -> frozenset[str]:
        """The origins that nothing is to be fetched from now."""
        now = self.clock()
        self.paused = {origin: until for origin, until in self.paused.items() if until > now}
        return frozenset(self.paused)

    async def __call__(self, fetching: Fetching) -> Move | None:
        """Fetch once, and settle what came of it; the move of its job that it made, if any."""
        attempt = _Attempt(self, fetching, started=self.clock())
        return await attempt.run()

    def ended(self, file: File, outcome: str) -> None:
        """Hear how the attempt at *file* ended: *stored*, *lost* or *failed*; for whoever wants to know."""


class _Attempt:
    """One attempt at one file."""

    def __init__(self, step: FetchFile, fetching: Fetching, *, started: int) -> None:
        self._step = step
        self._job: Job = fetching.job
        self._download = fetching.download
        self._started = started
        self._provider = step.catalog.named(fetching.download.provider)
        self._writing: Writing | None = None
        self._arriving: Arriving | None = None

    async def run(self) -> Move | None:
        try:
            stored = await self._fetch()
        except _SupersededError:
            await self._discard()
            log.warning("download_superseded", job=self._job.id, file=self._download.number)
            return None
        except asyncio.CancelledError:
            await self._give_back()
            raise
        except (AgainError, FileStoreError, ProviderError, ConfigurationError, UnreadableError) as error:
            return await self._failed(error)
        return await self._settle(stored)

    async def _failed(self, error: AgainError | ReceiverError) -> Move | None:
        """Settle what did not bring the file."""
        match error:
            case TooLargeError():
                await self._discard()
                return await self._settle(_lost(self._download, TOO_LARGE))
            case FetchRefusedError() | UnreadableError():
                await self._discard()
                return await self._settle(_lost(self._download, REFUSED))
            case GoneError():
                await self._discard()
                return await self._ask_anew(error.code)
            case FileStoreError():
                # Nothing is wrong with the file; and what is here of it may take room that is needed.
                await self._discard()
                wait = _AFTER_FULL if isinstance(error, DiskLowError) else None
                return await self._again(error.code, wait=wait, ours=True)
            case AgainError() if error.wait is not None:
                await self._secure()
                self._step.paused[self._download.origin] = self._step.clock() + error.wait
                return await self._again(error.code, wait=error.wait)
        await self._secure()
        return await self._again(error.code)

    async def _fetch(self) -> File:
        step, download = self._step, self._download
        await step.marking.claim(now=step.clock())
        room = step.bytes_of_job - await step.store.read(files.stored_bytes, download.job_id)
        largest = min(download.largest, max(room, 0))
        writing = self._writing = await step.kept.begin(partial=download.partial, received=download.received)
        self._download = replace(download, partial=None, received=0)
        packed: tuple[bytes, ...] = ()
        if download.url.startswith("data:"):
            content_type = await self._write_out(writing, largest)
        else:
            arriving = self._arriving = Arriving(
                writing,
                source=step.source,
                largest=largest,
                validator=download.validator,
                secure=self._go_on,
                every=min(_SECURE_AFTER, step.lease_ms / SECOND / 3),
                clock=step.clock,
            )
            found = await arriving.take(self._provider, download)
            content_type = found.content_type
            if is_packed(found.codings, content_type=content_type, url=download.url):
                packed = found.codings
        sha256 = await writing.finish()
        if packed and (plain := await self._unpacked(writing, sha256, packed, largest)) is not None:
            writing, sha256 = plain, await plain.finish()
        return File(
            number=download.number,
            name="",
            state=FileState.STORED,
            size=writing.size,
            content_type=content_type,
            sha256=sha256,
            stored_at=step.clock(),
        )

    async def _unpacked(
        self, writing: Writing, sha256: str, codings: Sequence[bytes], largest: int
    ) -> Writing | None:
        """The file without the codings that it came in; ``None`` where it stays as it is, which is said."""
        self._writing = None
        self._forget()
        renewed = self._step.clock()

        async def go_on() -> None:
            nonlocal renewed
            if self._step.clock() >= renewed + self._step.lease_ms // 3:
                renewed = self._step.clock()
                await self._renew()

        plain = await unpacked(self._step.kept, sha256, writing.size, codings, largest=largest, go_on=go_on)
        if plain is None:
            log.warning("file_packed", job=self._job.id, file=self._download.number)
        self._writing = plain
        return plain

    async def _write_out(self, writing: Writing, largest: int) -> str:
        """A file that is in the result itself."""
        content = await self._step.store.result(self._job)
        held = self._job.held
        kind = "" if held is None else held.content_type
        plain, content_type = await off_loop(
            lambda: written_out(legible(content, kind), self._provider, self._download.number)
        )
        if len(plain) > largest:
            raise TooLargeError
        await writing.write([plain])
        return content_type[:200] if content_type.isascii() and content_type.isprintable() else "text/plain"

    @property
    def _validator(self) -> str | None:
        return None if self._arriving is None else self._arriving.validator

    async def _go_on(self) -> None:
        """Make safe what is here, and say so."""
        assert self._writing is not None  # noqa: S101  (something arrives)
        received = await self._writing.secure()
        if received and self._validator is not None:
            self._download = replace(
                self._download, partial=self._writing.name, received=received, validator=self._validator
            )
        await self._renew()

    async def _renew(self) -> None:
        until = self._step.clock() + self._step.lease_ms
        if not await self._step.store.write(downloads.go_on, Progress(download=self._download, until=until)):
            raise _SupersededError

    async def _secure(self) -> None:
        """Leave what is here to whoever tries again, if it can be gone on with."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            received = await writing.secure() if self._validator is not None and writing.size else 0
            if received and writing.name:
                await writing.leave()
                self._download = replace(
                    self._download, partial=writing.name, received=received, validator=self._validator
                )
            else:
                self._forget()
                await writing.discard()
        except FileStoreError as error:
            self._forget()
            log.warning("partial_not_kept", job=self._job.id, reason=str(error))

    async def _discard(self) -> None:
        writing, self._writing = self._writing, None
        self._forget()
        if writing is not None:
            try:
                await writing.discard()
            except FileStoreError as error:
                log.warning("partial_not_deleted", job=self._job.id, reason=str(error))

    def _forget(self) -> None:
        self._download = replace(self._download, partial=None, received=0, validator=None)

    async def _give_back(self) -> None:
        """Give the download back, because the process ends: somebody else goes on at once."""
        await self._secure()
        mine = replace(self._download, run_at=self._step.clock())
        await self._step.store.write(downloads.release, mine)

    async def _ask_anew(self, code: str) -> Move | None:
        """Have the provider asked for a fresh link, once for all files of the job."""
        renewed = None
        if not self._download.renewed:
            renewed = await self._step.renewing(self._provider, self._job, self._download)
        if renewed is None:
            return await self._settle(_lost(self._download, GONE))
        return await self._again(code, wait=0 if renewed else None)

    async def _again(self, code: str, *, wait: int | None = None, ours: bool = False) -> Move | None:
        """Try again later, unless the time is up; *ours*: it is nobody's fault but ours that it is not here."""
        download, now = self._download, self._step.clock()
        last = download.expires_at + (_OURS if ours else 0)
        if self._started >= last and wait != 0:
            return await self._settle(_lost(download, UNREACHABLE))
        failures = download.failures + 1
        pause = _RETRIES.wait(failures, jitter=random.random()) if wait is None else wait
        run_at = now + pause
        if now < download.expires_at:
            run_at = min(run_at, download.expires_at)
        waits = File(number=download.number, name="", code=code)
        return await self._settle(waits, again=replace(download, run_at=run_at, failures=failures))

    async def _settle(self, file: File, *, again: Download | None = None) -> Move | None:
        step, download, now = self._step, self._download, self._step.clock()
        outcome = "failed" if again is not None else file.state.value
        detail: dict[str, Any] = {"file": download.number}
        if file.size is not None:
            detail["bytes"] = file.size
        if self._arriving is not None and self._arriving.resumed:
            detail["resumed_at"] = self._arriving.resumed
        move = await step.store.write(
            downloads.settle,
            DownloadSettled(
                download=download,
                file=file,
                again=again,
                log=timeline(
                    self._job.id,
                    step="file",
                    started_at=self._started,
                    now=now,
                    outcome=outcome,
                    code=file.code,
                    number=download.attempt,
                    detail=detail,
                ),
                now=now,
            ),
        )
        step.ended(file, outcome)
        facts = {"job": self._job.id, "provider": self._provider.name, "file": download.number}
        if again is not None:
            log.info("file_waits", code=file.code, failures=again.failures, **facts)
            return move
        step.metrics.files(self._provider.name, file.state, size=file.size or 0)
        if file.state is FileState.LOST:
            log.warning("file_lost", code=file.code, see=f"receiver explain {file.code}", **facts)
        else:
            log.info("file_stored", bytes=file.size, **facts)
        if move is not None and move.completed:
            step.metrics.settled(self._provider.name, move.job.settled_by or Source.POLL, move.job.state)
        return move


def _lost(download: Download, code: str) -> File:
    return File(number=download.number, name="", state=FileState.LOST, code=code)
