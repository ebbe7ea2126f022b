"""``receiver handlers``: who gets completions, and who no longer does."""

from typing import Any

import click

from receiver.cli import options, output, session
from receiver.cli.command import Group, note
from receiver.storage.nodes import Registered
from receiver.views.document import timestamp


@click.group(cls=Group)
def handlers() -> None:
    """List the handlers that get completions, and forget one that is gone.

    A handler is registered by the processes that have it, and stays so while none of them is there: what ends
    meanwhile waits for it. One that was removed from the code is forgotten by hand.
    """


@handlers.command("list")
@options.as_json
async def list_handlers(*, as_json: bool) -> None:
    """List the registered handlers, when a process last had them, and what of each is not finished."""
    async with session.opened() as running:
        found = await running.store.registered()
        now = running.clock()
    if as_json:
        output.show_json({"handlers": [_document(one) for one in found]})
        return
    output.show_table(
        ("name", "provider", "state", "seen", "waiting", "dead"),
        [
            (
                one.name,
                one.provider or "any",
                one.state,
                f"{output.span(max(now - one.seen_at, 0))} ago",
                one.waiting,
                one.dead,
            )
            for one in found
        ],
    )


@handlers.command()
@click.argument("name")
@options.as_json
async def forget(*, name: str, as_json: bool) -> None:
    """Dispatch no more completions to a handler that was removed.

    Refused while a process that has it gave a sign of life within the last lease (RECEIVER_LEASE). What was
    dispatched to it stays and keeps its jobs: what waits is dead after an hour; 'receiver dead discard' drops it.
    """
    async with session.opened() as running:
        forgotten = await running.store.forget_handler(
            name, lease_ms=running.settings.lease_ms, now=running.clock()
        )
    if as_json:
        output.show_json({"forgotten": _document(forgotten)})
        return
    click.echo(output.clean(f"forgotten {forgotten.name}"))
    if forgotten.waiting or forgotten.dead:
        note(
            f"{forgotten.waiting} of its dispatches wait, {forgotten.dead} are dead. They keep their jobs: what waits "
            "is dead after an hour, and 'receiver dead discard' drops what is dead."
        )


def _document(one: Registered) -> dict[str, Any]:
    return {
        "name": one.name,
        "provider": one.provider,
        "state": one.state,
        "seen_at": timestamp(one.seen_at),
        "waiting": one.waiting,
        "dead": one.dead,
    }
