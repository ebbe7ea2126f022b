"""No rival: the least that takes a callback durably, to show what this stack can do on this machine.

``KEEP`` says what that is. ``body``: an HMAC, and one row in the next commit of a thread that writes
(``synchronous=FULL``), as many rows to a commit as wait for it. ``record``: the same with the four statements of a
callback on the receiver's own tables. ``handled``: and in the two commits that follow, those by which its dispatch is
claimed and settled. ``decided``: the record, and before it what must be looked at so that it may be written: the token,
the JSON (no key twice), the digest of the result, and the row of the job; for this one provider, written out.
``bounded``: the same with what a receiver promises besides: an end to its patience with a body, and to that of whoever
waits for a commit; a line in the log, a count, and the headers as text. These two take a duplicate as well: it is kept
whole, and counted.

There is no framework and no description of a provider, and not one line of the receiver's own code, so no receiver that
does as much can be above it.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import threading
import time
from asyncio import Future, TimerHandle, current_task, get_running_loop
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from tests.bench.rivals.serving import serve


class Taken(NamedTuple):
    """A callback on its way."""

    body: bytes
    headers: str
    job_id: str
    id: str
    now: int
    stored: "Future[None]"
    digest: str
    remote_id: str


Statement = tuple[str, Callable[[Taken], Sequence[Any]]]
_SUCCEED: Final = """
    UPDATE job SET state = 'succeeded', succeeded_at = ?, ended_at = ?, settled_by = 'callback', held_callback = ?,
        held_offset = 100, held_size = 900, held_sha256 = ?, held_type = 'application/json', callbacks = 1,
        first_callback = ?
    WHERE id = ?"""
_DISPATCH: Final = """
    INSERT INTO dispatch (job_id, handler, replay_id, state, run_at, attempt, created_at)
    VALUES (?, 'completed', '', 'ready', ?, 0, ?)"""
_KEEP: Final = """
    INSERT INTO callback (id, provider, route, job_id, received_at, method, query, headers, body, verdict, key_id,
        is_first)
    VALUES (?, 'bench', 'callbacks', ?, ?, 'POST', x'', ?, ?, 'accepted', 'BENCH_SECRET#1', 1)"""
_COUNT: Final = "UPDATE job SET callbacks = callbacks + 1 WHERE id = ?"
_KEEP_AGAIN: Final = _KEEP.replace("'accepted'", "'duplicate'").replace("1)", "0)")
_LEASE: Final = "UPDATE dispatch SET owner = 'floor', attempt = 1, run_at = ? WHERE job_id = ?"
_LOG: Final = """
    INSERT INTO attempt (job_id, id, step, handler, replay_id, number, started_at, duration_ms, outcome, detail)
    VALUES (?, ?, 'dispatch', 'completed', '', 1, ?, 0, 'succeeded', x'7b7d')"""
_BODY: Final[list[Statement]] = [("INSERT INTO event (body) VALUES (?)", lambda one: (one.body,))]
_RECORD: Final[list[Statement]] = [
    (_SUCCEED, lambda one: (one.now, one.now, one.id, one.digest, one.id, one.job_id)),
    ("DELETE FROM due WHERE job_id = ?", lambda one: (one.job_id,)),
    (_DISPATCH, lambda one: (one.job_id, one.now, one.now)),
    (_KEEP, lambda one: (one.id, one.job_id, one.now, one.headers, one.body)),
]
_AGAIN: Final[list[Statement]] = [
    (_COUNT, lambda one: (one.job_id,)),
    (_KEEP_AGAIN, lambda one: (one.id, one.job_id, one.now, one.headers, one.body)),
]
_CLAIM: Final[list[Statement]] = [(_LEASE, lambda one: (one.now + 60_000, one.job_id))]
_SETTLE: Final[list[Statement]] = [
    ("DELETE FROM dispatch WHERE job_id = ?", lambda one: (one.job_id,)),
    (_LOG, lambda one: (one.job_id, one.id, one.now)),
]
#: What is done for a callback in its own transaction, in the next, and in the one after that.
KEEP: Final = os.environ["KEEP"]
BOUNDED: Final = KEEP == "bounded"
DECIDED: Final = BOUNDED or KEEP == "decided"
STAGES: Final = {"body": [_BODY], "handled": [_RECORD, _CLAIM, _SETTLE]}.get(KEEP, [_RECORD])
SECRET: Final = os.environ["BENCH_SECRET"].encode()
MASTER: Final = os.environ["RECEIVER_SECRET_KEY"].encode()
#: Seconds for a body, and for a commit.
PATIENCE: Final = (10.0, 1.8)
waiting: deque[Taken] = deque()
news = threading.Semaphore(0)
counts: Counter[tuple[str, str]] = Counter()
lines: list[str] = []


def write() -> None:
    """Commit whatever waits, again and again."""
    connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2048;"
    )
    if STAGES == [_BODY]:
        connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    # The batches under way: the one that has just come, then those of the transactions before.
    batches: deque[list[Taken]] = deque([[] for _ in STAGES], maxlen=len(STAGES))
    while True:
        # With nobody waiting, what is under way is brought to its end.
        news.acquire(timeout=0.05 if any(batches) else None)
        arrived = [waiting.popleft() for _ in range(len(waiting))]
        batches.appendleft(arrived)
        if not any(batches):
            continue
        connection.execute("BEGIN IMMEDIATE")
        if DECIDED:
            batches[0], again = looked_up(connection, arrived)
            for sql, values in _AGAIN if again else ():
                connection.executemany(sql, map(values, again))
        for statements, batch in zip(STAGES, batches, strict=True):
            for sql, values in statements:
                connection.executemany(sql, map(values, batch))
        connection.execute("COMMIT")
        if arrived:
            arrived[0].stored.get_loop().call_soon_threadsafe(answer, arrived)


def looked_up(connection: sqlite3.Connection, batch: list[Taken]) -> tuple[list[Taken], list[Taken]]:
    """Those that end their job, and those whose job has ended before; a callback is about no other one."""
    places = ", ".join("?" * len(batch))
    found = connection.execute(
        f"SELECT id, state, remote_id FROM job WHERE id IN ({places})",  # noqa: S608  (only question marks)
        [one.job_id for one in batch],
    )
    jobs = {job_id: (state, remote_id) for job_id, state, remote_id in found}
    first = [one for one in batch if jobs[one.job_id] == ("submitted", one.remote_id)]
    again = [one for one in batch if jobs[one.job_id] == ("succeeded", one.remote_id)]
    if len(first) + len(again) < len(batch):
        raise ValueError("That is none of the benchmark's callbacks.")
    return first, again


def answer(batch: list[Taken]) -> None:
    """Tell those who wait that it is stored."""
    for one in batch:
        one.stored.set_result(None)


def looked_at(token: bytes, body: bytes) -> tuple[str, str]:
    """The digest of the result, and the id that the provider knows its job by."""
    mac = hmac.digest(MASTER, b"receiver callback token\0bench\0" + token[5:21], "sha256")[:16]
    event = json.loads(body, object_pairs_hook=unique)
    if not hmac.compare_digest(mac, token[21:]) or event["status"] != "done":
        raise ValueError("That is none of the benchmark's callbacks.")
    result = body[body.index(b'"result":') + 9 : -1]
    return hashlib.sha256(result).hexdigest(), event["id"]


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that has no key twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("A key is there twice.")
    return value


def ends_in(seconds: float) -> TimerHandle:
    """Interrupt this request unless it is done by then."""
    task = current_task()
    assert task is not None  # a server runs each request in one
    return get_running_loop().call_later(seconds, task.cancel)


def text_of(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Headers as JSON."""
    return msgspec.json.encode([(k.decode("latin-1"), v.decode("latin-1")) for k, v in headers]).decode()


def tell(one: Taken) -> None:
    """Count it, and write a line about it with those of this turn of the event loop."""
    counts["bench", "accepted"] += 1
    line = {
        "event": "callback_accepted",
        "level": "info",
        "timestamp": datetime.now(UTC).isoformat(),
        "callback": one.id,
        "job": one.job_id,
        "provider": "bench",
        "state": "succeeded",
        "bytes": len(one.body),
    }
    if not lines:
        get_running_loop().call_soon(write_lines)
    lines.append(msgspec.json.encode(line).decode())


def write_lines() -> None:
    """Write what there is to tell."""
    sys.stderr.write("\n".join(lines) + "\n")
    lines.clear()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
    """Take one callback."""
    if scope["type"] != "http":
        return
    more, body = True, b""
    timer = ends_in(PATIENCE[0]) if BOUNDED else None
    while more:
        message = await receive()
        more, body = message["more_body"], body + message["body"]
    if timer is not None:
        timer.cancel()
    given = dict(scope["headers"]).get(b"x-signature", b"")
    expected = b"sha256=" + hmac.digest(SECRET, body, "sha256").hex().encode()
    status = 401
    if hmac.compare_digest(expected, given):
        # A token is 50 characters; the id of its job is in it.
        token = base64.urlsafe_b64decode(scope["path"][-50:] + "==")
        name = f"cb_{time.time_ns():032x}"
        digest, remote_id = looked_at(token, body) if DECIDED else (name * 2, "")
        one = Taken(
            body=body,
            headers=text_of(scope["headers"]) if BOUNDED else repr(scope["headers"]),
            job_id="job_" + token[5:21].hex(),
            id=name,
            now=time.time_ns() // 1_000_000,
            stored=get_running_loop().create_future(),
            digest=digest,
            remote_id=remote_id,
        )
        waiting.append(one)
        news.release()
        timer = ends_in(PATIENCE[1]) if BOUNDED else None
        await one.stored
        if timer is not None:
            timer.cancel()
            tell(one)
        status = 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    threading.Thread(target=write, daemon=True).start()
    serve(app)
