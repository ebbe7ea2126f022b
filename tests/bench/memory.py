"""Memory: resident megabytes when idle, with thousands of callbacks that wait, and while large results come in."""

import time
from pathlib import Path
from typing import Final

from receiver.core.model import Delivery
from tests.certificates import certificate

from . import callbacks
from .bench import Bench
from .figure import Figure
from .generator import Order
from .load import WrongError, attempt, check_stored, drive, query
from .servers import Server, script, serving

_AT_ONCE: Final = 20
_WAITING: Final = 5000
#: Seconds without a commit: shorter than anyone's patience, and longer.
_SHORT, _LONG = 1.0, 3.5
_PATIENCE: Final = 60.0
_DONE: Final = "SELECT count(*) FROM job WHERE state = 'succeeded' AND held_size = 25 * 1024 * 1024"


def idle(bench: Bench) -> Figure:
    """A server with a worker and a handler that has answered a few requests."""
    found = []
    for _ in range(bench.rounds):
        with bench.room() as folder:
            settings = bench.stock.copy(folder)
            with serving(folder, settings, worker=True) as server:
                found.append(_settled(bench, server))
    return Figure(name="memory-idle", target=60, at_most=True, runs=found)


def waiting(bench: Bench) -> Figure:
    """The most that it takes while thousands of senders wait for a commit that does not come yet.

    All of them hear 200 once it comes; where it takes too long all of them hear 503, and none a lie.
    """
    found, refused = [], []
    for _ in range(bench.rounds):
        with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
            order = Order(
                port=server.port,
                file=str(bench.stock.genuine),
                connections=_WAITING,
                expect=200,
                count=_WAITING,
                lock=str(folder / "receiver.db-lock"),
                lock_seconds=_SHORT,
            )
            server.forget_peak()
            tally = drive(order)
            found.append(server.memory_mib("VmHWM"))
            check_stored(folder / "receiver.db", "SELECT count(*) FROM callback", acked=tally.right)
            order.first, order.expect, order.lock_seconds = _WAITING, 503, _LONG
            over = attempt(order)
            acked = over.wrong.pop("200", 0)
            if over.wrong or over.broken or not over.right:
                raise WrongError(
                    f"above the limit: {over.right} heard 503, {over.wrong} {over.broken} {over.sample}"
                )
            if query(folder / "receiver.db", "SELECT count(*) FROM callback") < tally.right + acked:
                raise WrongError("above the limit: a callback was acknowledged that is not stored")
            refused.append(over.right)
    return Figure(
        name="memory-5000",
        target=200,
        at_most=True,
        runs=found,
        seen={"of 5000 refused without a commit": float(min(refused))},
    )


def fetching(bench: Bench, *, name: str, tls: bool) -> Figure:
    """The most above idle that it takes to fetch twenty results of 25 MiB at once, over TLS or without."""
    found = []
    for _ in range(bench.rounds):
        with bench.room() as folder, _provider(folder, tls=tls) as provider:
            settings = callbacks.environ(folder)
            settings["RECEIVER_BENCH_FETCH_BASE_URL"] = (
                f"{'https' if tls else 'http'}://localhost:{provider.port}"
            )
            if tls:
                settings["SSL_CERT_FILE"] = str(folder / "localhost.pem")
            ids = callbacks.prepared(folder, settings, _AT_ONCE + 1, delivery=Delivery.NOTIFICATION)
            requests = folder / "notices"
            callbacks.write_callbacks(requests, ids, settings, provider="bench-fetch")
            with serving(folder, settings, worker=True) as server:
                order = Order(port=server.port, file=str(requests), connections=_AT_ONCE, expect=200, count=1)
                # The first one loads what is loaded once.
                _fetch(folder / "receiver.db", order, results=1)
                before = server.memory_mib()
                server.forget_peak()
                order.first, order.count = 1, _AT_ONCE
                _fetch(folder / "receiver.db", order, results=1 + _AT_ONCE)
                found.append(server.memory_mib("VmHWM") - before)
    return Figure(name=name, target=80, at_most=True, runs=found)


def _provider(folder: Path, *, tls: bool) -> Server:
    if not tls:
        return script("results.py", folder=folder)
    certificate(folder)
    return script("results.py", folder=folder, CERTIFICATE=str(folder))


def _settled(bench: Bench, server: Server) -> float:
    drive(Order(port=server.port, file=str(bench.stock.genuine), connections=1, expect=200, count=20))
    time.sleep(1.0)
    return server.memory_mib()


def _fetch(database: Path, order: Order, *, results: int) -> None:
    drive(order)
    until = time.monotonic() + _PATIENCE
    while query(database, _DONE) < results:
        if time.monotonic() > until:
            raise WrongError(f"{query(database, _DONE)} of {results} results arrived in {_PATIENCE} s")
        time.sleep(0.1)
