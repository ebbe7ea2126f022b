"""Answer: record what a provider answered to a submission, or that nobody knows."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from receiver.core.cadence import first_look
from receiver.core.errors import StoreUnavailableError
from receiver.core.exchange import Accepted, Refused, Submission, TryLater, Unknown
from receiver.core.model import Due, Failure, Held, Job, JobState, Source
from receiver.core.provider import Provider
from receiver.core.retry import Backoff, GiveUp, after_failure
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.storage.settlements import SubmitSettled, timeline
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: A submission that surely did not arrive is tried this often before the job fails.
RETRIES: Final = Backoff(first=1_000, longest=60_000, attempts=10)
#: What a job's ``submission`` says while it is tried again after an attempt whose outcome nobody knows.
UNSURE: Final = "unsure"
_LARGEST_ANSWER: Final = 64 * 1024
#: Seconds between attempts to record an answer while the database cannot be written.
_STORE_WAITS: Final = (0.5, 1, 2, 4, 8, 16)


class Answers:
    """Records what became of submissions."""

    def __init__(self, *, store: Store, keys: Keys, clock: Callable[[], int], metrics: Metrics) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._metrics = metrics

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
        """Record *outcome*; with *last* it is not tried again, whatever it is. The job as it is then."""
        now = self._clock()
        word, code, refused, retry_at, seen = "unknown", None, None, None, None
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
                code = outcome.code
                word, retry_at, refused = self._again(due, code, outcome.wait, now)
        if unsure and refused is not None:
            # An earlier attempt may have been taken: what refuses this one does not end the job.
            word, refused = "unknown", None
        if retry_at is not None:
            retry_at = min(retry_at, max(job.deadline_at, now))
        held, content = _inline(seen)
        # What was accepted is in the job; any other answer is kept in the provider's own words.
        answer = None if isinstance(outcome, Accepted) else outcome.answer
        settled = SubmitSettled(
            due=due,
            seen=seen,
            held=held,
            content=content,
            refused=refused,
            retry_at=retry_at,
            unsure=unsure,
            answer_status=None if answer is None else answer.status,
            sealed_key=self._seal(job, outcome),
            answer_body=None if answer is None else answer.body[:_LARGEST_ANSWER],
            first_look_at=first_look(provider, job, now=now),
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
        log.info(
            f"submission_{word}", job=job.id, provider=job.provider, remote_id=after.remote_id, code=code
        )
        return msgspec.structs.replace(after, metadata=job.metadata)

    def _seal(self, job: Job, outcome: Submission) -> bytes | None:
        key = outcome.key if isinstance(outcome, Accepted) else None
        return None if key is None else self._keys.seal(job.id, key)

    async def _record_answer(self, settled: SubmitSettled) -> Job:
        # What was answered may be all that is known of a job that is paid for: a busy database is waited for.
        for wait in _STORE_WAITS:
            try:
                return await self._store.settle_submit(settled)
            except StoreUnavailableError as error:
                log.warning("answer_waits_for_store", job=settled.due.job_id, reason=str(error))
                await asyncio.sleep(wait)
        return await self._store.settle_submit(settled)

    def _again(
        self, due: Due, code: str, wait: int | None, now: int
    ) -> tuple[str, int | None, Failure | None]:
        decision = after_failure(
            due.attempt,
            backoff=RETRIES,
            jitter=random.random(),
            now=now,
            at_least=wait,
        )
        if isinstance(decision, GiveUp):
            text = f"The submission was tried {due.attempt} times."
            return "gave_up", None, Failure(code=code, text=text)
        return "retrying", decision.when, None


def _inline(seen: Any) -> tuple[Held | None, bytes | None]:  # noqa: ANN401
    if seen is None or seen.state is not JobState.SUCCEEDED or seen.result is None:
        return None, None
    content = seen.result.content
    held = Held(
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type=seen.result.content_type,
    )
    return held, content
