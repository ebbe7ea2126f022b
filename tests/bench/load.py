"""Sending load: the generator started on its own core, and its count of answers held against the store."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from .generator import LENGTH, Order, Tally
from .machine import GENERATOR_CORE, on_core

_ROOT = Path(__file__).parents[2]


class WrongError(Exception):
    """What was measured did not do what it was measured for; its speed means nothing."""


def drive(order: Order) -> Tally:
    """Carry out *order* in a process of its own; raise WrongError unless every answer was the expected one."""
    tally = attempt(order)
    if tally.wrong or tally.broken or not tally.right:
        raise WrongError(
            f"of {tally.sent} requests {tally.right} were answered {order.expect}, {tally.wrong} otherwise, and "
            f"{tally.broken} not at all. {tally.sample}"
        )
    return tally


def attempt(order: Order) -> Tally:
    """Carry out *order*, whatever comes of it."""
    with on_core(GENERATOR_CORE):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
        )
    try:
        output, _ = process.communicate(msgspec.json.encode(order))
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise WrongError("the load generator failed; what it said is above")
    return msgspec.json.decode(output, type=Tally)


def write_requests(path: Path, requests: list[bytes]) -> None:
    """Write prepared requests as the generator reads them."""
    with path.open("wb") as file:
        for one in requests:
            file.write(LENGTH.pack(len(one)))
            file.write(one)


def check_stored(database: Path, sql: str, *, acked: int) -> None:
    """Raise WrongError unless the database holds exactly as much as was acknowledged; *sql* counts it."""
    stored = query(database, sql)
    if stored != acked:
        raise WrongError(f"{acked} were acknowledged, but {sql!r} finds {stored} in {database.name}")


def query(database: Path, sql: str) -> int:
    """The one number that *sql* asks for; the database may be served meanwhile."""
    ((number,),) = rows(database, sql)
    return int(number or 0)


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows that *sql* asks for, by a connection that can write nothing."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql).fetchall()
