"""Cancel: asks the provider to stop a job. Whether it did is known from a later observation only."""

import random
from collections.abc import Callable
from typing import Final

import structlog

from receiver.catalog import Catalog
from receiver.core.asking import cancelling
from receiver.core.asking.exchange import Gone, Look, Seen, TryLater
from receiver.core.errors import ConfigurationError, ConflictError, ProviderError
from receiver.core.model import Job
from receiver.core.retry import Backoff, RetryAt, after_failure
from receiver.metrics import Metrics
from receiver.outbound.client import Outbound
from receiver.storage.claims import Claimed
from receiver.storage.settlements import CancelSettled, timeline
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

RETRIES: Final = Backoff(first=1_000, longest=60_000, attempts=8)


class Cancel:
    """Records wishes to cancel jobs, and sends them to providers."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        outbound: Outbound,
        clock: Callable[[], int],
        metrics: Metrics,
        notify: Callable[[], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._outbound = outbound
        self._clock = clock
        self._metrics = metrics
        self._notify = notify

    async def __call__(self, job_id: str) -> Job:
        """Record the wish to cancel; it is sent once the submission has been answered.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has ended (``job_ended``), or its provider cannot cancel (``cancel_unsupported``).
        """
        job = await self._store.job(job_id)
        if self._catalog.named(job.provider).cancel is None:
            raise ConflictError(
                f"{job.provider} has no way to cancel; 'jobs abandon' stops waiting for it.",
                code="cancel_unsupported",
            )
        if job.state.ended:
            raise ConflictError(f"{job_id} has ended already: {job.state}.", code="job_ended")
        wished = await self._store.cancel(job_id, now=self._clock())
        self._notify()
        return wished

    async def send(self, claimed: Claimed) -> Job:
        """Send the wish to the provider, once."""
        job, due, started = claimed.job, claimed.due, self._clock()
        provider = self._catalog.named(job.provider)
        outcome: Look
        try:
            outcome = await self._outbound.converse(provider, cancelling.cancel(provider, job, now=started))
        except (ProviderError, ConfigurationError) as error:
            outcome = TryLater(code=error.code)
        now = self._clock()
        word, code, retry_at = "asked", None, None
        if isinstance(outcome, TryLater):
            word, code = "failed", outcome.code
            decision = after_failure(
                due.attempt,
                backoff=RETRIES,
                jitter=random.random(),
                now=now,
                at_least=outcome.wait,
            )
            retry_at = decision.when if isinstance(decision, RetryAt) else None
        elif isinstance(outcome, Gone):
            word, code = "refused", f"status_{outcome.status}"
        seen = outcome.seen if isinstance(outcome, Seen) else None
        self._metrics.step("cancel", job.provider, word)
        log.info("cancellation_sent", job=job.id, provider=job.provider, outcome=word, code=code)
        return await self._store.settle_cancel(
            CancelSettled(
                due=due,
                seen=seen,
                retry_at=retry_at,
                log=timeline(
                    job.id,
                    step="cancel",
                    started_at=started,
                    now=now,
                    outcome=word,
                    code=code,
                    number=due.attempt,
                ),
                now=now,
            )
        )
