"""What a database must do for the store: a few text macros, transactions, and two ways to run SQL.

SQL is written once, with ``:name`` parameters and ``{macro}`` words. A row is a tuple.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
Params = Mapping[str, Any]


class Transaction(Protocol):
    """A transaction that is open."""

    def run(self, sql: str, params: Params = ...) -> list[Row]:
        """Run one statement; return its rows."""
        ...

    def many(self, sql: str, rows: Sequence[Params]) -> None:
        """Run one statement for each of *rows*."""
        ...


class Driver(Protocol):
    """One database."""

    #: Whether a single process serves this database at a time.
    exclusive: bool

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that may write; durable when the block ends, undone if it raises.

        Raises:
            StoreUnavailableError: the database is locked, full, read-only or gone; nothing was changed.
        """
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that sees one state of the database and writes nothing."""
        ...

    def migrate(self) -> list[str]:
        """Bring the schema up to this code's; return the names of the migrations carried out."""
        ...

    def serve(self) -> None:
        """Claim the right to serve this database; raises ConfigurationError where another process has it."""
        ...

    def relax(self) -> None:
        """Do what keeps the database small, outside the path of a commit (checkpoints)."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def names(prefix: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Placeholders for ``IN (…)`` and their parameters.

    Their number is padded to a power of two by repeating the last value, so that ten statements, not five
    hundred, fill a driver's cache of prepared ones.
    """
    size = 1 << (len(values) - 1).bit_length() if values else 0
    padded = list(values) + [values[-1]] * (size - len(values)) if values else []
    params = {f"{prefix}{number}": value for number, value in enumerate(padded)}
    return ", ".join(f":{name}" for name in params), params


def statements(script: str) -> Iterator[str]:
    """Split a migration into its statements; none of ours holds a semicolon inside."""
    lines = (line for line in script.splitlines() if not line.lstrip().startswith("--"))
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            yield statement.strip()
