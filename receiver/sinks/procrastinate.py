"""procrastinate: a task by its name; one job an event, by its queueing lock."""

import asyncio
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from psycopg_pool import PoolTimeout

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError
from receiver.sinks.tasks import Task, argument, told


class ProcrastinateSink:
    """``procrastinate+postgresql://…/db?task=name&queue=default``; one job an event, by its queueing lock."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = Task(config, queue="default")
        self._app: Any = None
        self._opening = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Defer the job; raises as ``Sink.send`` says."""
        try:
            async with self._opening:
                if self._app is None:
                    app = App(connector=PsycopgConnector(conninfo=self._task.broker, min_size=1, max_size=2))
                    try:
                        async with asyncio.timeout(self._task.timeout):
                            await app.open_async()
                    except BaseException:
                        # Its pool would go on trying otherwise, beside that of the next event.
                        await app.close_async()
                        raise
                    self._app = app
            number = await self._app.configure_task(
                self._task.name, queue=self._task.queue, queueing_lock=event.id
            ).defer_async(event=argument(event))
        except AlreadyEnqueued:
            return "it had the job already"
        except (ConnectorException, PoolTimeout) as error:
            raise SinkAwayError(
                f"The database is out of reach: {type(error.__cause__ or error).__name__}."
            ) from error
        except Exception as error:
            raise told(error) from error
        return f"job {number} in {self._task.queue}"

    async def close(self) -> None:
        """Close the connections."""
        if self._app is not None:
            await self._app.close_async()
            self._app = None
