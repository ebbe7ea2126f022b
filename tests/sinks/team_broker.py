"""A team's broker of taskiq, which runs its task at once; apart, because only one test needs the package."""

from typing import Any

from taskiq import InMemoryBroker

from tests.sinks.test_queues import seen

broker = InMemoryBroker(await_inplace=True)


@broker.task(task_name="on_job")
async def on_job(given: dict[str, Any]) -> None:
    """Keep what was given."""
    seen.append(given)
