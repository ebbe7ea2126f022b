"""The network: names resolved once and vetted, and connections to what was vetted.

Where a request goes is judged on the resolved address, which is then the one dialled, so a name that resolves
differently a moment later gains nothing.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import httpcore
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream, SocketAttribute

# httpcore's own wrapping of a stream, TLS included; it has no public name (httpcore 1.0).
from httpcore._backends.anyio import AnyIOStream

from receiver.core.address import is_public
from receiver.core.errors import FetchRefusedError

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


class VettedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves a name once, refuses it if any of its addresses is not public, and dials what it vetted."""

    def __init__(self, trusted: Iterable[tuple[str, int]]) -> None:
        self._trusted = frozenset(trusted)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,  # noqa: ARG002  (our pool names none)
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  (nor these)
    ) -> httpcore.AsyncNetworkStream:
        """Connect to *host*; raises FetchRefusedError where it is not one that is asked."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            raise httpcore.ConnectError(f"{host} could not be resolved") from error
        if (host, port) not in self._trusted and not all(is_public(str(entry[4][0])) for entry in found):
            raise FetchRefusedError(f"{host} has an address that is not public.")
        family, _, _, _, address = found[0]
        try:
            async with asyncio.timeout(timeout):
                return AnyIOStream(await Connection.to(address, family))
        except OSError as error:  # a TimeoutError is one
            raise httpcore.ConnectError(f"{host} was not reached") from error

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401
        """Refuse."""
        raise FetchRefusedError("Requests go to the network only.")

    async def sleep(self, seconds: float) -> None:
        """Wait before another try."""
        await asyncio.sleep(seconds)
