"""The network: names resolved once and vetted, and connections to what was vetted.

Where a request goes is judged on the resolved address, which is then the one dialled, so a name that resolves
differently a moment later gains nothing.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import httpcore
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream, SocketAttribute

# httpcore's own wrapping of a stream, TLS included; it has no public name (httpcore 1.0).
from httpcore._backends.anyio import AnyIOStream

from receiver.core.address import is_public, within
from receiver.core.errors import FetchRefusedError, NeverConnectedError
from receiver.outbound.egress import Egress, Place, Proxy, tunnel
from receiver.settings import is_loopback
from receiver.threads import resolving

#: Bytes that are read at once.
_READ: Final = 64 * 1024


class Connection(ByteStream):
    """A connection that is read no further than is asked for: the rest stays with the kernel, so with the sender.

    A transport reads ahead: uvloop's takes up to 32 times 256,000 bytes before whoever waits for the first of them
    can stop it, eight megabytes for each large result that is being fetched.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._users = 0
        self._closed = False

    @classmethod
    async def to(cls, address: tuple[Any, ...], family: socket.AddressFamily) -> Self:
        """Connect to *address*; raises OSError."""
        connection = cls(family)
        try:
            await connection._loop.sock_connect(connection._socket, address)
        except BaseException:
            await connection.aclose()
            raise
        return connection

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """What TLS and httpcore look up."""
        return {SocketAttribute.raw_socket: lambda: self._socket}

    async def receive(self, max_bytes: int = _READ) -> bytes:
        """Read what is there, at most so much; raises EndOfStream at the end."""
        with self._in_use():
            received = await self._loop.sock_recv(self._socket, max_bytes)
        if not received:
            raise EndOfStream
        if len(received) == max_bytes:
            # There is more already, and as long as there is nobody else would have a turn.
            await asyncio.sleep(0)
        return received

    async def send(self, item: bytes) -> None:
        """Send all of *item*."""
        with self._in_use():
            await self._loop.sock_sendall(self._socket, item)

    async def send_eof(self) -> None:
        """Say that nothing follows."""
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close; whoever waits for it hears its end."""
        self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._close_unused()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        if self._closed:
            raise ClosedResourceError
        self._users += 1
        try:
            yield
        except OSError as error:
            raise BrokenResourceError from error
        finally:
            self._users -= 1
            self._close_unused()

    def _close_unused(self) -> None:
        # Not before: the loop would take the next socket, which gets its number, for the one that is waited for.
        if self._closed and self._users == 0:
            self._socket.close()


class _Stream(AnyIOStream):
    """A connection as httpcore speaks over it, closed where nobody finished to greet."""

    async def start_tls(self, *given: Any, **named: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401  (httpcore's)
        """Begin TLS."""
        try:
            return await super().start_tls(*given, **named)
        except BaseException:
            # httpcore closes it after an error, and not once the time is up.
            await self.aclose()
            raise


class VettedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves a name once, refuses it if any of its addresses is not one that may be asked, and dials what it vetted.

    Through a proxy it is the vetted name that is asked for, which the proxy resolves for itself. A name that means
    something else there gains nothing: but for listed places only https is spoken, and whoever answers has to prove
    with a certificate that the name is its own before it hears a request.

    Args:
        trusted: Places that a setting names, wherever they are.
        egress: The way out.
        context: For a proxy that is spoken to over TLS.
    """

    def __init__(self, trusted: Iterable[Place], *, egress: Egress, context: ssl.SSLContext) -> None:
        self._egress = egress
        self._trusted = frozenset(trusted) - egress.plain
        self._context = context

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,  # noqa: ARG002  (our pool names none)
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  (nor these)
    ) -> httpcore.AsyncNetworkStream:
        """Connect to *host*; raises FetchRefusedError where it is not one that is asked."""
        proxy = self._egress.proxy
        try:
            found = await _resolved(host, port, timeout)
        except (OSError, TimeoutError) as error:
            # Behind a proxy many names are known to it alone; whether one that nobody listed is private, nobody knows.
            if proxy is None or (host, port) not in self._egress.listed:
                raise httpcore.ConnectError(f"{host} could not be resolved") from error
            found = []
        for _, address in found:
            self._vet(host, port, str(address[0]))
        if proxy is not None:
            return await self._through(proxy, host, port, timeout)
        try:
            return _Stream(await _dialled(found, timeout))
        except OSError as error:
            raise httpcore.ConnectError(f"{host} was not reached") from error

    def _vet(self, host: str, port: int, address: str) -> None:
        """Raise FetchRefusedError where *address* is not one that *host* may have."""
        place, egress = (host, port), self._egress
        if place in self._trusted:
            return
        if place in egress.listed and within(address, egress.private):
            return
        if place in egress.plain and not is_loopback(address):
            raise FetchRefusedError(f"{host} is asked without TLS, and is not in its ALLOW_PRIVATE networks.")
        if place not in egress.plain and not is_public(address):
            raise FetchRefusedError(f"{host} has an address that is not public.")

    async def _through(
        self,
        proxy: Proxy,
        host: str,
        port: int,
        timeout: float | None,  # noqa: ASYNC109  (as above)
    ) -> httpcore.AsyncNetworkStream:
        """Connect to *host* by way of *proxy*, which an operator has named: its own address is not vetted."""
        try:
            async with asyncio.timeout(timeout):
                connection = await _dialled(await _resolved(proxy.host, proxy.port, timeout), timeout)
                stream: httpcore.AsyncNetworkStream = _Stream(connection)
                try:
                    if proxy.secure:
                        stream = await stream.start_tls(self._context, server_hostname=proxy.host)
                    await tunnel(stream, proxy, host=host, port=port)
                except BaseException:
                    await connection.aclose()
                    raise
                return stream
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise NeverConnectedError(
                f"The egress proxy {proxy.name} was not reached.", code="egress_unreachable"
            ) from error

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401
        """Refuse."""
        raise FetchRefusedError("Requests go to the network only.")

    async def sleep(self, seconds: float) -> None:
        """Wait before another try."""
        await asyncio.sleep(seconds)


async def _resolved(
    host: str,
    port: int,
    timeout: float | None,  # noqa: ASYNC109  (as above)
) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """The addresses of *host*, at least one; raises OSError, of which a TimeoutError is one."""
    async with asyncio.timeout(timeout):
        found = await resolving(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def _dialled(
    found: Sequence[tuple[socket.AddressFamily, tuple[Any, ...]]],
    timeout: float | None,  # noqa: ASYNC109  (as above)
) -> Connection:
    """Connect to the first of some addresses, all of them vetted, that answers; raises OSError, or a TimeoutError.

    Each has an equal share of the time that is left: one that says nothing must not use up all of it.
    """
    loop = asyncio.get_running_loop()
    end = None if timeout is None else loop.time() + timeout
    failed: OSError | None = None
    for left, (family, address) in zip(range(len(found), 0, -1), found, strict=True):
        try:
            async with asyncio.timeout(None if end is None else (end - loop.time()) / left):
                return await Connection.to(address, family)
        except OSError as error:  # a TimeoutError is one
            failed = error
    raise failed or OSError("It has no address.")
