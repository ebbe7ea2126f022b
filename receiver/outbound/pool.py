"""Connections: one pool for each way out, to vetted addresses only, made when the first request leaves by it."""

import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final

from receiver.core.description.provider import Provider
from receiver.core.errors import FetchRefusedError, NeverConnectedError, NoAnswerError
from receiver.outbound.egress import DIRECT, Egress, egress_of, place_of
from receiver.settings import Settings
from receiver.threads import off_loop

if TYPE_CHECKING:
    import httpx

_CONNECT: Final = 5.0


class Pools:
    """The clients that requests leave by; providers that leave by the same way share one.

    Args:
        providers: Who may be asked.
        settings: By which way each leaves; straight if left out.
        connections: How many there may be to those providers that leave by one way.
        kept: How many of these are kept while nobody uses them.
        patience: Seconds that one may stay silent.
        transport: What is asked instead of the network: for tests.

    Raises:
        ConfigurationError: a setting about the way out is wrong.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        *,
        settings: Settings | None,
        connections: Callable[[Sequence[Provider]], int],
        kept: int,
        patience: float,
        transport: "httpx.AsyncBaseTransport | None",
    ) -> None:
        self._providers = tuple(providers)
        self._egress = {} if settings is None else {p.name: egress_of(settings, p) for p in self._providers}
        self._connections = connections
        self._kept = kept
        self._patience = patience
        self._transport = transport
        self._clients: dict[Egress, httpx.AsyncClient] = {}
        self._loaded = False

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def load(self) -> None:
        """Load what speaks HTTP, before the first request."""
        if not self._loaded:
            # In a thread: it takes a tenth of a second, in which callbacks would wait.
            await off_loop(_load)
            self._loaded = True

    def client(self, provider: Provider) -> "httpx.AsyncClient":
        """The client for *provider*; it follows no redirects."""
        egress = self._egress.get(provider.name, DIRECT)
        client = self._clients.get(egress)
        if client is None:
            client = self._clients[egress] = self._open(egress)
        return client

    def _open(self, egress: Egress) -> "httpx.AsyncClient":
        import httpx

        from receiver.discreet import DiscreetClient

        transport, timeout = self._transport, httpx.Timeout(self._patience)
        if transport is None:
            # What a setting says of one provider opens nothing to another's requests.
            leaving = [one for one in self._providers if self._egress.get(one.name, DIRECT) == egress]
            transport = _transport(egress, leaving, connections=self._connections(leaving), kept=self._kept)
            timeout = httpx.Timeout(self._patience, connect=_CONNECT)
        return DiscreetClient(
            transport=transport,
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
        )


def _load() -> None:
    import receiver.discreet  # noqa: F401
    import receiver.outbound.network  # noqa: F401


def _transport(
    egress: Egress,
    leaving: Iterable[Provider],
    *,
    connections: int,
    kept: int,
) -> "httpx.AsyncBaseTransport":
    """Connections that leave by *egress*, of which *kept* wait for more while nobody uses them."""
    import httpcore
    import httpx

    from receiver.outbound.network import VettedNetwork

    context = _trust(ssl.get_default_verify_paths())
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0)
    # httpx has no public way to choose how names are resolved; its pool does (httpx 0.28, pinned).
    transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001
        ssl_context=context,
        max_connections=connections,
        max_keepalive_connections=kept,
        keepalive_expiry=15.0,
        network_backend=VettedNetwork(
            (place_of(origin) for one in leaving if one.relocated for origin in one.origins),
            egress=egress,
            context=context,
        ),
    )
    return transport


@cache
def _trust(_: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    # One context serves all ways out: the certificates that this machine trusts are a megabyte, read for 30 ms.
    return ssl.create_default_context()


@contextmanager
def failures_of(name: str) -> Iterator[None]:
    """Raise what goes wrong with a request to *name* as an error of ours.

    Raises:
        NeverConnectedError: it cannot have heard the request.
        FetchRefusedError: the address is not one that can be asked.
        NoAnswerError: it may have heard the request, and gave no whole answer.
    """
    import httpx

    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NeverConnectedError(f"{name} was not reached.") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise FetchRefusedError("The address is not one that can be asked.") from error
    except (httpx.HTTPError, TimeoutError) as error:
        raise NoAnswerError(f"{name} gave no whole answer.") from error
