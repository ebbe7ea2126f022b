"""Job: one job's whole story, its result, and what can be done to it."""

from collections.abc import AsyncIterator
from typing import Any, Final

from msgspec.structs import replace
from starlette.responses import Response, StreamingResponse

from receiver.api.jobs import AS_FILE
from receiver.console import exports, shown, story
from receiver.console.ask import Ask, Route
from receiver.console.files import MEDIA, shown_as
from receiver.console.page import Page
from receiver.console.way import way
from receiver.core.description.provider import Provider
from receiver.core.errors import NotFoundError
from receiver.core.identity import JOB, is_id
from receiver.core.job.standing import gathering
from receiver.core.model import Held, Job, Result, Value
from receiver.storage import audit, downloads, pages, records, results
from receiver.storage.queries import Record
from receiver.threads import off_loop

#: No result has so many pages.
_LONGEST_NUMBER: Final = 10
_ACTIONS: Final = {"cancel", "resubmit", "abandon"}
_DONE: Final = {
    "cancel": "The provider will be asked to cancel.",
    "resubmit": "It will be sent again.",
    "abandon": "Given up: it has ended as timed out. A later outcome is still taken.",
    "leave": "It has ended with the files that are here. The others are lost.",
}
_QUESTIONS: Final = {
    "cancel": (
        "Ask the provider to cancel?",
        "The wish is recorded and sent; whether the job stops is for the provider to say.",
    ),
    "resubmit": (
        "Send it again?",
        "Nobody knows whether the first one arrived. If it did, the provider may do the work, and bill it, twice.",
    ),
    "abandon": (
        "Give it up?",
        "It ends now, as if its deadline had passed, and its handlers hear of it. A later proved outcome is taken.",
    ),
    "leave": (
        "Wait for no more files?",
        "Its result is here, so it succeeds now. Files that are not stored yet are lost, and handlers see that.",
    ),
}


class Actions(Value, frozen=True, kw_only=True):
    """What can be done to a job as it is."""

    poll: bool
    cancel: bool
    abandon: bool
    resubmit: bool
    replay: bool


class JobPage(Page):
    """One job."""

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/jobs/{id}", self.show),
            Route("GET", "/jobs/{id}/result", self.result),
            Route("GET", "/jobs/{id}/answer", self.answer),
            Route("GET", "/jobs/{id}/media", self.media),
            Route("GET", "/jobs/{id}/pages/{number}", self.one_page),
            Route("GET", "/jobs/{id}/replay", self.foresee, acts=True),
            Route("POST", "/jobs/{id}/replay", self.replay, acts=True),
            Route("POST", "/jobs/{id}/poll", self.poll, acts=True),
            Route("GET", "/jobs/{id}/{action}", self.question, acts=True),
            Route("POST", "/jobs/{id}/{action}", self.act, acts=True),
        ]

    async def show(self, ask: Ask) -> Response:
        """Show the job."""
        record = await self._store.record(_job_id(ask))
        deeds = await self._store.read(audit.trail, job_id=record.job.id, limit=200)
        job, provider = record.job, self._parts.catalog.get(record.job.provider)
        result = None if job.held is None else await self._beginning(job, job.held)
        submission = record.submission
        return await ask.page(
            "job.html",
            job=job,
            record=record,
            provider=provider,
            actions=_actions(record, provider),
            way=way(record, provider, now=ask.now),
            downloads={one.number: one for one in await self._store.read(downloads.of_job, job.id)}
            if record.files
            else {},
            timeline=await off_loop(story.timeline, record, deeds, provider, now=ask.now),
            arrows=story.ARROWS,
            rejected=sum(one.verdict == "rejected" for one in record.callbacks),
            result=result,
            media=None if job.held is None else MEDIA.get(_media_type(job.held)),
            shown_as=shown_as,
            handlers=_handlers(record),
            copies=None if submission is None else await off_loop(exports.of_job, job, submission),
            deleted_at=_deleted_at(job),
            settled=job.state.ended and not any(one.state != "dead" for one in record.dispatches),
        )

    async def result(self, ask: Ask) -> Response:
        """Hand the result on as a file."""
        job, held = await self._held(ask)
        headers = AS_FILE | {
            "content-disposition": f'attachment; filename="{job.id}"',
            "content-type": "application/octet-stream",
            "content-length": str(held.size),
        }
        return StreamingResponse(await self._chunks(job, held), headers=headers)

    async def one_page(self, ask: Ask) -> Response:
        """Hand one page of the result on as a file, as it came."""
        number = ask.named["number"]
        if not (number.isascii() and number.isdecimal() and len(number) < _LONGEST_NUMBER):
            raise NotFoundError("A page is asked for by its number, from 1.", code="page_missing")
        job_id = _job_id(ask)
        headers = AS_FILE | {
            "content-disposition": f'attachment; filename="{job_id}-{number}"',
            "content-type": "application/octet-stream",
        }
        return Response(await self._store.read(pages.read, job_id, int(number)), headers=headers)

    async def answer(self, ask: Ask) -> Response:
        """Hand the provider's last word on as a file."""
        job = await self._store.job(_job_id(ask))
        found = await self._store.read(results.answered, job)
        if found is None:
            raise NotFoundError(
                f"Nothing that {job.provider} said of {job.id} is kept.", code="answer_missing"
            )
        headers = AS_FILE | {
            "content-disposition": f'attachment; filename="{job.id}.answer"',
            "content-type": "application/octet-stream",
            "content-length": str(found.size),
        }
        if isinstance(found, Result):
            return Response(found.content, headers=headers)
        return StreamingResponse(await self._chunks(job, found), headers=headers)

    async def media(self, ask: Ask) -> Response:
        """An image or a sound as what it is, in a sandbox; anything else is a file."""
        job, held = await self._held(ask)
        kind = _media_type(held)
        if kind not in MEDIA:
            raise NotFoundError("This result is shown as text or as a file only.", code="result_missing")
        headers = AS_FILE | {"content-type": kind, "content-length": str(held.size)}
        return StreamingResponse(await self._chunks(job, held), headers=headers)

    async def foresee(self, ask: Ask) -> Response:
        """Say what a replay would do."""
        job_id, handler = _job_id(ask), ask.request.query_params.get("handler") or None
        foreseen = await self._parts.replay(job_id, handler=handler, dry_run=True)
        job = await self._store.job(job_id)
        return await ask.page(
            "replay.html",
            job=job,
            handler=handler,
            handlers=[one["name"] for one in await self._store.handlers()],
            foreseen=foreseen,
        )

    async def replay(self, ask: Ask) -> Response:
        """Replay the job."""
        job_id, handler = _job_id(ask), ask.field("handler") or None
        async with ask.deed("replay", subject=job_id, job_id=job_id, handler=handler) as detail:
            replayed = await self._parts.replay(job_id, handler=handler)
            detail["replay_id"] = replayed.replay_id
        names = ", ".join(replayed.handlers) or "no handler wants it"
        return ask.redirect(f"/jobs/{job_id}", said=f"Replayed: {names}.")

    async def poll(self, ask: Ask) -> Response:
        """Have the provider asked at once."""
        job_id = _job_id(ask)
        job = await self._store.job(job_id)
        async with ask.deed("poll", subject=job.id, job_id=job.id):
            hastened = await self._store.write(records.hasten, (job.id, ask.now))
        self._parts.notify()
        said = "The provider is being asked now." if hastened else "Nothing to ask: it is under way, or over."
        return ask.redirect(f"/jobs/{job_id}", said=said)

    async def question(self, ask: Ask) -> Response:
        """Ask the person to confirm."""
        action, job = _action(ask), await self._store.job(_job_id(ask))
        title, text = _QUESTIONS["leave" if action == "abandon" and gathering(job) else action]
        return await ask.page("question.html", job=job, action=action, title=title, text=text)

    async def act(self, ask: Ask) -> Response:
        """Cancel, send again or give up."""
        action, job_id = _action(ask), _job_id(ask)
        job = await self._store.job(job_id)
        async with ask.deed(action, subject=job.id, job_id=job.id):
            match action:
                case "cancel":
                    await self._parts.cancel(job_id)
                case "resubmit":
                    await self._store.resubmit(job_id, now=ask.now)
                case _:
                    await self._store.abandon(job_id, now=ask.now)
        self._parts.notify()
        said = _DONE["leave" if action == "abandon" and gathering(job) else action]
        return ask.redirect(f"/jobs/{job_id}", said=said)

    async def _held(self, ask: Ask) -> tuple[Job, Held]:
        job = await self._store.job(_job_id(ask))
        if job.held is None:
            raise NotFoundError(f"{job.id} has no result.", code="result_missing")
        return job, job.held

    async def _chunks(self, job: Job, held: Held) -> AsyncIterator[bytes]:
        """The result in chunks; before the first one leaves it can still be said that there is none."""
        chunks = self._store.result_chunks(job.id, held)
        first = await anext(chunks, b"")
        if not first and held.size:
            raise NotFoundError(f"The result of {job.id} is no longer stored.", code="result_missing")

        async def joined() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return joined()

    async def _beginning(self, job: Job, held: Held) -> shown.Pretty:
        """The beginning of a result for reading."""
        first = await self._store.read(results.read_slice, job.id, held, number=0)
        pretty = await off_loop(shown.pretty, first, held.content_type)
        return replace(pretty, cut=pretty.cut or held.size > len(first))


def _actions(record: Record, provider: Provider | None) -> Actions:
    job = record.job
    return Actions(
        poll=not job.state.ended and any(one.step == "look" for one in record.due),
        cancel=not job.state.ended
        and job.cancel_requested_at is None
        and provider is not None
        and provider.cancel is not None,
        abandon=not job.state.ended,
        resubmit=not job.state.ended and job.submission == "unknown",
        replay=job.state.ended,
    )


def _handlers(record: Record) -> list[dict[str, Any]]:
    """How each handler stands: its latest run, and how many attempts there were."""
    found: dict[str, dict[str, Any]] = {}
    for one in record.attempts:
        if one.step == "dispatch":
            row = found.setdefault(one.handler, {"attempts": 0, "state": ""})
            row["attempts"] += 1
            row["state"] = one.outcome
    for dispatch in record.dispatches:
        row = found.setdefault(dispatch.handler, {"attempts": 0, "state": ""})
        waits = "running" if dispatch.owner else "waiting"
        row["state"] = "dead" if dispatch.state == "dead" else waits
    return [{"name": name, **row} for name, row in found.items()]


def _deleted_at(job: Job) -> int | None:
    """When the provider deletes its copy of the result, where it is known to."""
    begun = job.submitted_at if job.keep_from == "submission" else job.succeeded_at
    return None if job.keep_ms is None or begun is None else begun + job.keep_ms


def _media_type(held: Held) -> str:
    return held.content_type.partition(";")[0].strip().lower()


def _job_id(ask: Ask) -> str:
    named = ask.named["id"]
    if not is_id(named, JOB):
        raise NotFoundError("No job has such an id.", code="job_not_found")
    return named


def _action(ask: Ask) -> str:
    action = ask.named["action"]
    if action not in _ACTIONS:
        raise NotFoundError("There is no such thing to do.", code="action_unknown")
    return action
