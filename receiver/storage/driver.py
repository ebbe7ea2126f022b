"""What a database must do for the store: a few text macros, transactions, and rows by the batch.

SQL is written once, with ``:name`` parameters and ``{macro}`` words. A row is a tuple, its values in the order of the
columns that are named with it. Rows are written many at a time, because on a database across a network the number of
statements is what a commit costs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from receiver.core.model import Value
from receiver.metrics import TableSize

Row = tuple[Any, ...]
Params = Mapping[str, Any]
Rows = Sequence[Row]


class ContendedError(Exception):
    """Another transaction was in the way (a deadlock, the same new key): nothing was changed, try again."""


class Vacuumed(Value, frozen=True, kw_only=True):
    """What one step gave back, and what is left to be given back, in bytes."""

    freed: int
    left: int


class Transaction(Protocol):
    """A transaction that is open. Columns are named as in SQL: ``"job_id, step"``."""

    def run(self, sql: str, params: Params = ...) -> list[Row]:
        """Run one statement; return its rows."""
        ...

    def write(self, sql: str, params: Params) -> None:
        """Run one statement that is asked nothing: it need not have run before the next question, or the commit."""
        ...

    def insert(self, table: str, columns: str, rows: Rows, *, conflict: str = "") -> None:
        """Insert *rows*, in their order; *conflict* is an ``ON CONFLICT`` clause."""
        ...

    def update(self, table: str, columns: str, rows: Rows, *, key: str) -> None:
        """Set *columns* of rows of *table*; each of *rows* holds their values, and those of *key* after them."""
        ...

    def delete(self, table: str, rows: Rows, *, key: str) -> None:
        """Delete the rows of *table* whose *key* columns have the values of one of *rows*."""
        ...

    def among(self, column: str, values: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A condition, with its parameters, that *column* is one of *values*, which are text without NUL."""
        ...

    def guard(self, names: Sequence[str]) -> None:
        """Hold *names* until the transaction ends: whoever guards one of them too waits until then.

        For what is not there yet and must not be made twice. Guard before any row is locked.
        """
        ...

    def notify(self, channel: str, payload: str, *, handler: str) -> bool:
        """Have the sessions that listen to *channel* told *payload* for *handler* once this is committed, not before.

        Return whether they will be told: not where nobody can listen, where too much already waits for the listeners,
        or where the payload is too long.
        """
        ...

    def announce(self) -> None:
        """Have every process that listens told, once this is committed, that there is new work."""
        ...

    def be_sure(self) -> None:
        """Have it looked up whether this was committed, should the answer to that be lost.

        For what must not be done a second time and has no key by which a second time would be known.
        """
        ...


class Driver(Protocol):
    """One database."""

    #: Whether a single process serves this database at a time.
    exclusive: bool

    @property
    def notified(self) -> Mapping[str, int]:
        """How often those who listen were told for a handler (``Transaction.notify``), in what was committed."""
        ...

    def write(self, *, patient: bool = False) -> AbstractContextManager[Transaction]:
        """Open a transaction that may write; durable when the block ends, undone if it raises.

        Args:
            patient: Whether it may take, and wait for others, as long as it likes (migrations).

        Raises:
            ContendedError: another transaction was in the way; nothing was changed.
            StoreUnavailableError: the database is locked, full, read-only or gone; nothing was acknowledged.
        """
        ...

    def read(self, *, patient: bool = False) -> AbstractContextManager[Transaction]:
        """Open a transaction that sees one state of the database and writes nothing.

        Args:
            patient: Whether it may take as long as it likes, also between two statements (copies, exports).
        """
        ...

    def tables(self) -> set[str]:
        """The names of the tables that are there."""
        ...

    def mark(self) -> None:
        """Leave word, outside the database, that it was made; for ``marked``."""
        ...

    def marked(self) -> bool:
        """Whether there was a database where this one is to be, as far as something beside it tells."""
        ...

    def give_away(self, where: str) -> None:
        """Leave word, outside the database, that its record is at *where* now: ``serve`` refuses it from then on."""
        ...

    def given_away(self) -> str | None:
        """Where its record is now, as far as something beside it tells."""
        ...

    def reclaim(self) -> bool:
        """Take that word away; whether there was one."""
        ...

    def serve(self) -> None:
        """Claim the right to serve this database.

        Raises:
            ConfigurationError: another process has it (``already_served``); or the right is ours, and the record is
                elsewhere now (``database_copied``).
        """
        ...

    def time(self) -> int | None:
        """The database's clock, in milliseconds since the Unix epoch; ``None`` where it has only ours."""
        ...

    def listen(self, heard: Callable[[], object]) -> None:
        """Call *heard*, from a thread of its own, whenever another process may have announced work."""
        ...

    def sizes(self) -> list[TableSize]:
        """How much room the tables take."""
        ...

    def vacuum(self) -> Iterator["Vacuumed"]:
        """Give room that is free back, a step at a time; others write between the steps.

        Raises:
            ConfigurationError: it can be done only while nobody serves the database, and somebody does.
            StoreUnavailableError: the database cannot be used right now.
        """
        ...

    def relax(self) -> None:
        """Do what keeps the database whole and small, outside the path of a commit; about once a second.

        Raises:
            StoreUnavailableError: the database is not the one that was opened.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def split(columns: str) -> list[str]:
    """The names in a list of columns."""
    return columns.split(", ")


def statements(script: str) -> Iterator[str]:
    """Split a migration into its statements; none of ours holds a semicolon inside."""
    lines = (line for line in script.splitlines() if not line.lstrip().startswith("--"))
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            yield statement.strip()
