"""``receiver handlers``: list the registered handlers; pause, resume and forget them."""

import click

from receiver.cli import options, output, session
from receiver.cli.acting import by_hand, who
from receiver.cli.command import Group, note
from receiver.cli.table import show_table
from receiver.running import Running
from receiver.storage import circuits
from receiver.storage.nodes import Registered
from receiver.views.handler import handler_document


@click.group(cls=Group)
def handlers() -> None:
    """List the handlers that get completions; pause, resume and forget them.

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
        output.show_json({"handlers": [handler_document(one) for one in found]})
        return
    show_table(
        ("name", "provider", "state", "seen", "waiting", "dead", "circuit"),
        [
            (
                one.name,
                one.provider or "any",
                one.state,
                f"{output.lately(max(now - one.seen_at, 0))} ago",
                output.number(one.waiting, more=one.more_waiting),
                output.number(one.dead, more=one.more_dead),
                _circuit(one, now),
            )
            for one in found
        ],
        none="No handler is registered: 'receiver serve' registers those of RECEIVER_HANDLERS.",
    )


@handlers.command()
@click.argument("name")
@options.as_json
async def pause(*, name: str, as_json: bool) -> None:
    """Have nothing dispatched to a handler or sink until it is resumed; what ends meanwhile waits for it.

    What is running goes on. Every node keeps to it, at the latest a second later.
    """
    async with session.opened() as running:
        async with by_hand(running, "pause", subject=name):
            await running.store.write(circuits.pause, (name, who(), running.clock()))
        await _tell(running, name, "paused", as_json=as_json)


@handlers.command()
@click.argument("name")
@options.as_json
async def resume(*, name: str, as_json: bool) -> None:
    """Close the circuit of a handler or sink, whether it was paused or had opened after failures."""
    async with session.opened() as running:
        async with by_hand(running, "resume", subject=name):
            held = await running.store.write(circuits.resume, name)
        await _tell(running, name, "resumed" if held else "neither paused nor open:", as_json=as_json)


@handlers.command()
@click.argument("name")
@options.as_json
async def forget(*, name: str, as_json: bool) -> None:
    """Dispatch no more completions to a handler that was removed.

    Refused while a process that has it gave a sign of life within the last lease (RECEIVER_LEASE). What was
    dispatched to it stays and keeps its jobs: what waits is dead after an hour; 'receiver dead discard' drops it.
    """
    async with session.opened() as running, by_hand(running, "forget", subject=name):
        forgotten = await running.store.forget_handler(
            name, lease_ms=running.settings.lease_ms, now=running.clock()
        )
    if as_json:
        output.show_json({"forgotten": handler_document(forgotten)})
        return
    click.echo(output.clean(f"forgotten {forgotten.name}"))
    if forgotten.waiting or forgotten.dead:
        note(
            f"{output.number(forgotten.waiting, more=forgotten.more_waiting)} of its dispatches wait, "
            f"{output.number(forgotten.dead, more=forgotten.more_dead)} are dead. They keep their jobs: what waits "
            "is dead after an hour, and 'receiver dead discard' drops what is dead."
        )


async def _tell(running: Running, name: str, done: str, *, as_json: bool) -> None:
    (found,) = [one for one in await running.store.registered() if one.name == name]
    if as_json:
        output.show_json(handler_document(found))
    else:
        click.echo(output.clean(f"{done} {name}"))


def _circuit(one: Registered, now: int) -> str:
    circuit = one.circuit
    if circuit is None or not circuit.holds:
        return "closed"
    said = f"{circuit.state} for {output.lately(max(now - circuit.since, 0))}"
    return said + (f": {output.failure(circuit.error)}" if circuit.error is not None else "")
