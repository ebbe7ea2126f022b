"""Ingest: take one callback: token, signature, reading, one commit, then the answer.

The order is that of the invariants: size (before this file), token, signature, timestamp, JSON, commit, 2xx.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from receiver.catalog import Catalog
from receiver.core.description.provider import Provider
from receiver.core.enum_members import ACCEPTED, BY_CALLBACK, REJECTED, UNREADABLE
from receiver.core.errors import ConfigurationError, RejectionError, StoreUnavailableError
from receiver.core.identity import CALLBACK, new_id
from receiver.core.job.admission import Examined
from receiver.core.message import Message
from receiver.core.model import Callback, Observation, Value
from receiver.core.reading.observation import WORD_UNLISTED
from receiver.core.signature.token import PROBE, is_probe
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.steps.flood import Flood
from receiver.steps.proving import Proving, Way
from receiver.storage.arrivals import Arrival, Quota, Receipt
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: A sender hears 503 after this long without a commit, in seconds; the commit may still come, and its retry
#: is then a duplicate.
PATIENCE: Final = 1.8


class Answer(Value, frozen=True, kw_only=True):
    """What the sender hears."""

    status: int
    #: For our own log and metrics. A rejected sender is told the code too; at an unknown address nobody is told
    #: anything.
    verdict: str
    code: str | None = None


#: Unknown provider, wrong, foreign and retired tokens: nobody learns which.
NOT_FOUND: Final = Answer(status=404, verdict="unknown")


class Notify(Protocol):
    """Tells the worker of new work."""

    def __call__(self, *, due: bool) -> None:
        """There are dispatches, or something is *due*."""
        ...


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
        notify: Notify,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._callers = {name: one for name, one in catalog.items() if one.callback is not None}
        self._keys = keys
        self._proving = proving
        self._clock = clock
        self._quota = quota
        self._flood = Flood(quota)
        self._notify = notify
        self._metrics = metrics
        # Bound once: a logger that binds itself for each line takes as long as the line.
        self._log = log.bind()

    @property
    def callers(self) -> Iterable[str]:
        """The providers that call back, by name."""
        return self._callers

    def is_probe(self, provider: str, token: str | None) -> bool:
        """Whether the request is our own probe through the public URL."""
        masters = self._keys.masters
        return provider == PROBE and token is not None and is_probe(token, keys=masters, now=self._clock())

    def way(self, provider: str, token: str | None) -> Way | None:
        """Where an address leads, or ``None`` if it is not ours; needs no body and no database."""
        found = self._callers.get(provider)
        if found is None:
            return None
        if token is None:
            shared = found.key is not None and found.key.source in {"settings", "jwks", "certificate"}
            return Way(provider=found) if found.signed and shared else None
        named = self._keys.check(token, provider=provider)
        return None if named is None else Way(provider=found, job_id=named[0], master=named[1])

    async def __call__(
        self,
        way: Way,
        *,
        method: str,
        query: bytes,
        headers: tuple[tuple[bytes, bytes], ...],
        body: bytes,
        sender: str | None = None,
    ) -> Answer:
        """Take one callback; a 2xx answer means that it is stored, its job moved on and its dispatches made.

        *sender* is the address that it came from, where there is one: what is handed over within the process has none.
        """
        now = self._clock()
        message = Message(body=body, headers=headers, query=query, method=method, sender=sender)
        answer = await self._take(message, way, now)
        self._metrics.callback(way.provider.name, answer.verdict, now=now)
        return answer

    async def _take(self, message: Message, way: Way, now: int) -> Answer:
        provider = way.provider
        examined: Examined | None = None
        rejection: str | None = None
        status = provider.callback.ack if provider.callback else 200
        try:
            examined = await self._proving.examine(message, way, now=now)
        except RejectionError as error:
            if self._flood.is_full(provider.name, named=way.job_id is not None, now=now):
                return Answer(status=error.status, verdict="rejected", code=error.code)
            status, rejection = error.status, error.code
        except ConfigurationError as error:
            # Our key is missing: the sender must try again, not be told that it is wrong.
            log.error("callback_not_verifiable", provider=provider.name, code=error.code, reason=str(error))
            return Answer(status=503, verdict="unverifiable", code=error.code)
        callback = Callback(
            id=new_id(CALLBACK, now),
            provider=provider.name,
            route="webhooks" if way.job_id is None else "callbacks",
            job_id=way.job_id,
            received_at=now,
            method=message.method,
            query=message.query,
            headers=tuple(message.headers),
            body=message.body,
            sender=message.sender,
            verdict=ACCEPTED if rejection is None else REJECTED,
            code=rejection,
        )
        terms = self._catalog.terms(provider.name, key_id=(way.master or self._keys.newest).id)
        try:
            receipt = await self._store.ingest(
                Arrival(callback=callback, examined=examined, terms=terms, quota=self._quota),
                patience=PATIENCE,
            )
        except StoreUnavailableError as error:
            log.error("callback_not_stored", provider=provider.name, reason=str(error))
            return Answer(status=503, verdict="unavailable", code="store_unavailable")
        if examined is not None:
            self._note(examined, provider, callback)
        return self._answer(callback, receipt, status, rejection)

    def _note(self, examined: Examined, provider: Provider, callback: Callback) -> None:
        """Note what a genuine callback tells about its provider: the key in use, a word that is not described."""
        if examined.key_id is not None:
            self._metrics.verified(provider.name, examined.key_id, now=callback.received_at)
        for seen in examined.readings.values():
            if isinstance(seen, Observation) and seen.attention == WORD_UNLISTED:
                self._metrics.unlisted(provider.name, seen.state or "")
                log.warning("status_unknown", callback=callback.id, provider=provider.name, word=seen.word)

    def _answer(self, callback: Callback, receipt: Receipt, status: int, told: str | None) -> Answer:
        verdict = receipt.verdict
        if verdict is None:
            return NOT_FOUND
        if verdict is REJECTED:
            named = callback.job_id is not None
            self._flood.add(callback.provider, named=named, size=_size(callback), now=callback.received_at)
        tell = self._log.warning if verdict is REJECTED or verdict is UNREADABLE else self._log.info
        tell(
            "callback_" + verdict,
            callback=callback.id,
            provider=callback.provider,
            job=receipt.job_id,
            state=receipt.state,
            code=receipt.code,
            bytes=len(callback.body),
        )
        if receipt.completed:
            self._metrics.settled(callback.provider, BY_CALLBACK, receipt.state or "")
        if receipt.completed or receipt.look:
            self._notify(due=receipt.look)
        return Answer(status=status, verdict=verdict, code=told)


def _size(callback: Callback) -> int:
    return len(callback.body) + sum(len(name) + len(value) for name, value in callback.headers)
