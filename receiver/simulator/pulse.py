"""Pulse: document extraction with an API key, and account-wide Standard Webhooks that Svix sends.

https://docs.runpulse.com and pulse-python-sdk 1.0.17, read 2026-11-20. The endpoints of an account are
set in a Svix portal; `add_endpoint` stands for it.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator import documents, signing
from receiver.simulator.jobs import Job, JobState, Submission
from receiver.simulator.system import RefusedError, System, base_url, claimed_id, lie, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from receiver.simulator.callbacks import Message
    from receiver.simulator.documents import JSON
    from receiver.simulator.faults import Plan

#: The events an endpoint gets unless it names fewer, by the state they tell of. The event is "cancelled",
#: the status "canceled".
_EVENT: Final[Mapping[str, str]] = {
    "processing": "job.processing",
    "completed": "job.completed",
    "failed": "job.failed",
    "canceled": "job.cancelled",
}
EVENTS: Final = tuple(_EVENT.values())

_WORDS: Final = {
    JobState.CREATED: "pending",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELED: "canceled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address of the account's, as it would be entered in the portal."""

    url: str
    secret: str = field(repr=False)
    events: tuple[str, ...] = EVENTS

    def __post_init__(self) -> None:
        """Refuse what could never be sent.

        Raises:
            ValueError: The secret is not base64 after `whsec_`, or an event does not exist.
        """
        signing.standard_webhooks(b"", secret=self.secret, message_id="msg", timestamp=0)
        unknown = set(self.events) - set(EVENTS)
        if unknown:
            raise ValueError(f"no such event: {', '.join(sorted(unknown))}; there are {', '.join(EVENTS)}")


class Pulse(System):
    """Extraction, splitting and schemas; a job's operation is the endpoint it came in by."""

    name: ClassVar[str] = "pulse"
    tells_of: ClassVar[frozenset[JobState]] = frozenset(JobState)
    endpoints: tuple[Endpoint, ...] = ()

    def routes(self) -> list[Route]:
        """Return the endpoints that can be asynchronous, and those of jobs and large results."""
        return [
            Route("/extract", self._extract, methods=["POST"]),
            Route("/split", self._split, methods=["POST"]),
            Route("/schema", self._schema, methods=["POST"]),
            Route("/job/{id}", self._job, methods=["GET"]),
            Route("/job/{id}", self._cancel, methods=["DELETE"]),
            Route("/large_results/{id}", self._large_result, methods=["GET"]),
        ]

    def error(self, status: int, message: str) -> JSONResponse:
        """Return `{"error": {"code", "message"}}`."""
        codes = {
            400: "invalid_request",
            401: "unauthorized",
            404: "not_found",
            410: "gone",
            429: "rate_limited",
        }
        return JSONResponse(documents.pulse_error(codes.get(status, "internal"), message), status_code=status)

    def credentials(self, request: Request) -> str:
        """Return the API key."""
        return request.headers.get("x-api-key", "")

    # Submissions

    async def _extract(self, request: Request) -> Response:
        self.authenticate(request)
        body = await _read_fields(request)
        # The client writes fileUrl, the documentation file_url.
        if not (body.get("file") or body.get("file_url") or body.get("fileUrl")):
            raise RefusedError("file or file_url is required")
        return await self._take(request, "extract", body)

    async def _split(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        if not body.get("extraction_id"):
            raise RefusedError("extraction_id is required")
        return await self._take(request, "split", body)

    async def _schema(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        if not (body.get("extraction_id") or body.get("extraction_ids") or body.get("split_id")):
            raise RefusedError("extraction_id, extraction_ids or split_id is required")
        return await self._take(request, "schema", body)

    async def _take(self, request: Request, operation: str, body: JSON) -> Response:
        submission = Submission(request=body, base_url=base_url(request), operation=operation)
        if str(body.get("async", "")).lower() in {"true", "1"}:
            return await self.submit(
                submission, lambda job: JSONResponse(documents.pulse_ack(job.id), status_code=202)
            )
        return await self.submit_and_wait(submission, self._finished)

    def _finished(self, job: Job) -> JSONResponse:
        if job.state is JobState.SUCCEEDED:
            return JSONResponse(_result(job))
        return self.error(500, _reason(job))

    # Jobs

    async def _job(self, request: Request) -> Response:
        job = self.find(request)
        inline = job.done and "large_result" not in job.plan
        return self.show(job, lambda: JSONResponse(_document(job)), result=inline)

    async def _cancel(self, request: Request) -> Response:
        job = self.find(request)
        canceled = self.jobs.finish(job, JobState.CANCELED)
        message = "Job canceled" if canceled else "Job has already ended"
        return JSONResponse({"job_id": job.id, "message": message})

    async def _large_result(self, request: Request) -> Response:
        job = self.find(request)
        if job.state is not JobState.SUCCEEDED or "large_result" not in job.plan:
            raise RefusedError("Not found", status=404)
        return self.show(job, lambda: self._download(job), result=not job.downloads)

    def _download(self, job: Job) -> JSONResponse:
        if job.downloads or "expired" in job.plan:
            return self.error(410, "This result has already been downloaded")
        # Counted from the first byte, which is harsher than "after one successful download": a client
        # cannot rely on the vendor's idea of success.
        job.downloads += 1
        return JSONResponse(_inline(job))

    # Webhooks

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Send events to *endpoint* from now on, in place of an earlier one with its URL."""
        self.clear_endpoint(endpoint.url)
        self.endpoints = (*self.endpoints, endpoint)

    def clear_endpoint(self, url: str | None = None) -> None:
        """Send no more events to *url*, or to anyone."""
        self.endpoints = tuple(e for e in self.endpoints if url is not None and e.url != url)

    def messages(self, job: Job, plan: Plan) -> list[Message]:
        """Return the event of the job's state, once for each endpoint that wants it."""
        truth = _WORDS[job.state]
        status = lie(
            plan, "lying_status", truth=truth, usual="failed" if truth == "completed" else "completed"
        )
        event = _EVENT.get(status) or _EVENT.get(truth)
        if event is None:
            return []
        stale = plan.get("stale")
        timestamp = int(time.time() - ((stale.seconds or 0) if stale else 0))
        document = documents.pulse_event(
            event, job_id=claimed_id(job, plan), status=status, sent_at=datetime.fromtimestamp(timestamp, UTC)
        )
        message_id = f"msg_{secrets.token_hex(13)}"
        stranger = signing.standard_webhooks_secret(b"a stranger's key")

        def message(endpoint: Endpoint) -> Message:
            key = stranger if "forged" in plan else endpoint.secret
            return self.message(
                job,
                document,
                plan,
                url=endpoint.url,
                sign=lambda body: signing.standard_webhooks(
                    body, secret=key, message_id=message_id, timestamp=timestamp
                ),
            )

        return [message(endpoint) for endpoint in self.endpoints if event in endpoint.events]


async def _read_fields(request: Request) -> JSON:
    """Return the fields of a form, or of a JSON object; of a file its name and size.

    Raises:
        RefusedError: The body is neither.
    """
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await read_json(request)
    async with request.form() as form:
        return {
            name: value if isinstance(value, str) else {"filename": value.filename, "size": value.size}
            for name, value in form.items()
        }


def _document(job: Job) -> JSON:
    document: JSON = {
        "job_id": job.id,
        "status": _WORDS[job.state],
        "created_at": documents.zulu(job.created_at, timespec="milliseconds"),
        "updated_at": documents.zulu(job.changed_at, timespec="milliseconds"),
    }
    if job.done and "expired" in job.plan:
        # What is left of a result whose retention has passed; its fields are not documented.
        return document | {"status": "expired", "result": {"expired": True}}
    if job.state is JobState.SUCCEEDED:
        document["result"] = _result(job)
    elif job.state is JobState.FAILED:
        document["error"] = _reason(job)
    return document


def _result(job: Job) -> JSON:
    large = job.plan.get("large_result")
    if large is None:
        return _inline(job)
    return documents.pulse_large(
        f"{job.submission.base_url}/large_results/{job.id}", page_count=large.size or 0
    )


def _inline(job: Job) -> JSON:
    match job.submission.operation:
        case "split":
            return documents.pulse_split(job.id)
        case "schema":
            return documents.pulse_schema(job.id)
        case _:
            return documents.pulse_extraction(job.id)


def _reason(job: Job) -> str:
    failed = job.plan.get("failed")
    return (failed.value if failed else None) or "The document could not be processed"
