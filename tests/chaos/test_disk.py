"""A disk that is full, and a disk that does not confirm what it was given."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.path.world import until

from .databases import SqliteFile
from .evidence import prove
from .faults import clear_disk, fill_disk
from .nodes import Node, cluster
from .provider import provider
from .rounds import rounds
from .traffic import Traffic, Try, mixed, traffic


async def test_a_disk_that_is_full(
    tmp_path: Path, sqlite: SqliteFile, request: pytest.FixtureRequest
) -> None:
    """On a full disk nothing is acknowledged and the node says why it is not ready; with room again all goes on.

    A limit on the size of files stands for the disk: the kernel refuses the same writes, in the middle of a
    transaction, with EFBIG instead of ENOSPC.
    """
    async with (
        provider() as asked,
        cluster(tmp_path, sqlite, asked) as nodes,
        traffic(nodes, mixed(rounds(40), pause=0.03)) as load,
    ):
        (node,) = nodes.nodes
        await load.submit()
        pid = node.pid
        sending = asyncio.create_task(load.send(span=rounds(6)))
        for _ in range(rounds(2)):
            await asyncio.sleep(0.5)
            began = time.monotonic()
            # Room for the lines of the handlers, and none in the log of the database.
            fill_disk(pid, at=32 * 1024)
            await _sound_refusals(load, node)
            clear_disk(pid)
            nodes.kills += 1
            await nodes.recovered(began)
        await sending
        await load.finish()
        (await prove(load, damage="disk full")).record(request)
        assert node.pid == pid


async def test_a_disk_that_does_not_confirm(
    tmp_path: Path, sqlite: SqliteFile, request: pytest.FixtureRequest
) -> None:
    """Where fsync fails nothing is acknowledged; the next process goes on with what the disk has.

    A filter of system calls that the node lays upon itself at SIGUSR1 stands for the disk: fsync and fdatasync fail
    with EIO until it ends.
    """
    async with (
        provider() as asked,
        cluster(tmp_path, sqlite, asked) as nodes,
        traffic(nodes, mixed(rounds(40), pause=0.03)) as load,
    ):
        (node,) = nodes.nodes
        await load.submit()
        sending = asyncio.create_task(load.send(span=rounds(6)))
        for _ in range(rounds(2)):
            await asyncio.sleep(0.5)
            began = time.monotonic()
            await _stop_confirming(node)
            await _sound_refusals(load, node)
            node.kill()
            nodes.kills += 1
            await node.start()
            await nodes.recovered(began)
        await sending
        await load.finish()
        (await prove(load, damage="fsync fails")).record(request)


async def _stop_confirming(node: Node) -> None:
    before = len(node.said("syncing_fails"))
    os.kill(node.pid, signal.SIGUSR1)
    await until(lambda: len(node.said("syncing_fails")) > before)


async def _sound_refusals(load: Traffic, node: Node) -> None:
    """See that for two seconds nothing is acknowledged, and that the node says that it is not ready."""
    began = time.monotonic()
    for _ in range(4):
        load.deliver(1, "done")
        await asyncio.sleep(0.5)

    async def named() -> bool:
        heard = await node.ask("GET", "/readyz")
        assert heard.status == 503
        return b"database" in heard.body

    # A machine that is busy may first hear only that the store takes long.
    await until(named)

    def within() -> list[Try]:
        return [one for one in load.tries if one.began > began + 0.3]

    await until(lambda: bool(within()))
    assert {(one.kind, one.status) for one in within()} == {("answered", 503)}
