"""PostgreSQL NOTIFY: sessions that listen hear of each completion."""

from __future__ import annotations

import json

import psycopg
import pytest

from receiver.core.errors import ConfigurationError
from receiver.sinks.sink import SinkAwayError
from tests.ports import free_port
from tests.sinks.making import event, opened


async def test_a_listening_session_hears_the_event(postgres_url: str) -> None:
    """A session that listens gets the event's attributes: the data may be larger than a payload."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as listening:
        await listening.execute("LISTEN jobs")
        for to in ("notify://jobs", f"{postgres_url}?channel=jobs"):
            sink = opened(to, database_url=postgres_url)
            assert await sink.send(event()) == "committed, channel jobs"
            await sink.close()
        heard = [json.loads(one.payload) async for one in listening.notifies(timeout=10, stop_after=2)]
    assert [one["id"] for one in heard] == [event().id] * 2
    assert heard[0]["type"] == "receiver.job.succeeded.v1"


async def test_a_database_that_nobody_runs_is_away() -> None:
    """Where no database answers the sink says that it is away."""
    sink = opened(f"postgresql://a@127.0.0.1:{free_port()}/b?channel=jobs")
    with pytest.raises(SinkAwayError):
        await sink.send(event())


def test_notify_of_its_own_database_needs_postgresql() -> None:
    """On SQLite nobody could listen, so the sink is refused at start."""
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        opened("notify://jobs", database_url="sqlite:///x.db")
