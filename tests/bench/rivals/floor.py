"""No rival: the least that takes a callback durably, to show what this stack can do on this machine.

No framework, no provider, no job, no duplicate, no dispatch, no log line: an HMAC, and one row in the next commit of a
thread that writes (``synchronous=FULL``), as many rows to a commit as wait for it.
"""

import asyncio
import hmac
import os
import sqlite3
import threading
from collections import deque
from typing import Any

from tests.bench.rivals.serving import serve

SECRET = os.environ["BENCH_SECRET"].encode()
waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
news = threading.Semaphore(0)


def write() -> None:
    """Commit whatever waits, again and again."""
    connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=16384;"
        "CREATE TABLE event (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"
    )
    while True:
        news.acquire()
        batch = [waiting.popleft() for _ in range(len(waiting))]
        if batch:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO event (body) VALUES (?)", [(body,) for body, _ in batch])
            connection.execute("COMMIT")
            batch[0][1].get_loop().call_soon_threadsafe(answer, batch)


def answer(batch: list[tuple[bytes, "asyncio.Future[None]"]]) -> None:
    """Tell those who wait that it is stored."""
    for _, future in batch:
        future.set_result(None)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
    """Take one callback."""
    if scope["type"] != "http":
        return
    more, body = True, b""
    while more:
        message = await receive()
        more, body = message["more_body"], body + message["body"]
    given = dict(scope["headers"]).get(b"x-signature", b"")
    expected = b"sha256=" + hmac.digest(SECRET, body, "sha256").hex().encode()
    status = 401
    if hmac.compare_digest(expected, given):
        future = asyncio.get_running_loop().create_future()
        waiting.append((body, future))
        news.release()
        await future
        status = 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    threading.Thread(target=write, daemon=True).start()
    serve(app)
