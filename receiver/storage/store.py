"""The one Store: every write joins the next group commit, every read has a connection of its own."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from receiver.core.errors import ConflictError
from receiver.core.job.admission import Terms
from receiver.core.job.transition import Move
from receiver.core.model import Attempt, Callback, Dispatch, Due, Held, Job
from receiver.metrics import TableSize
from receiver.storage import (
    arrivals,
    claims,
    clocks,
    dead_letters,
    dispatches,
    durations,
    looks,
    nodes,
    orphans,
    pauses,
    queries,
    readmission,
    records,
    refusals,
    results,
    retention,
    schema,
    search,
    settlements,
    spent,
    unfinished,
)
from receiver.storage.arrivals import Arrival, Receipt
from receiver.storage.claims import Beat, Claim, Claimed, Leases, LookClaim
from receiver.storage.clocks import ClockStep
from receiver.storage.counting import Counting
from receiver.storage.dispatches import DispatchClaim, DispatchSettled
from receiver.storage.driver import Driver, Transaction
from receiver.storage.looks import LookSettled
from receiver.storage.nodes import Node, Registered, Seen
from receiver.storage.opening import open_driver
from receiver.storage.orphans import Orphan
from receiver.storage.queries import Page, Record
from receiver.storage.reader import Reader
from receiver.storage.readmission import Readmission
from receiver.storage.records import Link, NewJob
from receiver.storage.refusals import Refusal
from receiver.storage.retention import Prune, Pruned
from receiver.storage.settlements import CancelSettled, SubmitSettled
from receiver.storage.writer import Writer
from receiver.threads import off_loop

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
#: Seconds for which a callback that was not recorded counts.
_REMEMBERED: Final = 60.0


class Store:
    """The durable record. Every method is one transaction; a write returns after its commit.

    Raises (every method):
        StoreUnavailableError: the database cannot be used right now; a write was not committed.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._writer = Writer(driver)
        self._reader = Reader(driver)
        self.counting = Counting(self._reader.read)
        #: The error of the last callback that was not recorded, and when; ``None`` once another was recorded.
        self._refused: tuple[Exception, float] | None = None

    @classmethod
    async def open(cls, url: str, *, serve: bool = False, migrate: bool = True) -> Self:
        """Open the database.

        Args:
            url: Where it is.
            serve: Whether this process is to serve it (SQLite takes one).
            migrate: Whether to bring its schema up to this code's, rather than to refuse one that is not.

        Raises:
            ConfigurationError: the address is wrong, the schema is not ours, or another process serves it.
            NotFoundError: with ``migrate=False``, there is no database yet.
            StoreUnavailableError: it cannot be opened.
        """
        driver = open_driver(url)

        def prepare() -> None:
            # First, so that a second process changes nothing before it is refused.
            if serve:
                driver.serve()
            (schema.migrate if migrate else schema.check)(driver)

        try:
            await off_loop(prepare)
        except BaseException:
            driver.close()
            raise
        return cls(driver)

    async def close(self) -> None:
        """Commit what waits and give the database back."""
        await self.counting.close()
        await off_loop(self._writer.close)
        await off_loop(self._reader.close)
        await off_loop(self.driver.close)

    # -- in general ----------------------------------------------------------------------------------------

    async def read(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        """Ask one of the questions of this package that have no method here."""
        return await self._reader.read(query, *args, **kwargs)

    async def write(self, method: Callable[[Transaction, Sequence[I]], Sequence[T]], item: I) -> T:
        """Have one of the writing methods of this package that have no method here take *item*."""
        answer: T = await self._writer.call(method, item)
        return answer

    # -- what is asked for ---------------------------------------------------------------------------------

    async def submit(self, new: NewJob) -> tuple[Job, bool]:
        """Record a job before it is submitted; the job, and whether it is new."""
        answer = await self._writer.call(records.submit, new)
        if isinstance(answer, ConflictError):
            raise answer
        recorded: tuple[Job, bool] = answer
        return recorded

    async def cancel(self, job_id: str, *, now: int) -> Job:
        """Record the wish to cancel."""
        return await self._job(records.cancel, (job_id, now))

    async def abandon(self, job_id: str, *, now: int) -> Job:
        """Give a job up by hand."""
        return await self._job(records.abandon, (job_id, now))

    async def resubmit(self, job_id: str, *, now: int) -> Job:
        """Send a job again whose submission's outcome is unknown."""
        return await self._job(records.resubmit, (job_id, now))

    async def link(self, item: Link) -> Job:
        """Give a job the name that its provider has for it; raises ConflictError where it cannot be called so."""
        return await self._job(records.link, item)

    async def replay(self, job_id: str, *, handler: str | None, replay_id: str, now: int) -> list[str]:
        """Make new dispatches for an ended job; the handlers that get one."""
        made: list[str] = await self._writer.call(records.replay, (job_id, handler, replay_id, now))
        return made

    async def readmit(self, item: Readmission) -> tuple[Receipt, list[str]]:
        """Admit a stored callback anew."""
        answer: tuple[Receipt, list[str]] = await self._writer.call(readmission.readmit, item)
        return answer

    async def retry_dispatch(self, dispatch: Dispatch, *, now: int) -> bool:
        """Try a dead dispatch again, with as many attempts as at first."""
        key = (dispatch.job_id, dispatch.handler, dispatch.replay_id, now)
        return bool(await self._writer.call(dispatches.retry, key))

    async def discard_dispatch(self, dispatch: Dispatch, *, now: int) -> bool:
        """Drop a dead dispatch."""
        key = (dispatch.job_id, dispatch.handler, dispatch.replay_id, now)
        return bool(await self._writer.call(dispatches.discard, key))

    # -- what arrives --------------------------------------------------------------------------------------

    async def ingest(self, arrival: Arrival, *, patience: float | None = None) -> Receipt:
        """Record a callback, its job's new state and the dispatches, in one commit.

        After *patience* seconds it is unavailable; the commit may still come, and a retry is then a duplicate.
        """
        try:
            receipt: Receipt = await self._writer.call(arrivals.ingest, arrival, patience=patience)
        except Exception as error:
            self._refused = error, time.monotonic()
            raise
        self._refused = None
        return receipt

    async def refuse(self, refusal: Refusal) -> bool:
        """Record that a request about a job was refused; whether the job is to be looked at now."""
        return bool(await self._writer.call(refusals.refuse, refusal))

    def refusing(self) -> Exception | None:
        """Why callbacks are not recorded: the error of the last one, which counts for a minute."""
        if self._refused is None or time.monotonic() > self._refused[1] + _REMEMBERED:
            return None
        return self._refused[0]

    @property
    def failed(self) -> Mapping[str, int]:
        """How much this process was to write and did not commit, by the code of the error."""
        return self._writer.failed

    async def release_held(self, callback_id: str, *, terms: Terms, now: int) -> Receipt:
        """Give a held callback that no submission claimed a job of its own."""
        receipt: Receipt = await self._writer.call(arrivals.release_held, (callback_id, terms, now))
        return receipt

    # -- what the worker does ------------------------------------------------------------------------------

    async def claim(self, item: Claim) -> list[Claimed]:
        """Claim due steps of one provider."""
        claimed: list[Claimed] = await self._writer.call(claims.claim, item)
        return claimed

    async def claim_look(self, item: LookClaim) -> Claimed | None:
        """Claim the next look at one job."""
        claimed: Claimed | None = await self._writer.call(claims.claim_looks, item)
        return claimed

    async def claim_dispatches(self, item: DispatchClaim) -> list[tuple[Dispatch, Job]]:
        """Claim dispatches of handlers."""
        claimed: list[tuple[Dispatch, Job]] = await self._writer.call(dispatches.work, item)
        return claimed

    async def settle_look(self, item: LookSettled) -> Move | None:
        """Settle a poll or fetch."""
        move: Move | None = await self._writer.call(looks.settle_looks, item)
        return move

    async def settle_submit(self, item: SubmitSettled) -> Job:
        """Settle a submission."""
        return await self._job(settlements.settle_submits, item)

    async def settle_cancel(self, item: CancelSettled) -> Job:
        """Settle an attempt to cancel."""
        return await self._job(settlements.settle_cancels, item)

    async def settle_dispatches(self, items: Sequence[DispatchSettled]) -> list[bool]:
        """Settle attempts of dispatches; whether each still was its owner's."""
        settled: list[bool] = await self._writer.call(dispatches.work, items)
        return settled

    async def spend(self, due: Due, url: str) -> bool:
        """Commit that the fetch of a single-use address begins."""
        return bool(await self._writer.call(spent.spend, (due, url)))

    async def write_chunks(self, job_id: str, *, part: int, first: int, content: bytes) -> None:
        """Write chunks of a result that is still arriving."""
        await self._writer.call(settlements.chunks, (job_id, part, first, content))

    async def heartbeat(self, beat: Beat) -> None:
        """Extend the leases of what is still being worked on; see ``claims.heartbeat``."""
        await self._writer.call(claims.heartbeat, beat)

    async def renew(self, dispatch: Dispatch, *, until: int) -> bool:
        """Extend the lease of one dispatch; whether it still is its owner's."""
        return bool(await self._writer.call(claims.renew, (dispatch, until)))

    async def release(self, leases: Leases, *, lease_ms: int, now: int) -> None:
        """Give leases back at once."""
        await self._writer.call(claims.release, (leases, lease_ms, now))

    async def release_all(self, *, now: int) -> None:
        """Give everybody's leases back: for the only process that serves a database, when it starts."""
        await self._writer.call(claims.release_all, now)

    async def shift(self, step: ClockStep) -> None:
        """Move what is planned along with a clock that was set."""
        await self._writer.call(clocks.shift, step)

    async def join(self, node: Node, *, only: bool, now: int) -> None:
        """Register a node and its handlers."""
        await self._writer.call(nodes.join, (node, only, now))

    async def leave(self, node: Node) -> None:
        """Forget a node that ends."""
        await self._writer.call(nodes.leave, node.name)

    async def reap(self, *, now: int) -> int:
        """Bury the dispatches of handlers that are gone; how many."""
        buried: int = await self._writer.call(nodes.reap, now)
        return buried

    async def forget_handler(self, name: str, *, lease_ms: int, now: int) -> Registered:
        """Dispatch nothing to a handler any more; see ``nodes.forget`` for what is raised."""
        forgotten: Registered = await self._writer.call(nodes.forget, (name, lease_ms, now))
        return forgotten

    async def pause(self, provider: str, *, until: int) -> None:
        """Have every node leave a provider alone until a time."""
        await self._writer.call(pauses.pause, (provider, until))

    async def prune(self, item: Prune) -> Pruned:
        """Delete one batch of old jobs."""
        pruned: Pruned = await self._writer.call(retention.prune, item)
        return pruned

    # -- what is read --------------------------------------------------------------------------------------

    async def jobs(self, page: Page) -> list[Job]:
        """List jobs, the newest first."""
        return (await search.whole_page(self.read, search.of_page(page))).jobs

    async def job(self, job_id: str) -> Job:
        """One job with its metadata."""
        return await self._reader.row(queries.jobs_by_id, job_id)

    async def record(self, job_id: str) -> Record:
        """Everything about one job."""
        return await self._reader.read(queries.record, job_id)

    async def submission(self, job_id: str) -> queries.Submission | None:
        """What was submitted for a job."""
        return await self._reader.read(queries.submission, job_id)

    async def callbacks(self, page: Page) -> list[Callback]:
        """List callbacks without their bodies."""
        return await self._reader.read(queries.callbacks, page)

    async def callback(self, callback_id: str) -> Callback:
        """One callback with its body."""
        return await self._reader.row(queries.callbacks_by_id, callback_id)

    async def dispatches(self, page: Page) -> list[Dispatch]:
        """The unfinished dispatches of a page, as far as one search looks."""
        return (await self._reader.read(unfinished.find, page)).dispatches

    async def dispatch(self, job_id: str, *, handler: str, replay_id: str) -> Dispatch:
        """One unfinished dispatch."""
        return await self._reader.read(dead_letters.dispatch, job_id, handler=handler, replay_id=replay_id)

    async def activity(self, *, since: int) -> list[tuple[str, Attempt]]:
        """What steps and handlers finished from *since* on, with the provider of each job."""
        return await self._reader.read(queries.activity, since)

    async def handlers(self) -> list[dict[str, Any]]:
        """The registered handlers."""
        return await self._reader.read(queries.handlers)

    async def registered(self) -> list[Registered]:
        """The registered handlers, with what is not finished of each."""
        return await self._reader.read(nodes.registered)

    async def nodes(self) -> list[Seen]:
        """The processes that serve this database."""
        return await self._reader.read(nodes.nodes)

    async def due_providers(self, *, now: int) -> list[str]:
        """The providers for which something is due."""
        return await self._reader.read(queries.due_providers, now)

    async def held_due(self, *, now: int) -> list[tuple[str, str]]:
        """Held callbacks whose time is up."""
        return await self._reader.read(queries.held_due, now)

    async def sizes(self) -> list[TableSize]:
        """How much room the tables take."""
        return await self._reader.call(self.driver.sizes)

    async def counts(self, *, now: int) -> dict[str, Any]:
        """Figures for the metrics, as they are."""
        return await self.counting(now=now)

    async def sealed_key(self, job_id: str) -> bytes | None:
        """The encrypted key for a job's callbacks."""
        return await self._reader.read(queries.sealed_key, job_id)

    async def keys_used(self) -> list[tuple[str, str, int, int]]:
        """Which keys proved the callbacks that are stored, how often, and when last."""
        return await self._reader.read(queries.keys_used)

    async def open_providers(self) -> list[str]:
        """The providers for which something is still to be done."""
        return await self._reader.read(queries.open_providers)

    async def took(self, provider: str, operation: str, *, before: int, most: int) -> list[int]:
        """How long the last jobs of an operation took until a callback told of their success."""
        return await self._reader.read(durations.took, provider, operation, before=before, most=most)

    async def orphans(self, *, since: int) -> list[Orphan]:
        """Jobs without a name at their provider, beside those that callbacks made at the same time."""
        return await self._reader.read(orphans.orphans, since)

    async def resolve(self, prefix: str) -> str:
        """The one id that begins with *prefix*."""
        return await self._reader.read(queries.resolve, prefix)

    async def result(self, job: Job) -> bytes:
        """The stored result of *job*, whole."""
        return b"" if job.held is None else await self._reader.read(results.read_whole, job.id, job.held)

    async def result_chunks(self, job_id: str, held: Held) -> AsyncIterator[bytes]:
        """The stored result in chunks, without holding all of it in memory."""
        number = 0
        while chunk := await self._reader.read(results.read_slice, job_id, held, number=number):
            yield chunk
            number += 1

    async def _job(self, method: Callable[[Transaction, Sequence[Any]], Sequence[Any]], item: object) -> Job:
        job: Job = await self._writer.call(method, item)
        return job
