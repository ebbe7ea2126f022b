"""Downloads: files at vetted addresses, streamed, with credentials only where a description says so.

Redirects are followed as far as they lead to addresses that may be asked, and never with credentials.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from receiver.core.asking.exchange import HttpRequest
from receiver.core.description.provider import Provider, origin_of
from receiver.core.errors import FetchRefusedError
from receiver.outbound.pool import Pools, failures_of
from receiver.outbound.vetting import vet
from receiver.settings import Settings

if TYPE_CHECKING:
    import httpx

#: Redirects in a row that are followed.
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = {301, 302, 303, 307, 308}
#: Seconds that one may be silent.
SILENCE: Final = 30.0
#: A pool for each way out: as many as are ever fetched at once, and some that follow a redirect.
_CONNECTIONS: Final = 100
_KEPT: Final = 20


class Downloads:
    """Where files are asked for.

    Args:
        login: The headers that authenticate a request to an origin of a provider.
        silence: Seconds that one may be silent.
    """

    def __init__(
        self,
        *,
        login: Callable[[Provider, HttpRequest], Awaitable[dict[str, str]]],
        providers: Iterable[Provider],
        settings: Settings | None = None,
        silence: float = SILENCE,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        self._login = login
        self._transport = transport
        self._pools = Pools(
            providers,
            settings=settings,
            connections=lambda _: _CONNECTIONS,
            kept=_KEPT,
            patience=silence,
            transport=transport,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._pools.close()

    @asynccontextmanager
    async def get(
        self,
        provider: Provider,
        url: str,
        *,
        authenticated: bool,
        start: int = 0,
        validator: str | None = None,
    ) -> "AsyncIterator[httpx.Response]":
        """Ask for a file from byte *start* on, if it is still the one of *validator*; its body is still to be read.

        Raises:
            FetchRefusedError: the address, or one that it leads to, is not one that we ask.
            NeverConnectedError: it was not reached.
            NoAnswerError: no whole answer came, or not in time; while the block reads, too.
        """
        headers = {"accept-encoding": "identity"}
        if start and validator is not None:
            headers |= {"range": f"bytes={start}-", "if-range": validator}
        await self._pools.load()
        client = self._pools.client(provider)
        extensions = None if self._transport is None else {"provider": provider.name}
        for hop in range(_MOST_REDIRECTS + 1):
            request = _request(provider, url)
            target = vet(provider, request)
            ours = authenticated and hop == 0 and provider.lists(str(target))
            login = await self._login(provider, request) if ours else {}
            with failures_of(origin_of(url)):
                async with client.stream(
                    "GET", target, headers=headers | login, extensions=extensions
                ) as answer:
                    # No cookie is kept: no server is to recognise us.
                    client.cookies.clear()
                    if answer.status_code not in _REDIRECTS:
                        yield answer
                        return
                    url = _led(target, answer)
        raise FetchRefusedError(f"The address leads on more than {_MOST_REDIRECTS} times.")


def _request(provider: Provider, url: str) -> HttpRequest:
    return HttpRequest(
        purpose="download", method="GET", url=url, credentials=False, anywhere=not provider.lists(url)
    )


def _led(target: "httpx.URL", answer: "httpx.Response") -> str:
    import httpx

    where = answer.headers.get("location")
    if not where:
        raise FetchRefusedError("A redirect names no address.")
    try:
        led = target.join(where)
    except httpx.InvalidURL as error:
        raise FetchRefusedError("A redirect leads to something that is not an address.") from error
    return str(led.copy_with(fragment=None))
