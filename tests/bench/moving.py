"""A filled SQLite file as a PostgreSQL database: every row of every table, as fast as the server takes it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg

from receiver.storage.postgres.driver import Postgres
from receiver.storage.schema import migrate
from receiver.storage.tables import tables
from tests.postgres import PostgresServer

from .figure import UnmeasuredError

#: What belongs to the process that served the file, not to the record.
_LEFT: Final = {"node", "console_session"}


@contextlib.contextmanager
def moved(database: Path, folder: Path) -> Iterator[str]:
    """Serve the rows of *database* from a PostgreSQL of our own, in *folder*, for as long as the block runs; its URL.

    Raises:
        UnmeasuredError: there is no PostgreSQL here.
    """
    try:
        server = PostgresServer(folder)
        server.start()
    except (ImportError, RuntimeError, OSError) as error:
        raise UnmeasuredError(f"PostgreSQL does not start: {error}") from error
    with contextlib.closing(server):
        url = server.create()
        driver = Postgres(url)
        migrate(driver)
        driver.close()
        _fill(database, url)
        yield url


def _fill(database: Path, url: str) -> None:
    with (
        closing(sqlite3.connect(database)) as reading,
        psycopg.connect(url, autocommit=True) as writing,
    ):
        for table in tables():
            if table.name in _LEFT:
                continue
            writing.execute(f"DELETE FROM {table.name}".encode())  # noqa: S608  (a table of ours)
            order = f"COPY {table.name} ({table.columns}) FROM STDIN".encode()
            with writing.cursor().copy(order) as copy:
                for row in reading.execute(f"SELECT {table.columns} FROM {table.name}"):  # noqa: S608  (names of ours)
                    copy.write_row(row)
        writing.execute("VACUUM ANALYZE")
