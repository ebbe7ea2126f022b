"""Certificates that signed messages name: fetched from the hosts of their provider's description, and kept.

The address stands in the message, before anybody has proved it. So it is believed at named hosts only, and a forger who
makes addresses up at those cannot have more than a few of them asked for.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import Final

import structlog

from receiver.core.asking.exchange import HttpRequest, HttpResponse
from receiver.core.description.callbacks import Hosts, KeySource
from receiver.core.description.provider import Provider
from receiver.core.description.scheme import parse_sources
from receiver.core.errors import CertificateInvalidError, KeyUnavailableError, ProviderError
from receiver.core.message import Message
from receiver.core.model import MINUTE
from receiver.core.signature.extraction import Extraction
from receiver.core.signature.published import Certificate, load_certificate
from receiver.core.signature.verify import Key
from receiver.outbound.client import Outbound

log = structlog.get_logger(__name__)

#: Seconds for one fetch: a callback waits for it.
_PATIENCE: Final = 3.0
#: Certificates kept at hand, of every provider.
_MOST_KEPT: Final = 64
#: Fetches in a minute, for one provider: a rotation needs one, in each of its regions.
_MOST_FETCHES: Final = 20
_OK: Final = range(200, 300)
_REFUSED: Final = range(400, 500)


class Certificates:
    """The certificates of every provider whose messages name them."""

    def __init__(self, *, outbound: Outbound, clock: Callable[[], int]) -> None:
        self._outbound = outbound
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[Certificate, int]] = OrderedDict()
        self._asked: dict[str, deque[int]] = {}
        self._asking = asyncio.Lock()

    async def keys(self, provider: Provider, message: Message, *, now: int) -> tuple[Key, ...]:
        """The key of the certificate that *message* names, if it is valid at *now* (milliseconds).

        Raises:
            RejectionError: it names none, or none that is the provider's; or it is not valid then.
            KeyUnavailableError: it cannot be had now: our trouble, never the sender's fault.
        """
        source, scheme = provider.key, provider.verify
        assert source is not None  # noqa: S101  (the caller looked)
        assert scheme is not None  # noqa: S101  (a provider with keys verifies)
        url = _address(source, message)
        if not (Hosts(source.hosts).hold(url) or (provider.relocated and provider.lists(url))):
            raise CertificateInvalidError(
                f"The message names a certificate that is not at a host of {provider.name}."
            )
        place = provider.name, url
        known = self._kept.get(place)
        if known is None or self._clock() - known[1] > source.cache:
            async with self._asking:
                known = self._kept.get(place)
                if known is None or self._clock() - known[1] > source.cache:
                    known = await self._fetched(provider, url, known)
        return (known[0].key_at(now),)

    async def _fetched(
        self, provider: Provider, url: str, known: tuple[Certificate, int] | None
    ) -> tuple[Certificate, int]:
        scheme = provider.verify
        assert scheme is not None  # noqa: S101  (the caller looked)
        try:
            self._count(provider)
            async with asyncio.timeout(_PATIENCE):
                document = await self._outbound.converse(provider, _ask(url))
        except (ProviderError, TimeoutError, KeyUnavailableError) as error:
            if known is not None:
                return known  # the certificate that we have is good until it runs out
            raise KeyUnavailableError(f"A certificate of {provider.name} cannot be fetched.") from error
        name = url.rpartition("/")[2][:100]
        found = load_certificate(document, name=name, scheme=scheme), self._clock()
        self._kept[provider.name, url] = found
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        log.info("certificate_fetched", provider=provider.name, certificate=name)
        return found

    def _count(self, provider: Provider) -> None:
        now, asked = self._clock(), self._asked.setdefault(provider.name, deque())
        while asked and now - asked[0] > MINUTE:
            asked.popleft()
        if len(asked) >= _MOST_FETCHES:
            raise KeyUnavailableError(f"Too many certificates of {provider.name} are named at once.")
        asked.append(now)


def _address(source: KeySource, message: Message) -> str:
    sources = parse_sources(source.at or "", field="at")
    named = frozenset(one.key for one in sources if one.place == "header")
    value = Extraction(message, named).read(sources)
    if value is None:
        raise CertificateInvalidError("The message names no certificate.")
    return value.decode("latin-1")


def _ask(url: str) -> Generator[HttpRequest, HttpResponse, bytes]:
    response = yield HttpRequest(purpose="keys", method="GET", url=url, credentials=False, anywhere=True)
    if response.status in _REFUSED:
        raise CertificateInvalidError("The certificate that the message names is not there.")
    if response.status not in _OK:
        raise ProviderError(f"A certificate's address answered {response.status}.", code="key_set_refused")
    return response.body
