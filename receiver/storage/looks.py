"""Settling looks: what a poll or fetch found, the job's next state and the timeline in one commit."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from receiver.core.asking.exchange import Gone, Seen
from receiver.core.description.keeping import expires_at
from receiver.core.job import transition, urgency
from receiver.core.job.looking import Finding, Interrupted, Lost, Nowhere, Terms, Unanswered, conclude, fails
from receiver.core.job.standing import presumed_gone
from receiver.core.job.transition import Move
from receiver.core.job.uniting import ADOPTED, same_work
from receiver.core.model import Attempt, Due, Job, Observation, Source, Step, Value
from receiver.storage import dues, pages, spent
from receiver.storage.admitting import learned, one_of_its_name
from receiver.storage.driver import Transaction
from receiver.storage.ledger import Ledger
from receiver.storage.nodes import may_come_back
from receiver.storage.results import drop_look, keep_answer, unfolded, write_chunks

#: So many failures in a row are written to the timeline; the attempt numbers show the gap.
_LOGGED_FAILURES: Final = 3
#: So many pages are written there one by one, and then one in so many.
_LOGGED_PAGES: Final = 20
_DELETED: Final = 410
#: The code where a result that is given once was given to another node, which may still hand it over.
ELSEWHERE: Final = "result_elsewhere"


class LookSettled(Value, frozen=True, kw_only=True):
    """The end of a poll or fetch."""

    due: Due
    #: The wake-up that it answers.
    woken_by: str | None
    #: The provider's id of the job, as far as it was known when the look was claimed.
    remote_id: str | None
    finding: Finding
    log: Attempt
    next_at: int
    #: What a 404 means at its provider.
    terms: Terms
    #: Whether the provider can be asked for another address of the result.
    renewable: bool
    now: int


def settle_looks(tx: Transaction, items: Sequence[LookSettled]) -> list[Move | None]:
    """Settle polls and fetches; the move each one made, or ``None`` where it came too late."""
    ledger = Ledger(tx)
    # A wake-up may name another job's id, also while we asked, so whoever has that name is looked up as well.
    ledger.open(
        (one for item in items for one in (item.due.job_id, _mark(item)) if one is not None),
        named=(
            (item.due.provider, item.remote_id or item.finding.seen.remote_id)
            for item in items
            if isinstance(item.finding, Seen) and (item.remote_id is None or _mark(item) is not None)
        ),
    )
    answers = [_settle(tx, ledger, item) for item in items]
    ledger.flush()
    return answers


def _settle(tx: Transaction, ledger: Ledger, item: LookSettled) -> Move | None:
    job = ledger.jobs.get(item.due.job_id)
    due = None if job is None or ledger.get(job.id) is not job else dues.fenced(tx, item.due)
    if job is None or due is None:
        _superseded(tx, ledger, item)
        return None
    if _is_another(tx, ledger, job, item):
        drop_look(tx, job.id, attempt=item.due.attempt)
        return None
    if (
        isinstance(item.finding, Seen)
        and due.candidate_id is not None
        and _taken(ledger, job, item.finding.seen)
    ):
        # A wake-up named the id of another job of ours: what the provider said is about that one.
        code = "answer_for_another_job"
        log = replace(item.log, outcome="failed", code=code)
        item = replace(item, finding=Unanswered(code=code), log=log)
        due = replace(due, candidate_id=None)
    return _conclude(tx, ledger, job, due, item)


def _conclude(tx: Transaction, ledger: Ledger, before: Job, due: Due, item: LookSettled) -> Move | None:
    """Carry out what the look does to its job, and plan the next one."""
    finding, now = item.finding, item.now
    said = finding.seen.remote_id if isinstance(finding, Seen) else None
    job = one_of_its_name(tx, ledger, before, said, now=now)
    taken = None
    if isinstance(finding, Seen) and finding.page is not None:
        taken = pages.take(tx, job.id, finding.page, now=now)
        item, finding = _paged(tx, item, finding, taken, due)
    conclusion = conclude(job, due, finding, started=item.log.started_at, now=now, terms=item.terms)
    move = conclusion.move
    if _telling(due, job, move, finding):
        ledger.log(item.log)
    if move is not None:
        if move.completed and move.job.settled_by is Source.DEADLINE:
            code = move.job.error.code if move.job.error is not None else ""
            ledger.note(job.id, step="deadline", outcome="overdue", code=code, now=now)
        if isinstance(finding, Seen) and finding.content is not None and move.taken:
            write_chunks(tx, job.id, part=item.due.attempt, content=finding.content)
        if isinstance(finding, Seen) or (isinstance(finding, Unanswered) and not move.job.answered):
            move = keep_answer(tx, move, finding.given)
        ledger.carry_out(move, now=now)
        learned(tx, ledger, before, look_ms=max(item.next_at - now, 0), now=now)
        if move.taken:
            return move
    # What this look began to store is of no use to the next.
    drop_look(tx, job.id, attempt=item.due.attempt)
    due = replace(due, doubt_since=conclusion.doubt_since, failures=conclusion.failures)
    if taken is not None and taken.new:
        due = replace(due, doubt_since=None, failures=0)
    _look_again(tx, ledger, due, item, move)
    return move


def _paged(
    tx: Transaction, item: LookSettled, finding: Seen, taken: pages.Taken, due: Due
) -> tuple[LookSettled, Finding]:
    """What a page says: where it goes on, if that was not asked already and must not be again."""
    told: Finding = replace(finding, seen=replace(finding.seen, result_url=taken.onward))
    if not taken.new and not taken.complete and spent.asked(tx, due.job_id, taken.onward):
        told = lost(tx, due)
    return replace(item, finding=told), told


def lost(tx: Transaction, due: Due) -> Finding:
    """What it means that the only GET of a result was begun and is not here: another node may hold what came."""
    holder = due.spent_by
    if holder is None or holder == due.owner or not may_come_back(tx, holder):
        return Lost()
    return Unanswered(code=ELSEWHERE)


def _is_another(tx: Transaction, ledger: Ledger, job: Job, item: LookSettled) -> bool:
    """Whether *job* turns out to be an older one, which then is looked at at once, under its own name."""
    if not isinstance(item.finding, Seen):
        return False
    seen, now = item.finding.seen, item.now
    owner = _recognised(ledger, job, item)
    if owner is not None:
        one_of_its_name(tx, ledger, owner, job.remote_id, now=now)
        learned(tx, ledger, owner, look_ms=0, now=now)
        return True
    if job.remote_id is None and seen.remote_id is not None and job.submission == ADOPTED:
        one = one_of_its_name(tx, ledger, job, seen.remote_id, now=now)
        if one.id != job.id:
            ledger.look(one, run_at=now)
            return True
    return False


def _superseded(tx: Transaction, ledger: Ledger, item: LookSettled) -> None:
    job, finding = ledger.get(item.due.job_id), item.finding
    if job is None:
        drop_look(tx, item.due.job_id, attempt=item.due.attempt)
        return
    ours = {item.due.attempt, unfolded(item.due.attempt)}
    used = job.held is not None and job.held.callback_id is None and job.held.offset in ours
    # A result that is given once is not thrown away as long as its owner may hand it over.
    awaited = isinstance(finding, Seen) and finding.held is not None and dues.is_spent_by(tx, item.due)
    if not used and not awaited:
        drop_look(tx, job.id, attempt=item.due.attempt)
    if job.state.ended and isinstance(finding, Seen) and finding.seen.state is not None:
        # Somebody else settled the job while we asked: what we heard is kept as evidence.
        ledger.log(replace(item.log, outcome="superseded"))


def _look_again(tx: Transaction, ledger: Ledger, due: Due, item: LookSettled, move: Move | None) -> None:
    job, finding, now = ledger.jobs[due.job_id], item.finding, item.now
    run_at = now if move is not None and move.look_now else item.next_at
    if job.woken_by != item.woken_by:
        run_at = now  # a wake-up came while we asked
    elif (
        job.woken_by is not None
        and job.succeeded_at is None
        and not isinstance(finding, Unanswered)
        and now >= transition.followed_until(job)
    ):
        # A failure that it told of was not borne out either.
        error = None if transition.hinted(job) else job.error
        ledger.put(job := replace(job, woken_by=None, error=error))
    named = move is not None and move.result_url is not None
    gone = presumed_gone(job) and isinstance(finding, Gone) and finding.status == _DELETED
    ended = job.state.ended and (gone or isinstance(finding, Nowhere))
    if ended or (
        job.woken_by in {None, item.woken_by} and not transition.worth_looking(job, named=named, now=now)
    ):
        ledger.put(replace(job, woken_by=None))
        dues.forget(tx, job.id, Step.LOOK)
        return
    new_url = move.result_url if move is not None else None
    # The address may have run out (signed links do), so the provider is asked for another, where it can be. A callback
    # may have named one while this one was tried.
    failed = isinstance(finding, Gone | Unanswered | Interrupted)
    stale = failed and item.renewable and due.result_url == item.due.result_url
    unspent = finding.unspent if isinstance(finding, Unanswered) else _not_there(item)
    if unspent and due.spent_url is not None:
        spent.unspend(tx, job.id, due.spent_url)
    deletion = expires_at(job)
    urgent_at = urgency.urgent_at(job, deletion)
    dues.reschedule(
        tx,
        replace(
            due,
            run_at=run_at,
            expires_at=deletion,
            lane=urgency.lane(job, run_at=run_at, urgent_at=urgent_at),
            urgent_at=urgent_at,
            spent_url=None if unspent else due.spent_url,
            result_url=new_url or (None if stale else due.result_url),
            candidate_id=None if isinstance(finding, Seen) else due.candidate_id,
        ),
    )


def _not_there(item: LookSettled) -> bool:
    """Whether the address of a result answered that there is nothing, so that nothing was given away."""
    return isinstance(item.finding, Gone) and item.due.result_url is not None


def _mark(item: LookSettled) -> str | None:
    """The id of ours that the provider repeats."""
    return item.finding.seen.mark if isinstance(item.finding, Seen) else None


def _recognised(ledger: Ledger, job: Job, item: LookSettled) -> Job | None:
    """The job of a caller that *job*, made of a callback, turns out to be."""
    mark = _mark(item)
    owner = None if mark is None or job.submission != ADOPTED else ledger.get(mark)
    if owner is None or owner.remote_id is not None or owner.provider != job.provider:
        return None
    return owner if owner.id != job.id and same_work(owner, job) else None


def _taken(ledger: Ledger, job: Job, seen: Observation) -> bool:
    if job.remote_id is not None or seen.remote_id is None:
        return False
    other = ledger.named(job.provider, seen.remote_id)
    return other is not None and not same_work(job, other)


def _telling(due: Due, job: Job, move: Move | None, finding: Finding) -> bool:
    """Whether a look belongs in the timeline: a job polled for hours must not fill it with "not yet"."""
    if isinstance(finding, Seen) and finding.page is not None:
        number = finding.page.number
        return due.failures < _LOGGED_FAILURES and (number <= _LOGGED_PAGES or number % _LOGGED_PAGES == 0)
    if move is not None and move.changed and not isinstance(finding, Nowhere):
        return True
    return fails(job, finding) and due.failures < _LOGGED_FAILURES
