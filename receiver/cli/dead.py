"""``receiver dead``: dispatches with no attempts left."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import click
from msgspec.structs import replace

from receiver.api.filters import MOST as MOST_LISTED
from receiver.cli import options, output, session
from receiver.cli.acting import by_hand
from receiver.cli.command import Group, note
from receiver.cli.report import Report
from receiver.cli.table import show_table
from receiver.core.errors import NotFoundError, RequestError
from receiver.core.identity import dispatch_key
from receiver.core.model import Dispatch
from receiver.running import Running
from receiver.storage.dead_letters import Dead, beginning, find
from receiver.storage.queries import MOST
from receiver.storage.queues import HeldUp, held_up
from receiver.views.dispatch import dispatch_document

#: So many are retried or discarded together.
_TOGETHER: Final = 100
_OF_HANDLER = click.option("--handler", metavar="NAME", help="Those of one handler or sink.")


@click.group(cls=Group)
def dead() -> None:
    """List, retry and discard dead letters: dispatches whose handler has failed for good.

    An id is JOB:HANDLER, or JOB:HANDLER:REPLAY.
    """


@dead.command("list")
@_OF_HANDLER
@options.paging(MOST_LISTED)
@options.as_json
async def list_dead(*, handler: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """List dead letters, those of the newest jobs first.

    HOLDS UP counts what waits behind one in its line, where the handler has an order (ordered_by).
    """
    if cursor is not None and dispatch_key(cursor) is None:
        raise click.BadParameter("it is what the last page ended with.", param_hint="--cursor")
    async with session.opened() as running:
        found = await running.store.read(find, Dead(handler=handler, before=cursor, limit=limit))
        behind = {} if as_json else await running.store.read(held_up, found.letters)
    if as_json:
        listed = [dispatch_document(one) for one in found.letters]
        output.show_json({"dispatches": listed, "cursor": found.cursor})
        return
    show_table(
        ("id", "handler", "attempts", "holds up", "since", "error"),
        [
            (
                one.id,
                one.handler,
                one.attempt,
                _held(behind.get(one.id)),
                output.moment(one.created_at),
                output.failure(one.error),
            )
            for one in found.letters
        ],
        none="No dead letter fits."
        if handler is not None or cursor is not None
        else "There are no dead letters.",
    )
    if found.cursor is not None:
        note(f"There are more: --cursor {found.cursor}")


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_OF_HANDLER
@click.option("--all", "everything", is_flag=True, help="All of them.")
@options.as_json
async def retry(*, ids: tuple[str, ...], handler: str | None, everything: bool, as_json: bool) -> None:
    """Try dead letters again, with as many attempts as at first; the serving process makes them."""
    async with session.opened() as running:
        now = running.clock()

        async def again(one: Dispatch) -> bool:
            async with by_hand(running, "retry", subject=one.id, job_id=one.job_id):
                return await running.store.retry_dispatch(one, now=now)

        with Report("retried", as_json=as_json) as report:
            await _each(_chosen(running, ids, handler, everything=everything), again, report)
    report.leave()


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_OF_HANDLER
@click.option("--all", "everything", is_flag=True, help="All of them.")
@options.as_json
async def discard(*, ids: tuple[str, ...], handler: str | None, everything: bool, as_json: bool) -> None:
    """Drop dead letters for good; the job's timeline keeps a line."""
    async with session.opened() as running:
        now = running.clock()

        async def drop(one: Dispatch) -> bool:
            async with by_hand(running, "discard", subject=one.id, job_id=one.job_id):
                return await running.store.discard_dispatch(one, now=now)

        with Report("discarded", as_json=as_json) as report:
            await _each(_chosen(running, ids, handler, everything=everything), drop, report)
    report.leave()


def _held(behind: HeldUp | None) -> str:
    return "nothing" if behind is None else output.number(behind.count, more=behind.more)


async def dead_letters(running: Running, handler: str | None = None) -> AsyncIterator[Dispatch]:
    """Every dead letter, or those of one handler, the newest job's first."""
    async for some in _pages(running, handler, most=MOST):
        for one in some:
            yield one


async def _pages(running: Running, handler: str | None, *, most: int) -> AsyncIterator[list[Dispatch]]:
    wanted = Dead(handler=handler, limit=most)
    while True:
        found = await running.store.read(find, wanted)
        yield found.letters
        if found.cursor is None:
            return
        wanted = replace(wanted, before=found.cursor)


async def _chosen(
    running: Running, ids: tuple[str, ...], handler: str | None, *, everything: bool
) -> AsyncIterator[list[Dispatch]]:
    """Some dead letters at a time, however many there are."""
    if [everything, handler is not None, bool(ids)].count(True) != 1:
        raise click.UsageError("Name dead letters, or give --handler NAME or --all.")
    if not ids:
        async for some in _pages(running, handler, most=_TOGETHER):
            yield some
        return
    named = [await _named(running, prefix) for prefix in ids]
    for first in range(0, len(named), _TOGETHER):
        yield named[first : first + _TOGETHER]


async def _each(
    letters: AsyncIterator[list[Dispatch]], act: Callable[[Dispatch], Awaitable[bool]], report: Report
) -> None:
    """Do something to each, those of a page together: they share their commits. What was done is told at once."""
    async for some in letters:
        outcomes = await asyncio.gather(*map(act, some), return_exceptions=True)
        report.tell(
            [(one.id, done) for one, done in zip(some, outcomes, strict=True) if isinstance(done, bool)]
        )
        for failed in outcomes:
            if isinstance(failed, BaseException):
                raise failed


async def _named(running: Running, prefix: str) -> Dispatch:
    start = prefix if prefix.startswith("job_") else f"job_{prefix}"
    matching = await running.store.read(beginning, start)
    if not matching:
        raise NotFoundError(
            f"There is no dead letter whose id begins with {prefix!r}.", code="dispatch_not_found"
        )
    if len(matching) > 1:
        raise RequestError(
            f"Several dead letters begin with {prefix!r}; write more of it.", code="id_ambiguous"
        )
    return matching[0]
