"""A proxy on loopback that cuts connections while an answer is on its way."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_PIECE = 16_384


class Cutting:
    """What was asked by way of it, one connection for each request."""

    def __init__(self, url: str, cuts: Sequence[int]) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._cuts = list(cuts)
        self.url = ""
        #: The Range of each request for a file.
        self.ranges: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, and its answer up to where it is cut."""
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length: *([0-9]+)\r$", head)
            body = await reader.readexactly(int(length[1])) if length is not None else b""
            asked = re.search(rb"(?im)^range: *(.*?)\r$", head)
            limit = None
            if b"/files/" in head:
                self.ranges.append(None if asked is None else asked[1].decode())
                limit = self._cuts.pop(0) if self._cuts else None
            theirs, ours = await asyncio.open_connection(self._host, self._port)
            with contextlib.closing(ours):
                ours.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
                sent = 0
                while (limit is None or sent < limit) and (piece := await theirs.read(_PIECE)):
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)


@contextlib.asynccontextmanager
async def cutting(url: str, cuts: Sequence[int], *, port: int | None = None) -> AsyncIterator[Cutting]:
    """A proxy before *url* that cuts the first answers for files after so many bytes each."""
    one = Cutting(url, cuts)
    port = port or free_port()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(one.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    one.url = f"http://127.0.0.1:{port}"
    try:
        yield one
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
