"""The feed of three nodes that commit at once, each killed in the middle: one order, and no gap to whoever reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.nodes import Node
from tests.path.world import API_TOKEN, MASTER_KEY, until
from tests.sinks.test_kill import SECRET, Sender, events

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.wire import Heard

NODES = 3


class Reader:
    """Goes from cursor to cursor, at whichever node answers, and never looks back."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self.cursor = "0"
        self.read: list[tuple[int, str]] = []
        self.ends = asyncio.Event()

    async def follow(self, *, limit: int) -> None:
        """Read until told to end, and until nothing is left then."""
        asked = 0
        while True:
            last = self.ends.is_set()
            asked += 1
            node = self._nodes[asked % len(self._nodes)]
            page = await self._page(node, f"after={self.cursor}&limit={limit}&wait={0 if last else 0.2}")
            if page is None:
                continue
            self.read += [(int(one["cursor"]), one["job"]["id"]) for one in page["completions"]]
            self.cursor = page["cursor"]
            if last and not page["completions"]:
                return

    async def _page(self, node: Node, query: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
            answer: Heard = await node.ask("GET", f"/v1/completions?{query}", patience=5)
            assert answer.status in {0, 200, 503}, answer
            if answer.status == 200:
                found: dict[str, Any] = json.loads(answer.body)
                return found
        await asyncio.sleep(0.05)
        return None


@pytest.mark.parametrize("limits", [(3, 50)])
async def test_a_reader_of_the_feed_misses_nothing_though_nodes_are_killed(
    tmp_path: Path, migrated_url: str, limits: tuple[int, int]
) -> None:
    """Each completion that was acknowledged is read once, by every reader in the same order, which stays as it is."""
    many = events("feed")
    environ = {
        "RECEIVER_API_TOKEN": API_TOKEN,
        "RECEIVER_DATABASE_URL": migrated_url,
        "RECEIVER_LEASE": "2",
        "RECEIVER_SECRET_KEY": MASTER_KEY,
        "STANDARD_WEBHOOKS_SECRET": SECRET,
    }
    folders = [tmp_path / f"node{number}" for number in range(NODES)]
    for folder in folders:
        folder.mkdir()
    nodes = [Node(folder, environ, 1) for folder in folders]
    readers = [Reader(nodes) for _ in limits]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        following = [
            asyncio.create_task(reader.follow(limit=limit))
            for reader, limit in zip(readers, limits, strict=True)
        ]
        senders = [Sender(node) for node in nodes]
        sending = [
            asyncio.create_task(sender.send(range(number, many, NODES)))
            for number, sender in enumerate(senders)
        ]
        for number, node in enumerate(nodes):
            some = (number + 1) * many // (NODES + 2)
            await until(lambda some=some: sum(len(one.acknowledged) for one in senders) > some, patience=60)
            node.kill()
            node.launch()
        await asyncio.gather(*sending)
        for reader in readers:
            reader.ends.set()
        await asyncio.wait_for(asyncio.gather(*following), 60)
        again = Reader(nodes)
        again.ends.set()
        await asyncio.wait_for(again.follow(limit=100), 60)
    finally:
        for node in nodes:
            node.kill()
    assert [place for place, _ in again.read] == list(range(1, many + 1))
    assert len({job for _, job in again.read}) == many
    assert all(reader.read == again.read for reader in readers)
