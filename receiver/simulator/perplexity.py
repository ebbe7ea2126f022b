"""Perplexity's asynchronous chat completions: as its vendor documents them, and with webhooks.

https://docs.perplexity.ai/api-reference/async-chat-completions-api-request-get and perplexityai 0.46.1, read
2026-11-20. The webhook variant is hypothetical: the vendor's client knows nothing of it.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, ClassVar

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator import documents, signing
from receiver.simulator.jobs import Job, JobState, Submission
from receiver.simulator.system import RefusedError, System, base_url, bearer, claimed_id, lie, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.requests import Request

    from receiver.simulator.callbacks import Message
    from receiver.simulator.documents import JSON
    from receiver.simulator.faults import Plan

#: The second one is the newer alias.
_PATHS = ("/async/chat/completions", "/v1/async/sonar")
_PAGE = 20


class Perplexity(System):
    """The vendor's own API: it is polled, and calls nobody back."""

    name: ClassVar[str] = "perplexity"
    words: ClassVar[Mapping[JobState, str]] = {
        JobState.CREATED: "CREATED",
        JobState.RUNNING: "IN_PROGRESS",
        JobState.SUCCEEDED: "COMPLETED",
        JobState.FAILED: "FAILED",
        # Nothing cancels a job here; only the control API can.
        JobState.CANCELED: "FAILED",
    }
    reason_field: ClassVar[str] = "error_message"

    def routes(self) -> list[Route]:
        """Return submission, list and poll, at both of their paths."""
        routes: list[Route] = []
        for path in _PATHS:
            routes += [
                Route(path, self._create, methods=["POST"]),
                Route(path, self._list, methods=["GET"]),
                Route(path + "/{id}", self._poll, methods=["GET"]),
            ]
        return routes

    def error(self, status: int, message: str) -> JSONResponse:
        """Return `{"error": {…}}`."""
        kind = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status, "error")
        return JSONResponse(documents.perplexity_error(status, kind, message), status_code=status)

    def credentials(self, request: Request) -> str:
        """Return the bearer token."""
        return bearer(request, "bearer")

    async def _create(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        asked = body.get("request")
        if not isinstance(asked, dict) or not asked.get("model") or not asked.get("messages"):
            raise RefusedError("request.model and request.messages are required", status=422)
        if not isinstance(body.get("idempotency_key"), (str, NoneType)):
            raise RefusedError("idempotency_key is not a string", status=422)
        return await self.submit(self.submission(request, body), lambda job: JSONResponse(self.document(job)))

    def submission(self, request: Request, body: JSON) -> Submission:
        """Return what *body* asks for."""
        return Submission(
            request=body, base_url=base_url(request), idempotency_key=body.get("idempotency_key")
        )

    async def _poll(self, request: Request) -> Response:
        job = self.find(request)
        if job.done and "expired" in job.plan:
            return self.show(job, lambda: self.error(404, "Not found"), result=False)
        return self.show(job, lambda: JSONResponse(self.document(job)), result=job.done)

    async def _list(self, request: Request) -> Response:
        self.authenticate(request)
        token = request.query_params.get("next_token", "0")
        start = int(token) if token.isascii() and token.isdigit() else 0
        jobs = self.jobs.all()
        page = [self.document(job) for job in jobs[start : start + _PAGE]]
        for entry in page:
            for left_out in ("response", self.reason_field):
                del entry[left_out]
        more = start + _PAGE < len(jobs)
        return JSONResponse({"requests": page, "next_token": str(start + _PAGE) if more else None})

    def document(self, job: Job) -> JSON:
        """Return *job* as submission and poll show it: fields that do not apply yet are null."""
        succeeded = job.state is JobState.SUCCEEDED
        failed = job.done and not succeeded
        return {
            "id": job.id,
            "model": job.submission.request["request"]["model"],
            "created_at": int(job.created_at.timestamp()),
            "status": self.words[job.state],
            "started_at": _epoch(job.started_at),
            "completed_at": _epoch(job.ended_at) if succeeded else None,
            "response": self.response(job) if succeeded else None,
            "failed_at": _epoch(job.ended_at) if failed else None,
            self.reason_field: _reason(job) if failed else None,
        }

    def response(self, job: Job) -> JSON:
        """Return the completion of *job*."""
        model: str = job.submission.request["request"]["model"]
        return documents.perplexity_response(job.id, model=model, created=int(job.created_at.timestamp()))


class PerplexityWebhook(Perplexity):
    """The third party's version: other words, a signed callback, and DELETE, which cancels."""

    name: ClassVar[str] = "perplexity-webhook"
    words: ClassVar[Mapping[JobState, str]] = {
        **Perplexity.words,
        JobState.CREATED: "QUEUED",
        # The page has no word for a cancelled job; this is the only one of its four that fits.
        JobState.CANCELED: "FAILED",
    }
    reason_field: ClassVar[str] = "failed_reason"

    def routes(self) -> list[Route]:
        """Return the vendor's paths and the cancellation."""
        cancel = [Route(path + "/{id}", self._cancel, methods=["DELETE"]) for path in _PATHS]
        return [*super().routes(), *cancel]

    def submission(self, request: Request, body: JSON) -> Submission:
        """Return what *body* asks for, with its webhook.

        Raises:
            RefusedError: The webhook has no URL or no secret.
        """
        webhook = body.get("webhook")
        if webhook is None:
            return super().submission(request, body)
        given = (webhook.get("url"), webhook.get("secret")) if isinstance(webhook, dict) else ()
        if not given or not all(value and isinstance(value, str) for value in given):
            raise RefusedError("webhook.url and webhook.secret are required", status=422)
        return Submission(
            request={**body, "webhook": {**webhook, "secret": "***"}},
            base_url=base_url(request),
            callback_url=webhook["url"],
            callback_secret=webhook["secret"],
            idempotency_key=body.get("idempotency_key"),
        )

    async def _cancel(self, request: Request) -> Response:
        job = self.find(request)
        self.jobs.finish(job, JobState.CANCELED)
        return JSONResponse(self.document(job))

    def messages(self, job: Job, plan: Plan) -> list[Message]:
        """Return the callback of a job that has a webhook; `response` is null unless it is COMPLETED."""
        url, secret = job.submission.callback_url, job.submission.callback_secret
        if url is None or secret is None:
            return []
        truth = self.words[job.state]
        status = lie(plan, "lying_status", truth=truth, usual="COMPLETED" if truth == "FAILED" else "FAILED")
        response = self.response(job) if status == "COMPLETED" else None
        document = documents.perplexity_callback(claimed_id(job, plan), status=status, response=response)
        key = "a stranger's key" if "forged" in plan else secret

        def sign(body: bytes) -> dict[str, str]:
            encoding = self.settings.perplexity_signature
            return {"x-perplexity-signature": signing.perplexity(body, secret=key, encoding=encoding)}

        return [self.message(job, document, plan, url=url, sign=sign)]


def _epoch(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None


def _reason(job: Job) -> str:
    if job.state is JobState.CANCELED:
        return "Canceled by user"
    failed = job.plan.get("failed")
    return (failed.value if failed else None) or "The model could not finish the request"
