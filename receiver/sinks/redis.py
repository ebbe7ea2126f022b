"""Redis Streams: one entry an event, with its attributes as fields; the id that the server gives it confirms.

Redis has no dedupe of its own: a consumer goes by ``ce_id``. What the server has confirmed is as durable as its
``appendfsync`` says.
"""

from typing import TYPE_CHECKING

import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004  (redis calls it so)
    NoPermissionError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError, why

if TYPE_CHECKING:
    from redis.typing import EncodableT, FieldT


class RedisSink:
    """Adds to a stream: ``redis://host:6379/0?stream=jobs.{provider}&maxlen=100000``; ``secret`` is the password."""

    def __init__(self, config: SinkConfig, *, secret: str | None) -> None:
        self._place = Place(config, required=("stream",), optional=("maxlen",))
        self._place.check_database(config)
        longest = self._place.options.get("maxlen", "")
        if longest and not (longest.isascii() and longest.isdigit() and int(longest)):
            raise config.wrong("to", "maxlen is a number of entries, 1 or more.")
        self._longest = int(longest) if longest else None
        self._client = redis.asyncio.Redis.from_url(
            f"{self._place.server}{self._place.parts.path}",
            password=secret,
            socket_timeout=config.timeout,
            socket_connect_timeout=config.timeout,
            # Its client asks for a certificate, and not whether that is the server's own.
            **({"ssl_check_hostname": True} if config.scheme == "rediss" else {}),
        )

    async def send(self, event: Event) -> str:
        """Add *event*; raises as ``Sink.send`` says."""
        fields: dict[FieldT, EncodableT] = {"data": event.data}
        fields.update(event.headers("ce_"))
        stream = self._place.option("stream", event.fields)
        try:
            entry = await self._client.xadd(stream, fields, maxlen=self._longest, approximate=True)
        except NoPermissionError as error:
            raise SinkRefusedError(f"The server refuses the event: {error}") from error
        except AuthenticationError as error:
            raise SinkFailedError(f"The server refuses us: {error}") from error
        except (ConnectionError, TimeoutError, BusyLoadingError, OSError) as error:
            raise SinkAwayError(f"The server is out of reach: {why(error)}.") from error
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                raise SinkRefusedError(f"{stream} is no stream: {error}") from error
            raise SinkFailedError(f"The server answered {error}") from error
        except RedisError as error:
            raise SinkFailedError(f"It was not added: {error}") from error
        return f"entry {entry.decode() if isinstance(entry, bytes) else entry} of {stream}"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
