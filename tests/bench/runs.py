"""The servers under load, one run each: what is sent, what must come back, and what must then be stored."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from . import installed
from .bench import CONNECTIONS, Bench, rates
from .callbacks import SECRET, environ
from .generator import Order
from .load import check_stored, drive, query
from .replays import write_replays
from .servers import Server, script, serving

#: Runs in which everything is sent twice: so many callbacks.
_TWICE: Final = {True: 1_500, False: 6_000}
_PATIENCE: Final = 60.0
_SUCCEEDED: Final = "SELECT count(*) FROM job WHERE state = 'succeeded'"
ACCEPTED: Final = "SELECT count(*) FROM callback WHERE verdict = 'accepted'"
_ARRIVED: Final = "SELECT sum(callbacks) FROM job"
Values = Mapping[str, float]


def ceiling(bench: Bench) -> Values:
    """Fixed bytes: what the generator itself can do."""
    with bench.room() as folder, script("ceiling.py", folder=folder) as server:
        # All of them, however short a time that takes: by the clock it would run out of requests.
        order = Order(port=server.port, file=str(bench.stock.genuine), connections=CONNECTIONS, expect=200)
        return rates("ceiling", server, drive(order))


def bare(bench: Bench) -> Values:
    """Rival (a)."""
    with bench.room() as folder, script("bare.py", folder=folder) as server:
        return rates("bare", server, bench.load(server, bench.stock.genuine))


def floor_body(bench: Bench) -> Values:
    """The least that is durable."""
    with bench.room() as folder, _floor(folder, keep="body") as server:
        tally = bench.load(server, bench.stock.genuine)
        check_stored(folder / "receiver.db", "SELECT count(*) FROM event", acked=tally.right)
        return rates("floor-body", server, tally)


def floor_record(bench: Bench) -> Values:
    """The least that keeps the receiver's record."""
    return _recorded(bench, keep="record")


def floor_decided(bench: Bench) -> Values:
    """The least that looks at all that decides about it, too."""
    return _recorded(bench, keep="decided")


def floor_bounded(bench: Bench) -> Values:
    """The least that does so within bounds, and tells of it."""
    return _recorded(bench, keep="bounded")


def floor_twice(bench: Bench) -> Values:
    """The same callbacks twice, to the least that keeps and counts a duplicate."""
    order = _twice(bench)
    with bench.room() as folder:
        bench.stock.copy(folder)
        with _floor(folder, keep="bounded") as server:
            order.port = server.port
            first, again = drive(order), drive(order)
            check_stored(folder / "receiver.db", ACCEPTED, acked=first.right)
            check_stored(folder / "receiver.db", _ARRIVED, acked=first.right + again.right)
            return {"floor-first": first.rate, "floor-duplicate": again.rate}


def _recorded(bench: Bench, *, keep: str) -> Values:
    with bench.room() as folder:
        bench.stock.copy(folder)
        with _floor(folder, keep=keep) as server:
            return _kept(f"floor-{keep}", bench, folder, server)


def _kept(name: str, bench: Bench, folder: Path, server: Server) -> Values:
    """First-time callbacks to one that keeps the receiver's record without being the receiver."""
    tally = bench.load(server, bench.stock.genuine)
    for sql in (ACCEPTED, "SELECT count(*) FROM dispatch", _SUCCEEDED):
        check_stored(folder / "receiver.db", sql, acked=tally.right)
    return rates(name, server, tally)


def floor_handled(bench: Bench) -> Values:
    """The least that keeps it and settles a dispatch for each callback: until the last one is settled."""
    with bench.room() as folder:
        bench.stock.copy(folder)
        with _floor(folder, keep="handled") as server:
            tally = bench.load(server, bench.stock.genuine)
            began = query(folder / "receiver.db", "SELECT min(received_at) FROM callback")
            rate = handled(folder / "receiver.db", began=began, expected=tally.right)
            return {"floor-handled": rate}


def _floor(folder: Path, *, keep: str) -> Server:
    settings = environ(folder) | {"DATABASE": str(folder / "receiver.db"), "KEEP": keep}
    return script("floor.py", folder=folder, **settings)


def ingest(bench: Bench) -> Values:
    """First-time callbacks; dispatches are made for a handler that another node would run."""
    with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
        tally = bench.load(server, bench.stock.genuine)
        check_stored(folder / "receiver.db", ACCEPTED, acked=tally.right)
        check_stored(folder / "receiver.db", "SELECT count(*) FROM dispatch", acked=tally.right)
        return rates("ingest", server, tally)


def few(bench: Bench, *, connections: int) -> Values:
    """First-time callbacks over so few connections as they come on a quiet day, and the bare rival over as many."""
    with bench.room() as folder, script("bare.py", folder=folder) as server:
        tally = bench.load(server, bench.stock.genuine, connections=connections)
        values = rates(f"bare-{connections}", server, tally)
    with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
        tally = bench.load(server, bench.stock.genuine, connections=connections)
        check_stored(folder / "receiver.db", ACCEPTED, acked=tally.right)
        return values | rates(f"ingest-{connections}", server, tally)


def one_at_a_time(bench: Bench) -> Values:
    """Over one connection: nothing is written together."""
    return few(bench, connections=1)


def eight_at_a_time(bench: Bench) -> Values:
    """Over eight."""
    return few(bench, connections=8)


def with_handlers(bench: Bench) -> Values:
    """First-time callbacks while a handler runs for each: until the last one has run."""
    with bench.room() as folder:
        environ = bench.stock.copy(folder)
        with serving(folder, environ, worker=True) as server:
            tally = bench.load(server, bench.stock.genuine)
            began = query(folder / "receiver.db", "SELECT min(received_at) FROM callback")
            rate = handled(folder / "receiver.db", began=began, expected=tally.right)
            return {"with-handlers": rate, "acked-with-handlers": tally.rate}


def handled(database: Path, *, began: int, expected: int) -> float:
    """Wait until every dispatch is settled; how many there were in each second since *began*."""
    until = time.monotonic() + _PATIENCE
    while query(database, "SELECT count(*) FROM dispatch") and time.monotonic() < until:
        time.sleep(0.05)
    done = "FROM attempt WHERE step = 'dispatch' AND outcome = 'succeeded'"
    check_stored(database, f"SELECT count(*) {done}", acked=expected)
    ended = query(database, f"SELECT max(started_at + duration_ms) {done}")
    return expected / (ended - began) * 1000


def forged_token(bench: Bench) -> Values:
    """Callbacks whose token nobody minted: refused, and nothing is kept."""
    with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
        tally = bench.load(server, bench.stock.forged_tokens, expect=404)
        check_stored(folder / "receiver.db", "SELECT count(*) FROM callback", acked=0)
        return rates("forged-token", server, tally)


def forged_signature(bench: Bench) -> Values:
    """Callbacks for real jobs whose signature nobody made: refused, and the latest of them kept."""
    with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
        tally = bench.load(server, bench.stock.forged_signatures, expect=401)
        check_stored(folder / "receiver.db", ACCEPTED, acked=0)
        check_stored(folder / "receiver.db", _SUCCEEDED, acked=0)
        return rates("forged-signature", server, tally)


def duplicates(bench: Bench) -> Values:
    """The same callbacks twice, one after the other, to the same server."""
    order = _twice(bench)
    with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
        order.port = server.port
        first, again = drive(order), drive(order)
        check_stored(folder / "receiver.db", ACCEPTED, acked=first.right)
        check_stored(folder / "receiver.db", _ARRIVED, acked=first.right + again.right)
        return {"first": first.rate, "duplicate": again.rate}


def replays(bench: Bench) -> Values:
    """Callbacks, and then a replay of each through the API."""
    order = _twice(bench)
    with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
        order.port = server.port
        first = drive(order)
        write_replays(folder / "receiver.db", folder / "replays")
        order.file, order.expect = str(folder / "replays"), 202
        again = drive(order)
        check_stored(
            folder / "receiver.db", "SELECT count(*) FROM attempt WHERE step = 'replay'", acked=again.right
        )
        return {"before-replay": first.rate, "replay": again.rate}


def fastapi(bench: Bench) -> Values:
    """Rival (b)."""
    with bench.room() as folder:
        return _rival("fastapi", bench, folder, fastapi_server(folder))


def node(bench: Bench) -> Values:
    """Rival (c)."""
    with bench.room() as folder:
        return _rival("node", bench, folder, node_server(folder))


def go(bench: Bench) -> Values:
    """Rival (d), on the receiver's own tables: what it acknowledged is held against all that it must have written."""
    with bench.room() as folder:
        bench.stock.copy(folder)
        settings = environ(folder) | {"DATABASE": str(folder / "receiver.db")}
        with Server(installed.go(), folder=folder, environ=settings) as server:
            return _kept("go", bench, folder, server)


def fastapi_server(folder: Path) -> Server:
    """Rival (b), whose events are in *folder*; raises UnmeasuredError where it cannot be installed."""
    settings = {"DATABASE": str(folder / "events.db"), "BENCH_SECRET": SECRET}
    return script("fastapi_app.py", folder=folder, interpreter=installed.python(), **settings)


def node_server(folder: Path) -> Server:
    """Rival (c), whose events are in *folder*; raises UnmeasuredError where it cannot be installed."""
    settings = {"DATABASE": str(folder / "events.db"), "BENCH_SECRET": SECRET}
    return Server(installed.node(), folder=folder, environ=settings)


def _rival(name: str, bench: Bench, folder: Path, server: Server) -> Values:
    with server:
        tally = bench.load(server, bench.stock.genuine)
        check_stored(folder / "events.db", "SELECT count(*) FROM event", acked=tally.right)
        return rates(name, server, tally)


def _twice(bench: Bench) -> Order:
    return Order(
        port=0,
        file=str(bench.stock.genuine),
        connections=CONNECTIONS,
        expect=200,
        count=_TWICE[bench.short],
        warm_up=0.1,
    )
