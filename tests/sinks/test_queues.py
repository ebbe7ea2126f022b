"""Task queues of Python teams: a worker of each runs the task that a sink queued."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from receiver.sinks.sink import SinkAwayError
from tests.ports import free_port
from tests.sinks import servers
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What tasks were given.
seen: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """A Valkey, by its port."""
    with servers.valkey(tmp_path) as server:
        yield server.port


async def test_celery_runs_the_task(redis_port: int) -> None:
    """A Celery worker gets the event as the argument of the task that the address names."""
    from celery import Celery

    url = f"redis://127.0.0.1:{redis_port}/0"
    sink = opened(f"celery+{url}?task=on_job&queue=jobs")
    said = await sink.send(event())
    await sink.close()

    def take() -> Any:  # noqa: ANN401
        with Celery(broker=url).connection_for_read() as connection:
            queue = connection.SimpleQueue("jobs")
            message = queue.get(timeout=10)
            message.ack()
            queue.close()
            return message.headers["task"], message.payload[0][0]

    task, given = await asyncio.to_thread(take)
    assert said == f"task {event().id} in jobs"
    assert task == "on_job"
    assert given["id"] == event().id
    assert given["data"]["result"] == {"answer": 42}


async def test_dramatiq_runs_the_actor(redis_port: int) -> None:
    """A Dramatiq worker runs the actor that the address names, with the event as its argument."""
    from dramatiq import Worker, actor
    from dramatiq.brokers.redis import RedisBroker

    url = f"redis://127.0.0.1:{redis_port}/0"
    sink = opened(f"dramatiq+{url}?task=on_job&queue=jobs")
    await sink.send(event())
    await sink.close()

    def work() -> None:
        there = RedisBroker(url=url)  # type: ignore[no-untyped-call]
        actor(actor_name="on_job", queue_name="jobs", broker=there)(seen.append)
        worker = Worker(there, worker_timeout=100, worker_threads=1)
        worker.start()
        there.join("jobs", timeout=10_000)
        worker.stop()
        there.close()

    await asyncio.to_thread(work)
    assert [one["id"] for one in seen] == [event().id]


async def test_arq_queues_a_job_once(redis_port: int) -> None:
    """An arq worker runs the function once, though the event was sent twice."""
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    async def on_job(_: dict[Any, Any], given: dict[str, Any]) -> None:
        seen.append(given)

    sink = opened(f"arq+redis://127.0.0.1:{redis_port}/0?task=on_job")
    assert "in arq:queue" in await sink.send(event())
    assert await sink.send(event()) == "it had the job already"
    await sink.close()
    worker = Worker(
        functions=[func(cast("Any", on_job), name="on_job")],
        redis_settings=RedisSettings(port=redis_port),
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
    )
    await worker.async_run()
    await worker.pool.aclose()
    assert [one["id"] for one in seen] == [event().id]


async def test_taskiq_runs_the_task() -> None:
    """The broker that the address names runs the task."""
    sink = opened("taskiq:tests.sinks.team_broker:broker?task=on_job")
    await sink.send(event())
    await sink.close()
    assert [one["id"] for one in seen] == [event().id]


async def test_procrastinate_runs_the_task(postgres_url: str) -> None:
    """A procrastinate worker runs the task once, though the event was sent twice while it waited."""
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=postgres_url))

    @app.task(name="on_job", queue="jobs")
    async def on_job(event: dict[str, Any]) -> None:
        seen.append(event)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        sink = opened(f"procrastinate+{postgres_url}?task=on_job&queue=jobs")
        assert "in jobs" in await sink.send(event())
        assert await sink.send(event()) == "it had the job already"
        await sink.close()
        await app.run_worker_async(queues=["jobs"], wait=False, install_signal_handlers=False)
    assert [one["id"] for one in seen] == [event().id]


@pytest.mark.parametrize("kind", ["celery", "dramatiq", "arq"])
async def test_a_broker_that_nobody_runs_is_away(kind: str) -> None:
    """Where no broker answers the sink says that it is away."""
    sink = opened(f"{kind}+redis://127.0.0.1:{free_port()}/0?task=on_job")
    with pytest.raises(SinkAwayError):
        await asyncio.wait_for(sink.send(event()), 40)
    await sink.close()
