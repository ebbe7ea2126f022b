"""Answer: record what a provider answered to a submission, or that nobody knows."""

import asyncio
import random
from collections.abc import Callable
from itertools import chain, repeat
from typing import Final

import msgspec
import structlog

from receiver.core.asking.exchange import Accepted, Refused, Submission, TryLater, Unknown
from receiver.core.asking.upload import NOT_READY
from receiver.core.description.provider import Provider
from receiver.core.errors import NotFoundError, OutcomeUnknownError, StoreUnavailableError
from receiver.core.job.cadence import first_look
from receiver.core.model import Due, Failure, Held, Job, Observation, Source
from receiver.core.reading.given import Given, place
from receiver.core.retry import Backoff, GiveUp, after_failure
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.outbound.allowances import ProviderBusyError
from receiver.storage.lately import Lately
from receiver.storage.settlements import SubmitSettled, timeline
from receiver.storage.spool import Spool
from receiver.storage.store import Store
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

#: A submission that surely did not arrive is tried this often before the job fails.
RETRIES: Final = Backoff(first=1_000, longest=60_000, attempts=10)
#: What a person does about a submission that came to nothing, by what became of it.
_NEXT: Final = {
    "refused": "correct the request or the credentials and submit it anew; why: receiver jobs show {job}",
    "gave_up": "submit it anew once the provider can be reached; receiver explain {code}",
    "unknown": "it is not sent again by itself; it waits for its callback or its deadline; receiver explain {code}",
}
_NEVER_ACCEPTED: Final = "The deadline came before the provider took the job: nothing was bought."
#: What a job's ``submission`` says while it is tried again after an attempt whose outcome nobody knows.
UNSURE: Final = "unsure"
#: The submission was not even tried, so it uses no attempt up: it waits for its turn, or for its file, as long as its
#: job may take.
_PATIENT: Final = {ProviderBusyError.code, NOT_READY}
_LARGEST_ANSWER: Final = 64 * 1024
#: Seconds between attempts to record an answer while the database cannot be written.
_STORE_WAITS: Final = (0.5, 1, 1, 2, 2, 4)
#: Seconds that a caller waits until an answer is stored, before it is told that it is held.
_PATIENCE: Final = 20.0


class Answers:
    """Records what became of submissions, and holds each outcome for as long as the database cannot take it."""

    def __init__(
        self,
        *,
        store: Store,
        spool: Spool[SubmitSettled],
        keys: Keys,
        clock: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._spool = spool
        #: What is held, by job: each task ends once it is stored.
        self._held: dict[str, asyncio.Task[Job]] = {}
        self._settling: dict[str, SubmitSettled] = {}
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._lately = Lately(store=store, clock=clock)

    async def settle(
        self,
        provider: Provider,
        job: Job,
        due: Due,
        outcome: Submission,
        started: int,
        *,
        last: bool = False,
    ) -> Job:
        """Record *outcome* and return the job as it is then; with *last* the submission is not tried again.

        Raises:
            OutcomeUnknownError: it is held, and stored as soon as the database can take it.
        """
        now = self._clock()
        word, code, refused, retry_at, seen, patient = "unknown", None, None, None, None, False
        unsure = job.submission == UNSURE or isinstance(outcome, Unknown)
        match outcome:
            case Accepted():
                word, seen = "accepted", outcome.seen
            case Refused():
                word, code, refused = "refused", outcome.error.code, outcome.error
            case Unknown():
                word, code = "unknown", outcome.code
                if not last and provider.submit is not None and provider.submit.idempotency is not None:
                    # The provider recognises the repetition, so asking again cannot bill twice.
                    word, retry_at, refused = self._again(due, code, None, now)
                    refused = None
            case TryLater():
                code, patient = outcome.code, outcome.code in _PATIENT
                word, retry_at, refused = self._again(due, code, outcome.wait, now, last=last)
        if unsure and refused is not None:
            # An earlier attempt may have been taken: what refuses this one does not end the job.
            word, refused = "unknown", None
        if retry_at is not None:
            retry_at = min(retry_at, max(job.deadline_at, now))
        whole = outcome.given if isinstance(outcome, Accepted) else None
        held, content = _inline(seen, whole)
        # What was accepted is in the job; any other answer is kept in the provider's own words.
        answer = None if isinstance(outcome, Accepted) else outcome.answer
        settled = SubmitSettled(
            due=due,
            seen=seen,
            held=held,
            content=content,
            given=whole,
            refused=refused,
            retry_at=retry_at,
            patient=patient,
            unsure=unsure,
            answer_status=None if answer is None else answer.status,
            sealed_key=self._seal(job, outcome),
            answer_body=None if answer is None else answer.body[:_LARGEST_ANSWER],
            first_look_at=first_look(provider, job, now=now, took=await self._lately(provider, job)),
            log=timeline(
                job.id,
                step="submit",
                started_at=started,
                now=now,
                outcome=word,
                code=code,
                number=due.attempt,
            ),
            now=now,
        )
        after = await self._record_answer(settled)
        self._metrics.step("submit", job.provider, word)
        if after.settled_by is Source.SUBMIT:
            self._metrics.settled(job.provider, Source.SUBMIT, after.state)
        facts = {"job": job.id, "provider": job.provider, "remote_id": after.remote_id, "code": code}
        if word in {"refused", "gave_up", "unknown"}:
            log.warning(f"submission_{word}", **facts, see=_NEXT[word].format(job=job.id, code=code))
        else:
            log.info(f"submission_{word}", **facts)
        return msgspec.structs.replace(after, metadata=job.metadata, traceparent=job.traceparent)

    def _seal(self, job: Job, outcome: Submission) -> bytes | None:
        key = outcome.key if isinstance(outcome, Accepted) else None
        return None if key is None else self._keys.seal(job.id, key)

    async def _record_answer(self, settled: SubmitSettled) -> Job:
        job_id = settled.due.job_id
        try:
            return await self._store.settle_submit(settled)
        except StoreUnavailableError as error:
            log.warning("answer_held", job=job_id, reason=str(error))
        # The first try may have been committed, and only the database's answer lost.
        held = self._hold(msgspec.structs.replace(settled, again=True))
        done, _ = await asyncio.wait({held}, timeout=_PATIENCE)
        if not done:
            raise OutcomeUnknownError(job_id=job_id)
        return held.result()

    def held(self, job_id: str) -> "asyncio.Task[Job] | None":
        """The task that stores the answer to a job's submission, where that is held here."""
        return self._held.get(job_id)

    async def recover(self) -> set[str]:
        """Store the answers of processes that have ended, or go on trying; return the jobs of those that are stored."""
        stored = set()
        for settled in await off_loop(self._spool.take):
            log.warning("answer_found", job=settled.due.job_id)
            try:
                await self._store.settle_submit(settled)
            except NotFoundError:
                self._spool.pass_over(settled.due.job_id)
            except StoreUnavailableError:
                self._hold(settled)
            else:
                await off_loop(self._spool.drop, settled.due.job_id)
                stored.add(settled.due.job_id)
        return stored

    async def finish(self, *, patience: float) -> None:
        """Wait up to *patience* seconds for what is held to be stored."""
        if self._held:
            await asyncio.wait(self._held.values(), timeout=patience)

    async def close(self) -> None:
        """Hold nothing any more: what is in the spool is for whoever starts next."""
        left = [self._settling[job_id] for job_id in self._held]
        for task in list(self._held.values()):
            task.cancel()
        if self._held:
            await asyncio.wait(self._held.values())
        for settled in left:
            await self._leave(settled)
        self._spool.close()

    async def _leave(self, settled: SubmitSettled) -> None:
        """Say where an answer is that the process does not store any more."""
        job_id, remote_id = settled.due.job_id, None if settled.seen is None else settled.seen.remote_id
        if self._spool.has(job_id) or await off_loop(self._spool.put, settled):
            log.error("answer_left_in_spool", job=job_id, remote_id=remote_id)
        elif remote_id is None:
            log.error("answer_lost", job=job_id)
        else:
            # Whoever reads the log can still say what nothing else knows.
            log.error("answer_lost", job=job_id, see=f"receiver jobs link {job_id} {remote_id}")

    def _hold(self, settled: SubmitSettled) -> "asyncio.Task[Job]":
        job_id = settled.due.job_id
        self._settling[job_id] = settled
        task = asyncio.ensure_future(self._store_sometime(settled))
        self._held[job_id] = task

        def stored(task: "asyncio.Task[Job]") -> None:
            self._held.pop(job_id, None)
            self._settling.pop(job_id, None)
            if not task.cancelled():
                task.exception()  # the error is logged; whoever waited for the answer gets it too

        task.add_done_callback(stored)
        return task

    async def _store_sometime(self, settled: SubmitSettled) -> Job:
        job_id = settled.due.job_id
        await off_loop(self._spool.put, settled)
        for wait in chain(_STORE_WAITS, repeat(_STORE_WAITS[-1])):
            await asyncio.sleep(wait)
            try:
                after = await self._store.settle_submit(settled)
            except StoreUnavailableError as error:
                log.warning("answer_waits_for_store", job=job_id, reason=str(error))
                if not self._spool.has(job_id):
                    # Its folder could not be used, or is gone.
                    await off_loop(self._spool.put, settled)
                continue
            except Exception:
                log.exception("answer_refused", job=job_id)
                await off_loop(self._spool.refuse, job_id)
                raise
            await off_loop(self._spool.drop, job_id)
            log.warning("answer_stored", job=job_id, remote_id=after.remote_id)
            return after
        raise AssertionError("it goes on for ever")

    def _again(
        self, due: Due, code: str, wait: int | None, now: int, *, last: bool = False
    ) -> tuple[str, int | None, Failure | None]:
        if last:
            return "gave_up", None, Failure(code=code, text=_NEVER_ACCEPTED)
        if code in _PATIENT:
            return "retrying", now + (wait or 0), None
        decision = after_failure(
            due.failures + 1,
            backoff=RETRIES,
            jitter=random.random(),
            now=now,
            at_least=wait,
        )
        if isinstance(decision, GiveUp):
            text = f"The submission was tried {due.failures + 1} times."
            return "gave_up", None, Failure(code=code, text=text)
        return "retrying", decision.when, None


def _inline(seen: Observation | None, whole: Given | None) -> tuple[Held | None, bytes | None]:
    if seen is None or seen.state is None or not seen.state.ended or seen.result is None:
        return None, None
    return place(seen.result, part=0, whole=whole)
