"""Fetch: get a result from an address of its own, into the store as it arrives."""

from msgspec.structs import replace

from receiver.core.asking import exchange, fetching
from receiver.core.asking.exchange import Fetched, Gone, Seen, TryLater
from receiver.core.description.provider import Provider
from receiver.core.errors import (
    ConfigurationError,
    FetchRefusedError,
    NeverConnectedError,
    ProviderError,
)
from receiver.core.job.looking import Finding, Unanswered
from receiver.core.job.transition import Move
from receiver.core.model import JobState, Observation
from receiver.outbound.answer import Sink
from receiver.steps.keeping import Keeping
from receiver.steps.settling import Looks
from receiver.storage.claims import Claimed


class Fetch:
    """Fetches results that have an address of their own."""

    def __init__(self, looks: Looks, *, keeping: Keeping) -> None:
        self._looks = looks
        self._keeping = keeping

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Fetch once and settle what came of it; the move it made, if any."""
        job, due = claimed.job, claimed.due
        provider = self._looks.catalog.named(job.provider)
        url = due.result_url
        assert url is not None  # noqa: S101  (the worker looked)
        started = self._looks.clock()

        async def get(sink: Sink) -> Finding:
            return await self._get(provider, claimed, url, sink, started)

        if provider.fetch.single_use:
            elsewhere = exchange.can_look(provider, job, replace(due, result_url=None))
            return await self._keeping.once(claimed, url, get, elsewhere=elsewhere, started=started)
        return await self._looks.settling(claimed, await get(self._keeping.sink(job.id)), started=started)

    async def _get(self, provider: Provider, claimed: Claimed, url: str, sink: Sink, started: int) -> Finding:
        try:
            outcome = await self._looks.outbound.converse(
                provider,
                fetching.result(
                    provider, url, part=claimed.due.attempt, largest=self._looks.largest, now=started
                ),
                sink=sink,
                part=claimed.due.attempt,
            )
        except (FetchRefusedError, NeverConnectedError, ConfigurationError) as error:
            # The request was not sent, or was answered with a redirect: no result was handed out.
            return Unanswered(code=error.code, unspent=True)
        except ProviderError as error:
            # The result may have been given away with the answer that we did not get, or did not take, whole.
            return Unanswered(code=error.code)
        match outcome:
            case Fetched(held=held, coded=coded):
                return Seen(seen=Observation(state=JobState.SUCCEEDED), held=held, coded=coded)
            case Gone() | Seen():
                return outcome
            case TryLater(code=code, wait=wait):
                # An answer without success did not hand the result out; a success that we cannot use may have done so.
                return Unanswered(code=code, wait=wait, unspent=code.startswith("status_"))
