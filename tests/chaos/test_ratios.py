"""How much is taken by two nodes and by one, and on either database: told in the report, and no promise."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from .databases import Database, PostgresDatabase, SqliteFile, rows
from .nodes import Node, cluster
from .provider import Provider, provider
from .report import RATIO

_ROOT = Path(__file__).parents[2]
_SECONDS = 2.0
_CONNECTIONS = 32


async def test_what_a_second_node_adds(
    tmp_path: Path, postgresql: PostgresDatabase, sqlite: SqliteFile, request: pytest.FixtureRequest
) -> None:
    """Everything that was answered with 200 while one and two nodes took what they could is stored."""
    for name in ("postgresql", "sqlite"):
        (tmp_path / name).mkdir()
    async with provider() as asked:
        one, two = await _taken(tmp_path / "postgresql", postgresql, asked, nodes=2)
        (file,) = await _taken(tmp_path / "sqlite", sqlite, asked, nodes=1)
    note = f"sender, nodes and database share {os.cpu_count()} cores, so the sender is part of the limit"
    for ratio in (
        f"ingest, PostgreSQL, 2 nodes to 1: {two / one:.2f} ({two:.0f} and {one:.0f} callbacks/s; {note})",
        f"ingest, 1 node, PostgreSQL to SQLite: {one / file:.2f} ({one:.0f} and {file:.0f} callbacks/s; {note})",
    ):
        request.node.user_properties.append((RATIO, ratio))


async def _taken(folder: Path, database: Database, asked: Provider, *, nodes: int) -> list[float]:
    """How many callbacks a second the first node took, and then the first two together."""
    found, total = [], 0
    # What handlers cost is no part of it.
    async with cluster(folder, database, asked, nodes=nodes, handlers="") as serving:
        for number in range(nodes):
            taken, seconds = await _load(serving.nodes[: number + 1])
            total += taken
            found.append(taken / seconds)
        assert (await rows(database, "SELECT count(*) FROM job WHERE state = 'succeeded'"))[0][0] >= total
    return found


async def _load(nodes: list[Node]) -> tuple[int, float]:
    began = time.monotonic()
    sender = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chaos.load",
        str(_SECONDS),
        str(_CONNECTIONS),
        *(str(node.port) for node in nodes),
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await sender.communicate()
    assert sender.returncode == 0
    return int(output), time.monotonic() - began
