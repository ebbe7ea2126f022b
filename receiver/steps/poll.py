"""Poll: ask the provider how a job stands; also where a job's time runs out."""

import hashlib
from collections.abc import Callable

import structlog

from receiver.catalog import Catalog
from receiver.core import exchange
from receiver.core.errors import ConfigurationError, ProviderError
from receiver.core.exchange import Gone, Look, Pending, Seen, TryLater
from receiver.core.model import Held, JobState, Observation
from receiver.core.provider import Provider
from receiver.core.reading import knows
from receiver.core.transition import Move, overdue
from receiver.metrics import Metrics
from receiver.outbound.client import Outbound
from receiver.steps.settling import Settling
from receiver.storage.claims import Claimed
from receiver.storage.settlements import Finding
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


class Poll:
    """Polls."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        outbound: Outbound,
        clock: Callable[[], int],
        metrics: Metrics,
        largest: int,
    ) -> None:
        self._catalog = catalog
        self._outbound = outbound
        self._clock = clock
        self._metrics = metrics
        self._largest = largest
        self._settling = Settling(store=store, catalog=catalog, clock=clock, metrics=metrics)

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Ask once and settle what came of it; the move it made, if any."""
        job, due = claimed.job, claimed.due
        provider = self._catalog.named(job.provider)
        started = self._clock()
        if overdue(job, now=started) is not None:
            return await self._settle(claimed, Finding(overdue=True), started, outcome=None)
        if not exchange.can_look(provider, job, due):
            return await self._settle(claimed, Finding(), started, outcome=Pending())
        outcome: Look
        try:
            conversation = exchange.status(
                provider, job, candidate_id=due.candidate_id, largest=self._largest, now=started
            )
            outcome = await self._outbound.converse(provider, conversation)
        except (ProviderError, ConfigurationError) as error:
            outcome = TryLater(code=error.code)
        return await self._settle(claimed, self._finding(claimed, provider, outcome), started, outcome)

    def _finding(self, claimed: Claimed, provider: Provider, outcome: Look) -> Finding:
        match outcome:
            case Gone():
                return Finding(gone=True)
            case TryLater():
                return Finding(failed=True)
            case Seen(seen=seen):
                if provider.poll is not None and not knows(provider.shapes[provider.poll.answer], seen.word):
                    log.warning("status_unknown", job=claimed.job.id, provider=provider.name, word=seen.word)
                again = seen.result_url is not None and seen.result_url == claimed.due.spent_url
                if provider.fetch.single_use and again:
                    # That address was asked once already, and what it gave is not here.
                    return Finding(lost=True)
                return self._with_result(claimed, seen)
            case Pending():
                return Finding()

    @staticmethod
    def _with_result(claimed: Claimed, seen: Observation) -> Finding:
        if seen.state is not JobState.SUCCEEDED or seen.result is None:
            return Finding(seen=seen)
        content = seen.result.content
        held = Held(
            offset=claimed.due.attempt,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            content_type=seen.result.content_type,
        )
        return Finding(seen=seen, held=held, content=content)

    async def _settle(
        self, claimed: Claimed, finding: Finding, started: int, outcome: Look | None
    ) -> Move | None:
        job = claimed.job
        # A look that a wake-up asked for fetches; one by the clock polls.
        step = "deadline" if finding.overdue else "fetch" if job.woken_by else "poll"
        word, code, wait = _words(finding, outcome)
        move = await self._settling(
            claimed, finding, step=step, started=started, outcome=word, code=code, wait=wait
        )
        self._metrics.step("poll", job.provider, word)
        log.log(
            20 if (move is not None and move.completed) or finding.failed else 10,
            "job_polled",
            job=job.id,
            provider=job.provider,
            outcome=word,
            code=code,
            state=move.job.state if move is not None else None,
        )
        return move


def _words(finding: Finding, outcome: Look | None) -> tuple[str, str | None, int | None]:
    if finding.overdue:
        return "overdue", "deadline_passed", None
    if finding.lost:
        return "lost", "result_lost", None
    match outcome:
        case Gone(status=status):
            return "gone", f"status_{status}", None
        case TryLater(code=code, wait=wait):
            return "failed", code, wait
        case Seen(seen=seen):
            return str(seen.state or "running"), seen.error.code if seen.error else None, None
        case Pending(wait=wait):
            return "pending", None, wait
        case None:
            return "pending", None, None
