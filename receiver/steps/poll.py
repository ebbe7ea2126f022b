"""Poll: ask the provider how a job stands; also where a job's time runs out."""

from typing import Final

import structlog
from msgspec.structs import replace

from receiver.core.asking import exchange
from receiver.core.asking.exchange import Seen, TryLater
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, ProviderError
from receiver.core.job.looking import Finding, Lost, Nowhere, Unanswered
from receiver.core.job.transition import Move
from receiver.core.reading.given import place
from receiver.core.reading.observation import WORD_UNLISTED
from receiver.steps.settling import Looks
from receiver.storage import spent
from receiver.storage.claims import Claimed

#: Statuses that say something about our credentials or about how often we ask, and nothing about a job.
_OF_US: Final = frozenset({401, 403, 407, 408, 429, 503})

log = structlog.get_logger(__name__)


class Poll:
    """Asks providers how their jobs stand."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Ask once and settle what came of it; the move it made, if any."""
        started = self._looks.clock()
        provider = self._looks.catalog.named(claimed.job.provider)
        finding = await self._ask(provider, claimed, started)
        return await self._looks.settling(claimed, finding, started=started)

    async def _ask(self, provider: Provider, claimed: Claimed, started: int) -> Finding:
        job, due = claimed.job, claimed.due
        if not exchange.can_look(provider, job, due):
            return Nowhere()
        try:
            conversation = exchange.status(
                provider, job, candidate_id=due.candidate_id, largest=self._looks.largest, now=started
            )
            outcome = await self._looks.outbound.converse(provider, conversation)
        except (ProviderError, ConfigurationError) as error:
            return Unanswered(code=error.code)
        match outcome:
            case TryLater(code=code, wait=wait, answer=answer):
                said = None if answer is None or answer.status in _OF_US else exchange.words(answer)
                whole = None if answer is None or said is None else exchange.given(answer)
                return Unanswered(code=code, wait=wait, words=said, given=whole)
            case Seen():
                return await self._seen(provider, claimed, outcome)
            case _:
                return outcome

    async def _seen(self, provider: Provider, claimed: Claimed, outcome: Seen) -> Finding:
        seen, job_id = outcome.seen, claimed.job.id
        if seen.attention == WORD_UNLISTED:
            self._looks.metrics.unlisted(provider.name, seen.state or "")
            log.warning("status_unknown", job=job_id, provider=provider.name, word=seen.word)
        if (
            provider.fetch.single_use
            and seen.result_url is not None
            and await self._looks.store.read(spent.is_lost, job_id, seen.result_url)
        ):
            return Lost()
        if seen.state is None or not seen.state.ended or seen.result is None:
            return outcome
        held, content = place(seen.result, part=claimed.due.attempt, whole=outcome.given)
        return replace(outcome, held=held, content=content)
