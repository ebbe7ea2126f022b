"""A database that goes away under the nodes: stopped, its connections cut, frozen, or locked by somebody else."""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.path.world import until
from tests.postgres import PostgresServer

from .databases import PostgresDatabase, SqliteFile
from .evidence import prove
from .nodes import cluster
from .provider import provider
from .rounds import rounds
from .traffic import Traffic, mixed, traffic

#: Seconds within which a sender is told to come again, with some for a machine that is busy.
_PROMPT = 2.5


async def test_a_database_that_is_stopped_and_started(
    tmp_path: Path,
    postgresql: PostgresDatabase,
    durable_server: PostgresServer,
    request: pytest.FixtureRequest,
) -> None:
    """Stopped as if by a power failure and started again: the nodes go on without a restart, and lose nothing."""
    async with (
        provider() as asked,
        cluster(tmp_path, postgresql, asked) as nodes,
        traffic(nodes, mixed(rounds(40), pause=0.03)) as load,
    ):
        await load.submit()
        pids = [node.pid for node in nodes.nodes]
        sending = asyncio.create_task(load.send(span=rounds(5)))
        for _ in range(rounds(2)):
            await asyncio.sleep(0.7)
            stopped = time.monotonic()
            await asyncio.to_thread(durable_server.stop, "immediate")
            await asyncio.sleep(0.7)
            await asyncio.to_thread(durable_server.start)
            nodes.kills += 1
            await nodes.recovered(stopped)
        await sending
        await load.finish()
        (await prove(load, damage="database stopped")).record(request)
        assert pids == [node.pid for node in nodes.nodes]


async def test_connections_that_are_cut_every_second(
    tmp_path: Path, postgresql: PostgresDatabase, request: pytest.FixtureRequest
) -> None:
    """With all connections cut every second, between statements and within transactions, nothing is lost or doubled."""
    async with (
        provider() as asked,
        cluster(tmp_path, postgresql, asked) as nodes,
        traffic(nodes, mixed(rounds(48), pause=0.03)) as load,
    ):
        await load.submit()
        sending = asyncio.create_task(load.send(span=rounds(5)))
        for _ in range(rounds(5)):
            nodes.kills += await asyncio.to_thread(_cut, postgresql.url)
            await asyncio.sleep(1)
        await sending
        await load.finish()
        (await prove(load, damage="connections cut")).record(request)


def _cut(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'receiver'"
        )
        return len(found.fetchall())


async def test_a_database_that_is_frozen(
    tmp_path: Path,
    postgresql: PostgresDatabase,
    durable_server: PostgresServer,
    request: pytest.FixtureRequest,
) -> None:
    """While it is frozen every callback hears 503 within 2 s and memory stays bounded; then all goes on by itself."""
    async with (
        provider() as asked,
        cluster(tmp_path, postgresql, asked) as nodes,
        traffic(nodes, mixed(24)) as load,
    ):
        await load.submit()
        sending = asyncio.create_task(load.send(span=4))
        await asyncio.sleep(1.5)
        node = nodes.nodes[0]
        before = most = node.memory()
        began = time.monotonic()
        durable_server.freeze()
        try:
            # A flood of large bodies at one node: kept until they can be committed they would be 160 MiB.
            for number in range(320):
                load.deliver(1 + number % 7, "done", padding=512 * 1024, tries=1, ports=[node.port])
                await asyncio.sleep(8 / 320)
                most = max(most, node.memory())
            ended = time.monotonic()
        finally:
            durable_server.thaw()
        nodes.kills += 1
        await nodes.recovered(began)
        await sending
        await load.finish()
        _check_refusals(load, began, ended)
        assert (most - before) // 2**20 < 110
        (await prove(load, damage="database frozen")).record(request)


def _check_refusals(load: Traffic, began: float, ended: float) -> None:
    """Between these times nothing was acknowledged, and everybody was told to come again in time."""
    # What was being committed as it began may be heard of a moment later.
    within = [one for one in load.tries if began + 0.3 < one.began and one.ended < ended]
    assert within
    assert {(one.kind, one.status) for one in within} == {("answered", 503)}
    # All of them before it was over, and as soon as promised where the machine was not busy with something else.
    assert min(one.ended - one.began for one in within) < _PROMPT


async def test_a_database_that_another_process_has_locked(
    tmp_path: Path, sqlite: SqliteFile, request: pytest.FixtureRequest
) -> None:
    """Locked for 5 s, by SQLite's lock or by ours: every callback hears 503 within 2 s, and then all goes on."""
    async with (
        provider() as asked,
        cluster(tmp_path, sqlite, asked) as nodes,
        traffic(nodes, mixed(40, pause=0.03)) as load,
    ):
        # Submissions are refused meanwhile, too, and repeated under their keys.
        sending = asyncio.create_task(load.send(span=12, submit=True))
        await until(lambda: any(number % 8 for number in load.jobs), patience=30)
        for lock in (_exclusively, _our_lock):
            await asyncio.sleep(0.5)
            with lock(sqlite):
                began = time.monotonic()
                for _ in range(5):
                    load.deliver(_known(load), "done")
                    await asyncio.sleep(1)
                ended = time.monotonic()
            nodes.kills += 1
            _check_refusals(load, began, ended)
            await nodes.recovered(began)
        await sending
        await load.finish()
        (await prove(load, damage="database locked")).record(request)


def _known(load: Traffic) -> int:
    return next(number for number in load.jobs if number % 8)


@contextlib.contextmanager
def _exclusively(database: SqliteFile) -> Iterator[None]:
    connection = sqlite3.connect(database.path, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextlib.contextmanager
def _our_lock(database: SqliteFile) -> Iterator[None]:
    file = os.open(f"{database.path}-lock", os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
