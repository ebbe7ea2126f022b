"""``/v1/jobs``: submit, list, look at, take the result of, cancel and replay jobs."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from receiver.api.acting import actor
from receiver.api.filters import job_readers, read_query, wait_reader
from receiver.api.resource import Operation, answer, read_document
from receiver.catalog import Catalog
from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.identity import JOB, is_id
from receiver.core.model import Job, Result
from receiver.core.trace import parse_traceparent
from receiver.steps.cancel import Cancel
from receiver.steps.deed import deed, done
from receiver.steps.order import Order
from receiver.steps.replay import Replay, Replayed
from receiver.steps.submit import Submit
from receiver.steps.wait import LONGEST_REQUEST, Wait
from receiver.storage import pages, results, search
from receiver.storage.search import Wanted
from receiver.storage.store import Store
from receiver.views.job import JobDocument, job_document
from receiver.views.timeline import RecordDocument, record_document
from receiver.wire.web import PRIVATE, Bodies

#: A result comes from outside, so a browser is told to save it, and neither to guess its type nor to run it.
AS_FILE: Final = PRIVATE | {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
}


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller wants done."""

    provider: str
    #: What the provider's API takes, without callback URL and secret.
    request: dict[str, Any]
    operation: str = ""
    #: The same key with the same request is the same job.
    idempotency_key: str | None = None
    metadata: dict[str, Any] | None = None
    #: Seconds after which the job is given up.
    deadline: float | None = None
    #: Whether to ask for a callback, where the provider makes any; else the job is polled.
    callback: bool = True
    #: Headers of the submission, and fields of its address, that the provider's description lets a job set.
    headers: dict[str, str] | None = None
    query: dict[str, Any] | None = None
    #: Whether handlers wait for the files that the result links to (before), are called meanwhile (beside), or whether
    #: they are not fetched at all (never).
    files: str = "before"


class ReplayOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which handler to replay for (all that want it if left out); ``dry_run`` only says what would happen."""

    handler: str | None = None
    dry_run: bool = False


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs, the newest first; one that is not full, or empty, has a ``cursor`` where there may be more."""

    jobs: list[JobDocument]
    cursor: str | None


class Jobs:
    """The operations on jobs."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        bodies: Bodies,
        submit: Submit,
        cancel: Cancel,
        replay: Replay,
        wait: Wait,
        clock: Callable[[], int],
        notify: Callable[[], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._bodies = bodies
        self._submit = submit
        self._cancel = cancel
        self._replay = replay
        self._wait = wait
        self._clock = clock
        self._notify = notify
        self._readers = job_readers(catalog)

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="POST",
                path="/v1/jobs",
                summary="Submit a job; a repetition with the same idempotency key answers 200 with that job.",
                endpoint=self.submit,
                takes=Submission,
                headers=("traceparent",),
                answers={202: JobDocument, 200: JobDocument},
                problems=(400, 408, 409, 413, 500),
            ),
            Operation(
                method="GET",
                path="/v1/jobs",
                summary="List jobs, the newest first.",
                endpoint=self.list,
                query=tuple(self._readers),
                answers={200: JobList},
            ),
            Operation(
                method="GET",
                path="/v1/jobs/{id}",
                summary="One job and its timeline; with wait, in seconds, once it has ended or they are over.",
                endpoint=self.show,
                query=("wait",),
                answers={200: RecordDocument},
                problems=(404,),
            ),
            Operation(
                method="DELETE",
                path="/v1/jobs/{id}",
                summary="Ask the provider to cancel a job.",
                endpoint=self.cancel,
                answers={202: JobDocument},
                problems=(404, 409),
            ),
            Operation(
                method="GET",
                path="/v1/jobs/{id}/result",
                summary="The result's bytes, as the provider sent them; of pages, all as one document.",
                endpoint=self.result,
                answers={200: "*/*", 304: None},
                problems=(404,),
            ),
            Operation(
                method="GET",
                path="/v1/jobs/{id}/answer",
                summary="The provider's last answer about a job, whole: the one that says how it ended.",
                endpoint=self.answer,
                answers={200: "*/*"},
                problems=(404,),
            ),
            Operation(
                method="GET",
                path="/v1/jobs/{id}/pages/{number}",
                summary="The bytes of one page of a result that comes in several, as the provider sent them.",
                endpoint=self.page,
                answers={200: "*/*", 304: None},
                problems=(404,),
            ),
            Operation(
                method="POST",
                path="/v1/jobs/{id}/replay",
                summary="Make new dispatches for an ended job.",
                endpoint=self.replay,
                takes=ReplayOrder,
                may_be_empty=True,
                answers={202: Replayed, 200: Replayed},
                problems=(400, 404, 408, 409, 413),
            ),
        ]

    async def submit(self, request: Request) -> Response:
        """Record a job and submit it: 202 with its callback URL, or 200 where the key names one already."""
        wanted = await read_document(request, Submission, bodies=self._bodies)
        submitted = await self._submit(
            Order(
                provider=wanted.provider,
                request=wanted.request,
                operation=wanted.operation,
                idempotency_key=wanted.idempotency_key,
                metadata=wanted.metadata or {},
                deadline=wanted.deadline,
                callback=wanted.callback,
                headers=wanted.headers or {},
                query=wanted.query or {},
                # As W3C has it, one that cannot be read is as good as none.
                traceparent=parse_traceparent(request.headers.get("traceparent", "")),
                files=wanted.files,
                local_files=False,
            )
        )
        job, callback_url = submitted.job, submitted.callback_url
        if not submitted.new:
            return answer(job_document(await self._store.job(job.id)))
        self._notify()
        return answer(job_document(job, callback_url=callback_url), status=202)

    async def list(self, request: Request) -> Response:
        """List jobs."""
        asked = read_query(request, self._readers)
        wanted = Wanted(**{{"cursor": "before"}.get(name, name): value for name, value in asked.items()})
        found = await self._store.read(search.find, wanted)
        return answer(
            JobList(jobs=[job_document(one, listed=True) for one in found.jobs], cursor=found.cursor)
        )

    async def show(self, request: Request) -> Response:
        """Show one job, at once or when it has ended."""
        patience = read_query(request, {"wait": wait_reader(LONGEST_REQUEST)}).get("wait")
        if patience:
            await self._wait.until_ended(job_id(request), patience=patience, leaves=True)
        return answer(record_document(await self._store.record(job_id(request))))

    async def cancel(self, request: Request) -> Response:
        """Record that the job is to be cancelled."""
        named = (await self._store.job(job_id(request))).id
        async with deed(
            self._store, actor(request), "cancel", now=self._clock(), subject=named, job_id=named
        ):
            job = await self._cancel(named)
            if job.state.ended:
                raise ConflictError(f"{job.id} has ended already: {job.state}.", code="job_ended")
        self._notify()
        return answer(job_document(await self._store.job(job.id)), status=202)

    async def result(self, request: Request) -> Response:
        """Stream the result, a chunk at a time; nothing holds all of it."""
        job = await self._store.job(job_id(request))
        if job.held is None:
            raise _missing(job)
        etag = f'"{job.held.sha256}"'
        headers = AS_FILE | {"etag": etag, "content-disposition": f'attachment; filename="{job.id}"'}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if (provider := self._catalog.get(job.provider)) is not None and provider.paged is not None:
            found = await self._store.read(pages.stored, job.id)
            headers |= {"x-receiver-pages": str(len(found))} if found else {}
        headers |= {
            "content-length": str(job.held.size),
            "content-type": _content_type(job.held.content_type),
        }
        chunks = self._store.result_chunks(job.id, job.held)
        # Read the first chunk before answering: afterwards it is too late to answer 404.
        first = await anext(chunks, b"")
        if len(first) == 0 < job.held.size:
            raise _missing(job)
        return StreamingResponse(_joined(first, chunks), headers=headers)

    async def page(self, request: Request) -> Response:
        """Hand on one page of a result."""
        job, number = job_id(request), request.path_params["number"]
        found = await self._store.read(pages.stored, job)
        page = next((one for one in found if str(one.number) == number), None)
        if page is None:
            raise NotFoundError(f"{job} has no page {number[:20]} of a result.", code="page_missing")
        etag = f'"{page.sha256}"'
        headers = AS_FILE | {"etag": etag, "content-disposition": f'attachment; filename="{job}-{number}"'}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers |= {"content-type": _content_type(page.content_type)}
        return Response(await self._store.read(pages.read, job, page.number), headers=headers)

    async def answer(self, request: Request) -> Response:
        """The provider's last answer, as it sent it but for content codings."""
        job = await self._store.job(job_id(request))
        found = await self._store.read(results.answered, job)
        if found is None:
            raise NotFoundError(
                f"Nothing that {job.provider} said of {job.id} is kept.", code="answer_missing"
            )
        headers = AS_FILE | {
            "content-disposition": f'attachment; filename="{job.id}.answer"',
            "content-type": _content_type(found.content_type),
            "content-length": str(found.size),
        }
        if isinstance(found, Result):
            return Response(found.content, headers=headers)
        return StreamingResponse(self._store.result_chunks(job.id, found), headers=headers)

    async def replay(self, request: Request) -> Response:
        """Replay one job."""
        order = await read_document(request, ReplayOrder, bodies=self._bodies, empty=ReplayOrder())
        named = job_id(request)
        replayed = await self._replay(named, handler=order.handler, dry_run=order.dry_run)
        if not order.dry_run:
            done(
                self._store,
                actor(request),
                "replay",
                now=self._clock(),
                subject=named,
                job_id=named,
                handler=order.handler,
                replay_id=replayed.replay_id,
            )
        return answer(replayed, status=200 if order.dry_run else 202)


def job_id(request: Request) -> str:
    """The job that the address names, by its whole id; raises NotFoundError."""
    named: str = request.path_params["id"]
    if not is_id(named, JOB):
        raise NotFoundError("No job has such an id; ids are whole here.", code="job_not_found")
    return named


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _missing(job: Job) -> NotFoundError:
    if not job.state.ended:
        sentence = f"{job.id} is {job.state}; its result is not here yet."
    elif job.held is None:
        sentence = f"{job.id} ended as {job.state} and has no result."
    else:
        sentence = f"The result of {job.id} is no longer stored."
    return NotFoundError(sentence, code="result_missing")


def _content_type(text: str) -> str:
    # The provider wrote it, and a header takes printable ASCII only.
    return text if text.isascii() and text.isprintable() and text else "application/octet-stream"
