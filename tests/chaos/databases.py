"""The two databases, read as they are: with their own clients, past every line of the receiver."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import psycopg

Row = tuple[Any, ...]


class Database(Protocol):
    """A database that nodes serve."""

    url: str
    #: How many nodes may serve it at once.
    nodes: int

    def rows(self, sql: str) -> list[Row]:
        """What a query finds."""
        ...


class SqliteFile:
    """A file; one node serves it."""

    nodes = 1

    def __init__(self, folder: Path) -> None:
        self.path = folder / "receiver.db"
        self.url = f"sqlite:///{self.path}"

    def rows(self, sql: str) -> list[Row]:
        """What a query finds."""
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


class PostgresDatabase:
    """A database of a server; three nodes serve it."""

    nodes = 3

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, sql: str) -> list[Row]:
        """What a query finds."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            return connection.execute(sql.encode()).fetchall()


async def rows(database: Database, sql: str) -> list[Row]:
    """What a query finds, without holding up the provider that answers from this process."""
    return await asyncio.to_thread(database.rows, sql)
