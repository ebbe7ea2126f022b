"""What the systems have in common: the way of a submission, of a poll and of a callback."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response

from receiver.simulator.answers import Dropped, with_body_faults
from receiver.simulator.callbacks import Message
from receiver.simulator.faults import Plan, Plans
from receiver.simulator.jobs import Job, Jobs, JobState, Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from receiver.simulator.callbacks import Callback, Sender
    from receiver.simulator.documents import JSON
    from receiver.simulator.faults import Fault
    from receiver.simulator.settings import SimulatorSettings
    from receiver.simulator.tasks import Tasks


class RefusedError(Exception):
    """A request is not what the provider takes; its message is for the client."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class System(ABC):
    """One provider. A subclass adds its paths, its words, its documents and its signature."""

    name: ClassVar[str]
    #: The states whose beginning it calls back for.
    tells_of: ClassVar[frozenset[JobState]] = frozenset({JobState.SUCCEEDED, JobState.FAILED})

    def __init__(self, *, settings: SimulatorSettings, sender: Sender, tasks: Tasks) -> None:
        self.settings = settings
        self.plans = Plans()
        self.jobs = Jobs(
            provider=self.name,
            run_seconds=settings.seconds_for(self.name),
            keep=settings.keep,
            tasks=tasks,
            changed=self._changed,
        )
        self._sender = sender
        self._tasks = tasks

    def app(self) -> Starlette:
        """Return the provider as an ASGI application, to be mounted at its name."""
        return Starlette(routes=self.routes(), exception_handlers={RefusedError: self._refused})

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Return the provider's own paths."""

    @abstractmethod
    def error(self, status: int, message: str) -> JSONResponse:
        """Return an error in the provider's form."""

    @abstractmethod
    def credentials(self, request: Request) -> str:
        """Return the secret in *request*, empty if there is none."""

    def messages(self, job: Job, plan: Plan) -> list[Message]:  # noqa: ARG002  for those that call back
        """Return the callbacks that tell of *job*'s present state, with the lies that *plan* asks for."""
        return []

    def new_id(self) -> str:
        """Return an id for a new job."""
        return str(uuid.uuid4())

    # Requests

    async def _refused(self, request: Request, error: Exception) -> Response:  # noqa: ARG002  Starlette's
        status = error.status if isinstance(error, RefusedError) else 500
        answer = self.error(status, str(error))
        if status == 401 and self.name == "netnut":  # noqa: PLR2004  Unauthorized
            answer.headers["www-authenticate"] = 'Basic realm="netnut"'
        return answer

    def authenticate(self, request: Request) -> None:
        """Check the credentials of *request*.

        Raises:
            RefusedError: There are none, or not the expected ones.
        """
        given = self.credentials(request)
        expected = self.settings.credentials.get(self.name)
        if not given or (expected is not None and given != expected):
            raise RefusedError("Unauthorized", status=401)

    def find(self, request: Request) -> Job:
        """Return the job whose id is in the path.

        Raises:
            RefusedError: The credentials are wrong or there is no such job.
        """
        self.authenticate(request)
        job = self.jobs.get(request.path_params["id"])
        if job is None:
            raise RefusedError("Not found", status=404)
        return job

    async def submit(self, submission: Submission, answer: Callable[[Job], JSONResponse]) -> Response:
        """Accept *submission* and answer, with the faults planned for it."""
        job = self.jobs.by_key(submission.idempotency_key)
        if job is not None:
            return answer(job)
        refusal = self.plans.refusal()
        if refusal is not None:
            return self._refuse(refusal)
        job = self.jobs.open(self.new_id(), submission, plan=self.plans.take())
        if "early" in job.plan:
            self.jobs.finish(job)
            await self._send_early(job)
        else:
            self.jobs.start(job)
        if slow := job.plan.get("submit_slow"):
            await asyncio.sleep(slow.seconds or 0)
        if "submit_drop" in job.plan:
            return Dropped()
        return answer(job)

    async def submit_and_wait(
        self, submission: Submission, answer: Callable[[Job], JSONResponse]
    ) -> Response:
        """Accept *submission* and answer when the job has ended: the synchronous mode."""
        opened: list[Job] = []

        def acknowledge(job: Job) -> JSONResponse:
            opened.append(job)
            return JSONResponse({})

        acknowledged = await self.submit(submission, acknowledge)
        if not opened:
            return acknowledged
        await opened[0].ended.wait()
        return with_body_faults(answer(opened[0]), opened[0].plan)

    def show(self, job: Job, answer: Callable[[], JSONResponse], *, result: bool) -> Response:
        """Answer a question about *job*, with the faults planned for it; *result* if its result is in it."""
        for name in ("poll_5xx", "poll_429"):
            refusal = job.plan.spend(name)
            if refusal is not None:
                return self._refuse(refusal)
        if redirect := job.plan.spend("redirect"):
            return RedirectResponse(redirect.value or "/", status_code=redirect.status or 302)
        return with_body_faults(answer(), job.plan) if result else answer()

    def _refuse(self, refusal: Fault) -> Response:
        if refusal.name.endswith("_429"):
            answer = self.error(429, "Too many requests")
            answer.headers["retry-after"] = f"{refusal.seconds or 0:g}"
            return answer
        return self.error(refusal.status or 500, "The request was refused on demand")

    # Callbacks

    def _changed(self, job: Job) -> None:
        if job.state not in self.tells_of:
            return
        if not job.done:
            # Only the end of a job is told with faults.
            self._tasks.spawn(self.call_back(job, Plan()))
        elif "early" not in job.plan or job.state is JobState.CANCELED:
            self._tasks.spawn(self.call_back(job, job.plan))

    async def _send_early(self, job: Job) -> None:
        """Send the callbacks of *job* and wait for the first answers only; retries come later."""
        for message in [] if "lost" in job.plan else self.messages(job, job.plan):
            self._tasks.spawn(self._follow_up(await self._send_copies(message, job.plan), job.plan))

    async def call_back(self, job: Job, plan: Plan) -> list[Callback]:
        """Send the callbacks of *job* as *plan* wants; return the last attempt of each."""
        if "lost" in plan:
            return []
        if late := plan.get("late"):
            await asyncio.sleep(late.seconds or 0)
        sent: list[Callback] = []
        # Made only now: what a callback is late by, its signed time is late by too.
        for message in self.messages(job, plan):
            sent.extend(await self._follow_up(await self._send_copies(message, plan), plan))
        return sent

    async def _send_copies(self, message: Message, plan: Plan) -> list[Callback]:
        """Send *message* once, or all copies of a burst at the same time."""
        burst = plan.get("burst")
        copies = (burst.times or 1) if burst else 1
        return await asyncio.gather(*(self._sender.send(message) for _ in range(copies)))

    async def _follow_up(self, firsts: list[Callback], plan: Plan) -> list[Callback]:
        """Retry what was not taken, then send the second of two; return the last attempt of each."""
        sent = await asyncio.gather(*(self._sender.retry(first) for first in firsts))
        if "twice" in plan:
            sent.append(await self._sender.retry(await self._sender.send(firsts[0].message)))
        return sent

    def message(
        self,
        job: Job,
        document: JSON,
        plan: Plan,
        *,
        url: str,
        sign: Callable[[bytes], dict[str, str]] = lambda _: {},
    ) -> Message:
        """Return *document* as a callback to *url*, signed with *sign*, garbled as *plan* wants."""
        body = json.dumps(document).encode()
        if "not_json" in plan:
            body = b"<html><body>502 Bad Gateway</body></html>"
        signature = sign(body)
        if "tampered" in plan:
            body = json.dumps({**document, "tampered": True}).encode()
        headers = {"content-type": "application/json", **signature}
        return Message(
            provider=self.name,
            job_id=job.id,
            url=url,
            headers=tuple(headers.items()),
            body=body,
            faults=tuple(f.name for f in plan.faults),
        )


def lie(plan: Plan, name: str, *, truth: str, usual: str) -> str:
    """Return *truth*; if *plan* holds the fault called *name*, its value or else the *usual* lie."""
    planned = plan.get(name)
    return truth if planned is None else planned.value or usual


def claimed_id(job: Job, plan: Plan) -> str:
    """Return the id that a callback of *job* names: another one with the fault `wrong_job`."""
    return lie(plan, "wrong_job", truth=job.id, usual=str(uuid.uuid4()))


def base_url(request: Request) -> str:
    """Return the provider's address as the client wrote it: its `Host`, and the prefix it is mounted at."""
    host = request.headers.get("host", "127.0.0.1")
    return f"{request.url.scheme}://{host}{request.scope['root_path']}"


async def read_json(request: Request) -> JSON:
    """Return the JSON object in *request*.

    Raises:
        RefusedError: There is none.
    """
    try:
        document: Any = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RefusedError("The body is not JSON") from None
    if not isinstance(document, dict):
        raise RefusedError("The body is not a JSON object")
    return document


def bearer(request: Request, *schemes: str) -> str:
    """Return what follows one of *schemes* in `Authorization`, empty if nothing does."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() in schemes else ""


def basic(request: Request) -> str:
    """Return `user:password` of HTTP Basic authentication, empty unless both are given."""
    try:
        pair = base64.b64decode(bearer(request, "basic"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    user, _, password = pair.partition(":")
    return pair if user and password else ""
