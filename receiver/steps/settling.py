"""Settling a look at a provider, poll or fetch: what it found into the store, and when to look again."""

import random
from collections.abc import Callable

from receiver.catalog import Catalog
from receiver.core.cadence import next_look
from receiver.core.transition import Move
from receiver.metrics import Metrics
from receiver.storage.claims import Claimed
from receiver.storage.settlements import Finding, LookSettled, timeline
from receiver.storage.store import Store


class Settling:
    """Settles looks."""

    def __init__(self, *, store: Store, catalog: Catalog, clock: Callable[[], int], metrics: Metrics) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics

    async def __call__(
        self,
        claimed: Claimed,
        finding: Finding,
        *,
        step: str,
        started: int,
        outcome: str,
        code: str | None,
        wait: int | None,
    ) -> Move | None:
        """Settle what *claimed* came to; the move that it made, if any.

        Args:
            claimed: The look.
            finding: What it found.
            step: What the timeline calls it.
            started: When it began.
            outcome: What the timeline says came of it.
            code: Why, if it failed.
            wait: How many milliseconds the provider wants to be left alone; none if it did not say.
        """
        job, due, now = claimed.job, claimed.due, self._clock()
        next_at = next_look(
            self._catalog.named(job.provider),
            job,
            due,
            now=now,
            jitter=random.random(),
            wait=wait,
            failed=finding.failed,
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
                ),
                # What was interrupted asked nobody anything, so there is nothing to wait for.
                next_at=now if outcome == "interrupted" else next_at,
                now=now,
            )
        )
        if move is not None and move.completed:
            self._metrics.settled(job.provider, move.job.settled_by or "", move.job.state)
        return move
