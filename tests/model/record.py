"""The record as it lies in the database, read past every line of the receiver; and its database, made to fail."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import psycopg

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[Any, ...]
_JOBS: Final = """
    SELECT job.id, job.provider, job.state, job.remote_id, job.settled_by, job.error_code, job.callbacks,
        job.cancel_requested_at, submission.metadata
    FROM job LEFT JOIN submission ON submission.job_id = job.id ORDER BY job.id"""
_NEXT: Final = """
    SELECT min(run_at) FROM (SELECT run_at FROM due
        UNION ALL SELECT run_at FROM dispatch WHERE state = 'ready'
        UNION ALL SELECT until AS run_at FROM held) AS waiting"""


@dataclass(frozen=True)
class JobRow:
    """One job as it is stored."""

    id: str
    provider: str
    state: str
    remote_id: str | None
    settled_by: str | None
    error_code: str | None
    callbacks: int
    cancel_requested_at: int | None
    #: The caller's number, where a caller of ours submitted it.
    order: int | None

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state not in {"submitting", "submitted", "running", "fetching"}


class Database(Protocol):
    """A database that nodes serve."""

    name: str
    url: str

    def rows(self, sql: str) -> list[Row]:
        """What a query finds."""
        ...

    def fail(self) -> None:
        """Let nobody write until ``recover``."""
        ...

    def recover(self) -> None:
        """Be as before."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class SqliteFile:
    """A file; one node serves it."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "receiver.db"
        self.url = f"sqlite:///{self._path}"
        self._reader: sqlite3.Connection | None = None
        self._locker: sqlite3.Connection | None = None

    def rows(self, sql: str) -> list[Row]:
        """What a query finds."""
        try:
            if self._reader is None:
                self._reader = sqlite3.connect(
                    f"file:{self._path}?mode=ro", uri=True, timeout=10, isolation_level=None
                )
            return self._reader.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error) or "unable to open" in str(error):
                return []
            raise

    def fail(self) -> None:
        """Somebody else writes, for a long time."""
        self._locker = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        self._locker.execute("BEGIN IMMEDIATE")

    def recover(self) -> None:
        """He has done."""
        if self._locker is not None:
            self._locker.execute("ROLLBACK")
            self._locker.close()
            self._locker = None

    def close(self) -> None:
        """Give everything back."""
        self.recover()
        if self._reader is not None:
            self._reader.close()


class PostgresDatabase:
    """A database of a server; several nodes serve it."""

    name = "postgresql"

    def __init__(self, url: str, server: str) -> None:
        self.url = url
        self._database = urlsplit(url).path.removeprefix("/")
        self._server = psycopg.connect(
            urlunsplit(urlsplit(server)._replace(path="/postgres")), autocommit=True
        )
        self._reader: psycopg.Connection[Row] | None = None
        self._failing = False

    def rows(self, sql: str) -> list[Row]:
        """What a query finds; nothing while it fails."""
        if self._failing:
            return []
        if self._reader is None:
            self._reader = psycopg.connect(self.url, autocommit=True)
        return self._reader.execute(sql.encode()).fetchall()

    def fail(self) -> None:
        """It takes no connections, and has ended those there were."""
        self._failing = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._server.execute(
            "UPDATE pg_database SET datallowconn = false WHERE datname = %s", [self._database]
        )
        self._server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [self._database],
        )

    def recover(self) -> None:
        """It takes connections again."""
        self._server.execute(
            "UPDATE pg_database SET datallowconn = true WHERE datname = %s", [self._database]
        )
        self._failing = False

    def close(self) -> None:
        """Give everything back."""
        self.recover()
        self._server.close()
        if self._reader is not None:
            self._reader.close()


class Record:
    """What is stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self) -> list[JobRow]:
        """All jobs."""
        found: list[JobRow] = []
        for row in self._database.rows(_JOBS):
            order = None if row[-1] is None else json.loads(bytes(row[-1])).get("order")
            found.append(JobRow(*[*row[:-1], order]))
        return found

    def united(self) -> list[str]:
        """The jobs that have become another."""
        return [row[0] for row in self._database.rows("SELECT job_id FROM united")]

    def next_due(self) -> int | None:
        """When the next thing is due, by the nodes' clock."""
        found = self._database.rows(_NEXT)
        return found[0][0] if found else None

    def callbacks(self) -> list[tuple[str | None, str, bytes]]:
        """Of each callback its job, its verdict and its body."""
        return [
            (job_id, verdict, bytes(body))
            for job_id, verdict, body in self._database.rows("SELECT job_id, verdict, body FROM callback")
        ]

    def dispatches(self) -> list[tuple[str, str, str, str, str | None]]:
        """Of each dispatch that is not finished: its job, handler, replay, state, and why it is dead."""
        found = self._database.rows("SELECT job_id, handler, replay_id, state, error_code FROM dispatch")
        return [(row[0], row[1], row[2], row[3], row[4]) for row in found]

    def due(self) -> list[tuple[str, str, int]]:
        """What is due: its job, its step, and when."""
        found = self._database.rows("SELECT job_id, step, run_at FROM due")
        return [(row[0], row[1], row[2]) for row in found]
