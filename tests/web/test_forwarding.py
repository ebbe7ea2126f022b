"""What ``tail --forward-to`` does while the receiver that it follows is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from receiver.cli import forward
from receiver.cli.forward import Order
from receiver.client import AsyncClient, calls
from receiver.clock import read_clock
from receiver.core.retry import Backoff
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.http import HttpSink
from tests.files.cutting import cutting
from tests.path.stub import Asked, Reply, stub
from tests.path.world import until
from tests.ports import free_port

from .conftest import TOKEN

if TYPE_CHECKING:
    import pytest

    from .conftest import Site


async def test_a_receiver_that_is_away_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends while nobody can reach the receiver is sent once it is back, in order.

    Only the one whose place could not be noted when the connection went may come twice.
    """
    monkeypatch.setattr(calls, "_RETRIES", Backoff(first=1, longest=1, attempts=2))
    monkeypatch.setattr(forward, "_BETWEEN", 0.02)
    monkeypatch.setattr(forward, "_PATIENCE", 0.1)
    port, stop, got = free_port(), asyncio.Event(), list[str]()

    async def take(asked: Asked) -> Reply:
        got.append(asked.header("ce-subject") or "")
        return Reply(status=204)

    async with stub(take) as hook, AsyncClient(f"http://127.0.0.1:{port}", token=TOKEN) as client:
        sink = HttpSink(SinkConfig(name="tail", to=hook.url), secret=None, clock=read_clock)
        order = Order(to=hook.url, name="laptop", after="0")
        source = forward._There(client)
        async with cutting(site.url, [], port=port):
            passing = asyncio.create_task(forward._pass(source, sink, order, name="laptop", stop=stop))
            first = (await site.ended("perplexity-webhook"))["id"]
            await until(lambda: first in got)
        others = [(await site.ended("perplexity-webhook"))["id"] for _ in range(2)]
        assert not passing.done()
        async with cutting(site.url, [], port=port):
            await until(lambda: others[-1] in got)
            stop.set()
            await passing
        await sink.close()
    assert list(dict.fromkeys(got)) == [first, *others]
    assert len(got) <= 4
