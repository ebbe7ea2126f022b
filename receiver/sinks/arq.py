"""arq: a function by its name; a job whose id arq holds already is not queued twice."""

import asyncio
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.constants import job_key_prefix, result_key_prefix

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError
from receiver.sinks.tasks import Task, argument, told


class ArqSink:
    """``arq+redis://…?task=function&queue=arq:queue``; a job whose id arq holds already is not queued twice."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = Task(config, queue="arq:queue")
        self._pool: Any = None
        self._connecting = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Queue the job; raises as ``Sink.send`` says."""
        try:
            async with self._connecting:
                if self._pool is None:
                    settings = RedisSettings.from_dsn(self._task.broker)
                    settings.conn_retries = 0
                    settings.ssl_check_hostname = settings.ssl
                    self._pool = await create_pool(settings)
            queued = await self._pool.enqueue_job(
                self._task.name, argument(event), _job_id=event.id, _queue_name=self._task.queue
            )
            # arq says that it has the job, too, where its connection broke before it was told of it.
            held = queued or await self._pool.exists(job_key_prefix + event.id, result_key_prefix + event.id)
        except Exception as error:
            raise told(error) from error
        if not held:
            raise SinkAwayError("The connection to the broker broke before it had the job.")
        return f"job {event.id} in {self._task.queue}" if queued else "it had the job already"

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None
