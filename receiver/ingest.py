"""Ingest: take one callback: token, signature, reading, one commit, then the answer.

The order is that of the invariants: size (before this file), token, signature, timestamp, JSON, commit, 2xx.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from receiver.catalog import Catalog
from receiver.core.admission import Examined, terms_for
from receiver.core.errors import ConfigurationError, RejectionError, StoreUnavailableError
from receiver.core.identity import CALLBACK, new_id
from receiver.core.model import Callback, Observation, Source, Value, Verdict
from receiver.core.provider import Provider
from receiver.core.reading import knows
from receiver.core.token import MasterKey
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.proving import Proving
from receiver.storage.arrivals import Arrival, Quota, Receipt
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: A sender hears 503 after this long without a commit, in seconds; the commit may still come, and its retry
#: is then a duplicate.
PATIENCE: Final = 1.8


class Request(Value, frozen=True, kw_only=True):
    """What arrived over HTTP."""

    provider: str
    #: ``None`` at the account-wide address.
    token: str | None
    method: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Answer(Value, frozen=True, kw_only=True):
    """What the sender hears."""

    status: int
    #: For our own log and metrics; a rejected sender is told it too, an unknown address nothing.
    verdict: str
    code: str | None = None


#: Unknown provider, wrong, foreign and retired tokens: nobody learns which.
NOT_FOUND: Final = Answer(status=404, verdict="unknown")


class Ingest:
    """Takes callbacks."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        keys: Keys,
        proving: Proving,
        clock: Callable[[], int],
        quota: Quota,
        notify: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = keys
        self._proving = proving
        self._clock = clock
        self._quota = quota
        self._notify = notify
        self._metrics = metrics

    def route(self, provider: str, token: str | None) -> Provider | None:
        """The provider that an address belongs to, or ``None``; needs no body and no database."""
        found = self._catalog.get(provider)
        if found is None or found.callback is None:
            return None
        if token is None:
            shared = found.key is not None and found.key.source in {"settings", "jwks"}
            return found if found.signed and shared else None
        return found if self._keys.check(token, provider=provider) is not None else None

    async def __call__(self, request: Request) -> Answer:
        """Take one callback; a 2xx answer means that it is stored, its job moved on and its dispatches made."""
        provider = self._catalog.get(request.provider)
        if provider is None or provider.callback is None:
            return NOT_FOUND
        job_id, master = None, None
        if request.token is not None:
            named = self._keys.check(request.token, provider=provider.name)
            if named is None:
                return NOT_FOUND
            job_id, master = named
        now = self._clock()
        callback = Callback(
            id=new_id(CALLBACK, now),
            provider=provider.name,
            route="webhooks" if request.token is None else "callbacks",
            job_id=job_id,
            received_at=now,
            method=request.method,
            query=request.query,
            headers=request.headers,
            body=request.body,
        )
        answer = await self._take(callback, provider, master)
        self._metrics.callback(provider.name, answer.verdict, now=now)
        return answer

    async def _take(self, callback: Callback, provider: Provider, master: MasterKey | None) -> Answer:
        examined: Examined | None = None
        status, told = provider.callback.ack if provider.callback else 200, None
        try:
            examined = await self._proving.examine(
                callback, provider, master=master, now=callback.received_at
            )
        except RejectionError as error:
            callback = replace(callback, verdict=Verdict.REJECTED, code=error.code)
            status, told = error.status, error.code
        except ConfigurationError as error:
            # Our key is missing: the sender must try again, not be told that it is wrong.
            log.error("callback_not_verifiable", provider=provider.name, code=error.code, reason=str(error))
            return Answer(status=503, verdict="unverifiable", code=error.code)
        terms = terms_for(provider, key_id=(master or self._keys.newest).id)
        self._warn_of_unknown_words(examined, provider, callback)
        arrival = Arrival(callback=callback, examined=examined, terms=terms, quota=self._quota)
        try:
            async with asyncio.timeout(PATIENCE):
                receipt = await self._store.ingest(arrival)
        except (StoreUnavailableError, TimeoutError) as error:
            log.error("callback_not_stored", provider=provider.name, reason=type(error).__name__)
            return Answer(status=503, verdict="unavailable", code="store_unavailable")
        if examined is not None and examined.key_id is not None:
            self._metrics.verified(provider.name, examined.key_id, now=callback.received_at)
        return self._answer(callback, receipt, status, told)

    @staticmethod
    def _warn_of_unknown_words(examined: Examined | None, provider: Provider, callback: Callback) -> None:
        for delivery, seen in examined.readings.items() if examined is not None else ():
            if isinstance(seen, Observation) and not knows(provider.shape(delivery), seen.word):
                log.warning("status_unknown", callback=callback.id, provider=provider.name, word=seen.word)

    def _answer(self, callback: Callback, receipt: Receipt, status: int, told: str | None) -> Answer:
        if receipt.verdict is None:
            return NOT_FOUND
        facts = {
            "callback": callback.id,
            "provider": callback.provider,
            "job": receipt.job_id,
            "code": receipt.code,
            "bytes": len(callback.body),
        }
        if receipt.verdict in {Verdict.REJECTED, Verdict.UNREADABLE}:
            log.warning(f"callback_{receipt.verdict}", **facts)
        else:
            log.info(f"callback_{receipt.verdict}", state=receipt.state, **facts)
        if receipt.completed:
            self._metrics.settled(callback.provider, Source.CALLBACK, receipt.state or "")
        if receipt.completed or receipt.look:
            self._notify()
        return Answer(status=status, verdict=receipt.verdict.value, code=told)
