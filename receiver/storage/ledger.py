"""The working set of one transaction: the jobs it touches, what it decided, and the writes that follow.

Everything that changes a job goes through here, so there is one place where a completion becomes dispatches.
Rows are locked and written in the order of their keys: unsorted overlapping batches deadlock on PostgreSQL.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import replace

from receiver.core.identity import ATTEMPT as ATTEMPT_PREFIX
from receiver.core.identity import new_id
from receiver.core.model import Attempt, Dispatch, Due, HandlerSpec, Job, Step
from receiver.core.transition import Move, expires_at
from receiver.storage import rows
from receiver.storage.driver import Transaction, names

#: The replay id of the one late completion that may follow ``timed_out``: it keeps its dispatches apart from
#: those that the time-out already made.
LATE: Final = "late"

_INSERT_JOB = rows.insert("job", rows.JOB)
_UPDATE_JOB = rows.update_job()
_FIND_REMOTE = """
    SELECT id FROM job WHERE provider = :provider AND remote_id = :remote_id
    ORDER BY CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END, id DESC LIMIT 1"""
_DROP_PARTS = "DELETE FROM result_chunk WHERE job_id = :id AND part <> :part"
_INSERT_ATTEMPT = rows.insert("attempt", rows.ATTEMPT)
_INSERT_DISPATCH = rows.insert("dispatch", rows.DISPATCH) + " ON CONFLICT DO NOTHING"
# A row that is being worked on keeps its lease; what it is told meanwhile is looked at when it is settled.
_LOOK = (
    rows.insert("due", rows.DUE)
    + """ ON CONFLICT (job_id, step) DO UPDATE SET
    run_at = CASE WHEN due.owner IS NULL AND excluded.run_at < due.run_at THEN excluded.run_at
                  ELSE due.run_at END,
    expires_at = coalesce(excluded.expires_at, due.expires_at),
    result_url = coalesce(excluded.result_url, due.result_url),
    candidate_id = coalesce(excluded.candidate_id, due.candidate_id)"""
)


class Ledger:
    """Collects what a transaction does to jobs, and writes it at the end."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.jobs: dict[str, Job] = {}
        self._handlers: list[HandlerSpec] | None = None
        self._new: set[str] = set()
        self._changed: set[str] = set()
        self._ended: set[str] = set()
        self._kept_parts: dict[str, int] = {}
        self._looks: dict[str, Due] = {}
        self._dispatches: list[Dispatch] = []
        self._attempts: list[Attempt] = []

    def load(self, ids: Iterable[str]) -> None:
        """Lock and read the jobs that are not in the working set yet; unknown ids are simply absent."""
        missing = sorted(set(ids) - self.jobs.keys())
        if not missing:
            return
        where, params = names("id", missing)
        sql = f"SELECT {rows.JOB} FROM job WHERE id IN ({where}) ORDER BY id {{for_update}}"
        for row in self._tx.run(sql, params):
            self.jobs[row[0]] = rows.job_of(row)

    def named(self, provider: str, remote_id: str) -> Job | None:
        """The job that the provider calls *remote_id*: the newest open one, where it uses an id again."""
        found = self._tx.run(_FIND_REMOTE, {"provider": provider, "remote_id": remote_id})
        self.load(row[0] for row in found)
        # Among them are jobs of this very transaction, which are not in the table yet.
        known = [job for job in self.jobs.values() if (job.provider, job.remote_id) == (provider, remote_id)]
        return max(known, key=lambda job: (not job.state.ended, job.id), default=None)

    def add(self, job: Job) -> None:
        """Record a new job."""
        self.jobs[job.id] = job
        self._new.add(job.id)

    def put(self, job: Job) -> None:
        """Record a change of a job that is no move (a count, an intent)."""
        self.jobs[job.id] = job
        self._changed.add(job.id)

    def carry_out(self, move: Move, *, now: int, candidate_id: str | None = None) -> None:
        """Record a move: the job, and with a completion its dispatches."""
        job = move.job
        self.put(job)
        if move.completed:
            self._ended.add(job.id)
            self._looks.pop(job.id, None)
            self._kept_parts[job.id] = -1 if job.held is None or job.held.callback_id else job.held.offset
            self.dispatch(job, now=now, replay_id=LATE if move.late else "")
        elif move.look_now:
            self.look(job, run_at=now, result_url=move.result_url, candidate_id=candidate_id)

    def dispatch(self, job: Job, *, now: int, replay_id: str, handler: str | None = None) -> list[str]:
        """Make the dispatches of a completion; return the handlers that get one."""
        wanted = [
            spec.name
            for spec in self.handlers()
            if (spec.wants(job.provider, job.state) if handler is None else spec.name == handler)
        ]
        self._dispatches += (
            Dispatch(job_id=job.id, handler=name, replay_id=replay_id, run_at=now, created_at=now)
            for name in wanted
        )
        return wanted

    def look(
        self, job: Job, *, run_at: int, result_url: str | None = None, candidate_id: str | None = None
    ) -> None:
        """Have the worker ask the provider about *job* at *run_at*, or earlier if it was to do so anyway."""
        before = self._looks.get(job.id)
        self._looks[job.id] = Due(
            job_id=job.id,
            step=Step.LOOK,
            provider=job.provider,
            run_at=run_at if before is None else min(run_at, before.run_at),
            expires_at=expires_at(job),
            result_url=result_url or (before.result_url if before else None),
            candidate_id=candidate_id or (before.candidate_id if before else None),
        )

    def log(self, attempt: Attempt) -> None:
        """Add a line to a job's timeline."""
        self._attempts.append(attempt)

    def note(self, job_id: str, *, step: str, outcome: str, code: str, now: int, **detail: Any) -> None:  # noqa: ANN401
        """Add a line to a job's timeline about something that took no time."""
        self.log(
            Attempt(
                id=new_id(ATTEMPT_PREFIX, now),
                job_id=job_id,
                step=step,
                started_at=now,
                outcome=outcome,
                code=code,
                detail=detail,
            )
        )

    def handlers(self) -> Sequence[HandlerSpec]:
        """The handlers registered in the store, by any node."""
        if self._handlers is None:
            found = self._tx.run("SELECT name, provider, state FROM handler ORDER BY name")
            self._handlers = [
                HandlerSpec(name=name, provider=provider, state=state) for name, provider, state in found
            ]
        return self._handlers

    def flush(self) -> None:
        """Write everything, each table in the order of its keys."""
        tx = self._tx
        tx.many(_INSERT_JOB, [rows.job_params(self.jobs[one]) for one in sorted(self._new)])
        changed = sorted(self._changed - self._new)
        tx.many(_UPDATE_JOB, [rows.job_params(self.jobs[one]) for one in changed])
        tx.many(
            "DELETE FROM due WHERE job_id = :id", [{"id": one} for one in sorted(self._ended - self._new)]
        )
        # What earlier looks began to store and did not finish.
        tx.many(_DROP_PARTS, [{"id": one, "part": self._kept_parts[one]} for one in sorted(self._kept_parts)])
        tx.many(_LOOK, [rows.due_params(self._looks[one]) for one in sorted(self._looks)])
        dispatches = [rows.dispatch_params(one) for one in self._dispatches]
        tx.many(_INSERT_DISPATCH, sorted(dispatches, key=itemgetter("job_id", "handler", "replay_id")))
        tx.many(_INSERT_ATTEMPT, [rows.attempt_params(one) for one in self._attempts])

    def count(self, job: Job) -> Job:
        """Count one more callback of *job*; return the job as it is then."""
        counted = replace(job, callbacks=job.callbacks + 1)
        self.put(counted)
        return counted
