"""PostgreSQL NOTIFY: the listening sessions of a database hear of each completion.

In the database of the record they are told in the commit of the completion itself (``storage/notices``), so that this
sends only what could not be told there, and alarms; in another one they are told once it is committed.

A payload has less than 8,000 bytes (https://www.postgresql.org/docs/17/sql-notify.html), so it is
the event without its data: whoever hears it asks for the job. Nobody who is not listening hears it later.
"""

import asyncio
from typing import Final

import psycopg

from receiver.core.errors import ConfigurationError
from receiver.core.event import notice_of
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError
from receiver.storage.postgres.connection import parsed
from receiver.storage.postgres.transaction import LONGEST_PAYLOAD

#: Bytes of a channel's name (https://www.postgresql.org/docs/17/sql-syntax-lexical.html).
_LONGEST_CHANNEL: Final = 63


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
            if place.parts.netloc.count("@") > 1:
                # Its client takes the first for the end of the password, and names what follows as the server.
                raise config.unreadable(ValueError("@"))
            self._url, self._channel = f"{place.server}{place.parts.path}", place.options["channel"]
        if not 0 < len(self._channel.encode()) <= _LONGEST_CHANNEL:
            raise config.wrong("to", f"the channel's name has 1 to {_LONGEST_CHANNEL} bytes.")
        #: The channel, if it is one of the record's own database.
        self.own_channel = self._channel if own or _same(self._url, database_url) else None
        self._timeout = config.timeout
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._using = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Notify; raises as ``Sink.send`` says."""
        payload = notice_of(event.attributes, at=event.at)
        if len(payload.encode()) > LONGEST_PAYLOAD:
            raise SinkRefusedError("The event's attributes are longer than a payload may be.")
        try:
            async with self._using, asyncio.timeout(self._timeout):
                if self._connection is None or self._connection.closed:
                    self._connection = await psycopg.AsyncConnection.connect(
                        self._url, autocommit=True, prepare_threshold=None
                    )
                await self._connection.execute("SELECT pg_notify(%s, %s)", (self._channel, payload))
        except (psycopg.OperationalError, TimeoutError, OSError) as error:
            # What libpq says has the reason at the end of its first line, and holds no password.
            said = (str(error).splitlines() or [""])[0].rpartition("failed: ")[2].strip()
            raise SinkAwayError(f"The database is out of reach: {said or type(error).__name__}.") from error
        except psycopg.Error as error:
            raise SinkFailedError(f"The database answered {error.sqlstate}.") from error
        return f"committed, channel {self._channel}"

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def _same(url: str, database_url: str) -> bool:
    """Whether both name one database; where that is not plain to see they are taken for two."""
    if not database_url.startswith(("postgresql:", "postgres:")):
        return False
    try:
        one, other = parsed(url), parsed(database_url)
    except ConfigurationError:
        return False
    return all(one.get(key) == other.get(key) for key in ("host", "hostaddr", "port", "dbname"))
