"""What must always hold, as the design and the issue put it; nothing here was read off the code."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tests.model.apis import SECOND, STATES
from tests.model.handlers import ATTEMPTS, NAMES, Diary, Run

if TYPE_CHECKING:
    from tests.model.deliveries import Deliveries
    from tests.model.history import History
    from tests.model.loop import ModelLoop
    from tests.model.provider import Providers
    from tests.model.record import JobRow, Record
    from tests.model.remote import Remote

#: How far right a state is; states only move to the right.
_RANKS: Final = {"submitting": 0, "submitted": 1, "running": 2, "fetching": 3}
_LAST: Final = 4
#: A look at a job whose time is up: at most so long before its end is told. A hanging answer takes a minute.
_RECENT: Final = 180 * SECOND
#: An answer is held while the database is away: it comes back within that time.
_HELD: Final = 600 * SECOND
#: Of one job's duplicates so many are kept whole.
_KEPT: Final = 20


class Oracle:
    """Watches the record along the way, and judges it when the dust has settled."""

    def __init__(
        self,
        record: Record,
        providers: Providers,
        deliveries: Deliveries,
        diary: Diary,
        history: History,
        loop: ModelLoop,
    ) -> None:
        self._record = record
        self._providers = providers
        self._deliveries = deliveries
        self._diary = diary
        self._history = history
        self._loop = loop
        self._seen: dict[str, JobRow] = {}
        #: The ends that each job has had.
        self._ends: defaultdict[str, list[str]] = defaultdict(list)
        #: When nodes were killed.
        self.kills: list[int] = []

    # -- along the way -------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Compare each job with what it was."""
        for job in self._record.jobs():
            before = self._seen.get(job.id)
            if before == job:
                continue
            self._seen[job.id] = job
            self._history.tell(
                "job", id=job.id, order=job.order, state=job.state, remote=job.remote_id, by=job.settled_by,
                code=job.error_code, wish=job.cancel_requested_at and "cancel",
            )  # fmt: skip
            self._check_step(before, job)
            if job.ended and (before is None or before.state != job.state):
                self._ends[job.id].append(job.state)
                self._check_end(job)
        for one in self._record.united():
            if self._seen.pop(one, None) is not None:
                self._history.tell("job became another", id=one)

    def _check_step(self, before: JobRow | None, job: JobRow) -> None:
        if before is None:
            return
        was, now = _RANKS.get(before.state, _LAST), _RANKS.get(job.state, _LAST)
        late = before.state == "timed_out" or (before.state == "expired" and job.state == "succeeded")
        if now < was or (was == _LAST and before.state != job.state and not (late and job.ended)):
            self._breaks("states only move to the right", job, f"{before.state} became {job.state}")
        if len(self._ends[job.id]) > 3:
            self._breaks("a job has one completion, and late ones", job, str(self._ends[job.id]))
        if before.remote_id is not None and job.remote_id != before.remote_id:
            self._breaks("a job keeps its name", job, f"{before.remote_id} became {job.remote_id}")

    def _check_end(self, job: JobRow) -> None:
        """No clock ends a job before one authenticated look wherever there is an address to ask."""
        one = self._providers.remotes.get(job.remote_id or "")
        if one is None or not one.api.has_status or job.state not in {"timed_out", "expired"}:
            return
        if job.state == "expired" and "gone" in one.said:
            return
        last = max((at for at, _ in one.looks), default=None)
        if last is None or last < self._loop.now - _RECENT:
            self._breaks("no clock ends a job without a look", job, f"{one.id} was last asked at {last}")

    # -- in the end ----------------------------------------------------------------------------------------

    def quiet(self) -> bool:
        """Whether nothing is left to wait for."""
        if any(not job.ended for job in self._seen.values()):
            return False
        if any(state == "ready" for _, _, _, state, _ in self._record.dispatches()):
            return False
        return not list(self._missing())

    def judge(self) -> None:
        """Check everything once more, when every wait must have ended."""
        self.watch()
        for job in self._seen.values():
            if not job.ended:
                self._breaks("every wait ends", job, f"it is still {job.state}")
            else:
                self._check_outcome(job)
                self._check_handlers(job)
        for dispatch in self._record.dispatches():
            self._check_dispatch(*dispatch)
        for one, why in self._missing():
            self._history.breaks("a result that the provider still has is stored", f"{one.id}: {why}")
        self._check_identity()
        self._check_answers()
        self._check_callbacks()

    def _missing(self) -> list[tuple[Remote, str]]:
        """The jobs whose end could have been learned, and was not."""
        found = []
        for one in self._providers.remotes.values():
            jobs = [job for job in self._seen.values() if job.remote_id == one.id]
            told = bool(self._deliveries.acked["end", one.id])
            known = told if not one.api.has_status else (one.named or bool(jobs))
            if not one.ended(self._loop.now) or not known:
                continue
            truth = STATES[one.outcome]
            if not one.patient() and not (told and (one.api.posts_results or truth != "succeeded")):
                continue
            lost = {"expired"} if one.spent or "gone" in one.said else set()
            if told and one.api.posts_results and truth == "succeeded":
                # Who was sent the result, and said so, has it, whatever it took for gone before.
                lost = set()
            if not any(job.state in {truth} | lost | one.said for job in jobs):
                states = [(job.id, job.state, job.error_code) for job in jobs]
                found.append((one, f"it is {truth}, and our jobs of that name are {states}"))
        return found

    def _check_outcome(self, job: JobRow) -> None:
        """A job ends as an authenticated source said, or by a clock."""
        one = self._providers.remotes.get(job.remote_id or "")
        if job.remote_id is not None and one is None:
            self._breaks("forged callbacks change nothing", job, f"it is called {job.remote_id}")
        match job.state:
            case "failed" if job.error_code == "never_accepted":
                if job.order is not None and self._providers.bills.get(job.order):
                    self._breaks("nothing that was sent is told as not sent", job, "its provider has it")
            case "failed" if one is None or "failed" not in one.said:
                if job.order not in self._providers.refused and job.order not in self._providers.put_off:
                    self._breaks("a job fails only where its provider says so", job, f"{job.error_code}")
            case "succeeded" | "canceled" if one is None or job.state not in one.said:
                self._breaks("only an authenticated source ends a job", job, f"nobody said {job.state}")
            case "expired":
                self._check_expired(job, one)
            case "timed_out" if job.cancel_requested_at is not None and one is not None:
                if one.api.cancels and not one.cancels:
                    self._breaks("a wish to cancel is sent once the name is known", job, "it never was")

    def _check_expired(self, job: JobRow, one: Remote | None) -> None:
        if one is None or "gone" in one.said or one.spent or one.deleted(self._loop.now):
            return
        self._breaks("nothing that the provider still has is expired", job, f"{one.id}: {one.looks[-3:]}")

    def _check_handlers(self, job: JobRow) -> None:
        """Each handler that wants a completion was called with it."""
        runs = [run for run in self._diary.runs if run.job == job.id]
        for name, (wanted, _) in NAMES.items():
            if wanted not in {"any", job.state}:
                continue
            mine = [run for run in runs if run.handler == name and run.state == job.state]
            if not mine:
                self._breaks("handlers hear of every completion", job, f"{name} never ran")
            self._check_keys(job, name, [run for run in runs if run.handler == name])

    def _check_keys(self, job: JobRow, name: str, runs: list[Run]) -> None:
        """One completion makes one dispatch for each handler."""
        keys = {run.key for run in runs if run.key.partition(f":{run.handler}")[2] in {"", ":late", ":found"}}
        if len(keys) > max(len(self._ends[job.id]), 1):
            self._breaks("one dispatch for each completion", job, f"{name} has {sorted(keys)}")

    def _check_dispatch(
        self, job_id: str, handler: str, replay_id: str, state: str, code: str | None
    ) -> None:
        job = self._seen[job_id]
        if state != "dead":
            self._breaks("every wait ends", job, f"the dispatch to {handler} is {state}")
            return
        key = ":".join(filter(None, (job_id, handler, replay_id)))
        if (failed := self._diary.failures(key)) < ATTEMPTS:
            self._breaks(
                "only what fails by itself dies", job, f"{handler} failed {failed} times, then {code}"
            )

    def _check_identity(self) -> None:
        """One remote job is one job of ours, and it is its caller's."""
        by_name, by_order = defaultdict(list), defaultdict(list)
        for job in self._seen.values():
            by_name[job.remote_id].append(job)
            by_order[job.order].append(job)
        for one in self._providers.remotes.values():
            jobs = by_name[one.id]
            if len(jobs) > 1:
                self._breaks("one remote job is one job of ours", jobs[0], f"{[job.id for job in jobs]}")
            recognised = one.api.idempotent or one.api.marks or not one.api.account_wide
            if jobs and recognised and jobs[0].order != one.order and by_order[one.order]:
                self._breaks(
                    "a result comes to its caller's job", jobs[0], f"{one.id} is of order {one.order}"
                )

    def _check_answers(self) -> None:
        """An answer that arrived is recorded, unless its node was killed: a stop waits for that."""
        names = {job.remote_id for job in self._seen.values()}
        for one in self._providers.remotes.values():
            if one.answered is None or one.id in names:
                continue
            asked, told = one.answered
            if not any(asked <= kill <= told + _HELD for kill in self.kills):
                self._history.breaks("an answer that arrived is recorded", f"{one.id} was answered at {told}")

    def _check_callbacks(self) -> None:
        """What was acknowledged is kept, or past the bound counted."""
        kept = defaultdict(list)
        for job_id, verdict, body in self._record.callbacks():
            told = json.loads(body)
            kept[told["event"], told["id"]].append((job_id, verdict))
        for (event, name), acked in self._deliveries.acked.items():
            found = [verdict for _, verdict in kept[event, name] if verdict != "rejected"]
            counted = any(
                job_id in self._seen and self._seen[job_id].callbacks > _KEPT
                for job_id, _ in kept[event, name]
            )
            if len(found) < acked and not counted:
                self._history.breaks(
                    "no acknowledged callback is lost",
                    f"{name}: {event} was acknowledged {acked} times, kept {found}",
                )

    def _breaks(self, promise: str, job: JobRow, detail: str) -> None:
        self._history.breaks(promise, f"{job.id} (order {job.order}, {job.remote_id}): {detail}")
