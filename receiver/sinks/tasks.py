"""Task queues of Python teams: a task by its name, through the queue's own producer, with the event as argument.

``celery+amqp://host//?task=billing.on_job&queue=jobs`` sends the task ``billing.on_job(event)``, where *event* is the
CloudEvent as a dictionary. The code of the task is not needed here. Brokers behind these queues have no dedupe:
a task goes by ``event["id"]``. arq and procrastinate drop a task whose id they hold already.

Each queue has a file of its own; this is what they share.
"""

from typing import Any, Final

import msgspec

from receiver.core.errors import ConfigurationError
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, why

#: The producers have many names of their own for an outage: these are raised while a socket is in use.
AWAY: Final = (ConnectionError, TimeoutError, OSError)


class Task:
    """What all queues share: the task's name, the queue, the broker's own address."""

    def __init__(self, config: SinkConfig, *, queue: str) -> None:
        self.place = Place(config, required=("task",), optional=("queue",))
        self.name = self.place.options["task"]
        self.queue = self.place.options.get("queue", queue)
        if "+redis" in config.scheme:
            self.place.check_database(config)
        scheme = self.place.parts.scheme.partition("+")[2]
        self.broker = f"{scheme}://{self.place.parts.netloc}{self.place.parts.path}"
        self.timeout = config.timeout


def argument(event: Event) -> dict[str, Any]:
    """What a task is called with."""
    found: dict[str, Any] = msgspec.json.decode(event.structured())
    return found


def told(error: Exception) -> SinkAwayError | SinkFailedError:
    """An outage or a failure, by what a producer raised: each has exceptions of its own for a lost server."""
    if isinstance(error, ConfigurationError):
        raise error
    away = isinstance(error, AWAY) or any(
        isinstance(cause, AWAY)
        or type(cause).__name__ in {"ConnectionError", "TimeoutError", "OperationalError"}
        for cause in (error, error.__cause__, error.__context__)
    )
    if away:
        return SinkAwayError(f"The broker is out of reach: {why(error)}.")
    return SinkFailedError(f"{type(error).__name__}: {error}")
