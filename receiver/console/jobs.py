"""Jobs: the list, what it is searched and filtered by, and what is done to several at once."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace
from starlette.responses import Response

from receiver.console import filters, words
from receiver.console.ask import Ask, Route
from receiver.console.filters import Filters
from receiver.console.page import Page
from receiver.console.shown import query
from receiver.core.errors import NotFoundError, ReceiverError, RequestError
from receiver.core.identity import CALLBACK, JOB, is_id
from receiver.core.model import Job, JobState, Source
from receiver.storage import arrived, records, search
from receiver.storage.search import Found, Wanted

#: How many are acted on at once, and how many of them side by side.
MOST_AT_ONCE: Final = 1_000
_SIDE_BY_SIDE: Final = 32
OUTCOMES: Final = ("succeeded", "failed", "waiting", "dead")
_ACTIONS: Final = ("replay", "poll", "cancel")


class JobsPage(Page):
    """The list of jobs."""

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/jobs", self.show),
            Route("GET", "/search", self.search),
            Route("POST", "/jobs/chosen", self.chosen, acts=True),
            Route("POST", "/jobs/act", self.act, acts=True),
        ]

    async def show(self, ask: Ask) -> Response:
        """Show a page of jobs."""
        asked = self._read(ask, ask.request.query_params)
        wanted = Wanted(**asked.values)
        found = await self._store.read(search.find, wanted)
        return await ask.page(
            "jobs.html",
            filters=asked,
            found=found,
            rejected=await self._store.read(arrived.rejected, [job.id for job in found.jobs]),
            most_rejected=arrived.MOST_REJECTED,
            dispatched=await self._store.handlers(),
            providers=list(self._parts.catalog),
            states=["open", *(state.value for state in JobState)],
            sources=[source.value for source in Source],
            outcomes=OUTCOMES,
        )

    async def search(self, ask: Ask) -> Response:
        """Lead to the one thing that is meant, or to the jobs that may be."""
        text = ask.request.query_params.get("q", "").strip()
        if is_id(text, JOB):
            return ask.redirect(f"/jobs/{text}")
        if is_id(text, CALLBACK):
            return ask.redirect(f"/callbacks/{text}")
        if text.startswith((f"{JOB}_", f"{CALLBACK}_")) and text.isascii() and text.isprintable():
            try:
                found = await self._store.resolve(text)
            except RequestError:
                found = ""
            if found:
                return ask.redirect(f"/{'jobs' if found.startswith(JOB) else 'callbacks'}/{found}")
        fields: dict[str, Any] = {"q": text[:200]}
        return ask.redirect(f"/jobs{query(fields)}")

    async def chosen(self, ask: Ask) -> Response:
        """Say what would be done to the jobs that were chosen, and to how many."""
        action = _action(ask)
        asked, jobs, more = await self._chosen(ask)
        able, unable = await self._sorted(action, jobs)
        handlers = await self._store.handlers()
        return await ask.page(
            "jobs-chosen.html",
            action=action,
            filters=asked,
            able=able,
            unable=unable,
            more=more,
            most=MOST_AT_ONCE,
            everything=ask.field("all") == "1",
            handler=ask.field("handler"),
            handlers=[one["name"] for one in handlers],
            newest=jobs[0].id if jobs else "",
        )

    async def act(self, ask: Ask) -> Response:
        """Do it."""
        action, handler = _action(ask), ask.field("handler") or None
        asked, jobs, _ = await self._chosen(ask)
        able, unable = await self._sorted(action, jobs)
        done, refused = 0, Counter[str]()
        async with ask.deed(action, handler=handler, filters=asked.kept, jobs=len(able)) as detail:
            for start in range(0, len(able), _SIDE_BY_SIDE):
                some = able[start : start + _SIDE_BY_SIDE]
                outcomes = await asyncio.gather(*(self._act(ask, action, job, handler) for job in some))
                done += outcomes.count(None)
                refused.update(code for code in outcomes if code is not None)
            detail |= {"done": done, "refused": dict(refused)}
        self._parts.notify()
        refusals = "".join(f" {count} refused: {words.meaning(code)}." for code, count in refused.items())
        left = f" {words.many(sum(unable.values()), 'job')} left as they are." if unable else ""
        said = f"{words.many(done, 'job')} {words.action(action)}.{refusals}{left}"
        return ask.redirect(f"/jobs{query(asked.kept)}", said=said)

    async def _act(self, ask: Ask, action: str, job: Job, handler: str | None) -> str | None:
        """Act on one job; the code of what was in the way, if anything was."""
        try:
            match action:
                case "replay":
                    await self._parts.replay(job.id, handler=handler)
                case "cancel":
                    await self._parts.cancel(job.id)
                case _:
                    await self._store.write(records.hasten, (job.id, ask.now))
        except ReceiverError as error:
            return error.code
        return None

    async def _chosen(self, ask: Ask) -> tuple[Filters, list[Job], bool]:
        """The jobs that were chosen, the newest first, and whether more match than are acted on at once."""
        form = dict(ask.form)
        asked = self._read(ask, form)
        if ask.field("all") == "1":
            if not asked.readable:
                raise RequestError("A filter cannot be read, so nobody knows which jobs are meant.")
            wanted = replace(Wanted(**asked.values), limit=MOST_AT_ONCE)
            if is_id(newest := ask.field("newest"), JOB):
                # What has come since the count was said was not counted.
                wanted = replace(wanted, before=f"{newest}\x7f")
            found: Found = await self._store.read(search.find, wanted)
            return asked, found.jobs, found.cursor is not None
        ids = [one for one in dict.fromkeys(ask.fields("id")) if is_id(one, JOB)][:MOST_AT_ONCE]
        jobs = []
        for one in ids:
            try:
                jobs.append(await self._store.job(one))
            except NotFoundError:
                continue
        return asked, jobs, False

    async def _sorted(self, action: str, jobs: Iterable[Job]) -> tuple[list[Job], Counter[str]]:
        """The jobs that *action* can be done to, and why not to how many of the others."""
        able, unable = [], Counter[str]()
        for job in jobs:
            reason = self._why_not(action, job)
            if reason is None:
                able.append(job)
            else:
                unable[reason] += 1
        return able, unable

    def _why_not(self, action: str, job: Job) -> str | None:
        if action == "replay":
            return None if job.state.ended else "not ended yet, so there is nothing to replay"
        if job.state.ended:
            return "ended already"
        provider = self._parts.catalog.get(job.provider)
        if action == "cancel" and (provider is None or provider.cancel is None):
            return f"{job.provider} has no way to cancel"
        return None

    def _read(self, ask: Ask, params: Any) -> Filters:  # noqa: ANN401  (an address or a form)
        readers = {
            "q": filters.words,
            "provider": filters.one_of(self._parts.catalog),
            "state": filters.one_of(["open", *(state.value for state in JobState)]),
            "settled_by": filters.one_of(source.value for source in Source),
            "handler": filters.words,
            "outcome": filters.one_of(OUTCOMES),
            "since": filters.moment(ask.now),
            "until": filters.moment(ask.now),
            "cursor": filters.id_of(JOB),
        }
        asked = filters.read(params, readers)
        names = {"q": "text", "cursor": "before"}
        return replace(asked, values={names.get(name, name): value for name, value in asked.values.items()})


def _action(ask: Ask) -> str:
    action = ask.field("action")
    if action not in _ACTIONS:
        raise NotFoundError("There is no such thing to do.", code="action_unknown")
    return action
