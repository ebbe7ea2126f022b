"""taskiq: a task by its name, through a broker that a team makes in its own code."""

import asyncio
from importlib import import_module
from typing import Any

from taskiq.kicker import AsyncKicker

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.tasks import argument, told


class TaskiqSink:
    """``taskiq:module:broker?task=name``: taskiq's brokers are made in code, so yours is imported and used."""

    def __init__(self, config: SinkConfig) -> None:
        target, _, query = config.to.partition(":")[2].partition("?")
        module, _, name = target.partition(":")
        self._name = query.removeprefix("task=")
        if not module or not name or not query.startswith("task="):
            raise config.wrong("to", "it is taskiq:module:broker?task=name.")
        try:
            self._broker: Any = getattr(import_module(module), name)
        except Exception as error:
            raise config.wrong(
                "to", f"{target} cannot be loaded: {type(error).__name__}: {error}."
            ) from error
        self._started = False
        self._starting = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Kick the task; raises as ``Sink.send`` says."""
        try:
            async with self._starting:
                if not self._started:
                    await self._broker.startup()
                    self._started = True
            kicker: Any = AsyncKicker(task_name=self._name, broker=self._broker, labels={})
            sent = await kicker.with_task_id(event.id).kiq(argument(event))
        except Exception as error:
            raise told(error) from error
        return f"task {sent.task_id}"

    async def close(self) -> None:
        """Close the connections."""
        if self._started:
            await self._broker.shutdown()
            self._started = False
