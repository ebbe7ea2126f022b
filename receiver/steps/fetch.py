"""Fetch: get a result from an address of its own, into the store as it arrives."""

from collections.abc import Callable

from msgspec.structs import replace

from receiver.catalog import Catalog
from receiver.core.asking import exchange, fetching
from receiver.core.asking.exchange import Fetched, Gone, Seen, TryLater
from receiver.core.description.provider import Provider
from receiver.core.errors import (
    ConfigurationError,
    FetchRefusedError,
    NeverConnectedError,
    ProviderError,
)
from receiver.core.job.looking import Finding, Interrupted, Lost, Unanswered
from receiver.core.job.transition import Move
from receiver.core.model import JobState, Observation
from receiver.metrics import Metrics
from receiver.outbound.answer import Sink
from receiver.outbound.client import Outbound
from receiver.steps.settling import Settling
from receiver.storage.claims import Claimed
from receiver.storage.store import Store


class Fetch:
    """Fetches."""

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
        self._store = store
        self._catalog = catalog
        self._outbound = outbound
        self._clock = clock
        self._largest = largest
        self._settling = Settling(store=store, catalog=catalog, clock=clock, metrics=metrics)

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Fetch once and settle what came of it; the move it made, if any."""
        job, due = claimed.job, claimed.due
        provider = self._catalog.named(job.provider)
        url = due.result_url
        assert url is not None  # noqa: S101  (the worker looked)
        started = self._clock()
        if provider.fetch.single_use:
            if due.spent_url == url:
                # A GET of this address was begun and never settled: it must not be asked a second time.
                elsewhere = exchange.can_look(provider, job, replace(due, result_url=None))
                return await self._settling(claimed, Interrupted() if elsewhere else Lost(), started=started)
            if not await self._store.spend(due, url):
                return None
        finding = await self._get(provider, claimed, url, started)
        return await self._settling(claimed, finding, started=started)

    async def _get(self, provider: Provider, claimed: Claimed, url: str, started: int) -> Finding:
        try:
            outcome = await self._outbound.converse(
                provider,
                fetching.result(provider, url, part=claimed.due.attempt, largest=self._largest, now=started),
                sink=self._sink(claimed),
                part=claimed.due.attempt,
            )
        except (FetchRefusedError, NeverConnectedError, ConfigurationError) as error:
            # It was not sent, or answered with a redirect: no result was handed out.
            return Unanswered(code=error.code, unspent=True)
        except ProviderError as error:
            # It may have been given away with the answer that we did not get, or did not take, whole.
            return Unanswered(code=error.code)
        match outcome:
            case Fetched(held=held, coded=coded):
                return Seen(seen=Observation(state=JobState.SUCCEEDED), held=held, coded=coded)
            case Gone() | Seen():
                return outcome
            case TryLater(code=code, wait=wait):
                # A status that is no success hands nothing out; a success that we cannot use may have been the result.
                return Unanswered(code=code, wait=wait, unspent=code.startswith("status_"))

    def _sink(self, claimed: Claimed) -> Sink:
        async def sink(part: int, number: int, content: bytes) -> None:
            await self._store.write_chunks(claimed.job.id, part=part, first=number, content=content)

        return sink
