"""NATS JetStream: published with acknowledgement; ``Nats-Msg-Id`` lets the stream drop what it has already.

CloudEvents' binary mode for NATS puts the attributes into headers
(https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md).
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import BadSubjectError, MaxPayloadError, NoRespondersError, NoServersError
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError, why

#: How a server says that we may not publish there. It says so beside the answers, and gives none to the message.
_DENIED: Final = re.compile(r'permissions violation for publish to "([^"]*)"', re.IGNORECASE)
#: What a header takes beside its name and its value, and all of them together beside each.
_HEADER: Final = len(": \r\n")
_HEADERS: Final = len("NATS/1.0\r\n\r\n")
#: Seconds for a connection to close that came to nothing.
_FAREWELL: Final = 1.0


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
        #: What the client said last of a server that it tried.
        self._trouble: Exception | None = None
        #: What is under way, by its subject; and what the server said of some of it beside its answers.
        self._sending: dict[asyncio.Task[Any], str] = {}
        self._denied: dict[asyncio.Task[Any], str] = {}

    async def send(self, event: Event) -> str:
        """Publish *event*; raises as ``Sink.send`` says."""
        stream = await self._connected()
        subject = self._place.path(event.fields)
        headers = event.headers("ce-") | {"Nats-Msg-Id": event.id}
        if self._is_too_large(event.data, headers):
            raise SinkRefusedError("The event is larger than the server takes; set largest lower.")
        try:
            with self._listening(subject):
                ack = await stream.publish(subject, event.data, timeout=self._timeout, headers=headers)
        except MaxPayloadError as error:
            raise SinkRefusedError("The event is larger than the server takes; set largest lower.") from error
        except BadSubjectError as error:
            raise SinkRefusedError(f"With this event's values in it, {subject!r} is no subject.") from error
        except (NoStreamResponseError, NoRespondersError) as error:
            raise SinkFailedError(f"No stream takes the subject {subject}, or JetStream is off.") from error
        except APIError as error:
            raise SinkFailedError(f"The stream answered {error.code}: {error.description}") from error
        except (NatsTimeoutError, TimeoutError) as error:
            if not self._is_connected():
                raise SinkAwayError("The server is out of reach.") from error
            raise SinkFailedError("The stream did not acknowledge in time.") from error
        except (NatsError, OSError) as error:
            raise SinkAwayError(f"The server is out of reach: {why(error)}.") from error
        again = ", had it already" if ack.duplicate else ""
        return f"stream {ack.stream}, sequence {ack.seq}{again}"

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = self._stream = None

    def _is_too_large(self, data: bytes, headers: dict[str, str]) -> bool:
        """Whether the server would hang up on it, and on all that is under way: its client counts no headers."""
        size = len(data) + _HEADERS + sum(len(name) + len(value) + _HEADER for name, value in headers.items())
        return self._client is not None and size > self._client.max_payload

    @contextlib.contextmanager
    def _listening(self, subject: str) -> Iterator[None]:
        """While *subject* is published to: end it if the server says that it may not be."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a sink is asked within one)
        self._sending[task] = subject
        try:
            yield
        except asyncio.CancelledError:
            words = self._denied.get(task)
            if words is None or task.uncancel():
                raise
            raise SinkRefusedError(f"The server refuses the event: {words}") from None
        finally:
            del self._sending[task]
            self._denied.pop(task, None)

    async def _heard(self, error: Exception) -> None:
        """An error between events is seen by the next event; a refused permission by the event that met it."""
        if not isinstance(error, NoServersError):
            self._trouble = error
        if (found := _DENIED.search(str(error))) is not None:
            for task, subject in self._sending.items():
                if subject == found[1]:
                    self._denied[task] = str(error).removeprefix("nats: ")
                    task.cancel()

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
            client = Client()
            try:
                # No reconnecting of its own: the next event makes a connection anew, and knows how that went.
                await client.connect(
                    self._place.server,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=max(1, int(self._timeout)),
                    error_cb=self._heard,
                    **options,
                )
            except BaseException as error:
                # A connection that the server did not like stays open otherwise; one whose certificate we did not like
                # is never seen to close by its client.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FAREWELL):
                        await client.close()
                if "authorization violation" in str(error).lower():
                    raise SinkFailedError("The server refuses our token or credentials.") from error
                if isinstance(error, NatsError | OSError | TimeoutError):
                    # That there is no server left to try says less than why the last one did not do.
                    cause = self._trouble if isinstance(error, NoServersError) else None
                    raise SinkAwayError(f"The server is out of reach: {why(cause or error)}.") from error
                raise
            self._client = client
            self._stream = client.jetstream()
            return self._stream
