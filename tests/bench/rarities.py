"""What makes a million jobs uneven, as real ones are: a few of a kind, far back, among very many of another."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from receiver.core.identity import ATTEMPT, CALLBACK, DEED, new_id
from receiver.core.model import Attempt, Callback, Dispatch, Failure, Verdict
from receiver.storage import rows
from receiver.storage.audit import Deed, note
from receiver.storage.driver import Row
from receiver.storage.sqlite.driver import SQLite

DEAD: Final = 100_000
#: Dispatches that wait, rejected callbacks of one provider, and how many providers have some.
_WAITING, _REJECTED, _PROVIDERS = 5_000, 1_000, 20
_FAR_BACK: Final = 2_000
#: So few of a kind.
_FEW: Final = 40
_BODY: Final = b"x" * 1024
RARE_PROVIDER: Final = "bench-fetch"
RARE_HANDLER: Final = "rare"
RARE_TEXT: Final = "needle-in-the-oldest"


def scatter(database: Path) -> str:
    """Put them among the jobs of a filled SQLite file that nobody serves; the job of a dead letter that is far back."""
    with closing(sqlite3.connect(database)) as connection:
        ids: list[str] = [row[0] for row in connection.execute("SELECT id FROM job ORDER BY id")]
    ended = [one for place, one in enumerate(ids) if place % 8]
    dice = random.Random(11)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        run = connection.executemany
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        oldest = ended[:_FEW]
        run("UPDATE job SET provider = ? WHERE id = ?", [(RARE_PROVIDER, one) for one in oldest])
        run(
            "UPDATE submission SET metadata = ? WHERE job_id = ?",
            [(f'{{"who":"{RARE_TEXT}"}}'.encode(), ids[3])],
        )
        # The newest of each kind is far back, and there are few of it.
        kinds = (
            ("failed", "callback", 700_000, 2_000),
            ("timed_out", "deadline", 300_000, _FEW),
            ("canceled", "cancel", 100, 3),
            ("expired", "poll", 500_000, _FEW),
        )
        for state, settled_by, first, count in kinds:
            some = [(state, settled_by, one) for one in ended[first : first + count]]
            run("UPDATE job SET state = ?, settled_by = ? WHERE id = ?", some)
        polled = dice.sample(ended[100_000:200_000], 1_000)
        run("UPDATE job SET settled_by = 'poll' WHERE id = ?", [(one,) for one in polled])
        _insert(connection, "callback", rows.CALLBACK, _callbacks(ids))
        dead = sorted(dice.sample(ended, DEAD))
        _insert(connection, "dispatch", rows.DISPATCH, _dispatches(dead, dice.sample(ended, _WAITING)))
        _insert(connection, "attempt", rows.ATTEMPT, _attempts(dead, ended[::10]))
        connection.execute("COMMIT")
    driver = SQLite(database)
    with driver.write(patient=True) as tx:
        note(tx, [_deed(one) for one in ended[::100]])
    driver.close()
    return dead[_FAR_BACK]


def _insert(connection: sqlite3.Connection, table: str, columns: str, values: Iterator[Row]) -> None:
    places = ", ".join("?" for _ in columns.split(", "))
    connection.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", values)  # noqa: S608  (both are constants of ours)


def _callbacks(ids: list[str]) -> Iterator[Row]:
    def one(job_id: str, verdict: Verdict, provider: str, code: str | None, *, named: bool) -> Row:
        at = int(job_id[4:16], 16)
        callback = Callback(
            id=new_id(CALLBACK, at + 30),
            provider=provider,
            route="callbacks",
            job_id=job_id if named else None,
            received_at=at + 30,
            headers=((b"host", b"receiver.example"),),
            body=_BODY,
            verdict=verdict,
            code=code,
        )
        return rows.callback_params(callback)

    for job_id in ids[::20]:
        yield one(job_id, Verdict.DUPLICATE, "bench", "terminal_already", named=True)
    for job_id in ids[1:200_000:5_000]:
        yield one(job_id, Verdict.UNREADABLE, "bench", "body_not_json", named=True)
    for number in range(_PROVIDERS):
        provider = "bench" if not number else f"vendor-{number}"
        for place, job_id in enumerate(ids[number :: len(ids) // _REJECTED]):
            code = "timestamp_stale" if place == 1 else "signature_mismatch"
            yield one(job_id, Verdict.REJECTED, provider, code, named=False)


def _dispatches(dead: list[str], waiting: list[str]) -> Iterator[Row]:
    for place, job_id in enumerate(dead):
        at = int(job_id[4:16], 16)
        # The oldest few are of a handler, and of an error, that no other is of.
        handler, code = ("completed", "ConnectionError") if place >= _FEW else (RARE_HANDLER, "rare_error")
        error = Failure(code=code, text="the other side is gone")
        one = Dispatch(
            job_id=job_id, handler=handler, state="dead", run_at=at, created_at=at, attempt=8, error=error
        )
        yield rows.dispatch_params(one)
    for job_id in waiting:
        at = int(job_id[4:16], 16)
        one = Dispatch(job_id=job_id, handler="completed", replay_id="waits", run_at=at, created_at=at)
        yield rows.dispatch_params(one)


def _attempts(dead: list[str], done: list[str]) -> Iterator[Row]:
    for some, outcome, code in ((dead, "failed", "ConnectionError"), (done, "succeeded", None)):
        for job_id in some:
            at = int(job_id[4:16], 16)
            attempt = Attempt(
                id=new_id(ATTEMPT, at + 40),
                job_id=job_id,
                step="dispatch",
                handler="completed",
                started_at=at + 40,
                outcome=outcome,
                code=code,
            )
            yield rows.attempt_params(attempt)


def _deed(job_id: str) -> Deed:
    at = int(job_id[4:16], 16) + 50
    return Deed(
        id=new_id(DEED, at),
        at=at,
        who="somebody",
        role="operator",
        action="replay",
        job_id=job_id,
        outcome="done",
    )
