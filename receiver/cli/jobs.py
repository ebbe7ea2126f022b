"""``receiver jobs``: look at jobs, wait for them, and steer those that need a person."""

import asyncio
import sys
from typing import Final

import click
from msgspec.structs import replace

from receiver.api.filters import MOST
from receiver.cli import options, output, session
from receiver.cli.acting import by_hand
from receiver.cli.command import FAILED, TIMED_OUT, Group, note
from receiver.cli.files import files
from receiver.cli.table import show_table
from receiver.cli.timeline import show_record
from receiver.core.errors import NotFoundError
from receiver.core.identity import LONGEST_REMOTE_ID, is_remote_id
from receiver.core.model import Job, JobState, Result, Step
from receiver.running import Running
from receiver.storage import pages, results, search
from receiver.storage.claims import LookClaim
from receiver.storage.records import Link
from receiver.storage.search import Wanted
from receiver.views.job import job_document
from receiver.views.timeline import record_document

_STATES: Final = click.Choice(["open", *(state.value for state in JobState)])
#: One poll may find the address of the result, and the next one fetches it; no more are made for a person.
_MOST_LOOKS: Final = 3
#: How often somebody else's fetch is waited for, and for how many seconds each time.
_WAITS: Final = 300
_PAUSE: Final = 0.1


@click.group(cls=Group)
def jobs() -> None:
    """List, show and steer jobs."""


jobs.add_command(files)


@jobs.command("list")
@options.provider
@click.option("--state", type=_STATES, help="Only in this state; 'open' is every state before the end.")
@options.since
@options.paging(MOST)
@options.as_json
async def list_jobs(
    *,
    provider: str | None,
    state: str | None,
    since: int | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List jobs, the newest first.

    ADMITTED counts the callbacks that were admitted; what was rejected stands in 'receiver callbacks list'.
    """
    async with session.opened() as running:
        before = None if cursor is None else await session.job_id(running, cursor)
        after = None if since is None else running.clock() - since
        wanted = Wanted(provider=provider, state=state, since=after, before=before, limit=limit)
        page = await search.whole_page(running.store.read, wanted)
    found, following = page.jobs, page.cursor
    if as_json:
        output.show_json({"jobs": [job_document(one, listed=True) for one in found], "cursor": following})
        return
    show_table(
        ("id", "provider", "state", "settled by", "admitted", "created", "error"),
        [
            (
                job.id,
                job.provider,
                job.state,
                job.settled_by if job.state.ended else None,
                job.callbacks,
                output.moment(job.created_at),
                job.error and job.error.code,
            )
            for job in found
        ],
        none="No job fits." if cursor is None else "There are no more.",
    )
    if not found:
        session.say_unknown(running, provider)
    if following is not None:
        note(f"There are more: --cursor {following}")


@jobs.command()
@click.argument("id_", metavar="ID")
@click.option("--result", is_flag=True, help="Write the result's bytes, and nothing else.")
@click.option(
    "--page",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Write the bytes of this page of the result, as it came, and nothing else.",
)
@click.option(
    "--answer", is_flag=True, help="Write the provider's last answer about the job, whole, and nothing else."
)
@options.as_json
async def show(*, id_: str, result: bool, page: int | None, answer: bool, as_json: bool) -> None:
    """Show a job and everything that happened to it."""
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        record = await running.store.record(job_id)
        if page is not None:
            sys.stdout.buffer.write(await running.store.read(pages.read, job_id, page))
            sys.stdout.buffer.flush()
        elif result:
            await _write_result(running, record.job)
        elif answer:
            await _write_answer(running, record.job)
        elif as_json:
            output.show_json(record_document(record))
        else:
            show_record(record, now=running.clock())


@jobs.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--timeout",
    callback=options.read_seconds,
    metavar="SPAN",
    help="Give up after this long, with exit code 124: 90s, 15m, 1h, or a number of seconds.",
)
@options.as_json
async def wait(*, id_: str, timeout: float | None, as_json: bool) -> None:  # noqa: ASYNC109  (an option's name)
    """Wait until a job has ended.

    Exits 0 if it succeeded, 1 if it ended otherwise, 124 after the timeout. It is the serving process that
    moves jobs on.
    """
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        await wait_for(running, job_id, timeout=timeout, as_json=as_json)


async def wait_for(
    running: Running,
    job_id: str,
    *,
    timeout: float | None,  # noqa: ASYNC109
    as_json: bool,
) -> None:
    """Wait until a job has ended and show it; raises click's Exit unless it succeeded."""
    job = await running.store.job(job_id)
    if not job.state.ended and not await asyncio.to_thread(session.is_served, running.settings):
        note("Nothing serves this database, so the job stands still: start 'receiver serve'.")
    job = await running.wait.until_ended(job_id, patience=timeout)
    if not job.state.ended:
        show_job(job, as_json=as_json)
        note(
            f"{job_id} has not ended within {timeout:g} s; it is {job.state}. It goes on: wait for it again with "
            f"'receiver jobs wait {job_id}'."
        )
        raise click.exceptions.Exit(TIMED_OUT)
    show_job(job, as_json=as_json)
    if job.state is not JobState.SUCCEEDED:
        raise click.exceptions.Exit(FAILED)


@jobs.command()
@click.argument("id_", metavar="ID")
@options.as_json
async def poll(*, id_: str, as_json: bool) -> None:
    """Ask the provider about a job now.

    The question is asked by this process, whenever the next one is due; if it ended the job, the result is
    fetched and the serving process runs the handlers. A job that timed out or expired is asked about too: what
    the provider still has replaces that end.
    """
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        async with by_hand(running, "poll", subject=job_id, job_id=job_id):
            looked = await _look(running, job_id)
        if not looked:
            job = await running.store.job(job_id)
            note(
                f"{job_id} has ended by its provider's word, so there is nothing to ask."
                if job.state.ended and job.state not in {JobState.TIMED_OUT, JobState.EXPIRED}
                else f"{job_id} cannot be asked about now: it is being submitted, or somebody asks already."
            )
        show_job(await running.store.job(job_id), as_json=as_json)


@jobs.command()
@click.argument("id_", metavar="ID")
@options.as_json
async def cancel(*, id_: str, as_json: bool) -> None:
    """Ask the provider to cancel a job.

    The wish is recorded here and sent by the serving process; the job ends when the provider says so.
    """
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        async with by_hand(running, "cancel", subject=job_id, job_id=job_id):
            job = await running.cancel(job_id)
        show_job(job, as_json=as_json)


@jobs.command()
@click.argument("id_", metavar="ID")
@options.as_json
async def resubmit(*, id_: str, as_json: bool) -> None:
    """Send a job again whose submission's outcome is unknown.

    If the provider did hear the first one, the job is billed twice. The serving process sends it.
    """
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        async with by_hand(running, "resubmit", subject=job_id, job_id=job_id):
            job = await running.store.resubmit(job_id, now=running.clock())
        show_job(job, as_json=as_json)


@jobs.command()
@click.argument("id_", metavar="ID")
@click.argument("remote_id", metavar="REMOTE_ID")
@options.as_json
async def link(*, id_: str, remote_id: str, as_json: bool) -> None:
    """Say what a job is called at its provider, where the answer to its submission was lost.

    The serving process asks about it at once. What came under that name already is the job's from then on; its
    handlers are not called a second time for it.
    """
    async with session.opened() as running:
        remote_id = _name(remote_id)
        job = await running.store.job(await session.job_id(running, id_))
        named = Link(job_id=job.id, provider=job.provider, remote_id=remote_id, now=running.clock())
        async with by_hand(running, "link", subject=job.id, job_id=job.id, remote_id=remote_id):
            shown = await running.store.link(named)
        show_job(shown, as_json=as_json)


def _name(remote_id: str) -> str:
    # Space around it was copied along.
    remote_id = remote_id.strip()
    if not is_remote_id(remote_id):
        raise click.BadParameter(f"1 to {LONGEST_REMOTE_ID} printable characters.", param_hint="REMOTE_ID")
    return remote_id


@jobs.command()
@click.argument("id_", metavar="ID")
@options.as_json
async def abandon(*, id_: str, as_json: bool) -> None:
    """Give a job up: it ends now, as if its deadline had passed.

    A later authenticated outcome is still taken.
    """
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        async with by_hand(running, "abandon", subject=job_id, job_id=job_id):
            job = await running.store.abandon(job_id, now=running.clock())
        show_job(job, as_json=as_json)


def show_job(job: Job, *, as_json: bool, callback_url: str | None = None) -> None:
    """Print one job."""
    if as_json:
        output.show_json(job_document(job, callback_url=callback_url))
        return
    output.show_fields(
        [
            ("id", job.id),
            ("provider", job.provider),
            ("state", job.state.value),
            ("settled by", job.settled_by.value if job.settled_by and job.state.ended else None),
            ("remote id", job.remote_id),
            ("result", output.held(job.held)),
            ("error", output.failure(job.error)),
        ]
    )


async def _look(running: Running, job_id: str) -> bool:
    """Poll, and have what that found fetched; return whether there was anything to ask."""
    wish = LookClaim(
        job_id=job_id, owner=running.node.name, lease_ms=running.settings.lease_ms, now=running.clock()
    )
    looked = False
    for _ in range(_MOST_LOOKS):
        claimed = await running.store.claim_look(wish)
        if claimed is None:
            break
        looked = True
        await running.steps.take(claimed)
        wish = replace(wish, now=running.clock(), onward=True)
    # A serving process may have been the faster one to fetch it.
    for _ in range(_WAITS):
        if not looked or not await _is_fetched(running, job_id):
            break
        await asyncio.sleep(_PAUSE)
    return looked


async def _is_fetched(running: Running, job_id: str) -> bool:
    due = (await running.store.record(job_id)).due
    return any(one.step is Step.LOOK and one.result_url and one.owner is not None for one in due)


async def _write_answer(running: Running, job: Job) -> None:
    found = await running.store.read(results.answered, job)
    if found is None:
        raise NotFoundError(f"Nothing that {job.provider} said of {job.id} is kept.", code="answer_missing")
    if isinstance(found, Result):
        sys.stdout.buffer.write(found.content)
    else:
        async for chunk in running.store.result_chunks(job.id, found):
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


async def _write_result(running: Running, job: Job) -> None:
    if job.held is None:
        raise NotFoundError(f"{job.id} is {job.state} and has no result.", code="result_missing")
    async for chunk in running.store.result_chunks(job.id, job.held):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
