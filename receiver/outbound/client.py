"""Requests to providers: to vetted addresses, with bounded answers, and credentials only where they belong."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from receiver.clock import read_clock
from receiver.core.asking.exchange import HttpRequest, HttpResponse
from receiver.core.description.provider import Provider
from receiver.core.errors import FetchRefusedError, NoAnswerError
from receiver.core.files.entity import WHOLE
from receiver.core.model import HOUR
from receiver.core.retry import parse_retry_after
from receiver.keys import Keys
from receiver.outbound.allowances import Allowances
from receiver.outbound.answer import Headers, Sink, as_far_as_it_came, bounded, stored, whole
from receiver.outbound.minting import Minting
from receiver.outbound.pool import Pools, failures_of
from receiver.outbound.vetting import vet
from receiver.readers import LARGE, Readers
from receiver.settings import Settings

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

#: Seconds that a request waits for its turn before it is put off.
_LONGEST_WAIT: Final = 10.0
#: Connections for the providers' key sets, and those that are kept while nobody uses them.
_SPARE: Final = 20
_KEPT: Final = 40
_UNAUTHORISED: Final = 401
_REDIRECTS: Final = range(300, 400)
_SUCCESS: Final = range(200, 300)
#: Requests that are made again if they bring nothing, so that half an answer need not be waited for.
_QUESTIONS: Final = frozenset({"poll", "fetch"})
#: Seconds for the body of an answer whose status says that it is no success.
_REFUSAL_PATIENCE: Final = 10.0


class Outbound:
    """The one place that requests leave from."""

    def __init__(
        self,
        *,
        keys: Keys,
        providers: Iterable[Provider],
        max_result: int,
        patience: float = 60.0,
        settings: Settings | None = None,
        allowances: Allowances | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
        clock: Callable[[], int] = read_clock,
    ) -> None:
        self._keys = keys
        self._minting = Minting(keys=keys, clock=clock)
        self._transport = transport
        self._max_result = max_result
        self._patience = patience
        self._providers = tuple(providers)
        self._allowances = allowances or Allowances(self._providers, clock=read_clock)
        self._pools = Pools(
            self._providers,
            settings=settings,
            connections=_connections,
            kept=_KEPT,
            patience=patience,
            transport=transport,
        )
        self._readers = Readers()

    async def close(self) -> None:
        """Close every connection."""
        await self._pools.close()

    async def converse(
        self,
        provider: Provider,
        conversation: Generator[HttpRequest, HttpResponse, T],
        *,
        sink: Sink | None = None,
        part: int = 0,
    ) -> T:
        """Send what *conversation* asks for until it returns; a fetch's body goes to *sink* as it arrives.

        Raises:
            NeverConnectedError: the provider cannot have heard the request; ProviderBusyError, which is one: it may not
                be sent any more now.
            NoAnswerError: it may have.
            FetchRefusedError: the address is not one that we ask.
            ConfigurationError: the credentials are not configured.
        """
        try:
            request = next(conversation)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        while True:
            response = await self.send(provider, request, sink=sink, part=part)
            if (size := len(response.body)) < LARGE:
                step = _advance(conversation, response)
            else:
                step = await self._readers.read(size, _advance, conversation, response)
            if isinstance(step, _Returned):
                return step.value
            request = step

    async def send(
        self, provider: Provider, request: HttpRequest, *, sink: Sink | None = None, part: int = 0
    ) -> HttpResponse:
        """Send one request; see ``converse``."""
        await self._pools.load()
        url = vet(provider, request)
        if request.after:
            await asyncio.sleep(request.after / 1000)
        headers = {"accept-encoding": "identity", **request.headers}
        ours = request.credentials and provider.lists(str(url))
        ask = functools.partial(self.send, provider)
        if ours:
            headers |= await self._minting.headers(provider, request, url=str(url), sent=headers, ask=ask)
            if fields := self._keys.in_address(provider):
                url = url.copy_merge_params(fields)
        if request.purpose == "keys":
            # A callback waits for it, and its sender; there is no more than one in a minute.
            return await self._send(provider, url, request, headers, sink, part)
        async with self._allowances.of(provider).request(patience=_LONGEST_WAIT):
            answer = await self._send(provider, url, request, headers, sink, part)
        if answer.status == _UNAUTHORISED and ours and self._minting.refused(provider):
            # A request that was refused for its token was not carried out; it is sent once more with a new token.
            headers |= await self._minting.headers(provider, request, url=str(url), sent=headers, ask=ask)
            answer = await self._send(provider, url, request, headers, sink, part)
        wait = parse_retry_after(answer.header(b"retry-after"), now=read_clock(), longest=HOUR)
        self._allowances.answered(provider, answer.status, wait)
        return answer

    async def login(self, provider: Provider, request: HttpRequest) -> dict[str, str]:
        """The headers that authenticate *request* to an origin of *provider*; raises as ``converse`` does."""
        ask = functools.partial(self.send, provider)
        return await self._minting.headers(provider, request, url=request.url, sent=request.headers, ask=ask)

    async def _send(
        self,
        provider: Provider,
        url: "httpx.URL",
        request: HttpRequest,
        headers: dict[str, str],
        sink: Sink | None,
        part: int,
    ) -> HttpResponse:
        with failures_of(provider.name):
            async with asyncio.timeout(self._patience):
                client = self._pools.client(provider)
                return await self._exchange(client, provider, url, request, headers, sink, part)

    async def _exchange(
        self,
        client: "httpx.AsyncClient",
        provider: Provider,
        url: "httpx.URL",
        request: HttpRequest,
        headers: dict[str, str],
        sink: Sink | None,
        part: int,
    ) -> HttpResponse:
        multipart: dict[str, Any] = {}
        if request.fields or request.files:
            # Without a file httpx would send a form; a part without a name of its own keeps it multipart.
            multipart["files"] = [(name, (None, value)) for name, value in request.fields.items()]
            multipart["files"] += [(name, (one.name, one.content)) for name, one in request.files.items()]
        if self._transport is not None:
            # Two descriptions may be of one address.
            multipart["extensions"] = {"provider": provider.name}
        async with client.stream(
            request.method, url, headers=headers, content=request.body, **multipart
        ) as answer:
            # To a submission it is an answer like another: the job may have been made. And uploads may want one.
            if answer.status_code in _REDIRECTS and request.purpose not in {"submit", "upload"}:
                raise FetchRefusedError("The provider answered with a redirect, which is not followed.")
            arriving = bounded(answer.aiter_raw(), largest=self._max_result)
            received = tuple((name.lower(), value) for name, value in answer.headers.raw)
            status, largest = answer.status_code, self._max_result
            if request.purpose == "submit":
                arriving = as_far_as_it_came(arriving, received, largest=largest)
            if sink is not None and status in WHOLE and request.purpose == "fetch":
                return await stored(status, received, arriving, sink=sink, part=part, largest=largest)
            if request.purpose in _QUESTIONS and status not in _SUCCESS:
                return await _refusal(provider.name, status, received, arriving, largest=largest)
            return await whole(status, received, arriving, largest=largest)


def _connections(providers: Sequence[Provider]) -> int:
    """Room for all that each may be sent at once, so that none waits for another's."""
    return sum(one.limits.concurrency for one in providers) + _SPARE


async def _refusal(
    name: str, status: int, headers: Headers, arriving: AsyncIterator[bytes], *, largest: int
) -> HttpResponse:
    """An answer without success: its status tells enough, even where the rest breaks off or never comes."""
    try:
        with failures_of(name):
            async with asyncio.timeout(_REFUSAL_PATIENCE):
                return await whole(status, headers, arriving, largest=largest)
    except NoAnswerError:
        return HttpResponse(status=status, headers=tuple(headers), broken=True)


class _Returned(Generic[T]):
    """What a conversation came to; a StopIteration cannot cross from a thread."""

    def __init__(self, value: T) -> None:
        self.value = value


def _advance(
    conversation: Generator[HttpRequest, HttpResponse, T], response: HttpResponse
) -> HttpRequest | _Returned[T]:
    try:
        return conversation.send(response)
    except StopIteration as end:
        return _Returned(end.value)
