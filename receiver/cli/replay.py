"""``receiver replay``: single jobs and callbacks, or a selection of what went wrong."""

from collections.abc import AsyncIterator
from typing import Final

import click
from msgspec import to_builtins

from receiver.cli import options, output, session
from receiver.cli.acting import by_hand, who
from receiver.cli.command import FAILED, Command, note, problem
from receiver.cli.dead import dead_letters
from receiver.cli.table import show_table
from receiver.core.errors import NotFoundError, ReceiverError
from receiver.core.model import Dispatch, Value, Verdict
from receiver.running import Running
from receiver.steps.replay import Replayed, Resent
from receiver.storage.queries import MOST, Page

#: The first status of an answer that is no success.
_NO_SUCCESS: Final = 300


class Target(Value, frozen=True, kw_only=True):
    """What is to be replayed, and for which handler."""

    id: str
    handler: str | None = None
    #: The dead letter that the replay takes the place of.
    dead: Dispatch | None = None


@click.command(cls=Command)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--failed", is_flag=True, help="The dead letters; a replayed one leaves the list.")
@click.option(
    "--unreadable", is_flag=True, help="The unreadable: read again, after a description was corrected."
)
@options.provider
@options.since
@click.option("--handler", metavar="NAME", help="Only for this handler; all that want it if left out.")
@click.option(
    "--to", metavar="URL", help="Send the stored requests again, byte for byte, to this address instead."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen; nothing is touched.")
@options.as_json
async def replay(
    *,
    ids: tuple[str, ...],
    failed: bool,
    unreadable: bool,
    provider: str | None,
    since: int | None,
    handler: str | None,
    to: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Dispatch, read or send again what is stored.

    A job (job_…) gets new dispatches with its stored result. A callback (cb_…) is verified and read again as
    of its own arrival, with today's keys and descriptions. --failed makes one new dispatch for each dead
    letter, of the same job and handler; --since counts from when the dead letter was made. The serving
    process runs the handlers.

    With --to, callbacks (of a job: those that were accepted) are sent to URL and the answers printed.
    """
    selected = [failed, unreadable, bool(ids)].count(True)
    if selected != 1:
        raise click.UsageError("Name jobs or callbacks, or give one of --failed and --unreadable.")
    if ids and (provider or since):
        raise click.UsageError("--provider and --since belong to a selection, not to ids.")
    if to and handler:
        raise click.UsageError("--handler has no meaning with --to.")
    async with session.opened() as running:
        if provider is not None:
            running.catalog.named(provider)
        after = 0 if since is None else running.clock() - since
        if ids:
            targets = [Target(id=await _resolve(running, one), handler=handler) for one in ids]
        elif failed:
            targets = [one async for one in _dead(running, provider, after, handler)]
        else:
            targets = [one async for one in _unreadable(running, provider, after, handler)]
        if to is not None:
            await _resend(running, targets, to, dry_run=dry_run, as_json=as_json)
        else:
            await _replay(running, targets, single=len(ids) == 1, dry_run=dry_run, as_json=as_json)


async def _replay(
    running: Running, targets: list[Target], *, single: bool, dry_run: bool, as_json: bool
) -> None:
    done: list[tuple[Target, Replayed | ReceiverError]] = []
    for target in targets:
        try:
            replayed = await _replay_one(running, target, dry_run=dry_run)
        except ReceiverError as error:
            if single:
                raise
            done.append((target, error))
            continue
        if target.dead is not None and not dry_run and replayed.handlers:
            # After the replay: if this process ends in between, the dead letter is still there.
            await running.store.discard_dispatch(target.dead, now=running.clock())
        done.append((target, replayed))
    if as_json:
        output.show_json({"replays": [_document(target, outcome) for target, outcome in done]})
    else:
        if done:
            columns = ("id", "state", "handlers", "code")
            show_table(columns, [_row(target, outcome) for target, outcome in done], none="")
        note(f"{len(done)} {'would be replayed; nothing was touched' if dry_run else 'replayed'}.")
    if any(isinstance(one, ReceiverError) for _, one in done):
        raise click.exceptions.Exit(FAILED)


async def _replay_one(running: Running, target: Target, *, dry_run: bool) -> Replayed:
    if dry_run:
        return await running.replay(target.id, handler=target.handler, dry_run=True)
    is_job = target.id.startswith("job_")
    action, job_id = ("replay", target.id) if is_job else ("read", None)
    async with by_hand(running, action, subject=target.id, job_id=job_id, handler=target.handler) as detail:
        replayed = await running.replay(target.id, handler=target.handler, by=who())
        detail |= {"replay_id": replayed.replay_id, "verdict": replayed.verdict}
        return replayed


def _document(target: Target, outcome: Replayed | ReceiverError) -> dict[str, object]:
    if isinstance(outcome, ReceiverError):
        return {"id": target.id, "problem": problem(outcome)}
    document: dict[str, object] = to_builtins(outcome)
    return document


def _row(target: Target, outcome: Replayed | ReceiverError) -> tuple[object, ...]:
    if isinstance(outcome, ReceiverError):
        return target.id, "not replayed", None, outcome.code
    return target.id, outcome.verdict or outcome.state, ", ".join(outcome.handlers) or "none", outcome.code


async def _resend(running: Running, targets: list[Target], url: str, *, dry_run: bool, as_json: bool) -> None:
    answers: list[Resent] = []
    ids = [one for target in targets for one in await _callback_ids(running, target)]
    if not ids:
        raise NotFoundError("No callback is stored for this.", code="callback_not_found")
    for callback_id in ids:
        if dry_run:
            click.echo(
                output.compact({"id": callback_id, "url": url}) if as_json else f"{callback_id} → {url}"
            )
            continue
        async with by_hand(running, "send", subject=callback_id, url=url) as detail:
            answers.append(await running.replay.resend(callback_id, url=url))
            detail["status"] = answers[-1].status
    if dry_run:
        return
    if as_json:
        output.show_json(
            {
                "answers": [
                    {"id": a.id, "url": a.url, "status": a.status, "body": a.body.decode("utf-8", "replace")}
                    for a in answers
                ]
            }
        )
    else:
        for answer in answers:
            click.echo(f"{answer.id} → {answer.url}: {answer.status}")
            if answer.body:
                click.echo(output.clean(answer.body.decode("utf-8", "replace")))
    if any(answer.status >= _NO_SUCCESS for answer in answers):
        raise click.exceptions.Exit(FAILED)


async def _resolve(running: Running, prefix: str) -> str:
    return await running.store.resolve(prefix)


async def _callback_ids(running: Running, target: Target) -> list[str]:
    if target.id.startswith("cb_"):
        return [target.id]
    found = (await running.store.record(target.id)).callbacks
    return [one.id for one in found if one.verdict is Verdict.ACCEPTED]


async def _dead(
    running: Running, provider: str | None, after: int, handler: str | None
) -> AsyncIterator[Target]:
    async for one in dead_letters(running):
        if one.created_at < after or handler not in {None, one.handler}:
            continue
        if provider is not None and (await running.store.job(one.job_id)).provider != provider:
            continue
        yield Target(id=one.job_id, handler=one.handler, dead=one)


async def _unreadable(
    running: Running, provider: str | None, after: int, handler: str | None
) -> AsyncIterator[Target]:
    before = None
    while True:
        page = Page(provider=provider, verdict=Verdict.UNREADABLE, since=after, before=before, limit=MOST)
        found = await running.store.callbacks(page)
        for one in found:
            yield Target(id=one.id, handler=handler)
        if len(found) < MOST:
            return
        before = found[-1].id
