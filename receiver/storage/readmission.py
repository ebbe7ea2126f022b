"""Admitting stored callbacks anew, after a correction: what they move now, and what becomes of ended jobs."""

from collections.abc import Sequence

from receiver.core.errors import NotFoundError
from receiver.core.job.admission import Examined, Terms, Unreadable
from receiver.core.model import Callback, Job, Value, Verdict
from receiver.storage.admitting import adopt, decide
from receiver.storage.arrivals import Receipt, receipt, was_pruned
from receiver.storage.driver import Transaction
from receiver.storage.ledger import Ledger


class Readmission(Value, frozen=True, kw_only=True):
    """A stored callback that has been examined again."""

    callback: Callback
    examined: Examined
    terms: Terms
    replay_id: str
    handler: str | None
    #: Whether the completion of a job that has ended already is dispatched again.
    dispatch_again: bool
    #: Who has it read again, as far as is known.
    by: str
    now: int


def readmit(tx: Transaction, items: Sequence[Readmission]) -> list[tuple[Receipt, list[str]]]:
    """Admit stored callbacks anew; where a job had ended already, its completion is dispatched again, if asked for."""
    tx.be_sure()
    ledger = Ledger(tx)
    ledger.open(
        (one.callback.job_id for one in items if one.callback.job_id is not None),
        named=(
            (one.callback.provider, one.examined.remote_id) for one in items if one.callback.job_id is None
        ),
    )
    verdicts = _verdicts(tx, [one.callback.id for one in items])
    answers = []
    for item in items:
        job = _job_of(tx, ledger, item, verdicts.get(item.callback.id))
        if isinstance(job, Receipt):
            answers.append((job, list[str]()))
            continue
        admission = decide(
            tx,
            ledger,
            job,
            item.examined,
            callback_id=item.callback.id,
            look_ms=item.terms.look_ms,
            now=item.now,
        )
        if item.callback.job_id is None or item.callback.verdict is Verdict.REJECTED:
            # It has not been counted before.
            ledger.count(ledger.led(job.id))
        job = after = ledger.jobs[ledger.led(job.id)]
        made: list[str] = []
        changed = admission.move is not None and admission.move.changed
        seen = item.examined.reading(after.delivery)
        # A notification stands for the end that it announced; mere progress stands for no completion.
        final = (
            not isinstance(seen, Unreadable)
            and admission.verdict is not Verdict.UNREADABLE
            and (seen.state is None or seen.state.ended)
        )
        before = item.callback
        told: dict[str, str | None] = {
            "callback": before.id,
            "verdict": admission.verdict.value,
            "by": item.by,
        }
        if before.verdict is not admission.verdict:
            # Its own row says from now on what it is; that it was something else is told here.
            told |= {"was": before.verdict.value, "was_code": before.code}
        if changed or item.callback.verdict in {Verdict.REJECTED, Verdict.UNREADABLE}:
            verdicts[item.callback.id] = admission.verdict
            tx.run(
                "UPDATE callback SET job_id = :job_id, verdict = :verdict, code = :code, key_id = :key_id, "
                "remote_id = :remote_id WHERE id = :id",
                {
                    "job_id": job.id,
                    "verdict": admission.verdict.value,
                    "code": admission.code,
                    "key_id": item.examined.key_id,
                    "remote_id": item.examined.remote_id,
                    "id": item.callback.id,
                },
            )
        if admission.move is not None and admission.move.completed:
            made = ledger.wanted(after)
        elif item.dispatch_again and not changed and final and after.state.ended:
            made = ledger.dispatch(after, now=item.now, replay_id=item.replay_id, handler=item.handler)
        ledger.note(
            job.id,
            step="replay",
            outcome="read",
            code=item.replay_id,
            now=item.now,
            **{name: value for name, value in told.items() if value},
        )
        answers.append((receipt(admission, after), made))
    ledger.flush()
    return answers


def _verdicts(tx: Transaction, ids: Sequence[str]) -> dict[str, Verdict]:
    """Lock callbacks; what each one is now."""
    where, params = tx.among("id", sorted(set(ids)))
    found = tx.run(f"SELECT id, verdict FROM callback WHERE {where} ORDER BY id {{for_update}}", params)
    return {callback_id: Verdict(verdict) for callback_id, verdict in found}


def _job_of(tx: Transaction, ledger: Ledger, item: Readmission, verdict: Verdict | None) -> Job | Receipt:
    """The job that a callback is about, or what becomes of the callback if there is none; *verdict* is today's."""
    if verdict is None:
        # Quarantine may have dropped it since it was read, and a result must not point at it.
        raise NotFoundError(f"No callback {item.callback.id} is stored.", code="callback_not_found")
    if verdict is not item.callback.verdict:
        # Somebody else has admitted it since it was read: its end has its dispatches.
        return Receipt(verdict=Verdict.DUPLICATE, job_id=item.callback.job_id)
    if item.callback.job_id is not None:
        known = ledger.get(item.callback.job_id)
        return known or adopt(
            ledger, item.callback.provider, item.terms, now=item.now, job_id=item.callback.job_id
        )
    remote_id = item.examined.remote_id
    if remote_id is None:
        return Receipt(verdict=Verdict.UNREADABLE, code="job_unnamed")
    known = ledger.named(item.callback.provider, remote_id)
    if known is None and was_pruned(tx, item.callback.provider, remote_id):
        return Receipt(verdict=Verdict.DUPLICATE, code="job_pruned")
    return known or adopt(ledger, item.callback.provider, item.terms, now=item.now, remote_id=remote_id)
