"""A provider whose results are links, and the files behind them, with every fault that files have: on one socket."""

import asyncio
import contextlib
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.path.stub import Asked

_RANGE: Final = re.compile(r"bytes=([0-9]+)-")
_PIECE: Final = 64 * 1024


@dataclass(kw_only=True)
class Kept:
    """One file on the shelf, and how it is given away."""

    body: bytes = b""
    #: Instead of a body: so many bytes, made as they are sent.
    size: int = 0
    etag: str | None = '"one"'
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    ranges: bool = True
    #: After so many bytes of an answer the connection breaks, as many times.
    breaks_after: int | None = None
    breaks: int = 0
    #: Nothing of its body is sent before this is set.
    held: asyncio.Event | None = None
    #: After so many bytes of an answer there are two pieces a second.
    slow_after: int | None = None
    #: Seconds between pieces, and before the answer.
    pause: float = 0.0
    #: The time (time.monotonic) after which it is gone.
    gone_at: float | None = None
    #: What Content-Length says, where that is not so; -1: nothing, in chunks.
    length: int | None = None

    @property
    def total(self) -> int:
        """Its size."""
        return self.size or len(self.body)

    def part(self, start: int, end: int) -> bytes:
        """Some of its bytes."""
        return pattern(start, end) if self.size else self.body[start:end]

    @property
    def sha256(self) -> str:
        """Its digest."""
        digest = hashlib.sha256()
        for start in range(0, self.total, _PIECE):
            digest.update(self.part(start, min(start + _PIECE, self.total)))
        return digest.hexdigest()


_BLOCK: Final = hashlib.shake_256(b"pattern").digest(_PIECE)


def pattern(start: int, end: int) -> bytes:
    """Bytes that can be made anywhere, and differ from piece to piece."""
    found = bytearray()
    while start < end:
        place, inside = divmod(start, _PIECE)
        block = place.to_bytes(8, "big") + _BLOCK[8:]
        found += block[inside : inside + end - start]
        start += len(block) - inside
    return bytes(found[: len(found)])


class Shelf:
    """The server."""

    def __init__(self) -> None:
        self.files: dict[str, Kept] = {}
        #: What the next jobs come to.
        self.result: Any = {}
        #: How they end, in this provider's words.
        self.state = "done"
        #: Instead: the items of each of its pages.
        self.pages: list[Any] = []
        #: Told of each question about a job; may change ``result``.
        self.polled: Callable[[], object] = lambda: None
        #: How its answers about jobs are written, and of what kind they say that they are.
        self.charset, self.kind = "utf-8", "application/json"
        self.asked: list[Asked] = []
        self.at_once: Counter[str] = Counter()
        self.most_at_once = 0
        self.polls = 0
        #: Bytes of files that were given away.
        self.sent = 0
        self.url = ""

    def put(self, name: str, kept: Kept) -> str:
        """Put a file there; its address."""
        self.files[f"/{name}"] = kept
        return f"{self.url}/{name}"

    def gets(self, name: str) -> list[Asked]:
        """The questions for a file."""
        return [one for one in self.asked if one.path.partition("?")[0] == f"/{name}"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes by one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            method, path, _ = first.decode().split(" ")
            headers = tuple((k, v.strip()) for k, _, v in (line.partition(b":") for line in lines))
            asked = Asked(method=method, path=path, headers=headers, body=b"")
            body = await reader.readexactly(int(asked.header("content-length") or 0))
            self.asked.append(Asked(method=method, path=path, headers=headers, body=body))
            if path == "/jobs" or path.startswith("/jobs/"):
                self._answer_job(writer, method)
            else:
                await self._answer_file(asked, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _answer_job(self, writer: asyncio.StreamWriter, method: str) -> None:
        if method == "GET":
            self.polls += 1
            self.polled()
        document: dict[str, Any] = (
            {"id": "r1", "state": "queued"} if method == "POST" else {"id": "r1", "state": self.state}
        )
        if method == "GET":
            document["result"] = self.result
        if method == "POST":
            document["id"] = f"r{len(self.asked)}"
        else:
            document["id"] = self.asked[-1].path.rpartition("/")[2]
        if self.pages and method == "GET":
            number = int(self.asked[-1].path.partition("page=")[2] or 0)
            document |= {"id": document["id"].partition("?")[0], "result": self.pages[number]}
            if number + 1 < len(self.pages):
                document["next"] = f"{self.url}/jobs/{document['id']}?page={number + 1}"
        body = json.dumps(document, ensure_ascii=False).encode(self.charset)
        writer.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %b\r\n"
            b"content-length: %d\r\n\r\n" % (self.kind.encode(), len(body)) + body
        )

    async def _answer_file(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        kept = self.files.get(asked.path.partition("?")[0])
        gone = kept is not None and kept.gone_at is not None and time.monotonic() >= kept.gone_at
        if kept is None or gone:
            writer.write(b"HTTP/1.1 404 -\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            return
        self.at_once["file"] += 1
        self.most_at_once = max(self.most_at_once, self.at_once["file"])
        try:
            await self._send(kept, asked, writer)
        finally:
            self.at_once["file"] -= 1

    async def _send(self, kept: Kept, asked: Asked, writer: asyncio.StreamWriter) -> None:
        start, status = 0, kept.status
        found = _RANGE.fullmatch(asked.header("range") or "")
        headers = {"connection": "close", "content-type": "image/png", **kept.headers}
        if kept.etag is not None:
            headers["etag"] = kept.etag
        if found is not None and kept.ranges and status == 200 and asked.header("if-range") == kept.etag:
            start, status = int(found[1]), 206
            headers["content-range"] = f"bytes {start}-{kept.total - 1}/{kept.total}"
        length = kept.total - start if kept.length is None else kept.length
        headers |= {"transfer-encoding": "chunked"} if length == -1 else {"content-length": str(length)}
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        await asyncio.sleep(kept.pause)
        if kept.held is not None:
            await kept.held.wait()
        sent = 0
        for begin in range(start, kept.total, _PIECE):
            end = min(begin + _PIECE, kept.total)
            if kept.breaks and kept.breaks_after is not None and sent >= kept.breaks_after:
                kept.breaks -= 1
                # What was sent must arrive first: a reset would take it along.
                await writer.drain()
                return
            if kept.slow_after is not None and sent >= kept.slow_after:
                await asyncio.sleep(0.5)
            piece = kept.part(begin, end)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if length == -1 else piece)
            await writer.drain()
            sent += len(piece)
            self.sent += len(piece)
            if kept.pause and end < kept.total:
                await asyncio.sleep(kept.pause)
        if length == -1:
            writer.write(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def shelf() -> AsyncIterator[Shelf]:
    """Serve at a free port of loopback."""
    serving = Shelf()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serving.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield serving
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
