"""Settling a look at a provider, poll or fetch: what it found into the store, and when to look again."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog
from msgspec.structs import replace

from receiver.catalog import Catalog
from receiver.core.asking import exchange
from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.errors import CommitUnknownError, FetchRefusedError, StoreUnavailableError
from receiver.core.job.cadence import next_look
from receiver.core.job.looking import Finding, Interrupted, Lost, Nowhere, Terms, Unanswered, fails
from receiver.core.job.transition import Move
from receiver.core.model import Due, Value
from receiver.metrics import Metrics
from receiver.outbound.client import Outbound
from receiver.storage.claims import Claimed
from receiver.storage.looks import LookSettled, lost
from receiver.storage.settlements import timeline
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: Seconds between attempts to store what cannot be had again; the last one again and again, until the process stops.
_STORE_WAITS: Final = (0.5, 1, 1, 2, 2, 4)
T = TypeVar("T")


async def until_stored(write: Callable[[], Awaitable[T]], *, doubted: bool = False) -> T:
    """Repeat *write* until it succeeds, however long the store cannot be written.

    Args:
        write: May be done twice.
        doubted: Whether only a write that may have been committed is repeated; one that surely was not is not tried
        again.

    Raises:
        StoreUnavailableError: with *doubted*, it was not written.
    """
    for number in itertools.count():
        try:
            return await write()
        except StoreUnavailableError as error:
            if doubted and number == 0 and not isinstance(error, CommitUnknownError):
                raise
            log.warning("finding_held", reason=str(error))
        await asyncio.sleep(_STORE_WAITS[min(number, len(_STORE_WAITS) - 1)])
    raise AssertionError("it goes on for ever")


class Settling:
    """Settles looks."""

    def __init__(self, *, store: Store, catalog: Catalog, clock: Callable[[], int], metrics: Metrics) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics

    async def __call__(
        self, claimed: Claimed, finding: Finding, *, started: int, detail: Mapping[str, int] | None = None
    ) -> Move | None:
        """Settle what *claimed* found, having begun at *started*; the move that it made, if any.

        *detail* is what the timeline says besides.
        """
        job, due, now = claimed.job, claimed.due, self._clock()
        if isinstance(finding, Lost):
            finding = await self._store.read(lost, due)
        provider = self._catalog.named(job.provider)
        # A look that a wake-up asked for fetches; one by the clock polls.
        step = "fetch" if job.woken_by or due.result_url else "poll"
        outcome, code = _told(finding)
        if due.result_url and code == FetchRefusedError.code:
            outcome = "refused"
        next_at = next_look(
            provider,
            job,
            due,
            now=now,
            jitter=random.random(),
            wait=finding.wait if isinstance(finding, Pending | Unanswered) else None,
            failed=fails(job, finding),
        )
        move = await self._store.settle_look(
            LookSettled(
                due=due,
                woken_by=job.woken_by,
                remote_id=job.remote_id,
                finding=finding,
                log=timeline(
                    job.id,
                    step=step,
                    started_at=started,
                    now=now,
                    outcome=outcome,
                    code=code,
                    number=due.attempt,
                    detail={**(detail or {}), **_page(finding), **_asked(step, due, finding)},
                ),
                # What was interrupted asked nobody anything, so there is nothing to wait for.
                next_at=now if isinstance(finding, Interrupted) else next_at,
                terms=Terms(
                    patience=int(provider.fetch.patience),
                    after_wake_up=provider.poll is not None and provider.poll.gone_after == "wake-up",
                    result_for=provider.result_for,
                ),
                renewable=exchange.can_look(provider, job, replace(due, result_url=None)),
                now=now,
            )
        )
        self._metrics.step(step, job.provider, outcome)
        ended = move is not None and move.completed
        if move is not None and ended:
            self._metrics.settled(job.provider, move.job.settled_by or "", move.job.state)
        log.log(
            20 if ended or due.result_url or isinstance(finding, Unanswered) else 10,
            "result_fetched" if due.result_url else "job_polled",
            job=job.id,
            provider=job.provider,
            outcome=outcome,
            code=code,
            state=move.job.state if move is not None else None,
        )
        return move


class Looks(Value, frozen=True, kw_only=True):
    """What every look works with."""

    store: Store
    catalog: Catalog
    outbound: Outbound
    clock: Callable[[], int]
    metrics: Metrics
    #: Bytes of a result, at most.
    largest: int
    settling: Settling


def _page(finding: Finding) -> dict[str, int]:
    page = finding.page if isinstance(finding, Seen) else None
    return {} if page is None else {"page": page.number, "items": page.items, "size": len(page.content)}


def _asked(step: str, due: Due, finding: Finding) -> dict[str, str]:
    """What a fetch was, where that was no fetch: a question for the status, whose answer had no result in it."""
    if step != "fetch" or due.result_url:
        return {}
    came = isinstance(finding, Seen) and (finding.held or finding.page or finding.content is not None)
    return {} if came else {"asked": "status"}


def _told(finding: Finding) -> tuple[str, str | None]:
    """What the timeline says came of a look, and why."""
    match finding:
        case Seen(page=page) if page is not None:
            return "page", None
        case Seen(seen=seen, coded=coded):
            return str(seen.state or "running"), seen.error.code if seen.error else coded
        case Pending() | Nowhere():
            return "pending", None
        case Gone(status=status):
            return "gone", f"status_{status}"
        case Unanswered(code=code):
            return "failed", code
        case Lost():
            return "lost", "result_lost"
        case Interrupted():
            return "interrupted", None
