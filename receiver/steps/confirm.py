"""Confirm: answer what a provider asks of an address before it calls back there, and visit what it asks to be visited.

A challenge that needs no proof is answered before anything else and not recorded: the answer only repeats what the
asker sent. One that must be genuine is a callback as well, and answered once that is stored.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Final

import structlog

from receiver.core.asking.exchange import HttpRequest, HttpResponse
from receiver.core.description.callbacks import Hosts
from receiver.core.errors import KeyUnavailableError, ProviderError
from receiver.core.message import Message
from receiver.core.signature.challenge import Posed, answer_to, posed
from receiver.keys import Keys
from receiver.outbound.client import Outbound
from receiver.steps.proving import Way

log = structlog.get_logger(__name__)

#: Seconds for a visit: the asker waits for it.
_PATIENCE: Final = 5.0
_GOOD: Final = range(200, 300)
#: The body of an answer, and its content type.
Said = tuple[str, bytes]


class Confirm:
    """Answers challenges."""

    def __init__(self, *, keys: Keys, outbound: Outbound, resolve: Callable[[str], str | None]) -> None:
        self._keys = keys
        self._outbound = outbound
        self._resolve = resolve

    def may_ask(self, way: Way, method: str) -> bool:
        """Whether a challenge that needs no proof may come with *method*."""
        terms = way.provider.callback
        return terms is not None and any(not one.proved and method in one.methods for one in terms.challenge)

    def unproved(self, way: Way, message: Message) -> Said | None:
        """What to answer to *message* without proof, if it is a challenge.

        Raises:
            KeyUnavailableError: what it should be compared with, or answered with, is not set.
        """
        found = self._posed(way, message, proved=False)
        return None if found is None else answer_to(found, secret=lambda: self._secret(way))

    async def proved(self, way: Way, message: Message) -> Said | None:
        """What to answer to *message*, which was proved genuine, if it is a challenge; what asks for a visit gets one.

        Raises:
            KeyUnavailableError: what it should be answered with is not set.
            ProviderError: the visit failed; whoever asked for it should ask again.
        """
        found = self._posed(way, message, proved=True)
        if found is None:
            return None
        if not found.challenge.visit:
            return answer_to(found, secret=lambda: self._secret(way))
        await self._visit(way, found)
        return None

    def _posed(self, way: Way, message: Message, *, proved: bool) -> Posed | None:
        terms = way.provider.callback
        if terms is None or not terms.challenge:
            return None
        return posed(message, terms, proved=proved, resolve=self._resolve)

    def _secret(self, way: Way) -> bytes:
        keys = self._keys.verifying(way.provider, job_id=way.job_id, master=way.master)
        if not keys:
            raise KeyUnavailableError(f"There is no key to answer a challenge of {way.provider.name} with.")
        return keys[0].secret

    async def _visit(self, way: Way, found: Posed) -> None:
        provider, url = way.provider, found.text
        if not (Hosts(found.challenge.visit).hold(url) or (provider.relocated and provider.lists(url))):
            log.warning("challenge_not_visited", provider=provider.name)
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._outbound.converse(provider, _ask(url))
        except TimeoutError as error:
            raise ProviderError("The address to confirm did not answer in time.") from error
        log.info("challenge_visited", provider=provider.name)


def _ask(url: str) -> Generator[HttpRequest, HttpResponse, None]:
    response = yield HttpRequest(purpose="keys", method="GET", url=url, credentials=False, anywhere=True)
    if response.status not in _GOOD:
        raise ProviderError(f"The address to confirm answered {response.status}.")
