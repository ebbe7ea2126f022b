"""Dramatiq: an actor by its name, through a broker of Dramatiq's own."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dramatiq import Message
from dramatiq.errors import BrokerError

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError
from receiver.sinks.tasks import Task, argument, told
from receiver.threads import publishing

if TYPE_CHECKING:
    from collections.abc import Callable


class DramatiqSink:
    """``dramatiq+redis://…?task=actor&queue=default``, or ``dramatiq+amqp://…``."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = Task(config, queue="default")
        self._broker: Any = None
        client = "redis" if self._task.broker.startswith("redis") else "pika"
        if find_spec(client) is None:
            raise config.wrong("to", f"{config.scheme} needs {client}: pip install '.[dramatiq]' brings it.")
        if self._task.broker.startswith("redis"):
            import redis  # noqa: PLC0415  (each wants a client of its own)
            from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415  (as above)

            # Its client asks for a certificate, and not whether that is the server's own.
            strict = {"ssl_check_hostname": True} if self._task.broker.startswith("rediss:") else {}
            self._make: Callable[[], Any] = lambda: RedisBroker(  # type: ignore[no-untyped-call]
                client=redis.Redis.from_url(self._task.broker, **strict)
            )
        elif self._task.broker.startswith("amqp"):
            from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415  (each wants a client of its own)

            self._make = lambda: RabbitmqBroker(url=self._task.broker, confirm_delivery=True)
        else:
            raise config.wrong("to", "dramatiq speaks to redis:// or amqp://.")

    async def send(self, event: Event) -> str:
        """Send the message; raises as ``Sink.send`` says."""

        def enqueue() -> str:
            if self._broker is None:
                self._broker = self._make()
            self._broker.declare_queue(self._task.queue)
            message: Message[Any] = Message(
                queue_name=self._task.queue,
                actor_name=self._task.name,
                args=(argument(event),),
                kwargs={},
                options={},
            )
            self._broker.enqueue(message)
            return f"message {message.message_id} in {self._task.queue}"

        try:
            return await publishing(enqueue)
        except BrokerError as error:
            raise SinkAwayError(f"The broker is out of reach: {type(error).__name__}.") from error
        except Exception as error:
            raise told(error) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._broker is not None:
            await publishing(self._broker.close)
