"""RabbitMQ: published persistently and mandatorily, with the broker's confirm.

CloudEvents' binary mode for AMQP 0-9-1 puts the attributes into headers, as the ``cloudevents`` package does.
"""

import asyncio
from urllib.parse import quote

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ChannelNotFoundEntity,
    DeliveryError,
    ProbableAuthenticationError,
    PublishError,
)

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError, why


class RabbitSink:
    """Publishes to ``amqp://host/vhost?exchange=jobs&routing_key=jobs.{provider}``; ``secret`` is ``user:password``."""

    def __init__(self, config: SinkConfig, *, secret: str | None) -> None:
        self._place = Place(config, required=("routing_key",), optional=("exchange",))
        self._timeout = config.timeout
        server = self._place.parts.netloc
        if secret is not None:
            user, colon, password = secret.partition(":")
            if not colon:
                raise config.wrong("secret", "it is user:password.")
            server = f"{quote(user, safe='')}:{quote(password, safe='')}@{server.rpartition('@')[2]}"
        self._url = f"{config.scheme}://{server}{self._place.parts.path}"
        self._connection: AbstractRobustConnection | None = None
        self._channel: AbstractRobustChannel | None = None
        self._connecting = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Publish *event*; raises as ``Sink.send`` says."""
        headers = event.headers("ce-")
        message = aio_pika.Message(
            event.data,
            content_type=headers.pop("content-type"),
            headers=dict(headers),
            message_id=event.id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        key = self._place.option("routing_key", event.fields)
        name = self._place.option("exchange", event.fields)
        try:
            async with asyncio.timeout(self._timeout):
                channel = await self._connected()
                try:
                    await self._publish(channel, message, name, key)
                except (AMQPError, OSError, RuntimeError) as error:
                    if isinstance(error, DeliveryError):
                        raise
                    await self._publish_alone(channel, message, name, key)
        except PublishError as error:
            raise SinkFailedError(
                f"The broker gave it back: no queue takes {key!r} from {name or 'the default'!r}."
            ) from error
        except DeliveryError as error:
            raise SinkFailedError(
                f"The broker did not confirm {key!r}: a queue that it goes to is full, or could not store it."
            ) from error
        except ChannelNotFoundEntity as error:
            raise SinkFailedError(f"There is no exchange {name!r}.") from error
        except ProbableAuthenticationError as error:
            raise SinkFailedError("The broker refuses our name or password.") from error
        except ChannelClosed as error:
            raise SinkRefusedError(f"The broker refused it: {error}") from error
        except TimeoutError as error:
            await self.close()
            raise SinkAwayError("The broker did not confirm in time.") from error
        except (AMQPError, OSError, RuntimeError) as error:
            await self.close()
            raise SinkAwayError(f"The broker is out of reach: {why(error)}.") from error
        return f"confirmed, {name or 'default exchange'}, {key}"

    async def _publish(
        self, channel: AbstractChannel, message: aio_pika.Message, name: str, key: str
    ) -> None:
        exchange = channel.default_exchange if not name else await channel.get_exchange(name, ensure=False)
        await exchange.publish(message, key, mandatory=True, timeout=self._timeout)

    async def _publish_alone(
        self, spoilt: AbstractChannel, message: aio_pika.Message, name: str, key: str
    ) -> None:
        """Publish on a connection of its own what was under way on a channel that is *spoilt*.

        What the broker refuses ends its channel, and whatever else is under way there hears the same. Whose fault it
        was is seen by what goes alone.
        """
        if self._channel is spoilt:
            await self.close()
        async with await aio_pika.connect(self._url, timeout=self._timeout) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._publish(channel, message, name, key)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> AbstractRobustChannel:
        async with self._connecting:
            if self._channel is None or self._channel.is_closed or self._connection is None:
                if self._connection is None:
                    self._connection = await aio_pika.connect_robust(
                        self._url, timeout=self._timeout, fail_fast=True
                    )
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                assert isinstance(channel, AbstractRobustChannel)  # noqa: S101  (of a robust connection)
                self._channel = channel
            return self._channel
