"""Counting the record for the metrics and for ``doctor``: a range at a time, so that no read takes long.

Where there are millions of rows a count takes seconds, and a transaction that long would hold up SQLite's log. So
ranges of them are counted, each by itself, and whoever cannot wait is given what was counted last.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from receiver.core.model import JobState, Value
from receiver.storage.driver import Transaction

#: So many rows are counted at a time.
_RANGE: Final = 2_000
#: The states whose jobs have an index (``job_state``): SQLite uses it only where that stands in the statement.
_INDEXED: Final = "state NOT IN ('submitted', 'succeeded')"
_STATES: Final = tuple(one.value for one in JobState if one not in {JobState.SUBMITTED, JobState.SUCCEEDED})
_DUE: Final = """
    SELECT provider, sum(is_due), min(CASE WHEN is_due = 1 THEN run_at END), sum(is_silent) FROM (
        SELECT provider, run_at,
            CASE WHEN owner IS NULL AND run_at <= :now THEN 1 ELSE 0 END AS is_due,
            CASE WHEN step = 'look' AND attempt > 0 AND EXISTS (SELECT 1 FROM job WHERE id = job_id
                AND delivery <> 'none' AND callbacks = 0 AND ended_at IS NULL) THEN 1 ELSE 0 END AS is_silent
        FROM due WHERE {range}) AS counted
    GROUP BY provider"""
# Each job is looked up by itself: joined, PostgreSQL reads all jobs where one in a hundred is open.
_SUBMITTED: Final = """
    WITH submitted AS MATERIALIZED (
        SELECT provider, (SELECT deadline_at FROM job WHERE id = job_id AND state = 'submitted') AS deadline_at
        FROM (SELECT DISTINCT job_id, provider FROM due WHERE {range}) AS waiting)
    SELECT provider, count(*), sum(CASE WHEN deadline_at < :now THEN 1 ELSE 0 END)
    FROM submitted WHERE deadline_at IS NOT NULL GROUP BY provider"""
_OTHERS: Final = f"""
    SELECT provider, count(*), sum(CASE WHEN ended_at IS NULL AND deadline_at < :now THEN 1 ELSE 0 END)
    FROM job WHERE {_INDEXED} AND state = :state AND {{range}} GROUP BY provider"""
_DISPATCHES: Final = """
    SELECT sum(CASE WHEN state <> 'dead' AND owner IS NULL THEN 1 ELSE 0 END),
        min(CASE WHEN state = 'ready' AND owner IS NULL THEN run_at END),
        sum(CASE WHEN state = 'dead' THEN 1 ELSE 0 END)
    FROM dispatch WHERE {range}"""

_DOWNLOADS: Final = "SELECT provider, count(*) FROM download WHERE {range} GROUP BY provider"


class Reads(Protocol):
    """Asks one question in a transaction of its own."""

    def __call__(self, query: Callable[..., Any], *args: Any) -> Awaitable[Any]:  # noqa: ANN401
        """The answer to *query*."""
        ...


class _Rows(Value, frozen=True, kw_only=True):
    """What is gone through: the rows of a table that meet a condition, in the order of a column with an index."""

    table: str
    column: str
    where: str = "1 = 1"
    statements: tuple[str, ...]


_PASSES: Final = (
    _Rows(table="due", column="job_id", statements=(_DUE, _SUBMITTED)),
    _Rows(table="dispatch", column="job_id", statements=(_DISPATCHES,)),
    _Rows(table="download", column="job_id", statements=(_DOWNLOADS,)),
)
_BY_STATE: Final = _Rows(
    table="job", column="id", where=f"{_INDEXED} AND state = :state", statements=(_OTHERS,)
)


class Counting:
    """Counts: open jobs by state, due and dead work, the oldest of each, and files that are still to be fetched."""

    def __init__(self, read: Reads) -> None:
        self._read = read
        self._last: tuple[dict[str, Any], int] | None = None
        self._task: asyncio.Task[dict[str, Any]] | None = None

    async def __call__(self, *, now: int) -> dict[str, Any]:
        """The figures as they are, however long it takes; raises StoreUnavailableError."""
        jobs, overdue, silent = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[str]()
        due = ready = dead = 0
        dues: list[int] = []
        readies: list[int] = []
        async for counted, submitted in self._ranges(_PASSES[0], now=now):
            for provider, some, oldest, quiet in counted:
                due += some
                dues += [] if oldest is None else [oldest]
                silent[provider] += quiet
            for provider, some, late in submitted:
                jobs[provider, "submitted"] += some
                overdue[provider, "submitted"] += late
        async for ((row,),) in self._ranges(_PASSES[1], now=now):
            ready += row[0] or 0
            readies += [] if row[1] is None else [row[1]]
            dead += row[2] or 0
        files = Counter[str]()
        async for (counted,) in self._ranges(_PASSES[2], now=now):
            files.update(dict(counted))
        for state in _STATES:
            async for (counted,) in self._ranges(_BY_STATE, now=now, state=state):
                for provider, some, late in counted:
                    jobs[provider, state] += some
                    overdue[provider, state] += late
        return {
            "jobs": [
                {"provider": provider, "state": state, "count": count, "overdue": overdue[provider, state]}
                for (provider, state), count in jobs.items()
            ],
            "callbacks_overdue": {provider: count for provider, count in silent.items() if count},
            "dispatches_ready": ready,
            "oldest_dispatch": min(readies, default=None),
            "due": due,
            "oldest_due": min(dues, default=None),
            "dispatches_dead": dead,
            "files_waiting": dict(files),
        }

    def begin(self, *, now: int) -> None:
        """Count for the first time, so that whoever asks first need not wait for all of it."""
        self._task = asyncio.create_task(self._count(now))
        # Whoever asks is told of a failure by the next count.
        self._task.add_done_callback(lambda task: None if task.cancelled() else task.exception())

    async def soon(self, *, now: int, patience: float) -> tuple[dict[str, Any], int]:
        """The figures and of when they are: of now if that takes no longer than *patience* seconds, else the last.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._count(now))
        done, _ = await asyncio.wait({self._task}, timeout=None if self._last is None else patience)
        if done:
            self._task.result()
        assert self._last is not None  # noqa: S101  (without it the counting was waited for)
        return self._last

    async def close(self) -> None:
        """Stop counting."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _count(self, now: int) -> dict[str, Any]:
        found = await self(now=now)
        self._last = found, now
        return found

    async def _ranges(self, rows: _Rows, *, now: int, state: str = "") -> AsyncIterator[list[list[Any]]]:
        after: str | None = ""
        while after is not None:
            after, counted = await self._read(_range, rows, after, {"now": now, "state": state})
            yield counted


def _range(
    tx: Transaction, rows: _Rows, after: str, params: dict[str, Any]
) -> tuple[str | None, list[list[Any]]]:
    """Count one range, from *after* on; where the next one begins, if there is one."""
    beyond = {"after": after, "size": _RANGE - 1}
    found = tx.run(
        f"SELECT {rows.column} FROM {rows.table} WHERE {rows.where} AND {rows.column} > :after "
        f"ORDER BY {rows.column} LIMIT 1 OFFSET :size",
        params | beyond,
    )
    until = found[0][0] if found else None
    limit = f"{rows.column} > :after" + ("" if until is None else f" AND {rows.column} <= :until")
    values = params | {"after": after} | ({} if until is None else {"until": until})
    return until, [tx.run(one.format(range=limit), values) for one in rows.statements]
