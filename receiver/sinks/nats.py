"""NATS JetStream: published with acknowledgement; ``Nats-Msg-Id`` lets the stream drop what it has already.

CloudEvents' binary mode for NATS puts the attributes into headers
(https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md).
"""

import asyncio
from typing import TYPE_CHECKING, Any

import nats
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError

if TYPE_CHECKING:
    from nats.aio.client import Client


class NatsSink:
    """Publishes to ``nats://host:4222/subject``; ``secret`` is a token, or the path of a credentials file."""

    def __init__(self, config: SinkConfig, *, secret: str | None) -> None:
        self._place = Place(config)
        if not self._place.parts.path.strip("/"):
            raise config.wrong("to", "it names no subject: nats://host:4222/jobs.{provider}.{state}")
        self._timeout = config.timeout
        self._secret = secret
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._connecting = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Publish *event*; raises as ``Sink.send`` says."""
        stream = await self._connected()
        subject = self._place.path(event.fields)
        headers = event.headers("ce-") | {"Nats-Msg-Id": event.id}
        try:
            ack = await stream.publish(subject, event.data, timeout=self._timeout, headers=headers)
        except MaxPayloadError as error:
            raise SinkRefusedError("The event is larger than the server takes; set largest lower.") from error
        except (NoStreamResponseError, NoRespondersError) as error:
            raise SinkFailedError(f"No stream takes the subject {subject}, or JetStream is off.") from error
        except APIError as error:
            raise SinkFailedError(f"The stream answered {error.code}: {error.description}") from error
        except (NatsTimeoutError, TimeoutError) as error:
            if not self._is_connected():
                raise SinkAwayError("The server is out of reach.") from error
            raise SinkFailedError("The stream did not acknowledge in time.") from error
        except (NatsError, OSError) as error:
            raise SinkAwayError(f"The server is out of reach: {type(error).__name__}.") from error
        again = ", had it already" if ack.duplicate else ""
        return f"stream {ack.stream}, sequence {ack.seq}{again}"

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = self._stream = None

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def _connected(self) -> JetStreamContext:
        if self._stream is not None and self._is_connected():
            return self._stream
        async with self._connecting:
            if self._stream is not None and self._is_connected():
                return self._stream
            await self.close()
            options: dict[str, Any] = {}
            if self._secret is not None:
                options["user_credentials" if self._secret.startswith("/") else "token"] = self._secret
            try:
                # No reconnecting of its own: the next event makes a connection anew, and knows how that went.
                self._client = await nats.connect(
                    self._place.server,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=max(1, int(self._timeout)),
                    error_cb=_unheard,
                    **options,
                )
            except (NatsError, OSError, TimeoutError) as error:
                raise SinkAwayError(f"The server is out of reach: {type(error).__name__}.") from error
            self._stream = self._client.jetstream()
            return self._stream


async def _unheard(error: Exception) -> None:
    """What goes wrong between events is seen by the next one."""
