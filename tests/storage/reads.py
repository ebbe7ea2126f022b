"""How much of the record a piece of work reads, however fast the machine is.

On PostgreSQL the server itself counts the rows, on SQLite the steps of its machine are counted, by tens.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
import pytest

from receiver.storage.driver import Transaction
from receiver.storage.store import Store

Work: TypeAlias = Callable[[Transaction], object]
READ = "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables"


@dataclass
class Reads:
    """A store, and how much is read of it."""

    store: Store
    url: str
    #: Steps of SQLite's machine, by tens.
    steps: list[int]

    def of(self, work: Work) -> int:
        """How much *work* reads."""
        with self.store.driver.write() as tx:
            before = self._read(tx)
            work(tx)
            return self._read(tx) - before

    def growing(
        self,
        fill: Callable[["Reads", int], object],
        asked: Mapping[str, Work],
        *,
        few: int,
        many: int,
        most: float,
    ) -> dict[str, tuple[int, int]]:
        """What reads more than *most* times as much among *many* as among *few*: how much among each."""
        read = []
        for number in (few, many):
            fill(self, number)
            read.append({what: self.of(work) for what, work in asked.items()})
        little, much = read
        return {
            what: (little[what], found)
            for what, found in much.items()
            if found > most * max(little[what], 100)
        }

    def learn(self) -> None:
        """Have the database look at what it holds, as it does by itself after a while."""
        if not self.store.driver.exclusive:
            with psycopg.connect(self.url, autocommit=True) as database:
                database.execute("ANALYZE")

    def _read(self, tx: Transaction) -> int:
        return self.steps[0] if self.store.driver.exclusive else int(tx.run(READ)[0][0])


async def counted(url: str, monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Open a store whose reads are counted; whoever does closes it."""
    steps, connect = [0], sqlite3.connect

    def count() -> int:
        steps[0] += 1
        return 0

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401  (whatever it takes)
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_progress_handler(count, 10)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    return Reads(store=await Store.open(url), url=url, steps=steps)
