"""How many completions a second go through a handler that does nothing, against two task queues."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from receiver.storage.store import Store
from tests.postgres import PostgresServer

from . import installed, postgres
from .bench import CONNECTIONS, Bench
from .callbacks import environ, prepared, shuffle, write_callbacks
from .figure import Figure
from .generator import Order
from .load import WrongError, drive
from .machine import SERVER_CORE, on_core
from .servers import RIVALS, serving

_JOBS: Final = 6_000
#: DBOS takes long.
_JOBS_OF_DBOS: Final = 500
_JOBS_OF_PROCRASTINATE: Final = 2_000
_PATIENCE: Final = 120.0


def dbos(bench: Bench) -> Figure:
    """Both on SQLite."""

    def ours() -> float:
        with bench.room() as folder:
            settings = bench.stock.copy(folder)
            return _dispatched(folder, settings, bench.stock.genuine)

    def theirs() -> float:
        with bench.room() as folder:
            return _script("dbos_app.py", str(folder / "dbos.db"), _JOBS_OF_DBOS)

    return _compared(bench, "dispatch/dbos", 150, ours, theirs)


def procrastinate(bench: Bench) -> Figure:
    """Both on PostgreSQL, where every commit reaches the disk."""
    with postgres.started(bench) as server:
        return _on_postgres(bench, server)


def _on_postgres(bench: Bench, server: PostgresServer) -> Figure:
    def ours() -> float:
        with bench.room() as folder:
            settings = environ(folder, database=server.create())
            ids = prepared(folder, settings, _JOBS)
            shuffle(ids)
            write_callbacks(folder / "genuine", ids, settings)
            return _dispatched(folder, settings, folder / "genuine")

    def theirs() -> float:
        return _script("procrastinate_app.py", server.create(), _JOBS_OF_PROCRASTINATE)

    return _compared(bench, "dispatch/procrastinate", 15, ours, theirs)


def _compared(
    bench: Bench, name: str, target: float, ours: Callable[[], float], theirs: Callable[[], float]
) -> Figure:
    rates = [(ours(), theirs()) for _ in range(bench.rounds)]
    middle = sorted(rates)[len(rates) // 2]
    return Figure(
        name=name,
        target=target,
        at_most=False,
        runs=[one / other for one, other in rates],
        seen={"receiver/s": middle[0], f"{name.rpartition('/')[2]}/s": middle[1]},
    )


def _dispatched(folder: Path, settings: Mapping[str, str], requests: Path) -> float:
    """Have completions wait for a handler, then start the worker: how many it runs in a second."""
    with serving(folder, settings) as server:
        order = Order(port=server.port, file=str(requests), connections=CONNECTIONS, expect=200, count=_JOBS)
        acked = drive(order).right
    begun = folder / "begun"
    with serving(folder, dict(settings) | {"BENCH_BEGUN": str(begun)}, worker=True):
        asyncio.run(until_none_waits(settings["RECEIVER_DATABASE_URL"]))
        ended = time.perf_counter_ns()
    lines = [line.split() for line in begun.read_text(encoding="utf-8").splitlines()]
    if len({job for job, _ in lines}) != acked:
        raise WrongError(f"{acked} completions were acknowledged and {len(lines)} handlers ran")
    return acked / (ended - int(lines[0][1])) * 1e9


async def until_none_waits(url: str, handler: str = "completed") -> None:
    """Wait until every dispatch of *handler* is through."""
    until = time.monotonic() + _PATIENCE
    store = await Store.open(url)
    try:
        while await asyncio.to_thread(_any_waits, store, handler):
            if time.monotonic() > until:
                raise WrongError(f"completions still wait after {_PATIENCE} s")
            await asyncio.sleep(0.02)
    finally:
        await store.close()


def _any_waits(store: Store, handler: str) -> bool:
    with store.driver.read() as tx:
        return bool(tx.run("SELECT 1 FROM dispatch WHERE handler = :name LIMIT 1", {"name": handler}))


def _script(name: str, database: str, jobs: int) -> float:
    with on_core(SERVER_CORE):
        done = subprocess.run(
            [installed.python(), str(RIVALS / name), database, str(jobs)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise WrongError(f"{name} failed: {done.stderr.strip()[-600:]}")
    return float(done.stdout.split()[-1])
