"""NetNut LLM Scraper: HTTP Basic, four modes, callbacks that nobody signs.

https://help.netnut.io/netnut-documentation/netnut-scraper-apis/llm-scraper/async-requests, read 2026-11-20.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, ClassVar

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator import documents
from receiver.simulator.jobs import Job, JobState, Submission
from receiver.simulator.system import RefusedError, System, base_url, basic, claimed_id, lie, read_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.simulator.callbacks import Message
    from receiver.simulator.documents import JSON
    from receiver.simulator.faults import Plan

_STRANGER = "http://attacker.invalid"


class NetNut(System):
    """The scraper. A job's operation is its mode: sync, async, callback or notify."""

    name: ClassVar[str] = "netnut"

    def routes(self) -> list[Route]:
        """Return `/search` and the paths of results."""
        return [
            Route("/search", self._search, methods=["POST"]),
            Route("/search/response/{id}", self._response, methods=["GET"]),
        ]

    def error(self, status: int, message: str) -> JSONResponse:
        """Return `{"message": …}`: the vendor documents no error body."""
        return JSONResponse({"message": message}, status_code=status)

    def credentials(self, request: Request) -> str:
        """Return the pair of HTTP Basic."""
        return basic(request)

    async def _search(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        # One example of the page calls it "engine", another "model".
        if not (body.get("engine") or body.get("model")) or not body.get("prompt"):
            raise RefusedError("engine and prompt are required")
        callback_url = body.get("callback_url") or None
        if not isinstance(callback_url, (str, NoneType)):
            raise RefusedError("callback_url is not a string")
        mode = {
            (False, False): "sync",
            (True, False): "async",
            (False, True): "callback",
            (True, True): "notify",
        }[body.get("async") is True, callback_url is not None]
        submission = Submission(
            request=body, base_url=base_url(request), operation=mode, callback_url=callback_url
        )
        if mode == "sync":
            return await self.submit_and_wait(submission, self._result)
        return await self.submit(submission, self._acknowledge)

    def _acknowledge(self, job: Job) -> JSONResponse:
        # With a callback_url alone the final response "is sent directly": the vendor documents no answer to
        # that request. This answer is the asynchronous one without an address.
        address = None if job.submission.operation == "callback" else _response_url(job)
        return JSONResponse(documents.netnut_ack(job.id, address))

    async def _response(self, request: Request) -> Response:
        job = self.find(request)
        if not job.done:
            return self.show(job, lambda: JSONResponse(documents.netnut_processing(job.id)), result=False)
        if "expired" in job.plan:
            # The page says that an address "may no longer return" it, not how.
            return self.show(job, lambda: self.error(404, "Not found"), result=False)
        return self.show(job, lambda: self._result(job), result=True)

    def _result(self, job: Job) -> JSONResponse:
        return JSONResponse(_final(job), status_code=_status_code(job))

    def messages(self, job: Job, plan: Plan) -> list[Message]:
        """Return the callback of the job's mode, as if it had ended."""
        if job.submission.callback_url is None:
            return []
        document = self._callback(job, plan)
        return [self.message(job, document, plan, url=job.submission.callback_url)]

    def _callback(self, job: Job, plan: Plan) -> JSON:
        claimed = claimed_id(job, plan)
        if job.submission.operation == "callback":
            document = _final(job)
            document["traceID" if "traceID" in document else "traceId"] = claimed
            if "forged" in plan:
                document["response"] = {"text": "forged"}
            if "lying_status" in plan:
                document = documents.netnut_failure(claimed, 500)
            return document
        truth = _status_code(job)
        usual = "500" if truth == 200 else "200"  # noqa: PLR2004  a lie is the opposite
        code = lie(plan, "lying_status", truth=str(truth), usual=usual)
        elsewhere = f"{_STRANGER}/search/response/{job.id}"
        address = lie(plan, "lying_url", truth=_response_url(job), usual=elsewhere)
        document = documents.netnut_notification(claimed, int(code) if code.isdecimal() else code, address)
        if "forged" in plan:
            # There is no key to be wrong: a stranger's callback is one that says what he likes.
            document |= {"response_url": elsewhere, "response": {"text": "forged"}}
        return document


def _response_url(job: Job) -> str:
    return f"{job.submission.base_url}/search/response/{job.id}"


def _status_code(job: Job) -> int:
    """Return the code for the end of *job*; 500 for a failure is an assumption, as none is documented."""
    return 500 if job.state is JobState.FAILED else 200


def _final(job: Job) -> JSON:
    if job.state is JobState.FAILED:
        return documents.netnut_failure(job.id, 500)
    asked = job.submission.request
    return documents.netnut_result(
        job.id,
        model=asked.get("engine") or asked.get("model") or "",
        prompt=asked["prompt"],
        ended_at=job.changed_at,
        seconds=(job.changed_at - job.created_at).total_seconds(),
    )
