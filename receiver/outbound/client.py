"""Requests to providers: to vetted addresses, with bounded answers, and credentials only where they belong.

What may be asked is judged on ``httpx.URL``, the same parser that sends; where it goes is judged on the resolved
address, which is then the one dialled, so a name that resolves differently a moment later gains nothing.
"""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Generic, Self, TypeVar

import httpcore
import httpx
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream, SocketAttribute

# httpcore's own wrapping of a stream, TLS included; it has no public name (httpcore 1.0).
from httpcore._backends.anyio import AnyIOStream

from receiver.core.address import is_public
from receiver.core.errors import FetchRefusedError, NeverConnectedError, NoAnswerError, ProviderError
from receiver.core.exchange import HttpRequest, HttpResponse
from receiver.core.model import Held
from receiver.core.provider import Provider, origin_of
from receiver.keys import Keys
from receiver.storage.results import CHUNK, cut

T = TypeVar("T")
#: Takes a stored result's next bytes: (number of the first chunk, content).
Sink = Callable[[int, bytes], Awaitable[None]]

#: From this many bytes on, an answer is read off the event loop.
_LARGE: Final = 64 * 1024
_CONNECT: Final = 5.0
_LONGEST_URL: Final = 2048
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)


class _Connection(ByteStream):
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
        connection = cls(family)
        try:
            await connection._loop.sock_connect(connection._socket, address)
        except BaseException:
            await connection.aclose()
            raise
        return connection

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._socket}

    async def receive(self, max_bytes: int = _LARGE) -> bytes:
        with self._in_use():
            received = await self._loop.sock_recv(self._socket, max_bytes)
        if not received:
            raise EndOfStream
        if len(received) == max_bytes:
            # There is more already, and as long as there is nobody else would have a turn.
            await asyncio.sleep(0)
        return received

    async def send(self, item: bytes) -> None:
        with self._in_use():
            await self._loop.sock_sendall(self._socket, item)

    async def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        # Whoever still waits for it hears its end.
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


class _VettedNetwork(httpcore.AsyncNetworkBackend):
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
                return AnyIOStream(await _Connection.to(address, family))
        except OSError as error:  # a TimeoutError is one
            raise httpcore.ConnectError(f"{host} was not reached") from error

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401
        raise FetchRefusedError("Requests go to the network only.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Outbound:
    """The one place that requests leave from."""

    def __init__(
        self, *, keys: Keys, providers: Iterable[Provider], max_result: int, patience: float = 60.0
    ) -> None:
        self._keys = keys
        self._max_result = max_result
        self._patience = patience
        self._providers = tuple(providers)
        self._client: httpx.AsyncClient | None = None
        self._reading = asyncio.Semaphore(1)

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

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
            NeverConnectedError: the provider cannot have heard the request.
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
            if len(response.body) < _LARGE:
                step = _advance(conversation, response)
            else:
                # Reading megabytes of JSON must not hold up callbacks; one at a time, for memory's sake.
                async with self._reading:
                    step = await asyncio.to_thread(_advance, conversation, response)
            if isinstance(step, _Returned):
                return step.value
            request = step

    async def send(
        self, provider: Provider, request: HttpRequest, *, sink: Sink | None = None, part: int = 0
    ) -> HttpResponse:
        """Send one request; see ``converse``."""
        url = self._vet(provider, request)
        headers = {"accept-encoding": "identity", **request.headers}
        if request.credentials and origin_of(request.url) in provider.origins:
            headers |= self._keys.credentials(provider)
        try:
            async with asyncio.timeout(self._patience):
                return await self._exchange(url, request, headers, sink, part)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NeverConnectedError(f"{provider.name} was not reached.") from error
        except (httpx.HTTPError, TimeoutError, httpx.InvalidURL) as error:
            raise NoAnswerError(f"{provider.name} gave no whole answer.") from error

    async def _exchange(
        self,
        url: httpx.URL,
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
        client = self._open()
        async with client.stream(
            request.method, url, headers=headers, content=request.body, **multipart
        ) as answer:
            # To a submission it is an answer like another: the job may have been made.
            if answer.status_code in _REDIRECTS and request.purpose != "submit":
                raise FetchRefusedError("The provider answered with a redirect, which is not followed.")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                # Not a refused address: what the answer says, of a submission above all, stays unknown.
                raise NoAnswerError("The provider compressed an answer that was asked for uncompressed.")
            arriving = self._bounded(answer.aiter_raw())
            received = tuple((name.lower(), value) for name, value in answer.headers.raw)
            if sink is not None and answer.status_code == _OK:
                held = await _store(arriving, sink, part, answer.headers.get("content-type"))
                return HttpResponse(status=answer.status_code, headers=received, held=held)
            body = b"".join([piece async for piece in arriving])
            return HttpResponse(status=answer.status_code, headers=received, body=body)

    async def _bounded(self, arriving: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        total = 0
        async for piece in arriving:
            total += len(piece)
            if total > self._max_result:
                raise ProviderError(
                    f"The answer is larger than RECEIVER_MAX_RESULT ({self._max_result} bytes).",
                    code="result_too_large",
                )
            yield piece

    def _vet(self, provider: Provider, request: HttpRequest) -> httpx.URL:
        try:
            url = httpx.URL(request.url)
        except httpx.InvalidURL as error:
            raise FetchRefusedError("The address is not a URL.") from error
        if len(request.url) > _LONGEST_URL and request.purpose == "fetch":
            raise FetchRefusedError("The address is too long.")
        if url.userinfo or url.fragment:
            raise FetchRefusedError("The address carries a user name or a fragment.")
        listed = any(_same_origin(url, httpx.URL(origin)) for origin in provider.origins)
        if not listed and not request.anywhere:
            raise FetchRefusedError(f"{url.host} is not an origin of {provider.name}.")
        if url.scheme != "https" and not (listed and provider.relocated):
            raise FetchRefusedError("Only https addresses are asked.")
        return url

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            relocated = [httpx.URL(o) for p in self._providers if p.relocated for o in p.origins]
            trusted = [(url.host, url.port or (443 if url.scheme == "https" else 80)) for url in relocated]
            context = ssl.create_default_context()
            transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0)
            # httpx has no public way to choose how names are resolved; its pool does (httpx 0.28, pinned).
            transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001
                ssl_context=context,
                max_connections=200,
                max_keepalive_connections=40,
                keepalive_expiry=15.0,
                network_backend=_VettedNetwork(trusted),
            )
            timeout = httpx.Timeout(self._patience, connect=_CONNECT)
            self._client = httpx.AsyncClient(
                transport=transport, timeout=timeout, trust_env=False, follow_redirects=False
            )
        return self._client


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


async def _store(arriving: AsyncIterator[bytes], sink: Sink, part: int, content_type: str | None) -> Held:
    # A chunk at a time, so that a large result never is in memory whole.
    digest, number = hashlib.sha256(), 0
    size = gathered = 0
    waiting: list[bytes] = []
    async for arrived in arriving:
        digest.update(arrived)
        size += len(arrived)
        for piece in cut(arrived):
            if waiting and gathered + len(piece) > CHUNK:
                chunk = b"".join(waiting)
                waiting.clear()
                await sink(number, chunk)
                number, gathered = number + 1, 0
            gathered += len(piece)
            waiting.append(piece)
    if waiting or number == 0:
        await sink(number, b"".join(waiting))
    kind = (content_type or "application/octet-stream")[:200]
    return Held(callback_id=None, offset=part, size=size, sha256=digest.hexdigest(), content_type=kind)


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    def origin(url: httpx.URL) -> tuple[str, str, int]:
        return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)

    return origin(one) == origin(other)
