"""Nodes that are killed while they fetch what results link to."""

import asyncio
import hashlib
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from receiver import Receiver, Settings
from tests.files.shelf import pattern
from tests.path.stub import Asked, Reply

from .databases import Database, SqliteFile, rows
from .evidence import prove, records
from .nodes import Cluster, cluster
from .provider import provider
from .rounds import rounds
from .test_kill import kill
from .traffic import mixed, traffic

_FILES: Final = '[[files]]\npath = "links.*"\n'
_PLACE: Final = re.compile(r"/files/([0-9]+)/([a-z]+)")
_RANGE: Final = re.compile(r"bytes=([0-9]+)-")
#: Seconds between pieces of 64 KiB: the slow ones take longer than a node lives between two kills.
_PAUSES: Final = {"quick": 0.02, "steady": 0.05, "slow": 0.15}
_PIECES: Final = {"quick": 3, "steady": 5, "slow": 16}
_PIECE: Final = 64 * 1024


@dataclass
class _Shelf:
    """The files of all orders, and how they were asked for."""

    #: Questions, and those for the rest of a file.
    asked: int = 0
    resumed: int = 0

    async def answer(self, asked: Asked) -> Reply:
        """Give a file away, piece by piece, or the rest of one."""
        found = _PLACE.fullmatch(asked.path)
        assert found is not None
        number, kind = int(found[1]), found[2]
        self.asked += 1
        if kind == "gone":
            return Reply(status=404)
        body, tag = _body(number, kind), f'"{number}-{kind}"'
        headers = {"content-type": "video/mp4", "etag": tag}
        rest = _RANGE.fullmatch(asked.header("range") or "")
        if rest is None or asked.header("if-range") != tag:
            return Reply(body=body, headers=headers, pause=_PAUSES[kind])
        self.resumed += 1
        start = int(rest[1])
        headers["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return Reply(status=206, body=body[start:], headers=headers, pause=_PAUSES[kind])


def _kinds(number: int) -> list[str]:
    """The files of an order: every sixth has a slow one, every fifth one that is gone."""
    return ["quick", "steady", *["slow"] * (number % 6 == 0), *["gone"] * (number % 5 == 0)]


def _body(number: int, kind: str) -> bytes:
    return b"%d %s " % (number, kind.encode()) + pattern(0, _PIECES[kind] * _PIECE)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_nodes_that_are_killed_while_they_fetch_files(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """Every file is stored whole, or lost where its provider has none; handlers hear of each job once, and then.

    At no kill half a file lies where files are read, and the sweep leaves nothing that no job has.
    """
    alone, shelf = isinstance(database, SqliteFile), _Shelf()
    orders = mixed(rounds(24))
    async with (
        provider() as asked,
        cluster(tmp_path, database, asked, files=_FILES) as nodes,
        traffic(nodes, orders) as load,
    ):
        asked.serve = shelf.answer
        asked.links = lambda number: [f"{asked.url}/files/{number}/{kind}" for kind in _kinds(number)]
        await load.submit()
        sending = asyncio.create_task(load.send(span=rounds(1)))
        waiting = 0
        for _ in range(rounds(5)):
            await asyncio.sleep(random.uniform(0.3, 0.9))
            await kill(nodes, random.choice(nodes.nodes), alone=alone)
            waiting += (await rows(database, "SELECT count(*) FROM download"))[0][0]
            await asyncio.to_thread(_whole, tmp_path / "kept")
        assert waiting
        await sending
        await load.finish()
        (await prove(load, damage="kill -9, files")).record(request)
        jobs = await records(nodes)
        told = await rows(database, "SELECT job_id, number, state, code, sha256, size FROM file")
        wanted = [
            (jobs[order.number][0].id, place, *_fate(order.number, kind))
            for order in orders
            for place, kind in enumerate(_kinds(order.number), start=1)
        ]
        assert sorted(told) == sorted(wanted)
        assert await rows(database, "SELECT count(*) FROM download") == [(0,)]
        assert {job.state for (job,) in jobs.values()} == {"succeeded"}
        for node in nodes.nodes:
            node.kill()
        await _sweep(nodes)
    assert _whole(tmp_path / "kept") == {sha256 for *_, sha256, _size in told if sha256}
    assert list((tmp_path / "kept" / "unfinished").iterdir()) == []


def _fate(number: int, kind: str) -> tuple[str, str | None, str | None, int | None]:
    if kind == "gone":
        return "lost", "file_gone", None, None
    body = _body(number, kind)
    return "stored", None, _sha256(body), len(body)


def _whole(kept: Path) -> set[str]:
    """The files that can be read, each of which is what its name says."""
    found = {path.name: path.read_bytes() for path in (kept / "sha256").glob("*/*")}
    assert {name for name, content in found.items() if _sha256(content) != name} == set()
    return set(found)


async def _sweep(nodes: Cluster) -> None:
    """Sweep as a node does every few hours, whatever is left, however fresh."""
    environ = {name: value for name, value in nodes.nodes[0].environ.items() if name != "RECEIVER_HANDLERS"}
    receiver = Receiver(Settings.load(environ))
    await receiver.start()
    try:
        await receiver.running.sweeping(older_than=0)
    finally:
        await receiver.stop()
