"""Claiming what is due: a claim moves a row to the end of its lease, so a dead owner's work comes back.

There is no state "claimed" to clean up: a row is due when ``run_at`` has passed, whoever owned it before.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from receiver.core.identity import ATTEMPT, new_id
from receiver.core.job.urgency import ASKED, BY_DELETION, LANES, NEAR_DELETION, in_turn
from receiver.core.model import Attempt, Dispatch, Due, Job, JobState, Step, Value
from receiver.storage import clocks, rows
from receiver.storage.driver import Row, Transaction
from receiver.storage.metadata import read_given
from receiver.storage.nodes import Node, alive
from receiver.storage.united import Key, dispatches_led, led

# Each of these reads by its index no more than its limit, however much is due.
_LANE: Final = (
    f"SELECT {rows.DUE} FROM due WHERE provider = :provider AND lane = :lane AND run_at <= :now "
    f"AND (owner IS NULL OR owner = :owner OR (:lapses AND {clocks.KNOWN})) "
    "ORDER BY run_at LIMIT :limit {for_update} {skip_locked}"
)
_NEAR: Final = (
    "SELECT job_id, step FROM due WHERE provider = :provider AND lane > 1 AND urgent_at <= :now "
    "ORDER BY urgent_at LIMIT :limit {for_update} {skip_locked}"
)
#: In lanes where what is deleted first goes first: how many times more rows are looked at than taken; and the least.
_CHOICE: Final = 4
_LEAST_CHOICE: Final = 64
_CLAIM_LOOK = (
    "UPDATE due SET owner = :owner, attempt = attempt + 1, run_at = :until "
    "WHERE job_id = :job_id AND step = 'look' AND (owner IS NULL OR run_at <= :now) AND run_at <= :latest "
    f"RETURNING {rows.DUE}"
)
#: Later than any time that a row is due at, in milliseconds.
_EVER: Final = 1 << 62
#: What a claim sets of a row.
LEASE: Final = "owner, attempt, run_at"
#: The outcome of an attempt of a handler that did not end, because its process did.
INTERRUPTED: Final = "interrupted"


class Claim(Value, frozen=True, kw_only=True):
    """A worker's wish for due steps of one provider."""

    owner: str
    provider: str
    limit: int
    lease_ms: int
    now: int
    #: How many were claimed of this provider before.
    turn: int = 0
    #: What the owner holds already, by job and step: should its lease have lapsed, it is renewed and not claimed.
    held: Container[tuple[str, ...]] = ()
    #: Whether leases of others have lapsed when the clock says so; not where it has just been set.
    lapses: bool = True
    #: By how much the owner knows that the clock was set; ``None`` where nobody else takes leases.
    set_by: int | None = None


class Claimed(Value, frozen=True, kw_only=True):
    """A due row that is ours until its lease ends, with its job."""

    due: Due
    job: Job
    #: Whether an earlier owner's lease lapsed, so that nobody knows how far it came.
    lapsed: bool


class LookClaim(Value, frozen=True, kw_only=True):
    """A person's wish that a job be looked at now, whenever its next look is due."""

    job_id: str
    owner: str
    lease_ms: int
    now: int
    #: Whether only a look is meant that is due by itself, such as the fetch of what the last one found.
    onward: bool = False


class Leases(Value, frozen=True, kw_only=True):
    """What a process is working on, as it was claimed."""

    dues: tuple[Due, ...] = ()
    dispatches: tuple[Dispatch, ...] = ()


class Beat(Value, frozen=True, kw_only=True):
    """A node's sign of life, with what it is still working on."""

    node: Node
    leases: Leases = Leases()
    until: int
    now: int


def claim(tx: Transaction, items: Sequence[Claim]) -> list[list[Claimed]]:
    """Claim due steps; for each wish a list, in the order of ``core/job/urgency``."""
    answers = []
    for item in items:
        found = in_turn(_due(tx, item), limit=item.limit, turn=item.turn)
        kept = [one for one in found if one.owner == item.owner and (one.job_id, one.step.value) in item.held]
        if kept:
            until = item.now + item.lease_ms
            renewed = [(one.owner, one.attempt, until, one.job_id, one.step.value) for one in kept]
            tx.update("due", LEASE, renewed, key=rows.DUE_KEY)
            found = [one for one in found if one not in kept]
        leased = [
            replace(one, owner=item.owner, attempt=one.attempt + 1, run_at=item.now + item.lease_ms)
            for one in found
        ]
        taken = [(one.owner, one.attempt, one.run_at, one.job_id, one.step.value) for one in leased]
        tx.update("due", LEASE, taken, key=rows.DUE_KEY)
        if any(one.step is Step.SUBMIT for one in leased):
            # A claim that nobody heard of would look as if its owner had sent the job and gone.
            tx.be_sure()
        jobs = load_jobs(tx, [one.job_id for one in leased])
        answers.append(
            [
                Claimed(due=one, job=jobs[one.job_id], lapsed=before.owner is not None)
                for before, one in zip(found, leased, strict=True)
                if one.job_id in jobs
            ]
        )
    return answers


def _due(tx: Transaction, item: Claim) -> list[list[Due]]:
    """What is due in each lane, once what has come near its deletion stands where it is urgent."""
    choice = max(_CHOICE * item.limit, _LEAST_CHOICE)
    params = {"provider": item.provider, "now": item.now, "owner": item.owner, "lapses": item.lapses}
    params |= clocks.params(item.set_by)
    near = tx.run(_NEAR, params | {"limit": choice})
    tx.update("due", "lane", [(NEAR_DELETION, *key) for key in near], key=rows.DUE_KEY)
    return [
        [
            rows.due_of(row)
            for row in tx.run(
                _LANE, params | {"lane": lane, "limit": choice if lane in BY_DELETION else item.limit}
            )
        ]
        for lane in LANES
    ]


def claim_looks(tx: Transaction, items: Sequence[LookClaim]) -> list[Claimed | None]:
    """Claim a look at single jobs, also at ones that timed out or expired.

    ``None`` where someone is at it, or where there is nothing to look at.
    """
    into = led(tx, {item.job_id for item in items})
    if into:
        items = [
            replace(item, job_id=into[item.job_id][0]) if item.job_id in into else item for item in items
        ]
    lock_jobs(tx, [item.job_id for item in items])
    answers: list[Claimed | None] = []
    for item in items:
        until = item.now + item.lease_ms
        latest = item.now if item.onward else _EVER
        params = {
            "owner": item.owner,
            "job_id": item.job_id,
            "now": item.now,
            "until": until,
            "latest": latest,
        }
        job = load_jobs(tx, [item.job_id]).get(item.job_id)
        if job is not None and not item.onward and job.state in {JobState.TIMED_OUT, JobState.EXPIRED}:
            # Nothing may be planned for it any more; a person has it looked at all the same.
            asked = Due(job_id=job.id, step=Step.LOOK, provider=job.provider, run_at=item.now, lane=ASKED)
            tx.insert("due", rows.DUE, [rows.due_params(asked)], conflict="ON CONFLICT DO NOTHING")
        found = tx.run(_CLAIM_LOOK, params)
        answers.append(
            None if job is None or not found else Claimed(due=rows.due_of(found[0]), job=job, lapsed=False)
        )
    return answers


def load_jobs(tx: Transaction, ids: Sequence[str], *, metadata: bool = False) -> dict[str, Job]:
    """Read jobs by id, without locking them; unknown ids are absent."""
    if not ids:
        return {}
    wanted = sorted(set(ids))
    where, params = tx.among("id", wanted)
    found = tx.run(f"SELECT {rows.JOB} FROM job WHERE {where}", params)
    jobs = {row[0]: rows.job_of(row) for row in found}
    if metadata:
        for job_id, given in read_given(tx, wanted).items():
            jobs[job_id] = replace(jobs[job_id], metadata=given.metadata, traceparent=given.traceparent)
    return jobs


def lock_jobs(tx: Transaction, ids: Sequence[str]) -> None:
    """Lock jobs before waiting for their rows: whoever waits for such a row holds its job, so no deadlock forms."""
    where, params = tx.among("id", sorted(set(ids)))
    tx.run(f"SELECT id FROM job WHERE {where} ORDER BY id {{for_update}}", params)


def heartbeat(tx: Transaction, items: Sequence[Beat]) -> list[None]:
    """Extend the leases that are still held by whoever claimed them, and mark their node as alive.

    It never waits: a row that is locked is being settled, or extended at the next beat.
    """
    for item in items:
        _extend(tx, _led(tx, item.leases), run_at=item.until)
        alive(tx, item.node, now=item.now)
    return [None] * len(items)


def renew(tx: Transaction, items: Sequence[tuple[Dispatch, int]]) -> list[bool]:
    """Extend leases of dispatches to a time, each by itself and for sure; whether it still was its owner's.

    Unlike a sign of life it waits for whoever is just claiming the row, so that no two can both believe to have it.
    """
    into = dispatches_led(tx, [_key(one) for one, _ in items])
    answers: dict[int, bool] = {}
    now_called = ((_renamed(one, into), until, place) for place, (one, until) in enumerate(items))
    for one, until, place in sorted(now_called, key=lambda item: _key(item[0])):
        found = tx.run(
            "UPDATE dispatch SET run_at = :until WHERE job_id = :job_id AND handler = :handler "
            "AND replay_id = :replay_id AND owner = :owner AND attempt = :attempt RETURNING job_id",
            {
                "until": until,
                "job_id": one.job_id,
                "handler": one.handler,
                "replay_id": one.replay_id,
                "owner": one.owner,
                "attempt": one.attempt,
            },
        )
        answers[place] = bool(found)
    return [answers[place] for place in range(len(items))]


def release(tx: Transaction, items: Sequence[tuple[Leases, int, int]]) -> list[None]:
    """Give leases back at once, because their process is told to end: (leases, how long they last, now).

    A submission keeps its owner, so that it is still known that somebody may have sent it. A handler that was
    interrupted is not to blame: nothing is counted, and it is called again at once by whoever is there.
    """
    for held, lease_ms, now in items:
        leases = _led(tx, held)
        dues, dispatches = _extend(tx, leases, run_at=now)
        free = [(None, job_id, step) for job_id, step in dues if step != Step.SUBMIT]
        tx.update("due", "owner", free, key=rows.DUE_KEY)
        tx.update("dispatch", "owner", [(None, *key) for key in dispatches], key=rows.DISPATCH_KEY)
        begun = {(one.job_id, one.handler, one.replay_id): one for one in leases.dispatches}
        cut = [_cut_short(begun[key], lease_ms=lease_ms, now=now) for key in dispatches]
        tx.insert("attempt", rows.ATTEMPT, [rows.attempt_params(one) for one in cut])
        tx.announce()
    return [None] * len(items)


def _cut_short(dispatch: Dispatch, *, lease_ms: int, now: int) -> Attempt:
    started_at = min(dispatch.run_at - lease_ms, now)
    return Attempt(
        id=new_id(ATTEMPT, started_at),
        job_id=dispatch.job_id,
        step="dispatch",
        handler=dispatch.handler,
        replay_id=dispatch.replay_id,
        number=dispatch.attempt,
        started_at=started_at,
        duration_ms=now - started_at,
        outcome=INTERRUPTED,
        code="process_stopped",
        detail={"node": dispatch.owner},
    )


def release_all(tx: Transaction, items: Sequence[int]) -> list[None]:
    """Give everybody's leases back; each item is the time. Whoever held them is gone, and said nothing of it.

    Dispatches and submissions keep their owners: whoever claims one knows by that that it was cut short.
    """
    for now in items:
        # A command that sends a job is no node, and may wait for the answer right now: its lease lapses by itself.
        tx.run(
            "UPDATE due SET run_at = :now WHERE step = 'submit' AND owner IS NOT NULL "
            "AND (owner NOT LIKE :sender OR owner IN (SELECT name || '/submit' FROM node))",
            {"now": now, "sender": "%/submit"},
        )
        tx.run(
            "UPDATE due SET run_at = :now, owner = NULL WHERE step <> 'submit' AND owner IS NOT NULL",
            {"now": now},
        )
        tx.run("UPDATE dispatch SET run_at = :now WHERE owner IS NOT NULL", {"now": now})
        tx.run("UPDATE download SET run_at = :now, owner = NULL WHERE owner IS NOT NULL", {"now": now})
    return [None] * len(items)


def _led(tx: Transaction, leases: Leases) -> Leases:
    """The leases with the names that their dispatches have now: their jobs may have become others meanwhile."""
    into = dispatches_led(tx, [_key(one) for one in leases.dispatches])
    if not into:
        return leases
    return replace(leases, dispatches=tuple(_renamed(one, into) for one in leases.dispatches))


def _key(one: Dispatch) -> Key:
    return one.job_id, one.handler, one.replay_id


def _renamed(one: Dispatch, into: Mapping[Key, Key]) -> Dispatch:
    job_id, _, replay_id = into.get(_key(one), _key(one))
    return replace(one, job_id=job_id, replay_id=replay_id)


def _extend(tx: Transaction, leases: Leases, *, run_at: int) -> tuple[list[Row], list[Row]]:
    """Move the end of the leases that still have the same owner; return their keys."""
    dues = _still(tx, "due", rows.DUE_KEY, {(one.job_id, one.step.value): one for one in leases.dues})
    dispatches = _still(
        tx,
        "dispatch",
        rows.DISPATCH_KEY,
        {(one.job_id, one.handler, one.replay_id): one for one in leases.dispatches},
    )
    tx.update("due", "run_at", [(run_at, *key) for key in dues], key=rows.DUE_KEY)
    tx.update("dispatch", "run_at", [(run_at, *key) for key in dispatches], key=rows.DISPATCH_KEY)
    return dues, dispatches


def _still(
    tx: Transaction, table: str, key: str, leases: Mapping[tuple[str, ...], Due | Dispatch]
) -> list[Row]:
    if not leases:
        return []
    where, params = tx.among("job_id", sorted({one.job_id for one in leases.values()}))
    found = tx.run(
        f"SELECT {key}, owner, attempt FROM {table} WHERE {where} ORDER BY {key} {{for_update}} {{skip_locked}}",
        params,
    )
    kept = []
    for *names, owner, attempt in found:
        lease = leases.get(tuple(names))
        if lease is not None and (lease.owner, lease.attempt) == (owner, attempt):
            kept.append(tuple(names))
    return kept
