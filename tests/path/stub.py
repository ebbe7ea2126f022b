"""A provider of a test's own making: a socket that answers what the test says, where the simulator would not."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

_PIECE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    #: In order, names as sent.
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    #: When, in seconds of the steady clock.
    at: float = field(default_factory=time.monotonic, compare=False)

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((v.decode("latin-1") for k, v in self.headers if k.lower() == name.encode()), None)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What it is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    #: Send the body in chunks, without saying how long it is.
    chunked: bool = False
    #: And break off before the last of them, which is empty.
    cut: bool = False
    #: Seconds between pieces of 64 KiB.
    pause: float = 0.0


Answerer = Callable[[Asked], Awaitable[Reply]]


class Stub:
    """The server; ``asked`` is what arrived so far."""

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self.asked: list[Asked] = []
        self.port = 0
        self.url = ""

    def gets(self) -> list[Asked]:
        """The GET requests."""
        return [one for one in self.asked if one.method == "GET"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            method, path, _ = first.decode().split(" ")
            headers = tuple(
                (name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)
            )
            asked = Asked(method=method, path=path, headers=headers, body=b"")
            body = await reader.readexactly(int(asked.header("content-length") or 0))
            asked = Asked(method=method, path=path, headers=headers, body=body)
            self.asked.append(asked)
            reply = await self._answer(asked)
            written = _written(reply)
            piece = _PIECE if reply.pause else len(written)
            for start in range(0, len(written), piece):
                writer.write(written[start : start + piece])
                await writer.drain()
                await asyncio.sleep(reply.pause)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


def _written(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} -", "connection: close"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if reply.chunked:
        lines.append("transfer-encoding: chunked")
    elif "content-length" not in reply.headers:
        # One that is given is a length that the answer does not have, because it breaks off.
        lines.append(f"content-length: {len(reply.body)}")
    body = reply.body
    if reply.chunked:
        body = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
        body += b"" if reply.cut else b"0\r\n\r\n"
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def stub(answer: Answerer, *, context: ssl.SSLContext | None = None) -> AsyncIterator[Stub]:
    """Serve *answer* at a free port of loopback, over TLS with *context*."""
    serving = Stub(answer)
    tasks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        task = asyncio.ensure_future(serving.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: writers.discard(writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    serving.port = server.sockets[0].getsockname()[1]
    serving.url = (
        f"http://127.0.0.1:{serving.port}" if context is None else f"https://localhost:{serving.port}"
    )
    try:
        yield serving
    finally:
        server.close()
        # Who was let in just now gets a connection first; one whose task never began is closed by nobody else.
        await asyncio.sleep(0.01)
        left = set(writers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in left:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def always(reply: Reply) -> AsyncIterator[Stub]:
    """Serve the same reply to everybody."""

    async def answer(_asked: Asked) -> Reply:
        return reply

    async with stub(answer) as serving:
        yield serving
