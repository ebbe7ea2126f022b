"""Key sets that providers publish (JWKS): fetched, kept, and fetched again before they are needed.

A set that is past its time is still used while a fresh one is fetched beside it, so that no callback waits for
a provider's key server; one that names no key we know is fetched again at once, but not at a forger's pace.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Final

import structlog

from receiver.core.asking.exchange import HttpRequest, HttpResponse
from receiver.core.description.provider import KeySource, Provider
from receiver.core.errors import KeyUnavailableError, ProviderError
from receiver.core.model import DAY, MINUTE, SECOND
from receiver.core.signature.verify import Key, load_key_set
from receiver.outbound.client import Outbound

log = structlog.get_logger(__name__)

#: How long a set may be used past its time, while the provider's key server does not answer.
_STALE: Final = 7 * DAY
#: How soon after a failure the server is asked again.
_AFTER_FAILURE: Final = 5 * SECOND
#: How often, at most, an unknown key id makes us ask again.
_FOR_UNKNOWN: Final = MINUTE
#: Seconds for one fetch: a callback waits for it.
_PATIENCE: Final = 3.0
_OK: Final = range(200, 300)


class _Entry:
    """One provider's set."""

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] = ()
        self.fetched_at: int | None = None
        self.tried_at: int | None = None
        self.asking = asyncio.Lock()
        self.refreshing: asyncio.Task[None] | None = None


class KeySets:
    """The published keys of every provider that has some."""

    def __init__(self, *, outbound: Outbound, clock: Callable[[], int]) -> None:
        self._outbound = outbound
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def keys(self, provider: Provider, *, unknown: bool = False) -> tuple[Key, ...] | None:
        """The keys that *provider* publishes now; ``None`` where it publishes none.

        Args:
            provider: Whose keys.
            unknown: A signature named a key that is not in the set: ask again, at most once a minute.

        Raises:
            KeyUnavailableError: the set cannot be had: our trouble, never the sender's fault.
        """
        source = provider.key
        if source is None or source.source != "jwks":
            return None
        entry = self._entries.setdefault(provider.name, _Entry())
        now = self._clock()
        age = None if entry.fetched_at is None else now - entry.fetched_at
        if age is None or age > source.cache + _STALE or (unknown and _may_ask(entry, now)):
            await self._fetch(provider, source, entry, seen_at=entry.tried_at)
        elif age > source.cache and entry.refreshing is None:
            entry.refreshing = asyncio.create_task(self._refresh(provider, source, entry))
        return entry.keys

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [one.refreshing for one in self._entries.values() if one.refreshing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refresh(self, provider: Provider, source: KeySource, entry: _Entry) -> None:
        try:
            await self._fetch(provider, source, entry, seen_at=entry.tried_at)
        except KeyUnavailableError as error:
            log.warning("key_set_stale", provider=provider.name, reason=str(error))
        finally:
            entry.refreshing = None

    async def _fetch(
        self, provider: Provider, source: KeySource, entry: _Entry, *, seen_at: int | None
    ) -> None:
        async with entry.asking:
            now = self._clock()
            if entry.keys and entry.tried_at != seen_at:
                return  # somebody asked while we waited, and what they got will do
            if not entry.keys and entry.tried_at is not None and now < entry.tried_at + _AFTER_FAILURE:
                raise KeyUnavailableError(
                    f"The key set of {provider.name} could not be fetched a moment ago."
                )
            try:
                async with asyncio.timeout(_PATIENCE):
                    document = await self._outbound.converse(provider, _ask(source.url or ""))
            except (ProviderError, TimeoutError) as error:
                raise KeyUnavailableError(f"The key set of {provider.name} cannot be fetched.") from error
            finally:
                # Counted from its end: those who waited for a slow failure must not each wait for another.
                entry.tried_at = self._clock()
            assert provider.verify is not None  # noqa: S101  (a provider with keys verifies)
            entry.keys = load_key_set(document, scheme=provider.verify, entries=source.list)
            entry.fetched_at = self._clock()
            log.info("key_set_fetched", provider=provider.name, keys=len(entry.keys))


def _may_ask(entry: _Entry, now: int) -> bool:
    return entry.tried_at is None or now >= entry.tried_at + _FOR_UNKNOWN


def _ask(url: str) -> Generator[HttpRequest, HttpResponse, bytes]:
    response = yield HttpRequest(purpose="keys", method="GET", url=url, credentials=False, anywhere=True)
    if response.status not in _OK:
        raise ProviderError(f"The key set's address answered {response.status}.", code="key_set_refused")
    return response.body
