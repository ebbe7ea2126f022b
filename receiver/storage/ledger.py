"""The working set of one transaction: the jobs it touches, what it decided, and the writes that follow.

Everything that changes a job goes through here, so there is one place where a completion becomes dispatches.
Rows are locked and written in the order of their keys: unsorted overlapping batches deadlock on PostgreSQL.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

from receiver.core.description.keeping import expires_at, late_look
from receiver.core.enum_members import TIMED_OUT
from receiver.core.handler import HandlerSpec
from receiver.core.identity import ATTEMPT as ATTEMPT_PREFIX
from receiver.core.identity import COMPLETION, new_id
from receiver.core.job import urgency
from receiver.core.job.standing import gathering
from receiver.core.job.transition import Move
from receiver.core.job.uniting import United
from receiver.core.model import Attempt, Due, Job, JobState, Step
from receiver.storage import rows
from receiver.storage.driver import Row, Transaction
from receiver.storage.lines import LINED, NEW_LINED
from receiver.storage.metadata import Given, read_given
from receiver.storage.nodes import specs
from receiver.storage.notices import Notices
from receiver.storage.results import drop_unfinished
from receiver.storage.united import absorb, led, second

# A row that is being worked on keeps its lease; what it is told meanwhile is looked at when it is settled.
_SOONER = """ON CONFLICT (job_id, step) DO UPDATE SET
    run_at = CASE WHEN due.owner IS NULL AND excluded.run_at < due.run_at THEN excluded.run_at
                  ELSE due.run_at END,
    expires_at = coalesce(excluded.expires_at, due.expires_at),
    result_url = coalesce(excluded.result_url, due.result_url),
    candidate_id = coalesce(excluded.candidate_id, due.candidate_id),
    lane = CASE WHEN excluded.lane < due.lane THEN excluded.lane ELSE due.lane END,
    urgent_at = coalesce(excluded.urgent_at, due.urgent_at)"""


class Ledger:
    """Collects what a transaction does to jobs, and writes it at the end."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.jobs: dict[str, Job] = {}
        #: What the table has of each besides its outcome.
        self._besides: dict[str, Row] = {}
        #: For each name that was looked up, the jobs of the working set that bear it.
        self._called: dict[tuple[str, str | None], set[str]] = {}
        self._handlers: Sequence[HandlerSpec] | None = None
        #: The handlers that want a completion whatever its metadata, or depending on that, by its provider and state.
        self._wanted: dict[tuple[str, JobState], tuple[list[str], list[HandlerSpec]]] = {}
        self._given: dict[str, Given] = {}
        #: The handlers that order their completions, by name.
        self._ordering: dict[str, HandlerSpec] = {}
        #: The sinks that are told in this very transaction.
        self._notices = Notices(tx)
        self._lined: list[Row] = []
        self._new: set[str] = set()
        self._changed: set[str] = set()
        self._renamed: set[str] = set()
        self._counted: set[str] = set()
        #: The jobs that have ended, each with the part that its result is, if it is one.
        self._ended: dict[str, int | None] = {}
        self._looks: dict[str, Due] = {}
        #: The jobs whose results are to be read for the files that they link to.
        self._gathers: dict[str, Due] = {}
        #: The jobs that are another by now, each with that one's id; and those that became so in this transaction.
        self._led: dict[str, str] = {}
        #: Jobs that became one, with the replay id of the outcome that the older inherits.
        self._united: list[tuple[United, str]] = []
        self._dispatches: list[Row] = []
        self._attempts: list[Attempt] = []
        self._completions: list[Row] = []

    def open(self, ids: Iterable[str] = (), *, named: Iterable[tuple[str, str | None]] = ()) -> None:
        """Lock and read jobs, by id and by (provider, remote id); unknown ones are simply absent.

        All at once and in one order, so that two transactions never wait for each other; and whoever decides about
        a name is alone with it, or two nodes would both find nobody of that name and each make a job of it.
        """
        called = sorted({(provider, remote_id) for provider, remote_id in named if remote_id is not None})
        wanted = set(ids)
        if called:
            self._tx.guard([f"{provider}\0{remote_id}" for provider, remote_id in called])
            wanted.update(self._find(called))
        if not wanted:
            return
        self._load(wanted)
        if missing := wanted - self.jobs.keys():
            self._led |= {one: into for one, (into, _) in led(self._tx, missing).items()}
            self._load(self._led[one] for one in missing & self._led.keys())

    def get(self, job_id: str) -> Job | None:
        """The job at hand of that id, or the one that it has become."""
        return self.jobs.get(self.led(job_id))

    @property
    def leads(self) -> bool:
        """Whether a job at hand is known by another id too."""
        return bool(self._led)

    def led(self, job_id: str) -> str:
        """The id under which a job at hand is known now."""
        return self._led.get(job_id, job_id)

    def named(self, provider: str, remote_id: str) -> Job | None:
        """The job that the provider calls *remote_id*: the newest open one, where it uses an id again.

        Names that ``open`` was given cost nothing here; any other is looked for by itself, among all jobs at hand.
        """
        name = (provider, remote_id)
        if name not in self._called:
            self._load(self._find([name]))
        # Among them are jobs of this very transaction, which are not in the table yet.
        known = [self.jobs[one] for one in self._called[name]]
        return max(
            (job for job in known if job.remote_id == remote_id and job.id not in self._led),
            key=lambda job: (not job.state.ended, job.id),
            default=None,
        )

    def _load(self, ids: Iterable[str]) -> None:
        missing = sorted(set(ids) - self.jobs.keys())
        if not missing:
            return
        where, params = self._tx.among("id", missing)
        sql = f"SELECT {rows.JOB} FROM job WHERE {where} ORDER BY id {{for_update}}"
        for row in self._tx.run(sql, params):
            job = rows.job_of(row)
            self._besides[job.id] = row[rows.BESIDES]
            self._keep(job)

    def _find(self, called: Sequence[tuple[str, str]]) -> list[str]:
        """The id of the newest open job of each name, or of the newest."""
        best: dict[tuple[str, str], tuple[bool, str]] = {}
        for provider, names in groupby(called, key=itemgetter(0)):
            where, params = self._tx.among("remote_id", [remote_id for _, remote_id in names])
            sql = f"SELECT remote_id, ended_at IS NULL, id FROM job WHERE provider = :provider AND {where}"
            for remote_id, is_open, job_id in self._tx.run(sql, {"provider": provider} | params):
                name, one = (provider, remote_id), (bool(is_open), job_id)
                best[name] = max(best.get(name, one), one)
        for name in called:
            self._called[name] = {
                job.id for job in self.jobs.values() if (job.provider, job.remote_id) == name
            }
        return [job_id for _, job_id in best.values()]

    def _keep(self, job: Job) -> None:
        self.jobs[job.id] = job
        if self._called and (called := self._called.get((job.provider, job.remote_id))) is not None:
            called.add(job.id)

    def add(self, job: Job) -> None:
        """Record a new job."""
        self._keep(job)
        self._new.add(job.id)
        if job.state is not JobState.SUBMITTING:
            self._sighted(job, now=job.created_at)

    def put(self, job: Job, *, now: int | None = None) -> None:
        """Record a change of a job that is no move (an intent); *now* where its state may be another."""
        before = self.jobs[job.id]
        if now is not None and job.state is not before.state and not job.state.ended:
            self._sighted(job, now=now)
        if job.remote_id != before.remote_id:
            self._renamed.add(job.id)
            self._keep(job)
        self.jobs[job.id] = job
        self._changed.add(job.id)

    def unite(self, united: United) -> None:
        """Have two jobs be one from now on; what belonged to the younger is moved when everything else is written."""
        job, absorbed = united.job, united.absorbed
        self.put(job)
        self._led[absorbed.id] = job.id
        replay_id = second(self._tx, job.id) if united.late else ""
        self._united.append((united, replay_id))
        self._looks.pop(absorbed.id, None)
        if (gather := self._gathers.pop(absorbed.id, None)) is not None:
            self._gathers[job.id] = replace(gather, job_id=job.id)
        if united.inherits:
            self._looks.pop(job.id, None)
            self._ended[job.id] = None
            # Nobody knew the metadata of the younger job: handlers that choose by metadata hear of its end only now.
            for name in self._choosing(job):
                self._dispatch(job, name, replay_id, now=job.ended_at or 0)

    def count(self, job_id: str, *, first: str | None = None) -> None:
        """Count one more callback of a job; *first* is its id if it is the first, which the job then names."""
        job = self.jobs[job_id]
        if first is None:
            self.jobs[job_id] = replace(job, callbacks=job.callbacks + 1)
            self._counted.add(job_id)
        else:
            self.jobs[job_id] = replace(job, callbacks=job.callbacks + 1, first_callback=first)
            self._changed.add(job_id)

    def carry_out(self, move: Move, *, now: int, candidate_id: str | None = None) -> None:
        """Record a move: the job, and with a completion its dispatches."""
        job, before = move.job, self.jobs[move.job.id]
        self.put(job, now=now)
        if job.attention is not None and (job.attention, job.word) != (before.attention, before.word):
            self.note(job.id, step="state", outcome="noted", code=job.attention, now=now, word=job.word)
        if move.taken:
            self._ended[job.id] = None if job.held is None or job.held.callback_id else job.held.offset
            self._looks.pop(job.id, None)
        if move.gather:
            self._gathers[job.id] = self._due(job, Step.FILES, run_at=now)
        if move.completed:
            replay_id = second(self._tx, job.id) if move.late or move.found else ""
            told = new_id(COMPLETION, now)
            self.dispatch(job, now=now, replay_id=replay_id, told=told)
            self._completions.append((told, job.id, replay_id, job.provider, job.state._value_))
            if job.state is TIMED_OUT and (again := late_look(job, now=now)) is not None:
                self.look(job, run_at=again)
        elif move.look_now:
            self.look(job, run_at=now, result_url=move.result_url, candidate_id=candidate_id)

    def dispatch(
        self, job: Job, *, now: int, replay_id: str, handler: str | None = None, told: str | None = None
    ) -> list[str]:
        """Make the dispatches of a completion, whose id is *told* if it is new; return the handlers that get one."""
        if handler is None:
            wanted = self.wanted(job)
        else:
            wanted = [spec.name for spec in self.handlers() if spec.name == handler]
        for name in wanted:
            self._dispatch(job, name, replay_id, now=now, told=told)
        return wanted

    def _dispatch(self, job: Job, name: str, replay_id: str, *, now: int, told: str | None = None) -> None:
        if name in self._notices:
            placed = replace(job, traceparent=self._given_of(job.id).traceparent)
            if (told_now := self._notices.tell(placed, name, replay_id, now=now)) is not None:
                self.log(told_now)
                return
        row = rows.new_dispatch(job.id, name, replay_id, now)
        if self._ordering and (spec := self._ordering.get(name)) is not None:
            by_metadata = (spec.ordered_by or "").startswith("metadata.")
            line = spec.line(job, self._metadata_of(job.id) if by_metadata else {})
            if line is not None:
                lined = rows.new_dispatch(job.id, name, replay_id, now, state=LINED)
                self._lined.append((*lined, line, told or new_id(COMPLETION, now)))
                return
        self._dispatches.append(row)

    def _lines_of(self, job: Job) -> dict[str, str | None]:
        """The line in which dispatches of *job* stand, by each handler that orders its completions."""
        self.handlers()
        return {name: spec.line(job, self._metadata_of(job.id)) for name, spec in self._ordering.items()}

    def wanted(self, job: Job) -> list[str]:
        """The handlers that want the completion of *job*."""
        anyway, depending = self._asked(job)
        return sorted([*anyway, *self._choosing(job)]) if depending else anyway

    def _asked(self, job: Job) -> tuple[list[str], list[HandlerSpec]]:
        completion = (job.provider, job.state)
        found = self._wanted.get(completion)
        if found is None:
            asked = [spec for spec in self.handlers() if spec.wants(*completion)]
            found = [one.name for one in asked if not one.metadata], [one for one in asked if one.metadata]
            self._wanted[completion] = found
        return found

    def _choosing(self, job: Job) -> list[str]:
        """The handlers that want the completion of *job* for its metadata."""
        _, depending = self._asked(job)
        return [one.name for one in depending if one.accepts(self._metadata_of(job.id))] if depending else []

    def _metadata_of(self, job_id: str) -> dict[str, Any]:
        return self._given_of(job_id).metadata

    def _given_of(self, job_id: str) -> Given:
        """What was given with a job; read for all jobs at hand at once, and only where a handler depends on it."""
        if job_id not in self._given:
            ids = sorted({job_id, *self.jobs} - self._given.keys())
            self._given |= dict.fromkeys(ids, Given({}, None)) | read_given(self._tx, ids)
        return self._given[job_id]

    def _sighted(self, job: Job, *, now: int) -> None:
        """Make the dispatches of a state on the way to an end that is seen for the first time."""
        for spec in self.handlers():
            if spec.hears(job.provider, job.state) and (
                not spec.metadata or spec.accepts(self._metadata_of(job.id))
            ):
                self._dispatch(job, spec.name, job.state.value, now=now)

    def look(
        self, job: Job, *, run_at: int, result_url: str | None = None, candidate_id: str | None = None
    ) -> None:
        """Have the worker ask the provider about *job* at *run_at*, or earlier if it was to do so anyway."""
        if gathering(job):
            return  # its result is here: there is nothing to ask
        before = self._looks.get(job.id)
        if before is not None:
            run_at = min(run_at, before.run_at)
        self._looks[job.id] = replace(
            self._due(job, Step.LOOK, run_at=run_at),
            result_url=result_url or (before.result_url if before else None),
            candidate_id=candidate_id or (before.candidate_id if before else None),
        )

    @staticmethod
    def _due(job: Job, step: Step, *, run_at: int) -> Due:
        deletion = expires_at(job)
        urgent_at = urgency.urgent_at(job, deletion)
        return Due(
            job_id=job.id,
            step=step,
            provider=job.provider,
            run_at=run_at,
            expires_at=deletion,
            lane=urgency.lane(job, run_at=run_at, urgent_at=urgent_at),
            urgent_at=urgent_at,
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
            self._handlers = specs(self._tx)
            self._ordering = {one.name: one for one in self._handlers if one.ordered_by is not None}
            self._notices.are(self._handlers)
        return self._handlers

    def flush(self) -> None:
        """Write everything, once, each table in the order of its keys."""
        tx, jobs = self._tx, self.jobs
        # Most of it is empty for a lone callback, whose commit nobody shares.
        if self._new:
            tx.insert("job", rows.JOB, [rows.job_params(jobs[one]) for one in sorted(self._new)])
        self._progress(sorted(self._changed - self._new))
        if self._counted:
            counted = sorted(self._counted - self._changed - self._new)
            tx.update("job", "callbacks", [(jobs[one].callbacks, one) for one in counted], key="id")
        if self._renamed:
            renamed = sorted(self._renamed - self._new)
            tx.update("job", "remote_id", [(jobs[one].remote_id, one) for one in renamed], key="id")
        self._end(sorted(self._ended.keys() - self._new))
        for due in filter(None, (self._looks, self._gathers)):
            tx.insert("due", rows.DUE, [rows.due_params(due[one]) for one in sorted(due)], conflict=_SOONER)
        tx.insert("dispatch", rows.NEW_DISPATCH, sorted(self._dispatches), conflict="ON CONFLICT DO NOTHING")
        if self._lined:
            tx.insert("dispatch", NEW_LINED, sorted(self._lined), conflict="ON CONFLICT DO NOTHING")
        tx.insert("unplaced", rows.COMPLETION, sorted(self._completions))
        if self._attempts:
            tx.insert("attempt", rows.ATTEMPT, [rows.attempt_params(one) for one in self._attempts])
        for united, replay_id in self._united:
            absorb(tx, united, replay_id=replay_id, ordered=self._lines_of(united.job))
        if self._looks or self._gathers or self._dispatches or self._lined:
            tx.announce()

    def _progress(self, ids: Sequence[str]) -> None:
        """Set what has changed of jobs, which is their outcome alone for most of them."""
        outcomes: list[Row] = []
        others: list[Row] = []
        for one in ids:
            values = rows.progress_params(self.jobs[one])
            if values[rows.BESIDES] == self._besides[one]:
                outcomes.append((*values[rows.OUTCOME], one))
            else:
                others.append((*values, one))
        self._tx.update("job", rows.JOB_OUTCOME, outcomes, key="id")
        self._tx.update("job", rows.JOB_PROGRESS, others, key="id")

    def _end(self, ids: Sequence[str]) -> None:
        """Forget what was still to be done for jobs that have ended, and what looks left unfinished."""
        if not ids:
            return
        where, params = self._tx.among("job_id", ids)
        self._tx.write(f"DELETE FROM due WHERE {where}", params)
        drop_unfinished(self._tx, {one: self._ended[one] for one in ids})
