"""PostgreSQL of our own for a run, where every commit reaches the disk; and callbacks into it."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from receiver.core.errors import ConfigurationError
from receiver.storage.store import Store
from tests.postgres import PostgresServer

from . import runs
from .bench import CONNECTIONS, Bench
from .callbacks import environ, prepared, shuffle, write_callbacks
from .figure import Figure, UnmeasuredError
from .generator import Order
from .load import WrongError, drive
from .machine import SERVER_CORE, on_core
from .servers import serving

#: Callbacks of a round, and how many go before them.
_CALLBACKS = {True: 2_000, False: 8_000}
_BEFORE = 200


@contextlib.contextmanager
def started(bench: Bench) -> Iterator[PostgresServer]:
    """A server on the servers' core; raises UnmeasuredError where none starts, or ours cannot use it."""
    with bench.room() as folder:
        try:
            server = PostgresServer(folder, durable=True)
            with on_core(SERVER_CORE):
                server.start()
        except (ImportError, RuntimeError, subprocess.SubprocessError) as error:
            raise UnmeasuredError(f"PostgreSQL does not start: {error}") from error
        with contextlib.closing(server):
            try:
                asyncio.run(_opened(server.create()))
            except ConfigurationError as error:
                raise UnmeasuredError(str(error)) from error
            yield server


async def _opened(url: str) -> None:
    await (await Store.open(url)).close()


def ingesting(bench: Bench) -> Figure:
    """First-time callbacks into PostgreSQL, which has the same core, over those into SQLite."""
    rounds: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    with started(bench) as server, bench.room() as stock:
        template = server.create()
        settings = environ(stock, database=template)
        ids = prepared(stock, settings, _CALLBACKS[bench.short] + _BEFORE)
        shuffle(ids)
        write_callbacks(stock / "genuine", ids, settings)
        rounds += [
            (_into(bench, server, template, stock / "genuine"), runs.ingest(bench))
            for _ in range(bench.rounds)
        ]
    middle = sorted(rounds, key=lambda one: one[0]["ingest-postgres"])[len(rounds) // 2]
    return Figure(
        name="ingest-postgres/sqlite",
        target=0.0,
        at_most=False,
        runs=[one["ingest-postgres"] / other["ingest"] for one, other in rounds],
        seen={name if " " in name else f"{name}/s": value for one in middle for name, value in one.items()},
    )


def _into(bench: Bench, server: PostgresServer, template: str, requests: Path) -> Mapping[str, float]:
    url = server.create(template=urlsplit(template).path[1:])
    with bench.room() as folder, serving(folder, environ(folder, database=url)) as served:
        order = Order(
            port=served.port, file=str(requests), connections=CONNECTIONS, expect=200, count=_BEFORE
        )
        drive(order)
        used = served.cpu_seconds()
        order.first, order.count = _BEFORE, 0
        tally = drive(order)
        used = served.cpu_seconds() - used
        with psycopg.connect(url) as connection:
            ((stored,),) = connection.execute(runs.ACCEPTED.encode()).fetchall()
        if stored != tally.right + _BEFORE:
            raise WrongError(f"{tally.right + _BEFORE} were acknowledged, and {stored} are stored")
        values = {
            "ingest-postgres": tally.rate,
            "ingest-postgres us": used / tally.right * 1e6,
            "ingest-postgres p99-ms": tally.p99_ms,
        }
    server.drop(url)
    return values
