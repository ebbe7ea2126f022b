"""Fetch: get a result from an address of its own, into the store as it arrives."""

from collections.abc import Callable

import structlog

from receiver.catalog import Catalog
from receiver.core import exchange
from receiver.core.errors import ConfigurationError, FetchRefusedError, NeverConnectedError, ProviderError
from receiver.core.exchange import Fetched, Gone, TryLater
from receiver.core.model import JobState, Observation
from receiver.core.transition import Move
from receiver.metrics import Metrics
from receiver.outbound.answer import Sink
from receiver.outbound.client import Outbound
from receiver.steps.settling import Settling
from receiver.storage.claims import Claimed
from receiver.storage.settlements import Finding
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


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
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._outbound = outbound
        self._clock = clock
        self._metrics = metrics
        self._settling = Settling(store=store, catalog=catalog, clock=clock, metrics=metrics)

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Fetch once and settle what came of it; the move it made, if any."""
        due = claimed.due
        provider = self._catalog.named(claimed.job.provider)
        url = due.result_url
        assert url is not None  # noqa: S101  (the worker looked)
        started = self._clock()
        if provider.fetch.single_use:
            if due.spent_url == url:
                # A GET of this address was begun and never settled: it must not be asked a second time.
                return await self._settle(claimed, Finding(stale_url=True), started, "interrupted", None)
            if not await self._store.spend(due, url):
                return None
        outcome: Fetched | Gone | TryLater
        try:
            outcome = await self._outbound.converse(
                provider,
                exchange.result(provider, url, now=started),
                sink=self._sink(claimed),
                part=due.attempt,
            )
        except FetchRefusedError as error:
            return await self._settle(
                claimed, Finding(failed=True, stale_url=True, unspent=True), started, "refused", error.code
            )
        except (NeverConnectedError, ConfigurationError) as error:
            outcome = TryLater(code=error.code)
        except ProviderError as error:
            # It may have been given away with the answer that we did not get, or did not take, whole.
            finding = Finding(failed=True, stale_url=True)
            return await self._settle(claimed, finding, started, "failed", error.code)
        match outcome:
            case Fetched(held=held, coded=coded):
                finding = Finding(seen=Observation(state=JobState.SUCCEEDED), held=held)
                return await self._settle(claimed, finding, started, "succeeded", coded)
            case Gone(status=status):
                return await self._settle(claimed, Finding(gone=True), started, "gone", f"status_{status}")
            case TryLater(code=code, wait=wait):
                # The address may have run out (signed links do): the next look asks the provider for another.
                finding = Finding(failed=True, stale_url=True, unspent=True)
                return await self._settle(claimed, finding, started, "failed", code, wait)

    def _sink(self, claimed: Claimed) -> Sink:
        async def sink(part: int, number: int, content: bytes) -> None:
            await self._store.write_chunks(claimed.job.id, part=part, first=number, content=content)

        return sink

    async def _settle(
        self,
        claimed: Claimed,
        finding: Finding,
        started: int,
        word: str,
        code: str | None,
        wait: int | None = None,
    ) -> Move | None:
        move = await self._settling(
            claimed, finding, step="fetch", started=started, outcome=word, code=code, wait=wait
        )
        job = claimed.job
        self._metrics.step("fetch", job.provider, word)
        log.info("result_fetched", job=job.id, provider=job.provider, outcome=word, code=code)
        return move
