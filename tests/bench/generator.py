"""The load generator: a process of its own that sends prepared bytes over raw sockets and counts the answers.

It reads an ``Order`` as JSON from standard input and writes a ``Tally`` as JSON to standard output. It knows
no HTTP beyond the status and the length of an answer: on a core of its own it must never be what limits.
"""

import errno
import fcntl
import gc
import os
import select
import socket
import struct
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

#: Before each request in the file: its length.
LENGTH: Final = struct.Struct("<I")
#: How many connections are opened before the server is given a moment to accept them.
_AT_ONCE: Final = 200
#: Seconds without any answer after which the rest are given up.
_PATIENCE: Final = 30.0
_READ: Final = 256 * 1024


class Order(msgspec.Struct, kw_only=True):
    """What is to be sent: every request once, in the file's order, from its *first* on."""

    port: int
    #: The requests, each after its length.
    file: str
    connections: int
    #: The status that every answer must have.
    expect: int
    first: int = 0
    #: How many at most; 0: all there are.
    count: int = 0
    #: Seconds of load whose answers are not in the rate.
    warm_up: float = 0.0
    #: Seconds of load after them; 0: until all requests are sent.
    seconds: float = 0.0
    #: Requests a second, whether or not earlier ones are answered; 0: each connection as fast as it is answered.
    rate: float = 0.0
    #: Where to write, for each request in turn, when it was due and when it was answered (nanoseconds).
    times: str = ""
    #: A file to keep locked from the first request on, and for how many seconds: a database that cannot commit.
    lock: str = ""
    lock_seconds: float = 0.0


class Tally(msgspec.Struct, kw_only=True):
    """What came of it."""

    sent: int
    #: Answers with the expected status.
    right: int
    #: Answers with another one, by status.
    wrong: dict[str, int]
    #: Requests whose connection broke before the answer.
    broken: int
    #: Right answers a second, after the warm-up.
    rate: float
    p50_ms: float
    p99_ms: float
    #: The first wrong answer, for whoever has to find out.
    sample: str = ""


@dataclass(slots=True)
class _Connection:
    """One connection; at most one request is under way on it."""

    socket: socket.socket
    place: int = -1
    buffer: bytes = b""
    rest: bytes = b""


@dataclass(slots=True)
class _Run:
    """The load while it lasts."""

    order: Order
    requests: list[bytes]
    poll: select.epoll
    due: "array[float]" = field(default_factory=lambda: array("d"))
    answered: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    connections: dict[int, _Connection] = field(default_factory=dict)
    idle: deque[_Connection] = field(default_factory=deque)
    began: float = 0.0
    lock: int | None = None
    broken: int = 0
    sample: str = ""


def main() -> int:
    """Carry out the order on standard input."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    requests = _read(Path(order.file), order.first, order.count)
    run = _Run(order=order, requests=requests, poll=select.epoll())
    _connect(run)
    gc.collect()
    gc.freeze()
    gc.disable()
    _drive(run)
    sys.stdout.buffer.write(msgspec.json.encode(_tally(run)))
    return 0


def _read(path: Path, first: int, count: int) -> list[bytes]:
    content = path.read_bytes()
    requests, at = [], 0
    while at < len(content):
        (size,) = LENGTH.unpack_from(content, at)
        at += LENGTH.size
        if first > 0:
            first -= 1
        else:
            requests.append(content[at : at + size])
            if len(requests) == count:
                break
        at += size
    return requests


def _connect(run: _Run) -> None:
    for number in range(run.order.connections):
        if number % _AT_ONCE == _AT_ONCE - 1:
            time.sleep(0.02)
        one = socket.create_connection(("127.0.0.1", run.order.port), timeout=_PATIENCE)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
        connection = _Connection(one)
        run.connections[one.fileno()] = connection
        run.idle.append(connection)
        run.poll.register(one.fileno(), select.EPOLLIN)


def _drive(run: _Run) -> None:
    order, total = run.order, len(run.requests)
    run.due.extend([0.0] * total)
    run.answered.extend([0.0] * total)
    if order.lock:
        run.lock = os.open(order.lock, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(run.lock, fcntl.LOCK_EX)
    run.began = heard = time.perf_counter()
    end = run.began + order.warm_up + order.seconds if order.seconds else float("inf")
    gap = 1.0 / order.rate if order.rate else 0.0
    place = 0
    while True:
        now = time.perf_counter()
        open_until = total if now < end else place
        while place < open_until and run.idle and (due := run.began + place * gap if gap else now) <= now:
            _send(run, run.idle.popleft(), place, due)
            place += 1
        under_way = len(run.connections) - len(run.idle)
        if not under_way and (place >= open_until or not run.connections):
            break
        # With a rate it spins: a poll that sleeps is late by up to a millisecond.
        events = run.poll.poll(0 if gap else 0.05, 1024)
        now = time.perf_counter()
        heard = now if events else heard
        if now - heard > _PATIENCE:
            run.broken += under_way
            break
        _unlock(run, now)
        place = _take(run, events, place, total if now < end and not gap else place)
    del run.due[place:]
    del run.answered[place:]


def _take(run: _Run, events: list[tuple[int, int]], place: int, until: int) -> int:
    """Take what arrived, and send the next requests, from *place* to *until*, where answers are whole."""
    for number, event in events:
        connection = run.connections[number]
        if event & select.EPOLLOUT:
            _flush(run, connection)
        if event & ~select.EPOLLOUT and _receive(run, connection):
            if place < until:
                _send(run, connection, place, time.perf_counter())
                place += 1
            else:
                run.idle.append(connection)
    return place


def _unlock(run: _Run, now: float) -> None:
    if run.lock is not None and now > run.began + run.order.lock_seconds:
        os.close(run.lock)
        run.lock = None


def _send(run: _Run, connection: _Connection, place: int, due: float) -> None:
    run.due[place] = due
    connection.place = place
    request = run.requests[place]
    try:
        sent = connection.socket.send(request)
    except BlockingIOError:
        sent = 0
    except OSError:
        _drop(run, connection)
        return
    if sent < len(request):
        connection.rest = request[sent:]
        run.poll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)


def _flush(run: _Run, connection: _Connection) -> None:
    try:
        sent = connection.socket.send(connection.rest)
    except BlockingIOError:
        return
    except OSError:
        return  # what arrives, or does not, says so
    connection.rest = connection.rest[sent:]
    if not connection.rest:
        run.poll.modify(connection.socket.fileno(), select.EPOLLIN)


def _receive(run: _Run, connection: _Connection) -> bool:
    """Take what is there; whether the answer is whole."""
    try:
        piece = connection.socket.recv(_READ)
    except BlockingIOError:
        return False
    except OSError:
        piece = b""
    if not piece:
        _drop(run, connection)
        return False
    buffer = connection.buffer + piece if connection.buffer else piece
    head = buffer.find(b"\r\n\r\n")
    if head < 0 or len(buffer) < head + 4 + _length(buffer, head):
        connection.buffer = buffer
        return False
    connection.buffer = b""
    status = int(buffer[9:12])
    run.statuses[status] += 1
    if status == run.order.expect:
        run.answered[connection.place] = time.perf_counter()
    elif not run.sample:
        run.sample = buffer[:600].decode("latin-1")
    connection.place = -1
    return True


def _length(buffer: bytes, head: int) -> int:
    at = buffer.find(b"content-length: ", 0, head)
    if at < 0:
        at = buffer[:head].lower().find(b"content-length: ")
        if at < 0:
            return 0
    end = buffer.find(b"\r", at)
    return int(buffer[at + 16 : end])


def _drop(run: _Run, connection: _Connection) -> None:
    """Its request has no answer; go on without it."""
    run.broken += connection.place >= 0
    run.connections.pop(connection.socket.fileno(), None)
    if connection in run.idle:
        run.idle.remove(connection)
    connection.socket.close()


def _tally(run: _Run) -> Tally:
    warm = run.began + run.order.warm_up
    end = warm + run.order.seconds if run.order.seconds else float("inf")
    right = run.statuses.pop(run.order.expect, 0)
    measured = [
        (due, answered)
        for due, answered in zip(run.due, run.answered, strict=True)
        if warm <= answered <= end
    ]
    waits = sorted(answered - due for due, answered in measured)
    # Where the requests ran out, the load ended with the last answer.
    seconds = max((answered for _, answered in measured), default=warm) - warm
    if run.order.times:
        with Path(run.order.times).open("wb") as file:
            for one in (run.due, run.answered):
                array("q", (int(at * 1e9) for at in one)).tofile(file)
    return Tally(
        sent=len(run.due),
        right=right,
        wrong={str(status): count for status, count in sorted(run.statuses.items())},
        broken=run.broken,
        rate=len(waits) / seconds if seconds else 0.0,
        p50_ms=_quantile(waits, 0.50),
        p99_ms=_quantile(waits, 0.99),
        sample=run.sample,
    )


def _quantile(waits: list[float], share: float) -> float:
    return waits[min(int(len(waits) * share), len(waits) - 1)] * 1000 if waits else 0.0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"the generator failed: {errno.errorcode.get(error.errno or 0, '')} {error}")
