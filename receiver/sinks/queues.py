"""Task queues of Python teams: a task by its name, through the queue's own producer, with the event as argument.

``celery+amqp://host//?task=billing.on_job&queue=jobs`` sends the task ``billing.on_job(event)``, where *event* is the
CloudEvent as a dictionary. The code of the task is not needed here. Brokers behind these queues have no dedupe:
a task goes by ``event["id"]``. arq and procrastinate drop a task whose id they hold already.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from receiver.core.errors import ConfigurationError
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of the producers, whose own names for an outage are many: what is raised while a socket is talked to.
_AWAY: Final = (ConnectionError, TimeoutError, OSError)


class _Task:
    """What all queues share: the task's name, the queue, the broker's own address."""

    def __init__(self, config: SinkConfig, *, queue: str) -> None:
        self.place = Place(config, required=("task",), optional=("queue",))
        self.name = self.place.options["task"]
        self.queue = self.place.options.get("queue", queue)
        scheme = self.place.parts.scheme.partition("+")[2]
        self.broker = f"{scheme}://{self.place.parts.netloc}{self.place.parts.path}"
        self.timeout = config.timeout


def _argument(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(event.structured())
    return found


class CelerySink:
    """``celery+amqp://…?task=module.name&queue=celery``; with a broker that confirms, its confirm is waited for."""

    def __init__(self, config: SinkConfig) -> None:
        from celery import Celery  # noqa: PLC0415  (each queue is an extra of its own)

        self._task = _Task(config, queue="celery")
        self._app = Celery(broker=self._task.broker, set_as_current=False)
        self._app.conf.update(
            broker_transport_options={"confirm_publish": True},
            broker_connection_timeout=self._task.timeout,
            broker_connection_retry=False,
            task_publish_retry=False,
            task_ignore_result=True,
        )

    async def send(self, event: Event) -> str:
        """Send the task; raises as ``Sink.send`` says."""
        from kombu.exceptions import KombuError, OperationalError  # noqa: PLC0415  (comes with celery)

        def publish() -> str:
            sent = self._app.send_task(
                self._task.name, args=[_argument(event)], queue=self._task.queue, task_id=event.id
            )
            return f"task {sent.id} in {self._task.queue}"

        try:
            return await asyncio.to_thread(publish)
        except (OperationalError, *_AWAY) as error:
            raise SinkAwayError(f"The broker is out of reach: {type(error).__name__}.") from error
        except KombuError as error:
            raise SinkFailedError(f"The task was not sent: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._app.close)


class DramatiqSink:
    """``dramatiq+redis://…?task=actor&queue=default``, or ``dramatiq+amqp://…``."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = _Task(config, queue="default")
        self._broker: Any = None
        if self._task.broker.startswith("redis"):
            from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415

            self._make: Callable[[], Any] = lambda: RedisBroker(url=self._task.broker)  # type: ignore[no-untyped-call]
        elif self._task.broker.startswith("amqp"):
            from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415

            self._make = lambda: RabbitmqBroker(url=self._task.broker, confirm_delivery=True)
        else:
            raise config.wrong("to", "dramatiq speaks to redis:// or amqp://.")

    async def send(self, event: Event) -> str:
        """Send the message; raises as ``Sink.send`` says."""
        from dramatiq import Message  # noqa: PLC0415
        from dramatiq.errors import BrokerError  # noqa: PLC0415

        def enqueue() -> str:
            if self._broker is None:
                self._broker = self._make()
            self._broker.declare_queue(self._task.queue)
            message: Message[Any] = Message(
                queue_name=self._task.queue,
                actor_name=self._task.name,
                args=(_argument(event),),
                kwargs={},
                options={},
            )
            self._broker.enqueue(message)
            return f"message {message.message_id} in {self._task.queue}"

        try:
            return await asyncio.to_thread(enqueue)
        except BrokerError as error:
            raise SinkAwayError(f"The broker is out of reach: {type(error).__name__}.") from error
        except Exception as error:
            raise _told(error) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._broker is not None:
            await asyncio.to_thread(self._broker.close)


class ArqSink:
    """``arq+redis://…?task=function&queue=arq:queue``; a job whose id arq holds already is not queued twice."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = _Task(config, queue="arq:queue")
        self._pool: Any = None
        self._connecting = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Queue the job; raises as ``Sink.send`` says."""
        from arq import create_pool  # noqa: PLC0415
        from arq.connections import RedisSettings  # noqa: PLC0415

        try:
            async with self._connecting:
                if self._pool is None:
                    settings = RedisSettings.from_dsn(self._task.broker)
                    settings.conn_retries = 0
                    self._pool = await create_pool(settings)
            queued = await self._pool.enqueue_job(
                self._task.name, _argument(event), _job_id=event.id, _queue_name=self._task.queue
            )
        except Exception as error:
            raise _told(error) from error
        return f"job {event.id} in {self._task.queue}" if queued else "it had the job already"

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None


class TaskiqSink:
    """``taskiq:module:broker?task=name``: taskiq's brokers are made in code, so yours is imported and used."""

    def __init__(self, config: SinkConfig) -> None:
        from importlib import import_module  # noqa: PLC0415

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
        from taskiq.kicker import AsyncKicker  # noqa: PLC0415

        try:
            async with self._starting:
                if not self._started:
                    await self._broker.startup()
                    self._started = True
            kicker: Any = AsyncKicker(task_name=self._name, broker=self._broker, labels={})
            sent = await kicker.with_task_id(event.id).kiq(_argument(event))
        except Exception as error:
            raise _told(error) from error
        return f"task {sent.task_id}"

    async def close(self) -> None:
        """Close the connections."""
        if self._started:
            await self._broker.shutdown()
            self._started = False


class ProcrastinateSink:
    """``procrastinate+postgresql://…/db?task=name&queue=default``; one job an event, by its queueing lock."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = _Task(config, queue="default")
        self._app: Any = None
        self._opening = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Defer the job; raises as ``Sink.send`` says."""
        from procrastinate import App, PsycopgConnector  # noqa: PLC0415
        from procrastinate.exceptions import AlreadyEnqueued, ConnectorException  # noqa: PLC0415

        try:
            async with self._opening:
                if self._app is None:
                    app = App(connector=PsycopgConnector(conninfo=self._task.broker, min_size=1, max_size=2))
                    await app.open_async()
                    self._app = app
            number = await self._app.configure_task(
                self._task.name, queue=self._task.queue, queueing_lock=event.id
            ).defer_async(event=_argument(event))
        except AlreadyEnqueued:
            return "it had the job already"
        except ConnectorException as error:
            raise SinkAwayError(
                f"The database is out of reach: {type(error.__cause__ or error).__name__}."
            ) from error
        except Exception as error:
            raise _told(error) from error
        return f"job {number} in {self._task.queue}"

    async def close(self) -> None:
        """Close the connections."""
        if self._app is not None:
            await self._app.close_async()
            self._app = None


def _told(error: Exception) -> SinkAwayError | SinkFailedError:
    """An outage or a failure, by what a producer raised: each has exceptions of its own for a lost server."""
    if isinstance(error, ConfigurationError):
        raise error
    away = isinstance(error, _AWAY) or any(
        isinstance(cause, _AWAY)
        or type(cause).__name__ in {"ConnectionError", "TimeoutError", "OperationalError"}
        for cause in (error, error.__cause__, error.__context__)
    )
    if away:
        return SinkAwayError(f"The broker is out of reach: {type(error).__name__}.")
    return SinkFailedError(f"{type(error).__name__}: {error}")
