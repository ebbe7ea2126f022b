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
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?im)^range: *(.*?)\r$", head)
        limit = None
        if b"/files/" in head:
            self.ranges.append(None if found is None else found[1].decode())
            limit = self._cuts.pop(0) if self._cuts else None
        theirs, ours = await asyncio.open_connection(self._host, self._port)
        ours.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        sent = 0
        while piece := await theirs.read(_PIECE):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            if limit is not None and sent >= limit:
                break
        writer.close()
        ours.close()


@contextlib.asynccontextmanager
async def cutting(url: str, cuts: Sequence[int]) -> AsyncIterator[Cutting]:
    """A proxy before *url* that cuts the first answers after so many bytes each."""
    one = Cutting(url, cuts)
    port = free_port()
    server = await asyncio.start_server(one.serve, "127.0.0.1", port)
    one.url = f"http://127.0.0.1:{port}"
    try:
        yield one
    finally:
        server.close()
        await server.wait_closed()
