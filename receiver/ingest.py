"""Ingest: take one callback: token, signature, reading, one commit, then the answer.

The order is that of the invariants: size (before this file), token, signature, timestamp, JSON, commit, 2xx.
"""

from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from receiver.catalog import Catalog
from receiver.core.admission import Examined, Terms, terms_for
from receiver.core.errors import ConfigurationError, RejectionError, StoreUnavailableError
from receiver.core.identity import CALLBACK, new_id
from receiver.core.model import Callback, Observation, Source, Value, Verdict
from receiver.core.provider import Provider
from receiver.core.reading import knows
from receiver.core.token import MasterKey
from receiver.flood import Flood
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.proving import Proving
from receiver.storage.arrivals import Arrival, Quota, Receipt
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: A sender hears 503 after this long without a commit, in seconds; the commit may still come, and its retry
#: is then a duplicate.
PATIENCE: Final = 1.8


class Way(Value, frozen=True, kw_only=True):
    """An address that is ours: whose it is, and what its token proved; ``job_id`` is ``None`` account-wide."""

    provider: Provider
    job_id: str | None = None
    #: The master key that the token was made with.
    master: MasterKey | None = None


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
        self._flood = Flood(quota)
        self._notify = notify
        self._metrics = metrics
        self._terms: dict[tuple[str, str], Terms] = {}
        # Bound once: a logger that binds itself for each line takes as long as the line.
        self._log = log.bind()

    def way(self, provider: str, token: str | None) -> Way | None:
        """Where an address leads, or ``None`` if it is not ours; needs no body and no database."""
        found = self._catalog.get(provider)
        if found is None or found.callback is None:
            return None
        if token is None:
            shared = found.key is not None and found.key.source in {"settings", "jwks"}
            return Way(provider=found) if found.signed and shared else None
        named = self._keys.check(token, provider=provider)
        return None if named is None else Way(provider=found, job_id=named[0], master=named[1])

    async def __call__(
        self, way: Way, *, method: str, query: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes
    ) -> Answer:
        """Take one callback; a 2xx answer means that it is stored, its job moved on and its dispatches made."""
        now = self._clock()
        callback = Callback(
            id=new_id(CALLBACK, now),
            provider=way.provider.name,
            route="webhooks" if way.job_id is None else "callbacks",
            job_id=way.job_id,
            received_at=now,
            method=method,
            query=query,
            headers=headers,
            body=body,
        )
        answer = await self._take(callback, way.provider, way.master)
        self._metrics.callback(way.provider.name, answer.verdict, now=now)
        return answer

    async def _take(self, callback: Callback, provider: Provider, master: MasterKey | None) -> Answer:
        examined: Examined | None = None
        status, told = provider.callback.ack if provider.callback else 200, None
        try:
            examined = await self._proving.examine(
                callback, provider, master=master, now=callback.received_at
            )
        except RejectionError as error:
            if self._flood.is_full(callback.provider, named=_is_named(callback), now=callback.received_at):
                return Answer(status=error.status, verdict="rejected", code=error.code)
            callback = replace(callback, verdict=Verdict.REJECTED, code=error.code)
            status, told = error.status, error.code
        except ConfigurationError as error:
            # Our key is missing: the sender must try again, not be told that it is wrong.
            log.error("callback_not_verifiable", provider=provider.name, code=error.code, reason=str(error))
            return Answer(status=503, verdict="unverifiable", code=error.code)
        terms = self._terms_for(provider, (master or self._keys.newest).id)
        if examined is not None:
            self._warn_of_unknown_words(examined, provider, callback)
        arrival = Arrival(callback=callback, examined=examined, terms=terms, quota=self._quota)
        try:
            receipt = await self._store.ingest(arrival, patience=PATIENCE)
        except StoreUnavailableError as error:
            log.error("callback_not_stored", provider=provider.name, reason=str(error))
            return Answer(status=503, verdict="unavailable", code="store_unavailable")
        if examined is not None and examined.key_id is not None:
            self._metrics.verified(provider.name, examined.key_id, now=callback.received_at)
        return self._answer(callback, receipt, status, told)

    def _terms_for(self, provider: Provider, key_id: str) -> Terms:
        if (provider.name, key_id) not in self._terms:
            self._terms[provider.name, key_id] = terms_for(provider, key_id=key_id)
        return self._terms[provider.name, key_id]

    @staticmethod
    def _warn_of_unknown_words(examined: Examined, provider: Provider, callback: Callback) -> None:
        for delivery, seen in examined.readings.items():
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
        if receipt.verdict is Verdict.REJECTED:
            self._flood.add(
                callback.provider, named=_is_named(callback), size=_size(callback), now=callback.received_at
            )
        if receipt.verdict in {Verdict.REJECTED, Verdict.UNREADABLE}:
            self._log.warning(f"callback_{receipt.verdict}", **facts)
        else:
            self._log.info(f"callback_{receipt.verdict}", state=receipt.state, **facts)
        if receipt.completed:
            self._metrics.settled(callback.provider, Source.CALLBACK, receipt.state or "")
        if receipt.completed or receipt.look:
            self._notify()
        return Answer(status=status, verdict=receipt.verdict.value, code=told)


def _is_named(callback: Callback) -> bool:
    """Whether it came with a token of ours."""
    return callback.job_id is not None


def _size(callback: Callback) -> int:
    return len(callback.body) + sum(len(name) + len(value) for name, value in callback.headers)
