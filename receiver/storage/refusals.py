"""Requests refused in spite of a valid token: a line in the job's timeline, and a question to the provider."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from receiver.core.identity import ATTEMPT, new_id
from receiver.core.job.admission import MOST_KEPT
from receiver.core.job.transition import woken
from receiver.core.model import Attempt, Delivery, Value
from receiver.storage.arrivals import TOKEN_LIFE
from receiver.storage.driver import Transaction
from receiver.storage.ledger import Ledger

STEP: Final = "receive"
_LINES: Final = f"SELECT count(*) FROM attempt WHERE job_id = :job_id AND step = '{STEP}'"


class Refusal(Value, frozen=True, kw_only=True):
    """A request about a job that was refused before it was all here."""

    job_id: str
    code: str
    status: int
    method: str
    at: int
    sender: str | None = None
    #: Whether this provider signs nothing, so that a request with a valid token is a wake-up by itself.
    wakes: bool
    #: Whether the provider can be asked about any job.
    askable: bool


def refuse(tx: Transaction, items: Sequence[Refusal]) -> list[bool]:
    """Record refusals, at most twenty of one job; for each, whether its job is to be looked at now."""
    ledger = Ledger(tx)
    ledger.open(one.job_id for one in items)
    lines: dict[str, int] = {}
    looks = []
    for one in items:
        job = ledger.jobs.get(one.job_id)
        look = False
        if job is not None and not (job.ended_at is not None and one.at > job.ended_at + TOKEN_LIFE):
            if job.id not in lines:
                lines[job.id] = int(tx.run(_LINES, {"job_id": job.id})[0][0])
            if lines[job.id] < MOST_KEPT:
                lines[job.id] += 1
                look = _take(ledger, one)
        looks.append(look)
    ledger.flush()
    return looks


def _take(ledger: Ledger, one: Refusal) -> bool:
    job = ledger.jobs[one.job_id]
    line = Attempt(
        id=new_id(ATTEMPT, one.at),
        job_id=job.id,
        step=STEP,
        started_at=one.at,
        outcome="refused",
        code=one.code,
        detail={"status": one.status, "method": one.method, "sender": one.sender},
    )
    ledger.log(line)
    if not one.wakes or (job.delivery is Delivery.RESULT and not one.askable):
        return False
    # The looks are bounded as with wake-ups: one answers all refusals before it, and each takes one of the twenty
    # lines.
    move = woken(job, callback_id=line.id, most=MOST_KEPT)
    if move.changed:
        ledger.carry_out(replace(move, note=None), now=one.at)
    return move.look_now
