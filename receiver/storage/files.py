"""The files that results link to: written when a result has been read, and found for whoever wants them."""

from collections.abc import Iterable, Sequence
from typing import Final

from receiver.core.errors import NotFoundError
from receiver.core.file import Download, File, FileState
from receiver.core.job import transition
from receiver.core.job.transition import Move
from receiver.core.model import Attempt, Due, Step, Value
from receiver.storage import dues
from receiver.storage.driver import Transaction
from receiver.storage.layout import TRUTH, Layout, Otherwise
from receiver.storage.ledger import Ledger

FILE: Final = Layout(File, otherwise={"state": Otherwise(lambda state: state.value, FileState)})
DOWNLOAD: Final = Layout(Download, otherwise={"authenticated": TRUTH, "renewed": TRUTH})
KEY: Final = "job_id, number"
#: What is told of a file once it is stored, or of its last attempt.
_OUTCOME: Final = "state, code, size, content_type, sha256, stored_at"


class Gathered(Value, frozen=True, kw_only=True):
    """What a result links to."""

    due: Due
    files: tuple[File, ...]
    #: How those are to be had that wait.
    downloads: tuple[Download, ...]
    log: Attempt
    now: int


def gather(tx: Transaction, items: Sequence[Gathered]) -> list[Move | None]:
    """Record what results link to; the move that each made, or ``None`` where it came too late.

    A job whose result links to nothing that could be had succeeds at once.
    """
    ledger = Ledger(tx)
    ledger.open(item.due.job_id for item in items)
    answers: list[Move | None] = []
    for item in items:
        job = ledger.get(item.due.job_id)
        due = None if job is None else dues.fenced(tx, item.due)
        if job is None or due is None:
            answers.append(None)
            continue
        dues.forget(tx, job.id, Step.FILES)
        tx.insert("file", f"job_id, {FILE.columns}", [(job.id, *FILE.row(one)) for one in item.files])
        tx.insert("download", DOWNLOAD.columns, [DOWNLOAD.row(one) for one in item.downloads])
        ledger.log(item.log)
        move = transition.gathered(job, now=item.now) if not item.downloads else Move(job=job)
        if move.completed:
            ledger.carry_out(move, now=item.now)
        answers.append(move)
    ledger.flush()
    return answers


def of_job(tx: Transaction, job_id: str) -> list[File]:
    """The files of a job, in their order."""
    found = tx.run(f"SELECT {FILE.columns} FROM file WHERE job_id = :id ORDER BY number", {"id": job_id})
    return [FILE.noun(row) for row in found]


def of_number(tx: Transaction, job_id: str, number: int) -> File:
    """One file of a job; raises NotFoundError."""
    found = tx.run(
        f"SELECT {FILE.columns} FROM file WHERE job_id = :id AND number = :number",
        {"id": job_id, "number": number},
    )
    if not found:
        raise NotFoundError(f"{job_id} has no file {number}.", code="file_not_found")
    return FILE.noun(found[0])


def kept(tx: Transaction, digests: Sequence[str]) -> set[str]:
    """The *digests* of which some job still has a file."""
    where, params = tx.among("sha256", digests)
    return {row[0] for row in tx.run(f"SELECT DISTINCT sha256 FROM file WHERE {where}", params)}


def partials(tx: Transaction) -> set[str]:
    """What was left unfinished and is to be gone on with."""
    return {row[0] for row in tx.run("SELECT partial FROM download WHERE partial IS NOT NULL")}


def stored_bytes(tx: Transaction, job_id: str) -> int:
    """How many bytes of a job's files are stored."""
    found = tx.run("SELECT coalesce(sum(size), 0) FROM file WHERE job_id = :id", {"id": job_id})
    return int(found[0][0])


def store_id(tx: Transaction) -> str | None:
    """The id of the file store that the record's bytes are in; ``None`` as long as there are none."""
    found = tx.run("SELECT id FROM file_store")
    return found[0][0] if found else None


def unmarked(tx: Transaction, before: int) -> bool:
    """Whether the file store got its id before that time, and nothing was ever stored in it."""
    made = tx.run("SELECT 1 FROM file_store WHERE made_at < :before", {"before": before})
    return bool(made) and not tx.run("SELECT 1 FROM file WHERE sha256 IS NOT NULL LIMIT 1")


def name_store(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[str]:
    """Give the file store an id, unless it has one: (id, now); the one that it has."""
    tx.guard(["file store"])
    answers = []
    for wanted, now in items:
        known = store_id(tx)
        if known is None:
            tx.insert("file_store", "id, made_at", [(wanted, now)])
        answers.append(known or wanted)
    return answers


def unname_store(tx: Transaction, items: Sequence[str]) -> list[None]:
    """Take the ids of file stores back that could not be marked with them."""
    for one in items:
        tx.run("DELETE FROM file_store WHERE id = :id", {"id": one})
    return [None] * len(items)


def tell(tx: Transaction, outcomes: Iterable[tuple[str, File]]) -> None:
    """Set how files of jobs stand."""
    changed = [
        (one.state.value, one.code, one.size, one.content_type, one.sha256, one.stored_at, job_id, one.number)
        for job_id, one in outcomes
    ]
    tx.update("file", _OUTCOME, changed, key=KEY)
