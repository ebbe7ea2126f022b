"""No rival: the provider whose results are fetched. Every address has the same 25 MiB, sent as fast as it is taken.

Where ``CERTIFICATE`` names a folder with one, over TLS.
"""

import asyncio
import os
import sys
from pathlib import Path

from tests.certificates import server_context

SIZE = 25 * 1024 * 1024
_PIECE = b'"' + b"x" * 65534 + b'"'
_HEAD = (
    f"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {SIZE}\r\n"
    "connection: close\r\n\r\n"
).encode()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_HEAD)
    for _ in range(SIZE // len(_PIECE)):
        writer.write(_PIECE)
        await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """Serve until the process ends."""
    folder = os.environ.get("CERTIFICATE")
    context = server_context(Path(folder)) if folder else None
    server = await asyncio.start_server(answer, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
