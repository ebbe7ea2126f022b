"""Firecrawl: crawls that call back signed, whose result is asked for in pages.

https://github.com/firecrawl/firecrawl, apps/api/src/controllers/v2/crawl-status.ts at 014bc16, and firecrawl-py 4.53.2,
read 2026-11-29; webhooks: https://docs.firecrawl.dev/webhooks, read 2026-11-20.
"""

from __future__ import annotations

import hmac
import uuid
from datetime import timedelta
from types import NoneType
from typing import TYPE_CHECKING, ClassVar, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator import documents
from receiver.simulator.jobs import Job, JobState, Submission
from receiver.simulator.system import RefusedError, System, base_url, bearer, claimed_id, lie, read_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.simulator.callbacks import Message
    from receiver.simulator.documents import JSON
    from receiver.simulator.faults import Plan

#: How many documents are on a page; the vendor's are a hundred, or ten megabytes.
PAGE: Final = 2
_PAGES: Final = 3
_KEPT: Final = timedelta(hours=24)
_WORDS: Final = {
    JobState.CREATED: "scraping",
    JobState.RUNNING: "scraping",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELED: "cancelled",
}


class Firecrawl(System):
    """Crawls of three pages."""

    name: ClassVar[str] = "firecrawl"

    def routes(self) -> list[Route]:
        """Return the paths of crawls."""
        return [
            Route("/v2/crawl", self._start, methods=["POST"]),
            Route("/v2/crawl/{id}", self._status, methods=["GET"]),
            Route("/v2/crawl/{id}", self._cancel, methods=["DELETE"]),
        ]

    def error(self, status: int, message: str) -> JSONResponse:
        """Return `{"success": false, "error": …}`."""
        return JSONResponse({"success": False, "error": message}, status_code=status)

    def credentials(self, request: Request) -> str:
        """Return the API key."""
        return bearer(request, "bearer")

    async def _start(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        if not body.get("url"):
            raise RefusedError("url is required")
        webhook = body.get("webhook")
        callback_url = webhook.get("url") if isinstance(webhook, dict) else webhook
        if not isinstance(callback_url, (str, NoneType)):
            raise RefusedError("webhook has no url")
        submission = Submission(
            request=body, base_url=base_url(request), operation="crawl", callback_url=callback_url
        )
        return await self.submit(submission, _answer)

    async def _cancel(self, request: Request) -> Response:
        job = self.find(request)
        if not self.jobs.finish(job, JobState.CANCELED):
            return self.error(409, "Crawl is already completed")
        return JSONResponse({"status": "cancelled"})

    async def _status(self, request: Request) -> Response:
        job = self.find(request)
        if job.done and "expired" in job.plan:
            return self.show(job, lambda: self.error(404, "Job expired"), result=False)
        skip = request.query_params.get("skip", "0")
        if not skip.isdecimal():
            raise RefusedError("skip is no number")
        start, end = int(skip), job.state is JobState.SUCCEEDED
        page = str(start // PAGE + 1)
        if end:
            if failing := job.plan.spend("page_5xx", page):
                return self.error(failing.status or 503, "The page was refused on demand")
            if gone := job.plan.spend("page_gone", page):
                return self.error(gone.status or 404, "Job not found")
            if job.plan.spend("page_garbled", page):
                return Response("<html><body>502 Bad Gateway</body></html>", media_type="text/html")
        return self.show(job, lambda: JSONResponse(_document(job, start)), result=end)

    def messages(self, job: Job, plan: Plan) -> list[Message]:
        """Return the event of the job's end, if its submission asked for it."""
        url, webhook = job.submission.callback_url, job.submission.request.get("webhook")
        events = webhook.get("events") if isinstance(webhook, dict) else None
        truth = "completed" if job.state is JobState.SUCCEEDED else "failed"
        usual = "failed" if truth == "completed" else "completed"
        event = lie(plan, "lying_status", truth=truth, usual=usual)
        if url is None or (events is not None and truth not in events):
            return []
        reason = None if event == "completed" else _reason(job)
        document = documents.firecrawl_event(
            f"crawl.{event}", claimed_id(job, plan), webhook_id=str(uuid.uuid4()), error=reason
        )
        secret = "a stranger's key" if "forged" in plan else self.settings.firecrawl_secret

        def sign(body: bytes) -> dict[str, str]:
            return {
                "x-firecrawl-signature": "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
            }

        return [self.message(job, document, plan, url=url, sign=sign)]


def _answer(job: Job) -> JSONResponse:
    return JSONResponse(documents.firecrawl_ack(job.id, url=_address(job)))


def _address(job: Job) -> str:
    return f"{job.submission.base_url}/v2/crawl/{job.id}"


def _document(job: Job, start: int) -> JSON:
    many = job.plan.get("many_pages")
    total = PAGE * ((many.size if many else None) or _PAGES)
    page = str(start // PAGE + 1)
    succeeded = job.state is JobState.SUCCEEDED
    waiting = succeeded and job.plan.spend("page_pending", page) is not None
    stop = min(start + PAGE, total) if succeeded and not waiting else start
    following: str | None = None
    if stop < total and (succeeded or not job.done):
        # What is not ready, page or crawl, repeats its own address.
        following = f"{_address(job)}?skip={stop}"
    if succeeded and job.plan.get("page_repeats", page):
        following = f"{_address(job)}?skip={start}"
    elsewhere = job.plan.get("page_elsewhere", page)
    if succeeded and elsewhere is not None:
        following = elsewhere.value
    return documents.firecrawl_status(
        status="scraping" if waiting else _WORDS[job.state],
        done=range(start, stop),
        total=total,
        expires_at=job.created_at + _KEPT,
        following=following,
        error=_reason(job) if job.state is JobState.FAILED else None,
    )


def _reason(job: Job) -> str:
    failed = job.plan.get("failed")
    return (failed.value if failed else None) or "The crawl failed"
