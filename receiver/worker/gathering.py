"""Gathering: all metrics as they are now, for Prometheus and for whoever else measures."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from receiver.core.errors import StoreUnavailableError
from receiver.metrics import Alarms, Metrics
from receiver.storage import alarms
from receiver.storage.driver import Transaction
from receiver.storage.store import Store

if TYPE_CHECKING:
    from prometheus_client.core import Metric

#: Seconds that a scrape waits for the record to be counted; then it is given the last count.
_COUNTING: Final = 0.03


class Gathering:
    """Gathers the metrics of this process and of the record."""

    def __init__(self, *, store: Store, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock

    async def __call__(self) -> "list[Metric]":
        """What there is; without the record where the store does not answer."""
        from receiver.exposition import families

        now = self._clock()
        try:
            counts, counted_at = await self._store.counting.soon(now=now, patience=_COUNTING)
            sizes = await self._store.sizes()
            raised: Alarms | None = await self._store.read(_alarms)
        except StoreUnavailableError:
            # The counters of this process are known without the store, and that the store is away is worth telling.
            counts, counted_at, sizes, raised = None, now, [], None
        return families(
            self._metrics,
            counts,
            sizes,
            failed=self._store.failed,
            alarms=raised,
            refusing=counts is None or self._store.refusing() is not None,
            counted_at=counted_at,
            now=now,
        )


def _alarms(tx: Transaction) -> Alarms:
    return Alarms(known=alarms.everything(tx), looked_at=alarms.looked_at(tx))
