"""Submit: record a job, ask its provider to start it, record the answer."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from receiver.catalog import Catalog
from receiver.core import exchange
from receiver.core.cadence import first_look
from receiver.core.errors import (
    ConfigurationError,
    FetchRefusedError,
    NeverConnectedError,
    ProviderError,
    RequestError,
    StoreUnavailableError,
)
from receiver.core.exchange import Accepted, FilePart, Refused, Submission, TryLater, Unknown
from receiver.core.identity import JOB, new_id
from receiver.core.model import Delivery, Due, Failure, Held, Job, JobState, Source, Step, Value
from receiver.core.provider import Provider
from receiver.core.retry import Backoff, GiveUp, after_failure
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.outbound.client import Outbound
from receiver.outbound.uploads import open_files
from receiver.storage.claims import Claimed
from receiver.storage.records import NewJob
from receiver.storage.settlements import SubmitSettled, timeline
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: A submission that surely did not arrive is tried this often before the job fails.
RETRIES: Final = Backoff(first=1_000, longest=60_000, attempts=10)
#: Longer than any request lasts (outbound gives up before), so that the lease outlives the sending.
_LONGEST_SUBMISSION: Final = 90_000
_LARGEST_ANSWER: Final = 64 * 1024
#: What a job's ``submission`` says while it is tried again after an attempt whose outcome nobody knows.
_UNSURE: Final = "unsure"
_LONGEST_KEY: Final = 255
#: Seconds between attempts to record an answer while the database cannot be written.
_STORE_WAITS: Final = (0.5, 1, 2, 4, 8, 16)


class Order(Value, frozen=True, kw_only=True):
    """What a caller wants done."""

    provider: str
    request: dict[str, Any]
    operation: str = ""
    idempotency_key: str | None = None
    metadata: dict[str, Any] = {}
    #: Seconds after which the job is given up; the provider's description sets it otherwise.
    deadline: float | None = None
    #: Whether ``file`` in the request may name a file of this machine: never for a remote caller.
    local_files: bool = False


class Submitted(Value, frozen=True, kw_only=True):
    """What became of an order."""

    job: Job
    #: Whether this order made the job, rather than its idempotency key naming one that was there.
    new: bool
    #: The address that was minted for it: a capability, so it is told once.
    callback_url: str | None


class Submit:
    """Submits jobs; a job is recorded before anything is sent, and never silently sent twice."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        keys: Keys,
        outbound: Outbound,
        clock: Callable[[], int],
        metrics: Metrics,
        owner: str,
        public_url: str | None,
        lease_ms: int,
        largest: int,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = keys
        self._outbound = outbound
        self._clock = clock
        self._sending: set[asyncio.Future[Job]] = set()
        self._metrics = metrics
        # A name of its own: nothing keeps this lease alive, so a submission whose answer could not be
        # recorded comes back by itself.
        self._owner = f"{owner}/submit"
        self._public_url = public_url.rstrip("/") if public_url else None
        self._lease_ms = max(lease_ms, _LONGEST_SUBMISSION)
        self._largest = largest

    async def __call__(self, order: Order) -> Submitted:
        """Record and submit a job; returns once the provider's answer, or its absence, is recorded.

        Raises:
            RequestError: the order cannot be carried out as it stands; nothing was recorded.
            ConflictError: its idempotency key was used for another request.
            ConfigurationError: a key or credential that it needs is missing; nothing was recorded.
        """
        provider = self._catalog.named(order.provider)
        new = self._record(provider, order)
        callback_url = self._callback_url(provider, new.job)
        # Everything that can be wrong with the request is found before it is recorded.
        exchange.submission_request(provider, new.job, order.request, callback_url=callback_url, secret=b"-")
        self._keys.credentials(provider)
        files: dict[str, FilePart] = {}
        if _takes_files(provider, new.job):
            files = await asyncio.to_thread(open_files, order.request, allowed=order.local_files)
        job, created = await self._store.submit(new)
        if not created:
            return Submitted(job=job, new=False, callback_url=None)
        due = Due(
            job_id=job.id,
            step=Step.SUBMIT,
            provider=job.provider,
            run_at=job.created_at + self._lease_ms,
            attempt=1,
            owner=self._owner,
        )
        # The caller may go away; the job is recorded and its answer must be too.
        sending = asyncio.ensure_future(self._send(provider, job, due, order.request, files))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        sent = await asyncio.shield(sending)
        return Submitted(job=sent, new=True, callback_url=callback_url)

    async def finish(self, *, patience: float) -> None:
        """Wait up to *patience* seconds for submissions under way: an answer that is not recorded is lost."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=patience)

    async def resume(self, claimed: Claimed) -> Job:
        """Go on with a submission that is due again: a retry, or one whose sender is gone."""
        job, due = claimed.job, claimed.due
        provider = self._catalog.named(job.provider)
        submission = await self._store.submission(job.id)
        started = self._clock()
        idempotent = provider.submit is not None and provider.submit.idempotency is not None
        if submission is None or (claimed.lapsed and not idempotent):
            # Whoever sent it may have been heard: sending it again could bill the job twice.
            return await self._settle(provider, job, due, Unknown(code="sender_gone"), started, last=True)
        if started >= job.deadline_at:
            # Nobody waits for it any more: it is not bought now.
            return await self._settle(provider, job, due, Unknown(code="deadline_passed"), started, last=True)
        if claimed.lapsed:
            job = msgspec.structs.replace(job, submission=_UNSURE)
        request = msgspec.json.decode(submission.request)
        files: dict[str, FilePart] = {}
        try:
            if _takes_files(provider, job):
                files = await asyncio.to_thread(open_files, request, allowed=True)
        except RequestError as error:
            refused = Refused(error=Failure(code=error.code, text=str(error)))
            return await self._settle(provider, job, due, refused, started)
        return await self._send(provider, job, due, request, files)

    def _record(self, provider: Provider, order: Order) -> NewJob:
        now = self._clock()
        operation = order.operation or next(iter(provider.operations), "")
        if operation and operation not in provider.operations:
            known = ", ".join(provider.operations) or "none"
            raise RequestError(
                f"{provider.name} has no operation {operation!r}; it has: {known}.",
                code="operation_unknown",
                field="operation",
            )
        if order.deadline is not None and not 0 < order.deadline <= 365 * 86_400:
            raise RequestError("deadline is a number of seconds, at most a year.", field="deadline")
        if order.idempotency_key is not None and not _is_key(order.idempotency_key):
            raise RequestError(
                f"idempotency_key is 1 to {_LONGEST_KEY} printable characters.", field="idempotency_key"
            )
        delivery = exchange.delivery_for(provider, order.request, reachable=self._public_url is not None)
        if delivery is Delivery.NONE and provider.poll is None:
            raise RequestError(
                f"{provider.name} answers only to a callback URL; set RECEIVER_PUBLIC_URL.",
                code="public_url_missing",
            )
        try:
            request = msgspec.json.encode(order.request)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError("The request is not JSON.", field="request") from error
        try:
            metadata = msgspec.json.encode(order.metadata)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError("The metadata is not JSON.", field="metadata") from error
        retention = provider.retention
        job = Job(
            id=new_id(JOB, now),
            provider=provider.name,
            operation=operation,
            delivery=delivery,
            key_id=self._keys.newest.id,
            created_at=now,
            deadline_at=now
            + (int(order.deadline * 1000) if order.deadline is not None else provider.deadline),
            keep_ms=None if retention is None else int(retention.keeps),
            keep_from="completion" if retention is None else retention.counted_from,
            metadata=order.metadata,
        )
        canonical = msgspec.json.encode([provider.name, operation, order.request], order="deterministic")
        return NewJob(
            job=job,
            request=request,
            request_sha256=hashlib.sha256(canonical).hexdigest(),
            metadata=metadata,
            idempotency_key=order.idempotency_key,
            owner=self._owner,
            lease_ms=self._lease_ms,
        )

    def _callback_url(self, provider: Provider, job: Job) -> str | None:
        if self._public_url is None or provider.callback is None or provider.callback.where == "registered":
            return None
        if job.delivery is Delivery.NONE:
            return None
        return (
            f"{self._public_url}/callbacks/{provider.name}/{self._keys.mint(job.id, provider=provider.name)}"
        )

    async def _send(
        self,
        provider: Provider,
        job: Job,
        due: Due,
        request: Mapping[str, Any],
        files: Mapping[str, FilePart],
    ) -> Job:
        started = self._clock()
        secret = None
        if provider.callback is not None and provider.callback.secret_path is not None:
            secret = self._keys.job_secret(job.id, provider, master=self._keys.newest)
        conversation = exchange.submit(
            provider,
            job,
            request,
            callback_url=self._callback_url(provider, job),
            secret=secret,
            files=files,
            largest=self._largest,
            now=started,
        )
        outcome: Submission
        try:
            outcome = await self._outbound.converse(provider, conversation)
        except NeverConnectedError as error:
            outcome = TryLater(code=error.code)
        except (FetchRefusedError, ConfigurationError, RequestError) as error:
            outcome = Refused(error=Failure(code=error.code, text=str(error)))
        except ProviderError as error:
            outcome = Unknown(code=error.code)
        return await self._settle(provider, job, due, outcome, started)

    async def _settle(
        self,
        provider: Provider,
        job: Job,
        due: Due,
        outcome: Submission,
        started: int,
        *,
        last: bool = False,
    ) -> Job:
        now = self._clock()
        word, code, refused, retry_at, seen = "unknown", None, None, None, None
        unsure = job.submission == _UNSURE or isinstance(outcome, Unknown)
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


def _takes_files(provider: Provider, job: Job) -> bool:
    operation = provider.operations.get(job.operation)
    content = operation.content if operation is not None else None
    return (content or (provider.submit.content if provider.submit else None)) == "multipart"


def _is_key(key: str) -> bool:
    return 0 < len(key) <= _LONGEST_KEY and key.isprintable()
