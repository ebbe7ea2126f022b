"""Yandex AI Studio, asynchronous text generation: operations that are polled, no callbacks at all.

https://yandex.cloud/en/docs/ai-studio/operations/generation/async-request and
https://yandex.cloud/en/docs/api-design-guide/concepts/operation, read 2026-11-20. The vendor serves
submissions and operations at two hosts; here both are below one address.
"""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator import documents
from receiver.simulator.jobs import Job, JobState, Submission
from receiver.simulator.system import RefusedError, System, base_url, bearer, read_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.simulator.documents import JSON

#: google.rpc.Code, https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_CANCELLED, _INVALID_ARGUMENT, _NOT_FOUND, _EXHAUSTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = (
    1, 3, 5, 8, 13, 14, 16,
)  # fmt: skip
_CODES = {400: _INVALID_ARGUMENT, 401: _UNAUTHENTICATED, 404: _NOT_FOUND, 429: _EXHAUSTED, 503: _UNAVAILABLE}


class Yandex(System):
    """Operations, whose end is `done: true` with `response` or `error`, and no status word."""

    name: ClassVar[str] = "yandex"

    def routes(self) -> list[Route]:
        """Return the paths of submission, operation and cancellation."""
        return [
            Route("/foundationModels/v1/completionAsync", self._complete, methods=["POST"]),
            # The reference says GET, the design guide POST.
            Route("/operations/{id}:cancel", self._cancel, methods=["GET", "POST"]),
            Route("/operations/{id}", self._operation, methods=["GET"]),
        ]

    def error(self, status: int, message: str) -> JSONResponse:
        """Return a google.rpc.Status."""
        code = _CODES.get(status, _INTERNAL)
        return JSONResponse(documents.yandex_status(code, message), status_code=status)

    def credentials(self, request: Request) -> str:
        """Return an IAM token or an API key."""
        return bearer(request, "bearer", "api-key")

    def new_id(self) -> str:
        """Return 20 letters and digits, as the page's examples are."""
        return "d7q" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(17))

    async def _complete(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        if not body.get("modelUri") or not body.get("messages"):
            raise RefusedError("modelUri and messages are required")
        submission = Submission(
            request=body,
            base_url=base_url(request),
            operation="completionAsync",
            idempotency_key=request.headers.get("idempotency-key"),
        )
        return await self.submit(submission, _answer)

    async def _operation(self, request: Request) -> Response:
        job = self.find(request)
        if job.done and "expired" in job.plan:
            return self.show(job, lambda: self.error(404, "Operation not found"), result=False)
        return self.show(job, lambda: _answer(job), result=job.done)

    async def _cancel(self, request: Request) -> Response:
        job = self.find(request)
        self.jobs.finish(job, JobState.CANCELED)
        return _answer(job)


def _answer(job: Job) -> JSONResponse:
    return JSONResponse(_document(job))


def _document(job: Job) -> JSON:
    operation = documents.yandex_operation(job.id, created_at=job.created_at, modified_at=job.changed_at)
    early = job.plan.get("early_error")
    if early is not None and job.state is not JobState.CREATED:
        # "error" is set while the service still rolls back: only "done" ends an operation.
        operation["error"] = documents.yandex_status(_INTERNAL, "The operation failed and is rolled back")
    if not job.done:
        return operation | {"modifiedAt": documents.zulu(datetime.now(UTC))}
    operation["done"] = True
    if early is not None and early.value == "response":
        del operation["error"]
    match job.state:
        case JobState.CANCELED:
            operation["error"] = documents.yandex_status(_CANCELLED, "Operation cancelled")
        case JobState.FAILED:
            operation["error"] = documents.yandex_status(_INTERNAL, _reason(job))
        case _ if "error" not in operation:
            operation["response"] = documents.yandex_completion()
    return operation


def _reason(job: Job) -> str:
    failed = job.plan.get("failed")
    return (failed.value if failed else None) or "Internal error"
