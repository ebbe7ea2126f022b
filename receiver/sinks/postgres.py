"""PostgreSQL NOTIFY: the listening sessions of a database hear of each completion as it is committed.

A payload has less than 8,000 bytes (https://www.postgresql.org/docs/17/sql-notify.html), so it is
the event without its data: whoever hears it asks for the job. Nobody who is not listening hears it later.
"""

import asyncio

import msgspec
import psycopg

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError

_LONGEST = 7_999


class NotifySink:
    """Notifies ``notify://channel`` in our own database, or ``postgresql://…/db?channel=jobs`` in another."""

    def __init__(self, config: SinkConfig, *, database_url: str) -> None:
        own = config.scheme == "notify"
        if own and not database_url.startswith(("postgresql:", "postgres:")):
            raise config.wrong("to", "notify: needs RECEIVER_DATABASE_URL to be PostgreSQL.")
        if own:
            self._url, self._channel = database_url, config.to.partition("://")[2]
        else:
            place = Place(config, required=("channel",))
            self._url, self._channel = f"{place.server}{place.parts.path}", place.options["channel"]
        if not self._channel:
            raise config.wrong("to", "it names no channel.")
        self._timeout = config.timeout
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._using = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Notify; raises as ``Sink.send`` says."""
        payload = msgspec.json.encode({"specversion": "1.0", **event.attributes}).decode()
        if len(payload.encode()) > _LONGEST:
            raise SinkRefusedError("The event's attributes are longer than a payload may be.")
        try:
            async with self._using, asyncio.timeout(self._timeout):
                if self._connection is None or self._connection.closed:
                    self._connection = await psycopg.AsyncConnection.connect(
                        self._url, autocommit=True, prepare_threshold=None
                    )
                await self._connection.execute("SELECT pg_notify(%s, %s)", (self._channel, payload))
        except (psycopg.OperationalError, TimeoutError, OSError) as error:
            raise SinkAwayError(f"The database is out of reach: {type(error).__name__}.") from error
        except psycopg.Error as error:
            raise SinkFailedError(f"The database answered {error.sqlstate}.") from error
        return f"committed, channel {self._channel}"

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
