"""Celery: a task by its name, through Celery's own producer; with a broker that confirms, its confirm is waited for."""

import ssl
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError, SinkFailedError, why
from receiver.sinks.tasks import AWAY, Task, argument
from receiver.threads import publishing


class CelerySink:
    """``celery+amqp://…?task=module.name&queue=celery``; with a broker that confirms, its confirm is waited for."""

    def __init__(self, config: SinkConfig) -> None:
        self._task = Task(config, queue="celery")
        self._app = Celery(broker=self._task.broker, set_as_current=False)
        self._app.conf.update(
            broker_transport_options={"confirm_publish": True},
            broker_connection_timeout=self._task.timeout,
            broker_connection_retry=False,
            task_publish_retry=False,
            task_ignore_result=True,
            broker_use_ssl=_tls(self._task),
        )

    async def send(self, event: Event) -> str:
        """Send the task; raises as ``Sink.send`` says."""

        def publish() -> str:
            sent = self._app.send_task(
                self._task.name, args=[argument(event)], queue=self._task.queue, task_id=event.id
            )
            return f"task {sent.id} in {self._task.queue}"

        try:
            return await publishing(publish)
        except (OperationalError, *AWAY) as error:
            raise SinkAwayError(f"The broker is out of reach: {why(error)}.") from error
        except KombuError as error:
            raise SinkFailedError(f"The task was not sent: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await publishing(self._app.close)


def _tls(task: Task) -> dict[str, Any] | None:
    """That the broker shows a certificate of its own which this machine trusts: Celery asks for none by itself."""
    if task.broker.startswith("rediss:"):
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    if task.broker.startswith("amqps:"):
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": task.place.parts.hostname}
    return None
