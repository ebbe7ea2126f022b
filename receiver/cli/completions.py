"""``receiver completions``: the feed."""

from typing import Any

import click
from msgspec.structs import replace

from receiver.cli import options, output, session
from receiver.cli.command import Command, note
from receiver.core.reader import reader_name
from receiver.running import Running
from receiver.steps.follow import place_of
from receiver.storage import feed
from receiver.storage.feed import Completion, Wanted
from receiver.views.completion import completion_document


@click.command(cls=Command)
@click.option(
    "--after",
    metavar="CURSOR",
    help="Begin after this completion: 0 at the beginning, 'latest' at the end. 0 if left out.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Go on where the reader of this NAME stands, and remember how far it has come.",
)
@click.option("--follow", is_flag=True, help="Wait for what comes, until it is stopped.")
@click.option("--provider", help="Only those of this provider.")
@click.option("--state", help="Only those in this state.")
@options.as_json
async def completions(
    *,
    after: str | None,
    name: str | None,
    follow: bool,
    provider: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """Print completions, in one order that never changes.

    No new completion ever appears before a cursor. With --json each is one line. A reader's place
    is remembered (--name) once its line is printed, so that a line may come twice, and none is left out.
    """
    if after is not None and name is not None:
        raise click.UsageError("A name has a place of its own; leave --after or --name out.")
    if name is not None:
        reader_name(name)
    async with session.opened() as running:
        begin = await _begin(running, after, name)
        wanted = Wanted(after=begin, provider=provider, state=state)
        stop = session.stop_signal() if follow else None
        while True:
            page = await running.follow.page(wanted, patience=1.0 if follow else 0.0)
            for one in page.completions:
                _show(one, as_json=as_json)
            if name is not None and page.place != wanted.after:
                await running.store.write(feed.stand, (name, page.place, running.clock()))
            wanted = replace(wanted, after=page.place)
            if stop is None and len(page.completions) < wanted.limit:
                break
            if stop is not None and stop.is_set():
                break
        if not as_json and wanted.after == begin:
            session.say_unknown(running, provider)
    if not as_json and not follow:
        note(f"The cursor after these is {wanted.after}.")


async def _begin(running: Running, after: str | None, name: str | None) -> int:
    if after == "latest":
        return await running.follow.last()
    if after is not None:
        return place_of(after)
    stands = None if name is None else await running.store.read(feed.stands, name)
    return 0 if stands is None else stands


def _show(one: Completion, *, as_json: bool) -> None:
    document: Any = completion_document(one)
    if as_json:
        output.show_json(document, indent=0)
        return
    job = one.job
    words = (
        f"{one.place:>8}",
        job.id,
        output.clean(job.provider),
        output.paint(one.state.value),
        one.replay_id,
    )
    click.echo("  ".join(filter(None, words)))
