"""Dispatches: claimed by a worker, settled by their owner, or, when they are dead, retried or dropped by a person."""

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from receiver.core.circuit import Sign
from receiver.core.model import Attempt, Dispatch, Failure, Job, Value
from receiver.storage import circuits, clocks, lines, nodes, rows
from receiver.storage.claims import INTERRUPTED, LEASE
from receiver.storage.driver import Row, Transaction, split
from receiver.storage.ledger import Ledger
from receiver.storage.results import with_answer
from receiver.storage.united import dispatches_led, known_before

_WANTED: Final = (
    "job_id, handler, replay_id, attempt, created_at, owner, error_code, error_text, failures, interruptions, "
    "alias, line"
)
#: A lease of another may not have lapsed although the clock says so: see ``worker/following``.
_FREE: Final = f"(owner IS NULL OR owner = :owner OR (:lapses AND {clocks.KNOWN}))"
_READY: Final = (
    f"SELECT {_WANTED} FROM dispatch WHERE state = 'ready' AND handler = :handler AND interruptions = 0 "
    f"AND run_at <= CASE WHEN {circuits.LETS_THROUGH} THEN :now END AND {_FREE} "
    "ORDER BY run_at, job_id LIMIT :limit {for_update} {skip_locked}"
)
_TRIAL: Final = (
    f"SELECT {_WANTED} FROM dispatch WHERE state = 'ready' AND handler = :handler AND run_at <= :now AND {_FREE} "
    "ORDER BY run_at, job_id LIMIT 1 {for_update} {skip_locked}"
)
#: Interrupted dispatches are taken one at a time, so it is enough to find one: among the interrupted, which are few. By
#: the index of handlers all that wait for these would be read.
_INTERRUPTED: Final = (
    f"SELECT {_WANTED} FROM (SELECT *, handler || '' AS whose FROM dispatch) AS dispatch "
    f"WHERE state = 'ready' AND interruptions > 0 AND run_at <= :now AND {_FREE} AND %s "
    f"AND {circuits.EACH_LETS_THROUGH} "
    "ORDER BY run_at, job_id LIMIT 1 {for_update} {skip_locked}"
)
#: How an attempt ends whose handler could not reach what it needs: it is no failure of the completion.
AWAY: Final = "away"
#: Bytes up to which a result comes along with the claim of a dispatch.
_SMALL_RESULT: Final = 64 * 1024
_JOBS: Final = f"""
    SELECT {", ".join(f"wanted.{name}" for name in split(rows.JOB))}, submission.metadata, submission.traceparent,
        CASE WHEN length(callback.body) <= :most THEN callback.body END, callback.headers
    FROM (SELECT {rows.JOB} FROM job WHERE {{ids}}) AS wanted
    LEFT JOIN submission ON submission.job_id = wanted.id
    LEFT JOIN callback ON callback.id = wanted.held_callback"""
_decode = msgspec.json.decode


class DispatchClaim(Value, frozen=True, kw_only=True):
    """A worker's wish for dispatches: at most so many of each handler."""

    owner: str
    limits: Mapping[str, int]
    lease_ms: int
    now: int
    #: What the owner holds already, by key: should its lease have lapsed, it is renewed and not claimed.
    held: Container[tuple[str, ...]] = ()
    #: Whether leases of others have lapsed when the clock says so; not where it has just been set.
    lapses: bool = True
    #: By how much the owner knows that the clock was set; ``None`` where nobody else takes leases.
    set_by: int | None = None
    #: Whether one that was interrupted before may be among them.
    interrupted: bool = False
    #: Handlers whose circuit may be open, each with the milliseconds that a trial of it may take.
    trials: Mapping[str, int] = {}
    #: Those of the handlers that order their completions.
    ordering: Collection[str] = ()


class DispatchSettled(Value, frozen=True, kw_only=True):
    """The end of an attempt of a dispatch: *succeeded*, or failed or interrupted with ``retry_at``, or dead."""

    #: As it was claimed.
    dispatch: Dispatch
    #: What becomes of it in the timeline: the outcome stands there.
    log: Attempt
    retry_at: int | None = None
    error: Failure | None = None
    #: What it says about its handler, if that is news for the handler's circuit.
    sign: Sign | None = None


#: Attempts that ended together are one wish: what is asked of a transaction costs as much as what it does.
Wish: TypeAlias = Sequence[DispatchSettled] | DispatchClaim
Answer: TypeAlias = list[bool] | list[tuple[Dispatch, Job]]


def work(tx: Transaction, items: Sequence[Wish]) -> list[Answer]:
    """Settle attempts, and claim what is next, in one transaction.

    The answers are, in the order of *items*: for attempts, whether each still was its owner's; for a claim, the
    dispatches, those of each handler the oldest first, with their jobs, metadata and small results included.
    """
    ended = [one for item in items if not isinstance(item, DispatchClaim) for one in item]
    ordering = {name for item in items if isinstance(item, DispatchClaim) for name in item.ordering}
    ordering |= {one.dispatch.handler for one in ended if one.dispatch.line is not None}
    #: The new names of those that were renamed: a node may go on with an old name, and the line is the same.
    renamed: dict[str, str] = {}
    if ordering:
        renamed = lines.renamed(tx, ordering)
        lines.guard(tx, {*ordering, *renamed, *renamed.values()})
    settled = iter(_settle(tx, ended))
    return [
        _claim(tx, item, renamed) if isinstance(item, DispatchClaim) else list(islice(settled, len(item)))
        for item in items
    ]


def _claim(tx: Transaction, item: DispatchClaim, renamed: Mapping[str, str]) -> list[tuple[Dispatch, Job]]:
    owner, until = item.owner, item.now + item.lease_ms
    due = {"now": item.now, "owner": owner, "lapses": item.lapses} | clocks.params(item.set_by)
    for handler in sorted(item.ordering):
        if handler in renamed:
            # The node that made it did not know of the new name yet.
            nodes.move(tx, handler, renamed[handler], now=item.now)
        else:
            lines.line_up(tx, handler, now=item.now)
    found = [
        row
        for handler, limit in sorted(item.limits.items())
        if handler not in renamed
        for row in tx.run(_READY, due | {"handler": handler, "limit": limit})
    ]
    trials = circuits.begin_trials(tx, item.trials, now=item.now) if item.trials else {}
    tried: dict[str, int] = {}
    for handler in trials:
        for row in tx.run(_TRIAL, due | {"handler": handler}):
            found.append(row)
            tried[handler] = item.now + item.trials[handler]
    if tried:
        circuits.lease_trials(tx, tried)
    if item.interrupted:
        where, params = tx.among("whose", sorted(item.limits))
        found += tx.run(_INTERRUPTED % where, params | due)
    leased: list[Dispatch] = []
    changed: list[Row] = []
    for row in found:
        job_id, handler, replay_id, attempt, created_at, before, code, text, failures, interruptions = row[
            :10
        ]
        key = (job_id, handler, replay_id)
        held = before == owner and (
            key in item.held or any(one in item.held for one in known_before(tx, key))
        )
        # Where its process is gone, or frozen, nothing of it is run before that has been recorded.
        lapsed = before is not None and before != owner
        number = attempt if held or lapsed else attempt + 1
        changed.append((owner, number, until, job_id, handler, replay_id))
        if not held:
            error = None if code is None else Failure(code=code, text=text or "")
            leased.append(
                Dispatch(
                    job_id=job_id,
                    handler=handler,
                    replay_id=replay_id,
                    run_at=until,
                    attempt=number,
                    owner=owner,
                    created_at=created_at,
                    error=error,
                    failures=failures,
                    interruptions=interruptions,
                    lapsed=lapsed,
                    trial=trials[handler] if handler in tried else 0,
                    alias=row[10],
                    line=row[11],
                )
            )
    tx.update("dispatch", LEASE, changed, key=rows.DISPATCH_KEY)
    jobs = {job.id: job for job in _jobs(tx, {one.job_id for one in leased})}
    return [(one, jobs[one.job_id]) for one in leased if one.job_id in jobs]


def _jobs(tx: Transaction, ids: Collection[str]) -> Iterator[Job]:
    """Jobs with their metadata, and with result and answer where these lie in a callback that is small."""
    if not ids:
        return
    where, params = tx.among("id", sorted(ids))
    for row in tx.run(_JOBS.format(ids=where), params | {"most": _SMALL_RESULT}):
        job, (metadata, traceparent, body, headers) = rows.job_of(row[:-4]), row[-4:]
        if metadata is not None and ((given := _decode(metadata)) or traceparent is not None):
            job = replace(job, metadata=given, traceparent=traceparent)
        yield (
            job
            if body is None or job.answer_held is not None
            else with_answer(job, bytes(body), bytes(headers))
        )


def _settle(tx: Transaction, items: Sequence[DispatchSettled]) -> list[bool]:
    if not items:
        return []
    stored = _locked(tx, [item.dispatch.job_id for item in items])
    moved = _moved(tx, [item.dispatch for item in items], stored)
    logged: list[Row] = []
    finished: list[Row] = []
    again: list[Row] = []
    signs: list[tuple[Dispatch, Sign, Failure | None, int]] = []
    moving: dict[tuple[str, str], int] = {}
    # A node that knows only the old name of a handler has ended an attempt: it counts for the new one.
    renamed = {key[1]: row[2] for key, row in stored.items() if row[2] is not None}
    answers = []
    for item in items:
        dispatch, attempt = item.dispatch, item.log
        key = (dispatch.job_id, dispatch.handler, dispatch.replay_id)
        if key in moved:
            key = moved[key]
            attempt = replace(attempt, job_id=key[0], replay_id=key[2])
        # Settled once, it is nobody's: whoever settles it again in the same transaction comes too late.
        ours = stored.get(key, ())[:2] == (dispatch.owner, dispatch.attempt)
        answers.append(ours)
        if not ours:
            continue
        del stored[key]
        dispatch = _called_now(dispatch, renamed)
        logged.append(rows.attempt_params(attempt))
        if item.sign is not None:
            signs.append((dispatch, item.sign, item.error, attempt.started_at + attempt.duration_ms))
        if dispatch.line is not None:
            moving[dispatch.handler, dispatch.line] = attempt.started_at + attempt.duration_ms
        if attempt.outcome in {"succeeded", "discarded"}:
            finished.append(key)
            continue
        error = item.error or Failure(code=attempt.outcome)
        state = "dead" if item.retry_at is None else "ready"
        run_at = attempt.started_at if item.retry_at is None else item.retry_at
        interrupted = attempt.outcome == INTERRUPTED
        # A trial of an open circuit says something about the handler, and nothing about what it is tried on.
        failures = dispatch.failures + (not interrupted and attempt.outcome != AWAY and not dispatch.trial)
        interruptions = dispatch.interruptions + interrupted
        again.append((None, state, run_at, error.code, error.text, failures, interruptions, *key))
    tx.delete("dispatch", finished, key=rows.DISPATCH_KEY)
    tx.update(
        "dispatch",
        "owner, state, run_at, error_code, error_text, failures, interruptions",
        again,
        key=rows.DISPATCH_KEY,
    )
    tx.insert("attempt", rows.ATTEMPT, logged)
    if signs:
        circuits.take(tx, signs)
    _follow(tx, renamed, now=max(one.log.started_at + one.log.duration_ms for one in items))
    if moving:
        lines.advance(tx, moving, now=max(moving.values()))
    return answers


def _called_now(dispatch: Dispatch, renamed: Mapping[str, str]) -> Dispatch:
    name = renamed.get(dispatch.handler)
    return dispatch if name is None else replace(dispatch, handler=name)


def _follow(tx: Transaction, renamed: Mapping[str, str], *, now: int) -> None:
    """Have what is to be tried again, or is dead, follow its handler to its new name."""
    for before, name in sorted(renamed.items()):
        nodes.move(tx, before, name, now=now)


def _moved(
    tx: Transaction, settled: Sequence[Dispatch], stored: dict[tuple[Any, ...], tuple[Any, ...]]
) -> dict[tuple[str, str, str], tuple[str, str, str]]:
    """The keys of dispatches whose job became another one while they ran, with those that they have now."""
    keys = {(one.job_id, one.handler, one.replay_id) for one in settled} - stored.keys()
    into = dispatches_led(tx, keys) if keys else {}
    if into:
        stored |= _locked(tx, [key[0] for key in into.values()])
    return into


def _locked(tx: Transaction, ids: Sequence[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Lock the dispatches of jobs; whose each one is, which attempt it is at, and what its handler is called by now."""
    where, params = tx.among("job_id", sorted(set(ids)))
    found = tx.run(
        f"SELECT {rows.DISPATCH_KEY}, owner, attempt, "
        "(SELECT renamed_to FROM handler WHERE name = dispatch.handler) "
        f"FROM dispatch WHERE {where} "
        f"ORDER BY {rows.DISPATCH_KEY} {{for_update}}",
        params,
    )
    return {row[:3]: row[3:] for row in found}


def retry(tx: Transaction, items: Sequence[tuple[str, str, str, int]]) -> list[bool]:
    """Give dead dispatches a fresh row of attempts: (job id, handler, replay id, now).

    One that stands in a line takes its place there again, which is before those that it held up.
    """
    tx.be_sure()
    lines.guard(tx, [item[1] for item in items])
    if into := dispatches_led(tx, [item[:3] for item in items]):
        items = [(*into.get(item[:3], item[:3]), item[3]) for item in items]
    _locked(tx, [item[0] for item in items])
    answers = []
    for job_id, handler, replay_id, now in items:
        found = tx.run(
            f"UPDATE dispatch SET state = CASE WHEN line IS NULL THEN 'ready' ELSE '{lines.LINED}' END, "
            "owner = NULL, attempt = 0, failures = 0, interruptions = 0, run_at = :now, created_at = :now "
            "WHERE job_id = :job_id AND handler = :handler AND replay_id = :replay_id AND state = 'dead' "
            "RETURNING line",
            {"job_id": job_id, "handler": handler, "replay_id": replay_id, "now": now},
        )
        lines.advance(tx, {(handler, row[0]) for row in found if row[0] is not None}, now=now)
        answers.append(bool(found))
    return answers


def discard(tx: Transaction, items: Sequence[tuple[str, str, str, int]]) -> list[bool]:
    """Drop dead dispatches for good: (job id, handler, replay id, now); the timeline keeps a line."""
    tx.be_sure()
    lines.guard(tx, [item[1] for item in items])
    if into := dispatches_led(tx, [item[:3] for item in items]):
        items = [(*into.get(item[:3], item[:3]), item[3]) for item in items]
    _locked(tx, [item[0] for item in items])
    ledger = Ledger(tx)
    answers = []
    for job_id, handler, replay_id, now in items:
        found = tx.run(
            "DELETE FROM dispatch WHERE job_id = :job_id AND handler = :handler AND replay_id = :replay_id "
            "AND state = 'dead' RETURNING line",
            {"job_id": job_id, "handler": handler, "replay_id": replay_id},
        )
        if found:
            ledger.note(
                job_id, step="dispatch", outcome="discarded", code="by_hand", now=now, handler=handler
            )
        lines.advance(tx, {(handler, row[0]) for row in found if row[0] is not None}, now=now)
        answers.append(bool(found))
    ledger.flush()
    return answers
