"""A store of a million jobs: how fast it still takes callbacks, and how soon it answers questions."""

import random
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from receiver.core.identity import ATTEMPT, CALLBACK, JOB, new_id
from receiver.core.model import HOUR, Attempt, Callback, Delivery, Due, Held, Job, JobState, Source, Step
from receiver.keys import Keys
from receiver.settings import Settings
from receiver.storage import rows
from receiver.storage.driver import Row

from . import rarities
from .bench import CONNECTIONS, Bench
from .callbacks import SIZE, environ, prepared, remote_id, write_callbacks
from .figure import Figure
from .generator import Order
from .load import check_stored, drive, query, write_requests
from .replays import api
from .runs import ACCEPTED
from .servers import serving

_JOBS: Final = 1_000_000
#: Every so many jobs one is still open: enough for callbacks in every round.
_OPEN: Final = 8
_TOGETHER: Final = 20_000
_CUSTOMERS: Final = 997
#: Callbacks of one round.
_CALLBACKS: Final = 20_000
_ASKED: Final = 40
_HEADERS: Final = ((b"host", b"receiver.example"), (b"content-type", b"application/json"))


class Million:
    """The store, filled once; each round takes open jobs of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.settings = environ(folder)
        self.database = folder / "receiver.db"
        #: Open jobs, in an order that has nothing to do with their age.
        self.open: list[str] = []
        # Tables and handler, by a start of the receiver itself.
        prepared(folder, self.settings, 1)
        began = time.time_ns() // 1_000_000 - _JOBS * 50
        key_id = Keys(Settings.load(self.settings)).newest.id
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            # What fills it need not survive a power cut.
            for pragma in ("journal_mode=MEMORY", "synchronous=OFF", "cache_size=-400000"):
                connection.execute(f"PRAGMA {pragma}")
            for first in range(0, _JOBS, _TOGETHER):
                ids = [new_id(JOB, began + place * 50) for place in range(first, first + _TOGETHER)]
                connection.execute("BEGIN")
                for table, columns, values in _tables(ids, key_id):
                    places = ", ".join("?" for _ in columns.split(", "))
                    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", values)  # noqa: S608  (both are constants of ours)
                connection.execute("COMMIT")
                self.open += ids[::_OPEN]
            connection.execute("PRAGMA journal_mode=WAL")
        random.Random(7).shuffle(self.open)

    @cached_property
    def dead(self) -> str:
        """The job of a dead letter that is far back; from the first look on the jobs are as uneven as real ones."""
        return rarities.scatter(self.database)


def ingesting(bench: Bench, million: Million) -> Figure:
    """Callbacks for open jobs among a million, against callbacks for a store of nothing but such jobs."""
    shuffled = list(bench.stock.ids)
    random.Random(7).shuffle(shuffled)
    requests = bench.folder / "shuffled"
    write_callbacks(requests, shuffled, environ(bench.stock.folder))
    pairs = []
    for number in range(bench.rounds):
        with bench.room() as folder:
            settings = bench.stock.copy(folder)
            empty = _ingested(bench, folder, settings, requests)
        some = million.open[number * _CALLBACKS : (number + 1) * _CALLBACKS]
        write_callbacks(million.folder / "callbacks", some, million.settings)
        full = _ingested(bench, million.folder, million.settings, million.folder / "callbacks")
        pairs.append((full, empty))
    return Figure(
        name="ingest-1M/empty",
        target=0.9,
        at_most=False,
        runs=[full / empty for full, empty in pairs],
        seen={
            "1M/s": statistics.median(full for full, _ in pairs),
            "empty/s": statistics.median(empty for _, empty in pairs),
        },
    )


def listing(bench: Bench, million: Million) -> Figure:
    """The slowest of the questions that people ask, each by the middle of its answers."""
    job = million.open[0]
    addresses = {
        "jobs": "/v1/jobs?limit=50",
        "jobs of a provider": "/v1/jobs?provider=bench&limit=50",
        "open jobs": "/v1/jobs?state=submitted&limit=50",
        "failed jobs": "/v1/jobs?state=failed&limit=50",
        "failed jobs of a provider": "/v1/jobs?provider=bench&state=failed&limit=50",
        "a page in the middle": f"/v1/jobs?limit=50&cursor={job}",
        "a timeline": f"/v1/jobs/{job}",
        "callbacks": "/v1/callbacks?limit=50",
    }
    runs, seen = [], dict[str, list[float]]()
    with serving(million.folder, million.settings) as server:
        for _ in range(bench.rounds):
            for name, address in addresses.items():
                write_requests(million.folder / "questions", [api("GET", address)] * _ASKED)
                tally = drive(
                    Order(port=server.port, file=str(million.folder / "questions"), connections=1, expect=200)
                )
                seen.setdefault(name, []).append(tally.p50_ms)
            runs.append(max(values[-1] for values in seen.values()))
    middles = {f"{name} ms": statistics.median(values) for name, values in seen.items()}
    return Figure(name="list-1M-ms", target=50, at_most=True, runs=runs, seen=middles)


def _ingested(bench: Bench, folder: Path, settings: dict[str, str], requests: Path) -> float:
    database = folder / "receiver.db"
    with serving(folder, settings) as server:
        before = query(database, ACCEPTED)
        tally = drive(
            Order(
                port=server.port,
                file=str(requests),
                connections=CONNECTIONS,
                expect=200,
                warm_up=bench.warm_up,
                seconds=bench.seconds,
            )
        )
        check_stored(database, ACCEPTED, acked=before + tally.right)
    return tally.rate


def _tables(ids: list[str], key_id: str) -> Iterator[tuple[str, str, list[Row]]]:
    """The rows of some jobs: most have succeeded by a callback, every eighth still waits for it."""
    jobs, callbacks, due = [], [], []
    for place, one in enumerate(ids):
        job = _job(one, key_id)
        if place % _OPEN == 0:
            look = Due(job_id=one, step=Step.LOOK, provider="bench", run_at=job.deadline_at)
            due.append(rows.due_params(look))
        else:
            callback = _callback(job)
            callbacks.append(rows.callback_params(callback))
            job = _succeeded(job, callback)
        jobs.append(rows.job_params(job))
    yield "job", rows.JOB, jobs
    yield "callback", rows.CALLBACK, callbacks
    yield "due", rows.DUE, due
    yield "attempt", rows.ATTEMPT, [_attempt(one) for one in ids]
    columns = "job_id, request, request_sha256, metadata"
    yield (
        "submission",
        columns,
        [
            (one, b'{"prompt":"question"}', "0" * 64, b'{"customer":"c-%d"}' % (place % 997))
            for place, one in enumerate(ids)
        ],
    )


def _job(job_id: str, key_id: str) -> Job:
    created = int(job_id[4:16], 16)
    return Job(
        id=job_id,
        provider="bench",
        state=JobState.SUBMITTED,
        delivery=Delivery.RESULT,
        key_id=key_id,
        remote_id=remote_id(job_id),
        created_at=created,
        submitted_at=created,
        # Long after the benchmark: nothing is polled.
        deadline_at=created + 1000 * HOUR,
        submission="sent",
    )


def _callback(job: Job) -> Callback:
    now = job.created_at + 20
    return Callback(
        id=new_id(CALLBACK, now),
        provider=job.provider,
        route="callbacks",
        job_id=job.id,
        received_at=now,
        headers=_HEADERS,
        body=b"x" * SIZE,
        remote_id=job.remote_id,
        is_first=True,
    )


def _succeeded(job: Job, callback: Callback) -> Job:
    return replace(
        job,
        state=JobState.SUCCEEDED,
        succeeded_at=callback.received_at,
        ended_at=callback.received_at,
        settled_by=Source.CALLBACK,
        held=Held(callback_id=callback.id, offset=0, size=SIZE, sha256="0" * 64),
        callbacks=1,
        first_callback=callback.id,
    )


def _attempt(job_id: str) -> Row:
    created = int(job_id[4:16], 16)
    return rows.attempt_params(
        Attempt(
            id=new_id(ATTEMPT, created), job_id=job_id, step="submit", started_at=created, outcome="accepted"
        )
    )
