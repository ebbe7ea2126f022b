"""How long jobs took lately, by provider and operation: read from the record, once a minute where much is known."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from receiver.core.description.provider import Provider
from receiver.core.errors import StoreUnavailableError
from receiver.core.job.cadence import COMPLETIONS
from receiver.core.model import MINUTE, SECOND, Job
from receiver.storage.store import Store

_FRESH: Final = MINUTE
#: Of a provider that has just begun to call, each job tells more than all before it.
_FRESH_OF_FEW: Final = SECOND
_FEW: Final = COMPLETIONS // 4
#: Seconds that reading may take: nobody waits for it longer, least of all an answer that is to be recorded.
_PATIENCE: Final = 0.5


class Lately:
    """Knows how long the last hundred jobs of a provider and operation took that a callback completed."""

    def __init__(self, *, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[int, Sequence[int]]] = {}

    async def __call__(self, provider: Provider, job: Job) -> Sequence[int]:
        """The times, in milliseconds; none while nobody knows."""
        if provider.callback is None or provider.poll is None:
            return ()
        name, now = (job.provider, job.operation), self._clock()
        read_at, took = self._known.get(name, (0, ()))
        if abs(now - read_at) >= (_FRESH if len(took) >= _FEW else _FRESH_OF_FEW):
            try:
                async with asyncio.timeout(_PATIENCE):
                    took = await self._store.took(
                        job.provider,
                        job.operation,
                        before=now - int(provider.callback.expected),
                        most=COMPLETIONS,
                    )
            except (StoreUnavailableError, TimeoutError):
                pass  # what was known before is better than nothing, and tried again in a minute
            self._known[name] = (now, took)
        return took
