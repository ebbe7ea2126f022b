"""Jobs whose remote id is unknown, beside those that callbacks made: a person can see which belong together."""

from typing import Final

from receiver.core.model import Job, Value
from receiver.storage import rows
from receiver.storage.driver import Transaction
from receiver.storage.queries import INDEXED

_MOST_ORPHANS: Final = 10
#: So many jobs after one without a name are looked at for those that are nobody's: its event came soon.
_LOOKED_AT: Final = 5_000


class Orphan(Value, frozen=True, kw_only=True):
    """A job whose name at its provider nobody knows, and what came there without anybody having submitted it."""

    job: Job
    adopted: list[Job]


def orphans(tx: Transaction, since: int) -> list[Orphan]:
    """Jobs made from *since* on that have no name, each with those that callbacks made in its time, at most so many."""
    start = f"job_{since:012x}"
    states = ("submitting", "timed_out")
    nameless = [
        rows.job_of(row)
        for state in states
        for row in tx.run(
            f"SELECT {rows.JOB} FROM job WHERE {INDEXED} AND state = :state AND id >= :start "
            "AND remote_id IS NULL AND submission IN ('unknown', 'unsure') ORDER BY id DESC LIMIT :limit",
            {"state": state, "start": start, "limit": _MOST_ORPHANS},
        )
    ]
    return [Orphan(job=job, adopted=_adopted(tx, job)) for job in sorted(nameless, key=lambda one: one.id)]


def _adopted(tx: Transaction, job: Job) -> list[Job]:
    near = (
        "SELECT id, submission FROM job WHERE provider = :provider AND id > :after AND id < :until "
        "ORDER BY id LIMIT :looked"
    )
    ids = f"SELECT id FROM ({near}) AS looked WHERE submission = 'none' ORDER BY id LIMIT :limit"
    found = tx.run(
        f"SELECT {rows.JOB} FROM job WHERE id IN ({ids}) ORDER BY id",
        {
            "looked": _LOOKED_AT,
            "provider": job.provider,
            "after": job.id,
            "until": f"job_{max(job.deadline_at, job.created_at):012x}",
            "limit": _MOST_ORPHANS,
        },
    )
    return [rows.job_of(row) for row in found]
