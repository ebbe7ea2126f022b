"""Jobs as a provider keeps them: accepted once, running for a while, ended once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from receiver.simulator.faults import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.simulator.documents import JSON
    from receiver.simulator.tasks import Tasks


class JobState(StrEnum):
    """Where a job is; each provider has its own words for it."""

    #: Accepted, waiting; left by its start.
    CREATED = "created"
    #: At work; left by its end or a cancellation.
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a request asks a provider to run, read from its body.

    Attributes:
        request: The body's JSON, or a form's fields.
        base_url: The provider's address as the client sees it.
        operation: Which endpoint, or which mode of it.
        callback_url: Where the end is to be told.
        callback_secret: What the callback is to be signed with.
        idempotency_key: Makes a second submission the same job.
    """

    request: JSON
    base_url: str
    operation: str = ""
    callback_url: str | None = None
    callback_secret: str | None = field(default=None, repr=False)
    idempotency_key: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One accepted, and billed, submission."""

    id: str
    provider: str
    submission: Submission
    plan: Plan = field(default_factory=Plan)
    state: JobState = JobState.CREATED
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    downloads: int = 0
    #: How often links to its files were given out, and how often each of these has changed.
    issued: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.ended_at is not None

    @property
    def changed_at(self) -> datetime:
        """When its state changed last."""
        return self.ended_at or self.started_at or self.created_at

    def view(self) -> dict[str, Any]:
        """Return what the control API shows of it; the callback's secret is not part of that."""
        return {
            "id": self.id,
            "provider": self.provider,
            "operation": self.submission.operation,
            "state": self.state.value,
            "request": self.submission.request,
            "callback_url": self.submission.callback_url,
            "idempotency_key": self.submission.idempotency_key,
            "faults": [{"name": f.name, **f.parameters()} for f in self.plan.faults],
            "created_at": self.created_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "downloads": self.downloads,
        }


class Jobs:
    """The jobs of one provider, oldest first; beyond *keep*, the oldest that have ended are forgotten."""

    def __init__(
        self,
        *,
        provider: str,
        run_seconds: float | None,
        keep: int,
        tasks: Tasks,
        changed: Callable[[Job], None],
    ) -> None:
        self._provider = provider
        self._run_seconds = run_seconds
        self._keep = keep
        self._tasks = tasks
        self._changed = changed
        self._by_id: dict[str, Job] = {}
        self._by_key: dict[str, Job] = {}

    def all(self) -> list[Job]:
        """Return every job, in the order of acceptance."""
        return list(self._by_id.values())

    def get(self, job_id: str) -> Job | None:
        """Return the job called *job_id*, if there is one."""
        return self._by_id.get(job_id)

    def by_key(self, idempotency_key: str | None) -> Job | None:
        """Return the job that was submitted with *idempotency_key*, if there is one."""
        return self._by_key.get(idempotency_key) if idempotency_key else None

    def open(self, job_id: str, submission: Submission, *, plan: Plan) -> Job:
        """Accept *submission*; the job does not run yet."""
        job = Job(
            id=job_id,
            provider=self._provider,
            submission=submission,
            plan=plan,
            created_at=datetime.now(UTC),
        )
        self._by_id[job_id] = job
        if submission.idempotency_key:
            self._by_key[submission.idempotency_key] = job
        if len(self._by_id) > self._keep:
            self._forget_one()
        return job

    def _forget_one(self) -> None:
        oldest = next((job for job in self._by_id.values() if job.done), None)
        if oldest is not None:
            del self._by_id[oldest.id]
            if oldest.submission.idempotency_key:
                self._by_key.pop(oldest.submission.idempotency_key, None)

    def start(self, job: Job) -> None:
        """Let *job* run; it ends by itself unless jobs are to be released or it is never to end."""
        self._tasks.spawn(self._run(job))

    async def _run(self, job: Job) -> None:
        seconds = self._run_seconds
        # A quarter of its time a job waits, so that a client can see the state before "running".
        await asyncio.sleep((seconds or 0) / 4)
        if job.done:
            return
        job.state, job.started_at = JobState.RUNNING, datetime.now(UTC)
        self._changed(job)
        if seconds is not None and "never" not in job.plan:
            await asyncio.sleep(seconds * 3 / 4)
            self.finish(job)

    def finish(self, job: Job, state: JobState | None = None) -> bool:
        """End *job* in *state*, by default as planned; False if it had ended before."""
        if job.done:
            return False
        job.state = state or (JobState.FAILED if "failed" in job.plan else JobState.SUCCEEDED)
        job.ended_at = datetime.now(UTC)
        job.started_at = job.started_at or job.ended_at
        job.ended.set()
        self._changed(job)
        return True
