"""A connection to PostgreSQL: how it is made, what it waits for, and what is told of its errors."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from receiver.core.errors import CommitUnknownError, ConfigurationError, StoreUnavailableError
from receiver.storage.driver import ContendedError, Params, Row

T = TypeVar("T")
#: What the address does not say itself: a server that is gone is noticed within seconds, and of several the one
#: is taken that can be written to.
DEFAULTS: Final = {
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",
    "application_name": "receiver",
}
#: A deadlock, a serialization failure, a row locked for too long, and a key that another transaction has just made.
CONTENDED: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UniqueViolation,
)
#: Gone, out of room or shutting down; closed; a server that has become a standby, or that ended our transaction.
UNAVAILABLE: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)


#: Seconds after which an answer is no longer waited for. A server that is frozen cannot end a statement itself.
_LONGEST_WAIT: Final = 35.0

Waiting = Generator[Any, Any, T]
Statement = tuple[str, Params]


class Connection(psycopg.Connection[Row]):
    """A connection that waits for no answer for ever."""

    #: Whether what it is waiting for may take as long as it likes.
    patient = False

    def wait(self, gen: Waiting[T], *args: Any, **options: Any) -> T:  # noqa: ANN401  (the library's own)
        """Wait for an answer."""
        return super().wait(gen if self.patient else _bounded(gen, _LONGEST_WAIT), *args, **options)


def parsed(url: str) -> dict[str, Any]:
    """The parts of an address; no error repeats any of it, because what is misread may be the password."""
    place = url.partition("://")[2].partition("?")[0]
    user, found, _ = place.rpartition("@")
    if not (found and ("@" in user or "/" in user)):
        with suppress(psycopg.ProgrammingError):
            return dict(conninfo_to_dict(url))
    raise ConfigurationError(
        "RECEIVER_DATABASE_URL cannot be read: write postgresql://user:password@host:5432/database, with every "
        "@, /, :, # and % of the user's name and password percent-encoded (%40, %2F, %3A, %23, %25).",
        code="database_url_invalid",
    )


def commit(connection: Connection, unsent: Sequence[Statement] = ()) -> None:
    """Commit; what failed within a transaction and went unnoticed makes the server undo it in silence.

    *unsent* is written first. All of it is sent together with COMMIT and answered at once, which on a database across a
    network is most of what a small transaction takes; after a statement that fails the server passes over the rest,
    COMMIT included (https://www.postgresql.org/docs/18/libpq-pipeline-mode.html, read 2026-11-29). Nothing is sent like
    that before: psycopg 3.3 ends a pipeline with a message after which PostgreSQL 18 does not count for how long a
    transaction is idle, and a node that is frozen then would keep its rows.

    Raises:
        CommitUnknownError: the connection was lost before the server answered.
    """
    committing = connection.cursor()
    try:
        with connection.pipeline() if unsent else nullcontext():
            writing = connection.cursor(binary=True)
            for sql, params in unsent:
                writing.execute(sql, params or None)
            committing.execute("COMMIT")
        answer = committing.statusmessage
    except CONTENDED:
        raise  # the server said so, and has undone everything
    except UNAVAILABLE as error:
        if error.diag.severity_nonlocalized == "ERROR":
            raise  # said by the server too: anything but an ERROR ends the session, and says nothing about the commit
        reason = str(error).strip().partition("\n")[0]
        raise CommitUnknownError(
            f"The database cannot be used right now ({reason}); nothing was acknowledged."
        ) from error
    if answer != "COMMIT":
        raise psycopg.InternalError("the transaction was undone")


def _bounded(waiting: Waiting[T], patience: float) -> Waiting[T]:
    """*waiting*, until *patience* is over; the library looks ten times a second whether something has come."""
    until = time.monotonic() + patience
    ready: Any = None
    while True:
        try:
            asked = waiting.send(ready)
        except StopIteration as finished:
            result: T = finished.value
            return result
        ready = yield asked
        if not ready and time.monotonic() > until:
            raise psycopg.OperationalError("the server does not answer")


def undone(connection: Connection, error: BaseException) -> Connection | None:
    """Undo what *connection* has begun; ``None`` where, after *error*, it is of no more use."""
    if isinstance(error, CONTENDED) or not isinstance(error, (*UNAVAILABLE, CommitUnknownError)):
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            pass
        else:
            return connection
    connection.close()
    return None


@contextmanager
def told_apart() -> Iterator[None]:
    """Tell a database that cannot be used from a transaction that was in the way, and both from our mistakes."""
    try:
        yield
    except CONTENDED as error:
        raise ContendedError(str(error).strip()) from error
    except psycopg.errors.UndefinedTable as error:
        raise StoreUnavailableError(
            "The receiver's tables are gone: the database was emptied, or another one has its name. Nothing was "
            "acknowledged. Put the database back, or run 'receiver db migrate' if a new one is wanted.",
            code="database_gone",
        ) from error
    except UNAVAILABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise StoreUnavailableError(
            f"The database cannot be used right now ({reason}); nothing was acknowledged."
        ) from error
