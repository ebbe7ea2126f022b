"""Refuse: records that a request with a valid token was refused before its body came, and asks the provider.

The token has proved that it is about this job. Where a provider signs nothing, that is a wake-up like
any other; where the provider signs, it moves nothing, and is seen in the timeline.
"""

from collections.abc import Callable

import structlog

from receiver.core.address import within
from receiver.core.description.provider import Provider
from receiver.core.errors import StoreUnavailableError
from receiver.steps.proving import Way
from receiver.storage.refusals import Refusal
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


class Refuse:
    """Notes refusals."""

    def __init__(self, *, store: Store, clock: Callable[[], int], notify: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._notify = notify

    async def __call__(self, way: Way, *, code: str, status: int, method: str, sender: str) -> None:
        """Note that a request that came by *way* was answered *status*; nothing, if the record cannot be had."""
        if way.job_id is None:
            return
        provider = way.provider
        refusal = Refusal(
            job_id=way.job_id,
            code=code,
            status=status,
            method=method[:20],
            at=self._clock(),
            wakes=not provider.signed and _allowed(sender, provider),
            sender=sender,
            askable=provider.poll is not None,
        )
        try:
            look = await self._store.refuse(refusal)
        except StoreUnavailableError as error:
            log.error("refusal_not_stored", provider=provider.name, reason=str(error))
            return
        if look:
            self._notify()


def _allowed(sender: str, provider: Provider) -> bool:
    return not provider.senders or within(sender, provider.senders)
