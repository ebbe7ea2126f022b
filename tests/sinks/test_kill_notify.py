"""NOTIFY in the record's own database, and our process killed in the middle: heard is what was committed, and once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.chaos.nodes import Node
from tests.path.world import API_TOKEN, MASTER_KEY, until
from tests.sinks.test_kill import SECRET, Sender, events
from tests.sinks.test_notify_in_commit import listening

if TYPE_CHECKING:
    from pathlib import Path

ENDED = "SELECT id FROM job WHERE state = 'succeeded' ORDER BY id"
#: Attempts of the sink in the timeline.
TOLD = "SELECT job_id FROM attempt WHERE handler = 'sink:jobs' AND outcome = 'succeeded' ORDER BY job_id"


async def rows(url: str, sql: str) -> list[str]:
    """The first column of what is in the record."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return [row[0] for row in await (await connection.execute(sql)).fetchall()]


@pytest.mark.parametrize("kills", [3])
async def test_each_committed_completion_is_heard_once_though_we_are_killed(
    tmp_path: Path, migrated_url: str, kills: int
) -> None:
    """A listener hears of exactly those jobs that the record has as ended, of each a single time."""
    many = events("notify")
    node = Node(
        tmp_path,
        {
            "RECEIVER_API_TOKEN": API_TOKEN,
            "RECEIVER_DATABASE_URL": migrated_url,
            "RECEIVER_LEASE": "2",
            "RECEIVER_SECRET_KEY": MASTER_KEY,
            "RECEIVER_SINK_JOBS": "notify://jobs",
            "STANDARD_WEBHOOKS_SECRET": SECRET,
        },
        1,
    )
    async with listening(migrated_url) as ear:
        try:
            await node.start()
            sender = Sender(node)
            sending = asyncio.create_task(sender.send(range(many)))
            for number in range(1, kills + 1):
                some = number * many // (kills + 2)
                await until(lambda some=some: len(sender.acknowledged) > some, patience=60)
                node.kill()
                node.launch()
            await sending
        finally:
            node.kill()
        assert len(sender.acknowledged) == many
        ended = await rows(migrated_url, ENDED)
        heard = [one["subject"] for one in await ear.hear(len(ended))]
        assert await ear.silent()
    assert sorted(heard) == ended
    assert len(ended) == many
    assert await rows(migrated_url, TOLD) == ended
    assert await rows(migrated_url, "SELECT job_id FROM dispatch") == []
