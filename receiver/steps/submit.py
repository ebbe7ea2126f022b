"""Submit: record a job, ask its provider to start it, record the answer."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Final, TypeVar

import msgspec
import structlog

from receiver.catalog import Catalog
from receiver.core.asking import exchange
from receiver.core.asking.assembly import Extras
from receiver.core.asking.exchange import (
    FilePart,
    HttpRequest,
    HttpResponse,
    Refused,
    Submission,
    TryLater,
    Unknown,
)
from receiver.core.asking.upload import Ready, Uploaded, needs_upload, readiness, terms_of, upload, with_file
from receiver.core.description.provider import Provider
from receiver.core.errors import (
    ConfigurationError,
    FetchRefusedError,
    NeverConnectedError,
    NothingSentError,
    OutcomeUnknownError,
    ProviderError,
    RequestError,
    StoreUnavailableError,
)
from receiver.core.job.urgency import ASKED
from receiver.core.model import Delivery, Due, Failure, Job, Step, Value
from receiver.core.signature.token import callback_url
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.outbound.allowances import ProviderBusyError
from receiver.outbound.client import Outbound
from receiver.outbound.uploads import open_files
from receiver.steps.answer import UNSURE, Answers
from receiver.steps.order import Order, Submitted, record_of, takes_files
from receiver.steps.recording import Recording
from receiver.storage.claims import Claimed
from receiver.storage.records import NewJob
from receiver.storage.settlements import SubmitSettled, uploaded
from receiver.storage.spool import Spool
from receiver.storage.store import Store
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

#: Longer than any request lasts (outbound gives up before), so that the lease outlives the sending.
_LONGEST_SUBMISSION: Final = 90_000
#: Seconds before a process that stops gives up on answers, at which callers hear that they have not come: their
#: connections are cut then, and whoever is cut off may submit again.
_TOLD_BEFORE: Final = 0.5
T = TypeVar("T")


class Asked(Value, frozen=True, kw_only=True):
    """What a submission is made of."""

    request: Mapping[str, Any]
    extras: Extras
    #: The file that it is made of, as the provider calls it, if that was uploaded before.
    uploaded: str | None = None


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
        recording: Recording,
        spool: Spool[SubmitSettled],
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
        self._recording = recording
        self._sending: set[asyncio.Task[Any]] = set()
        #: Set once nobody is to wait for an answer any more.
        self._leaving = asyncio.Event()
        self._answers = Answers(store=store, spool=spool, keys=keys, clock=clock, metrics=metrics)
        # A name of its own: nothing keeps this lease alive, so a submission whose answer could not be
        # recorded comes back by itself.
        self._owner = f"{owner}/submit"
        self._public_url = public_url.rstrip("/") if public_url else None
        self._lease_ms = max(lease_ms, _LONGEST_SUBMISSION)
        self._largest = largest

    async def __call__(self, order: Order) -> Submitted:
        """Record and submit a job; returns once the provider's answer, or its absence, is recorded.

        Raises:
            NothingSentError: it could not be recorded, or the process stops, and so nothing was sent.
            OutcomeUnknownError: it is recorded, and what became of it is not known yet.
            RequestError: the order cannot be carried out as it stands; nothing was recorded.
            ConflictError: its idempotency key was used for another request.
            ConfigurationError: a key or credential that it needs is missing; nothing was recorded.
        """
        provider = self._catalog.named(order.provider)
        new = record_of(
            order,
            provider,
            key_id=self._keys.newest.id,
            reachable=self._public_url is not None,
            owner=self._owner,
            lease_ms=self._lease(provider),
            now=self._clock(),
        )
        callback_url = self._callback_url(provider, new.job)
        # Everything that can be wrong with the request is found before it is recorded.
        request = order.request
        if needs_upload(provider, request):
            request = with_file(provider, request, "-")
        exchange.submission_request(
            provider, new.job, request, callback_url=callback_url, secret=b"-", extras=order.extras
        )
        self._keys.credentials(provider)
        asked, files = Asked(request=order.request, extras=order.extras), dict[str, FilePart]()
        if takes_files(provider, new.job.operation):
            files = await off_loop(open_files, provider, order.request, allowed=order.local_files)
        if self._leaving.is_set():
            raise NothingSentError("The receiver is being stopped, and nothing was sent: try again.")
        return await self._heard(new.job, self._begin(self._carry_out(provider, new, asked, files)))

    async def _heard(self, job: Job, task: "asyncio.Task[Submitted]") -> Submitted:
        """What became of *task*, which goes on though its caller goes away: what was begun is carried out."""
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if task.done():
            return task.result()
        raise OutcomeUnknownError(
            f"The receiver is being stopped, and what becomes of the job {job.id} is not known yet. Do not send the "
            "job again; ask for it by its id later.",
            job_id=job.id,
        )

    def _begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin what is waited for when the process ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)

        def ended(task: "asyncio.Task[T]") -> None:
            self._sending.discard(task)
            if not task.cancelled():
                task.exception()  # its caller hears of it, if it is still there

        task.add_done_callback(ended)
        return task

    async def _carry_out(
        self,
        provider: Provider,
        new: NewJob,
        asked: Asked,
        files: Mapping[str, FilePart],
    ) -> Submitted:
        recorded = await self._recording(new)
        if recorded is None:
            self._begin(self._carry_out_later(provider, new, asked, files))
            raise OutcomeUnknownError(
                f"The database went away while the job {new.job.id} was recorded. It is sent as soon as the database "
                "is back. Do not send the job again; ask for it by its id later.",
                job_id=new.job.id,
            )
        job, created = recorded
        if not created:
            return Submitted(job=job, new=False, callback_url=None)
        sent = await self._send_first(provider, job, asked, files)
        return Submitted(job=sent, new=True, callback_url=self._callback_url(provider, job))

    async def _carry_out_later(
        self,
        provider: Provider,
        new: NewJob,
        asked: Asked,
        files: Mapping[str, FilePart],
    ) -> None:
        recorded = await self._recording.later(new)
        if recorded is not None and recorded[1]:
            await self._send_first(provider, recorded[0], asked, files)

    async def _send_first(
        self, provider: Provider, job: Job, asked: Asked, files: Mapping[str, FilePart]
    ) -> Job:
        due = Due(
            job_id=job.id,
            step=Step.SUBMIT,
            provider=job.provider,
            run_at=job.created_at + self._lease(provider),
            lane=ASKED,
            attempt=1,
            owner=self._owner,
        )
        return await self._send(provider, job, due, asked, files)

    async def recover(self) -> None:
        """Store the orders, and the answers, that processes held which are gone."""
        await self._recording.recover()
        await self._answers.recover()

    async def finish(self, *, patience: float) -> None:
        """Wait up to *patience* seconds for submissions under way, and until their answers are stored."""
        until = asyncio.get_running_loop().time() + patience
        if self._sending:
            await asyncio.wait(self._sending, timeout=max(patience - _TOLD_BEFORE, 0.0))
        if self._sending:
            self._leaving.set()
            await asyncio.wait(self._sending, timeout=min(patience, _TOLD_BEFORE))
        await self._answers.finish(patience=max(until - asyncio.get_running_loop().time(), 0.0))

    async def close(self) -> None:
        """Give up what is not finished: what was ordered or answered, and is not recorded, is in the spool."""
        for task in list(self._sending):
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
        self._recording.close()
        await self._answers.close()

    async def resume(self, claimed: Claimed) -> Job:
        """Go on with a submission that is due again: a retry, or one whose sender is gone."""
        # The wait may be interrupted when the process stops; what was begun is not.
        try:
            return await asyncio.shield(self._begin(self._resume(claimed)))
        except OutcomeUnknownError as error:
            log.warning("submission_unsettled", job=error.job_id, reason=str(error))
            return claimed.job

    async def _resume(self, claimed: Claimed) -> Job:
        job, due = claimed.job, claimed.due
        if claimed.lapsed:
            # Perhaps it was answered, and only could not be stored: then it is not sent again.
            recovered = await self._answers.recover()
            if (held := self._answers.held(job.id)) is not None:
                return await asyncio.shield(held)
            if job.id in recovered:
                return await self._store.job(job.id)
        provider = self._catalog.named(job.provider)
        submission = await self._store.submission(job.id)
        started = self._clock()
        idempotent = provider.submit is not None and provider.submit.idempotency is not None
        request = msgspec.json.decode(submission.request) if submission is not None else {}
        there = submission.uploaded if submission is not None else None
        # What only uploaded has bought nothing: that there is a file is recorded before the job is started.
        begun = claimed.lapsed and not (needs_upload(provider, request) and there is None)
        if submission is None or (begun and not idempotent):
            # Whoever sent it may have been heard: sending it again could bill the job twice.
            return await self._answers.settle(
                provider, job, due, Unknown(code="sender_gone"), started, last=True
            )
        if started >= job.deadline_at:
            # Nobody waits for the job any more, so it is not started now. Whether it was before is known, unless an
            # answer was lost.
            doubted = begun or job.submission == UNSURE
            late = Unknown(code="deadline_passed") if doubted else TryLater(code="never_accepted")
            return await self._answers.settle(provider, job, due, late, started, last=True)
        if begun:
            job = msgspec.structs.replace(job, submission=UNSURE)
        extras = msgspec.json.decode(submission.options or b"{}", type=Extras)
        asked = Asked(request=request, extras=extras, uploaded=there)
        files: dict[str, FilePart] = {}
        try:
            if takes_files(provider, job.operation) and there is None:
                files = await off_loop(open_files, provider, request, allowed=True)
        except RequestError as error:
            refused = Refused(error=Failure(code=error.code, text=str(error)))
            return await self._answers.settle(provider, job, due, refused, started)
        return await self._send(provider, job, due, asked, files)

    def _callback_url(self, provider: Provider, job: Job) -> str | None:
        if self._public_url is None or provider.callback is None or provider.callback.where == "registered":
            return None
        if job.delivery is Delivery.NONE:
            return None
        token = self._keys.mint(job.id, provider=provider.name)
        return callback_url(self._public_url, provider=provider.name, token=token)

    def _lease(self, provider: Provider) -> int:
        """For how long a submission is nobody else's: longer than all of its requests last."""
        terms = terms_of(provider)
        more = len(terms.requests) + (terms.ready is not None) if terms is not None else 0
        return self._lease_ms + more * _LONGEST_SUBMISSION

    async def _upload(
        self,
        provider: Provider,
        job: Job,
        due: Due,
        asked: Asked,
        files: Mapping[str, FilePart],
        *,
        now: int,
    ) -> Uploaded | Refused | TryLater | None:
        """Upload the file that the job is made of, unless that was done, and check that it may be used.

        ``None`` means that another process has the submission. An upload costs nothing, so what is in doubt is
        repeated.
        """
        made: Uploaded | Refused | TryLater
        if asked.uploaded is not None:
            made = Uploaded(file_id=asked.uploaded)
        else:
            uploading = upload(provider, job, asked.request, files, largest=self._largest, now=now)
            made = await self._conversed(provider, uploading)
            try:
                if isinstance(made, Uploaded) and not await self._store.write(uploaded, (due, made.file_id)):
                    return None
            except StoreUnavailableError as error:
                # Once the lease has lapsed it is uploaded again: no job was started.
                raise OutcomeUnknownError(job_id=job.id) from error
        if not isinstance(made, Uploaded):
            return made
        looking = readiness(provider, made.file_id, largest=self._largest, now=now)
        ready = await self._conversed(provider, looking)
        return made if isinstance(ready, Ready) else ready

    async def _conversed(
        self, provider: Provider, conversation: Generator[HttpRequest, HttpResponse, T]
    ) -> T | Refused | TryLater:
        """What came of a conversation that may be had again."""
        try:
            return await self._outbound.converse(provider, conversation)
        except ProviderBusyError as error:
            return TryLater(code=error.code, wait=error.wait)
        except (FetchRefusedError, ConfigurationError, RequestError) as error:
            return Refused(error=Failure(code=error.code, text=str(error)))
        except ProviderError as error:
            return TryLater(code=error.code)

    async def _send(
        self,
        provider: Provider,
        job: Job,
        due: Due,
        asked: Asked,
        files: Mapping[str, FilePart],
    ) -> Job:
        started = self._clock()
        secret = None
        if provider.callback is not None and provider.callback.secret_path is not None:
            secret = self._keys.job_secret(job.id, provider, master=self._keys.newest)
        request = asked.request
        if needs_upload(provider, request):
            made = await self._upload(provider, job, due, asked, files, now=started)
            if made is None:
                return await self._store.job(job.id)
            if not isinstance(made, Uploaded):
                return await self._answers.settle(provider, job, due, made, started)
            request, files = with_file(provider, request, made.file_id), {}
        conversation = exchange.submit(
            provider,
            job,
            request,
            callback_url=self._callback_url(provider, job),
            secret=secret,
            files=files,
            extras=asked.extras,
            largest=self._largest,
            now=started,
        )
        outcome: Submission
        try:
            outcome = await self._outbound.converse(provider, conversation)
        except ProviderBusyError as error:
            outcome = TryLater(code=error.code, wait=error.wait)
        except NeverConnectedError as error:
            outcome = TryLater(code=error.code)
        except (FetchRefusedError, ConfigurationError, RequestError) as error:
            outcome = Refused(error=Failure(code=error.code, text=str(error)))
        except ProviderError as error:
            outcome = Unknown(code=error.code)
        return await self._answers.settle(provider, job, due, outcome, started)
