"""Callbacks into the record: one transaction holds the callback, the job's new state and its dispatches."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Final

import msgspec
from msgspec.structs import replace

from receiver.core.enum_members import ACCEPTED, DUPLICATE, REJECTED, UNREADABLE
from receiver.core.identity import made_at
from receiver.core.job.admission import MOST_KEPT, Admission, Examined, Terms, Unreadable
from receiver.core.model import DAY, MINUTE, Callback, Job, JobState, Value, Verdict
from receiver.storage import rows
from receiver.storage.admitting import adopt, decide, decode_examined, file
from receiver.storage.driver import Row, Rows, Transaction, split
from receiver.storage.ledger import Ledger

#: Senders retry for 76 hours (Standard Webhooks, "Deliverability",
#: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, read 2026-11-20).
TOKEN_LIFE: Final = 4 * DAY
HOLD: Final = MINUTE
#: Where the headers stand in a row of a callback.
_HEADERS: Final = split(rows.CALLBACK).index("headers")
_HELD: Final = "callback_id, provider, remote_id, until, examined"
_SUBMITTING = "SELECT 1 FROM due WHERE provider = :provider AND step = 'submit' LIMIT 1"
_QUARANTINE_ADD = """
    INSERT INTO quarantine (provider, named, entries, bytes) VALUES (:provider, :named, :entries, :bytes)
    ON CONFLICT (provider, named) DO UPDATE SET
        entries = quarantine.entries + excluded.entries, bytes = quarantine.bytes + excluded.bytes
    RETURNING entries, bytes"""
_OLDEST_REJECTED = f"""
    SELECT id, length(body) + length(headers) FROM callback
    WHERE verdict = 'rejected' AND {rows.UNSETTLED} AND provider = :provider AND (job_id IS NOT NULL) = (:named = 1)
    ORDER BY id LIMIT :many"""
_RECOUNT = f"""
    UPDATE quarantine SET (entries, bytes) = (
        SELECT count(*), coalesce(sum(length(body) + length(headers)), 0) FROM callback
        WHERE verdict = 'rejected' AND {rows.UNSETTLED} AND provider = :provider
            AND (job_id IS NOT NULL) = (:named = 1))
    WHERE provider = :provider AND named = :named RETURNING entries, bytes"""

encode_examined = msgspec.msgpack.encode


class Quota(Value, frozen=True, kw_only=True):
    """How much quarantine keeps, for each provider and each of its two classes (with and without token)."""

    entries: int = 1000
    size: int = 32 * 1024 * 1024


class Arrival(Value, frozen=True, kw_only=True):
    """A callback on its way into the record."""

    callback: Callback
    #: ``None`` where it is rejected.
    examined: Examined | None
    terms: Terms
    quota: Quota = Quota()


class Receipt(Value, frozen=True, kw_only=True):
    """What became of an arrival; ``verdict`` is ``None`` where its token is retired and nothing was kept."""

    verdict: Verdict | None
    code: str | None = None
    job_id: str | None = None
    state: JobState | None = None
    completed: bool = False
    look: bool = False


def ingest(tx: Transaction, arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Record callbacks; each gets a receipt, in the same order."""
    ledger = Ledger(tx)
    ledger.open(
        filter(None, (_about(one) for one in arrivals)),
        named=(
            (one.callback.provider, one.examined.remote_id)
            for one in arrivals
            if one.callback.job_id is None and one.examined is not None
        ),
    )
    ledger.open(named=_news(ledger, arrivals))
    kept: list[Callback] = []
    receipts = [_take(tx, ledger, one, kept) for one in arrivals]
    ledger.flush()
    if ledger.leads:
        kept = [_led(ledger, one) for one in kept]
    written = [rows.callback_params(one) for one in kept]
    tx.insert("callback", rows.CALLBACK, written)
    _bound_quarantine(tx, kept, written, arrivals[0].quota)
    return receipts


def release_held(tx: Transaction, items: Sequence[tuple[str, Terms, int]]) -> list[Receipt]:
    """Give callbacks that no submission claimed in time a job of their own: (callback id, terms, now)."""
    receipts = []
    ledger = Ledger(tx)
    where, params = tx.among("callback_id", [callback_id for callback_id, _, _ in items])
    ledger.open(named=tx.run(f"SELECT provider, remote_id FROM held WHERE {where}", params))
    for callback_id, terms, now in items:
        found = tx.run(
            "DELETE FROM held WHERE callback_id = :id RETURNING provider, remote_id, examined",
            {"id": callback_id},
        )
        if not found:
            receipts.append(Receipt(verdict=None))
            continue
        provider, remote_id, packed = found[0]
        job = ledger.named(provider, remote_id) or adopt(
            ledger, provider, terms, now=now, remote_id=remote_id
        )
        admission = decide(
            tx,
            ledger,
            job,
            decode_examined(packed),
            callback_id=callback_id,
            look_ms=terms.look_ms,
            now=now,
        )
        ledger.count(job.id)
        file(tx, callback_id, job, admission)
        receipts.append(receipt(admission, ledger.jobs[job.id]))
    ledger.flush()
    return receipts


def remote_digest(provider: str, remote_id: str) -> bytes:
    """What is kept of a pruned job's provider and remote id."""
    return sha256(f"{provider}\0{remote_id}".encode()).digest()


def was_pruned(tx: Transaction, provider: str, remote_id: str) -> bool:
    """Whether a job of that remote id was here, ended, and was deleted."""
    return bool(
        tx.run("SELECT 1 FROM pruned WHERE digest = :digest", {"digest": remote_digest(provider, remote_id)})
    )


def _about(arrival: Arrival) -> str | None:
    """The job that an arrival is about, by its token, or by the mark that its provider repeats."""
    if arrival.callback.job_id is not None or arrival.examined is None:
        return arrival.callback.job_id
    return arrival.examined.mark


def _news(ledger: Ledger, arrivals: Sequence[Arrival]) -> Iterator[tuple[str, str | None]]:
    """The names that arrivals tell of jobs which had none: another job of ours may bear them."""
    for one in arrivals:
        named = one.callback.job_id
        job = None if named is None else ledger.jobs.get(named)
        if job is not None and job.remote_id is None and one.examined is not None:
            yield one.callback.provider, one.examined.remote_id


def _led(ledger: Ledger, callback: Callback) -> Callback:
    """The callback, under the job that its own job was merged into, if it was."""
    job = None if callback.job_id is None else ledger.get(callback.job_id)
    if job is None or job.id == callback.job_id:
        return callback
    return replace(callback, job_id=job.id, is_first=callback.is_first and job.first_callback == callback.id)


def _take(tx: Transaction, ledger: Ledger, arrival: Arrival, kept: list[Callback]) -> Receipt:
    callback, examined = arrival.callback, arrival.examined
    now = callback.received_at
    job = None
    if callback.job_id is not None:
        job = ledger.jobs.get(callback.job_id) or ledger.get(callback.job_id)
    if job is not None:
        if job.ended_at is not None and now > job.ended_at + TOKEN_LIFE:
            return Receipt(verdict=None)
    elif callback.job_id is not None and now > made_at(callback.job_id) + TOKEN_LIFE:
        return Receipt(verdict=None)
    if examined is None:
        kept.append(callback)
        return Receipt(verdict=callback.verdict, code=callback.code, job_id=callback.job_id)
    if job is None:
        job_or_receipt = _find(tx, ledger, arrival, examined, kept)
        if isinstance(job_or_receipt, Receipt):
            return job_or_receipt
        job = job_or_receipt
    admission = decide(
        tx, ledger, job, examined, callback_id=callback.id, look_ms=arrival.terms.look_ms, now=now
    )
    if ledger.leads:
        job = ledger.get(job.id) or job
    is_first = job.callbacks == 0
    ledger.count(job.id, first=callback.id if is_first else None)
    job = ledger.jobs[job.id]
    if (
        admission.verdict is ACCEPTED
        or job.callbacks <= MOST_KEPT
        or (admission.verdict is UNREADABLE and _unreadable(tx, job.id, kept) < MOST_KEPT)
    ):
        kept.append(
            _proved(
                callback,
                examined,
                verdict=admission.verdict,
                code=admission.code,
                job_id=job.id,
                is_first=is_first,
            )
        )
    return receipt(admission, job)


def _unreadable(tx: Transaction, job_id: str, kept: Sequence[Callback]) -> int:
    """How many unreadable callbacks of a job are kept: what nobody could read is no duplicate of anything."""
    stored = tx.run(
        f"SELECT count(*) FROM callback WHERE {rows.CALLBACKS_OF} AND verdict = 'unreadable'",
        {"job_id": job_id},
    )
    return int(stored[0][0]) + sum(one.job_id == job_id and one.verdict is UNREADABLE for one in kept)


def _proved(
    callback: Callback,
    examined: Examined,
    *,
    verdict: Verdict,
    code: str | None,
    job_id: str | None = None,
    is_first: bool = False,
) -> Callback:
    """A genuine callback, as it is kept."""
    return replace(
        callback,
        job_id=job_id,
        verdict=verdict,
        code=code,
        key_id=examined.key_id,
        delivery_id=examined.delivery_id,
        remote_id=examined.remote_id,
        is_first=is_first,
    )


def _find(
    tx: Transaction, ledger: Ledger, arrival: Arrival, examined: Examined, kept: list[Callback]
) -> Job | Receipt:
    """The job that a genuine callback is about, or what becomes of the callback if there is none."""
    callback, remote_id = arrival.callback, examined.remote_id
    now = callback.received_at
    if callback.job_id is not None:
        # A token we made for a job we do not have: a restored backup. The job is worth having again.
        return adopt(ledger, callback.provider, arrival.terms, now=now, job_id=callback.job_id)
    if remote_id is None:
        reading = examined.reading(arrival.terms.delivery)
        code = reading.code if isinstance(reading, Unreadable) else "job_unnamed"
        kept.append(_proved(callback, examined, verdict=UNREADABLE, code=code))
        return Receipt(verdict=UNREADABLE, code=code)
    marked = None if examined.mark is None else ledger.get(examined.mark)
    if marked is not None and marked.provider == callback.provider and marked.remote_id in {None, remote_id}:
        return marked
    known = ledger.named(callback.provider, remote_id)
    if known is not None:
        return known
    if was_pruned(tx, callback.provider, remote_id):
        return Receipt(verdict=DUPLICATE, code="job_pruned")
    if tx.run(_SUBMITTING, {"provider": callback.provider}):
        kept.append(_proved(callback, examined, verdict=ACCEPTED, code="held"))
        packed = encode_examined(examined)
        tx.insert("held", _HELD, [(callback.id, callback.provider, remote_id, now + HOLD, packed)])
        return Receipt(verdict=ACCEPTED, code="held")
    return adopt(ledger, callback.provider, arrival.terms, now=now, remote_id=remote_id)


def receipt(admission: Admission, job: Job) -> Receipt:
    """Tell the caller what became of its callback, and which state the job is in now."""
    move = admission.move
    return Receipt(
        verdict=admission.verdict,
        code=admission.code,
        job_id=job.id,
        state=job.state,
        completed=move is not None and move.completed,
        look=move is not None and (move.look_now or move.gather),
    )


def _large_enough(oldest: list[Row], volume: int) -> list[Row]:
    """The fewest of the oldest that together hold *volume* bytes."""
    sums = accumulate(row[1] for row in oldest)
    return oldest[: next((count for count, held in enumerate(sums, 1) if held >= volume), len(oldest))]


def _bound_quarantine(tx: Transaction, kept: Sequence[Callback], written: Rows, quota: Quota) -> None:
    added: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for callback, row in zip(kept, written, strict=True):
        if callback.verdict is REJECTED:
            tally = added[callback.provider, int(callback.job_id is not None)]
            tally[0] += 1
            tally[1] += len(callback.body) + len(row[_HEADERS])
    for (provider, named), (entries, size) in sorted(added.items()):
        where = {"provider": provider, "named": named}
        (total, volume), *_ = tx.run(_QUARANTINE_ADD, where | {"entries": entries, "bytes": size})
        if total > quota.entries or volume > quota.size:
            # Some may have left quarantine since: pruned with their jobs, or admitted by a replay.
            (total, volume), *_ = tx.run(_RECOUNT, where)
        # A tenth at a time, so that a flood does not delete one row for each that it adds.
        while total > quota.entries or volume > quota.size:
            oldest = tx.run(_OLDEST_REJECTED, where | {"many": max(quota.entries // 10, 1)})
            if total <= quota.entries:
                # A few large ones fill the room: only as many go as must, or the one that has just come would go as
                # well.
                oldest = _large_enough(oldest, volume - quota.size)
            if not oldest:
                break
            tx.delete("callback", [row[:1] for row in oldest], key="id")
            (total, volume), *_ = tx.run(
                _QUARANTINE_ADD, where | {"entries": -len(oldest), "bytes": -sum(row[1] for row in oldest)}
            )
