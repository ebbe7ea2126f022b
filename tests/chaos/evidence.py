"""What must be true of the database once the damage is over and everything is quiet."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from receiver.core.job.admission import MOST_KEPT
from tests.path.world import until

from .databases import Row, rows
from .nodes import Cluster
from .report import Figures
from .traffic import Traffic

_ENDS = {"done": "succeeded", "broken": "failed", "stopped": "canceled"}
#: Seconds until everything has come to its end: the longest lease, of a submission whose sender is gone, is 90.
_PATIENCE = 120.0


@dataclass
class Record:
    """Everything that the database holds about one job, read past the receiver."""

    id: str
    state: str
    settled_by: str | None
    callbacks: int
    held_callback: str | None
    #: Id, verdict, code, delivery id, what it said.
    kept: list[tuple[str, str, str | None, str, str]]
    #: Step, handler, replay id, outcome.
    attempts: list[Row]

    @property
    def accepted_ends(self) -> list[str]:
        """The callbacks that ended the job."""
        return [id_ for id_, verdict, _, _, state in self.kept if verdict == "accepted" and state in _ENDS]

    @property
    def polled_ends(self) -> int:
        """How many polls ended the job."""
        return sum(step == "poll" and outcome in _ENDS.values() for step, _, _, outcome in self.attempts)

    def dispatched(self, handler: str) -> list[str]:
        """How the attempts of a handler came out, if their outcome is known."""
        return [row[3] for row in self.attempts if row[:2] == ("dispatch", handler)]


async def quiet(cluster: Cluster) -> None:
    """Wait until every job has ended and nothing is left to be done."""

    async def over() -> bool:
        left = await rows(
            cluster.database,
            "SELECT (SELECT count(*) FROM job WHERE ended_at IS NULL), (SELECT count(*) FROM due), "
            "(SELECT count(*) FROM dispatch WHERE state = 'ready')",
        )
        return left == [(0, 0, 0)]

    # Each look is a connection, which a busy machine feels.
    await until(over, patience=_PATIENCE, pause=0.1)


async def records(cluster: Cluster) -> dict[int, list[Record]]:
    """The jobs by the number of their order, as the provider calls them."""
    kept: defaultdict[str, list[Any]] = defaultdict(list)
    for job_id, *more, body in await rows(
        cluster.database, "SELECT job_id, id, verdict, code, delivery_id, body FROM callback ORDER BY id"
    ):
        kept[job_id].append((*more, json.loads(body)["state"]))
    attempts: defaultdict[str, list[Any]] = defaultdict(list)
    for job_id, *more in await rows(
        cluster.database, "SELECT job_id, step, handler, replay_id, outcome FROM attempt ORDER BY id"
    ):
        attempts[job_id].append(tuple(more))
    found: defaultdict[int, list[Record]] = defaultdict(list)
    for remote, job_id, state, settled_by, callbacks, held in await rows(
        cluster.database, "SELECT remote_id, id, state, settled_by, callbacks, held_callback FROM job"
    ):
        job = Record(job_id, state, settled_by, callbacks, held, kept[job_id], attempts[job_id])
        found[int(remote.removeprefix("r"))].append(job)
    return found


async def prove(
    load: Traffic, *, damage: str, fatal: frozenset[int] = frozenset(), alive: bool = True
) -> Figures:
    """Wait until it is quiet, and check every promise; *fatal* orders have a dead dispatch, all others none."""
    cluster = load.cluster
    await quiet(cluster)
    found = await records(cluster)
    runs = cluster.runs()
    acked = Counter(one.number for one in load.tries if one.acked)
    assert {number: len(jobs) for number, jobs in found.items()} == {one.number: 1 for one in load.orders}
    for order in load.orders:
        (job,) = found[order.number]
        assert job.id == load.jobs.get(order.number, job.id)
        _check_bill(cluster, order.number)
        _check_callbacks(load, job, order.number, acked[order.number])
        _check_completion(job)
        _check_dispatches(job, runs, fatal=order.number in fatal)
    dead = await rows(cluster.database, "SELECT handler, error_code, owner FROM dispatch")
    assert dead == [("fatal", "process_ended", None)] * len(fatal)
    if alive:
        assert all(node.running for node in cluster.nodes)
    jobs = [jobs[0] for jobs in found.values()]
    return Figures(
        damage=damage,
        database="sqlite" if cluster.database.url.startswith("sqlite") else "postgresql",
        acked=sum(acked.values()),
        refused=sum(not one.acked for one in load.tries),
        stored=sum(job.callbacks for job in jobs),
        duplicates=sum(job.callbacks - _accepted(job) for job in jobs),
        completions=sum(_ends(job) for job in jobs),
        runs=len(runs),
        dispatched=sum(job.dispatched("record").count("succeeded") for job in jobs),
        dead=len(dead),
        kills=cluster.kills,
        recovery=round(cluster.longest_recovery, 1),
    )


def _ends(job: Record) -> int:
    """How many observations ended the job."""
    called, polled = len(job.accepted_ends), job.polled_ends
    # A failure without a reason is asked about before it counts: the poll that says why is of the same end.
    return 1 if called == polled == 1 and job.state == "failed" else called + polled


def _accepted(job: Record) -> int:
    return sum(verdict == "accepted" for _, verdict, *_ in job.kept)


def _check_bill(cluster: Cluster, number: int) -> None:
    """The provider was never given a job under two keys."""
    assert len(cluster.provider.taken[number].keys) == 1


def _check_callbacks(load: Traffic, job: Record, number: int, acked: int) -> None:
    """What was acknowledged is there: whole, or past the bound on duplicates counted."""
    assert job.callbacks >= acked
    kept = {delivery for _, _, _, delivery, _ in job.kept}
    sent = {one.delivery for one in load.tries if one.number == number}
    assert kept <= sent
    if job.callbacks <= MOST_KEPT:
        assert len(job.kept) == job.callbacks
        assert kept >= {one.delivery for one in load.tries if one.acked and one.number == number}
    else:
        assert len(job.kept) >= MOST_KEPT
    assert {verdict for _, verdict, *_ in job.kept} <= {"accepted", "duplicate"}


def _check_completion(job: Record) -> None:
    """Exactly one observation ended the job, and the job says which kind it was."""
    ends = job.accepted_ends
    assert _ends(job) == 1, job
    assert job.settled_by == ("callback" if ends else "poll"), job
    if ends:
        said = next(state for id_, _, _, _, state in job.kept if id_ == ends[0])
        assert job.state == _ENDS[said]
    if job.state == "succeeded":
        assert job.held_callback == (ends[0] if ends else None)


def _check_dispatches(job: Record, runs: list[list[str]], *, fatal: bool) -> None:
    """Every handler saw the job, always under one key, and succeeded once; none was told of it twice."""
    assert {row[2] for row in job.attempts if row[0] == "dispatch"} == {""}, job
    assert job.dispatched("record").count("succeeded") == 1, job
    wanted = {"record", "fatal"} if fatal else {"record"}
    mine = [run for run in runs if run[1] == job.id]
    assert {run[0] for run in mine} == wanted
    assert len({tuple(run[:3]) for run in mine}) == len(wanted)
    assert job.dispatched("fatal") == (["interrupted"] * 3 if fatal else [])
