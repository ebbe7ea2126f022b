"""Databases on a PostgreSQL server, made and deleted through one connection that is kept."""

from __future__ import annotations

import atexit
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import psycopg

#: Seconds in which a server answers.
PATIENCE = 30
#: Copying the files of a database is the faster way where nothing is waited for; PostgreSQL 15 knows two ways.
COPIES_FILES = """
SELECT current_setting('fsync') = 'off' AND current_setting('server_version_num')::int >= 150000
"""
#: To servers of this process's tests, by URL: a new connection takes as long as half of the making of a database.
_CONNECTIONS: dict[str, psycopg.Connection] = {}


def create_database(server: str, *, template: str | None = None) -> str:
    """Make a database on the server of this URL, empty or a copy of the one with this name or URL."""
    name = f"test_{secrets.token_hex(8)}"
    # Not template1, the default: an existing server may have anything in it.
    source = "template0" if template is None else urlsplit(template).path.removeprefix("/")
    statement = f"""CREATE DATABASE {name} TEMPLATE "{source}" ENCODING 'UTF8'"""
    connection = _connected(server)
    if connection.execute(COPIES_FILES).fetchone() == (True,):
        statement += " STRATEGY FILE_COPY"
    connection.execute(statement.encode())
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def drop_database(url: str, server: str) -> None:
    """Delete a database, whoever is connected to it."""
    name = urlsplit(url).path.removeprefix("/")
    _connected(server).execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def disconnect(server: str) -> None:
    """Close the connection to the server of this URL, if there is one: it is about to be stopped."""
    if (kept := _CONNECTIONS.pop(server, None)) is not None:
        kept.close()


def _connected(url: str) -> psycopg.Connection:
    """A connection to this server that works, the last one unless the server was stopped or changed meanwhile."""
    import psycopg  # noqa: PLC0415 (every test imports this module; few of them need the 0.1 s and the client)

    if (kept := _CONNECTIONS.pop(url, None)) is not None:
        try:
            kept.execute("SELECT 1")
        except psycopg.OperationalError:
            kept.close()
            kept = None
    made = kept or psycopg.connect(url, autocommit=True, connect_timeout=PATIENCE)
    _CONNECTIONS[url] = made
    return made


@atexit.register
def _disconnect_all() -> None:
    for url in list(_CONNECTIONS):
        disconnect(url)
