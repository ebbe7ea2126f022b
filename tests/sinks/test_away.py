"""Sinks whose other side nobody runs: an outage, which uses up no attempt, and told as what it is."""

from __future__ import annotations

import pytest

from receiver.sinks.sink import SinkAwayError
from tests.ports import free_port
from tests.sinks.making import event, opened


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("https://localhost:PORT/x", "nobody listens there"),
        ("nats://localhost:PORT/jobs", "nobody listens there"),
        ("kafka://localhost:PORT/jobs", "nobody listens there"),
        ("amqp://ada:canary@localhost:PORT/?routing_key=jobs", "nobody listens there"),
        ("redis://ada:canary@localhost:PORT/0?stream=jobs", "nobody listens there"),
        ("arq+redis://ada:canary@localhost:PORT/0?task=on_job", "nobody listens there"),
        ("celery+redis://ada:canary@localhost:PORT/0?task=on_job", "nobody listens there"),
        ("celery+amqp://ada:canary@localhost:PORT//?task=on_job", "nobody listens there"),
        ("dramatiq+redis://ada:canary@localhost:PORT/0?task=on_job", "nobody listens there"),
        ("dramatiq+amqp://ada:canary@localhost:PORT/?task=on_job", "out of reach"),
        ("postgresql://ada:canary@localhost:PORT/db?channel=jobs", "Connection refused"),
        ("procrastinate+postgresql://ada:canary@localhost:PORT/db?task=on_job", "out of reach"),
    ],
)
async def test_that_nobody_listens_is_told(to: str, words: str) -> None:
    """Whoever reads it knows what to look at, and reads no password."""
    sink = opened(to.replace("PORT", str(free_port())))
    with pytest.raises(SinkAwayError) as away:
        await sink.send(event())
    await sink.close()
    assert words in str(away.value)
    assert "canary" not in str(away.value)
