"""``receiver sinks``: where completions go without code."""

import asyncio
import logging
from typing import Final

import click

from receiver.cli import options, output
from receiver.cli.command import Group
from receiver.cli.table import show_table
from receiver.clock import read_clock
from receiver.core.errors import NotFoundError, ReceiverError
from receiver.settings import Settings, from_environment
from receiver.sinks.configuration import SinkConfig, load

#: Characters of the other side's answer that are printed: three lines of a terminal.
_LONGEST_ANSWER: Final = 200


@click.group(cls=Group)
def sinks() -> None:
    """List, check and test sinks: handlers that send completions on, without code.

    RECEIVER_SINK_<NAME>=nats://host:4222/jobs.{provider}.{state} makes one; RECEIVER_SINKS names a TOML file for more.
    """


@sinks.command("list")
@options.as_json
def list_sinks(*, as_json: bool) -> None:
    """List the configured sinks."""
    found = load(from_environment())
    if as_json:
        output.show_json({"sinks": [_document(one) for one in found]})
        return
    show_table(
        ("name", "sends to", "provider", "state", "configured in"),
        [(one.name, one.shown, one.provider or "any", one.state, one.origin) for one in found],
        none="No sink is configured. RECEIVER_SINK_<NAME>=… makes one: receiver docs sinks",
    )


@sinks.command()
@click.argument("name", required=False)
@options.as_json
def check(*, name: str | None, as_json: bool) -> None:
    """Say whether the sinks (or the one called NAME) are configured right, as 'serve' would at its start.

    Nobody is asked: 'receiver sinks test NAME' sends something.
    """
    from receiver.catalog import Catalog  # noqa: PLC0415  (listing needs none)
    from receiver.sinks.opening import open_sink  # noqa: PLC0415  (listing needs no client)

    settings = from_environment()
    found = [_named(settings, name)] if name is not None else load(settings)
    catalog = Catalog.load(settings) if any(one.provider for one in found) else {}
    for one in found:
        if one.provider is not None and one.provider not in catalog:
            raise one.wrong("provider", f"no provider is called {one.provider!r}.")
        open_sink(one, settings, clock=read_clock)
    if as_json:
        output.show_json({"ok": [one.name for one in found]})
        return
    for one in found:
        click.echo(f"{output.paint('ok')} {one.name}")


@sinks.command()
@click.argument("name")
@options.as_json
async def test(*, name: str, as_json: bool) -> None:
    """Send a marked example to the sink called NAME, and print what the other side answered.

    The example has the id of a job that never was, the provider 'test' and the attribute receivertest=true.
    """
    from receiver.sinks.event import event_of, example  # noqa: PLC0415  (as above)
    from receiver.sinks.opening import open_sink  # noqa: PLC0415

    settings = from_environment()
    config = _named(settings, name)
    # What its client writes into a log beside is no answer of the other side.
    logging.getLogger().addHandler(logging.NullHandler())
    sink = open_sink(config, settings, clock=read_clock)
    now = read_clock()
    event = event_of(
        example(now=now), largest=config.largest, public_url=settings.public_url, now=now, test=True
    )
    try:
        async with asyncio.timeout(config.timeout + 5):
            said = await sink.send(event)
    except TimeoutError:
        raise ReceiverError(f"The other side of {name} did not answer in time.", code="sink_away") from None
    finally:
        await sink.close()
    if as_json:
        output.show_json({"name": name, "answer": said})
    else:
        words = output.clean(said)
        if len(words) > _LONGEST_ANSWER:
            words = f"{words[:_LONGEST_ANSWER]}… (--json has all {len(said)} characters)"
        click.echo(f"{output.paint('ok')} {name}: {words}")


def _named(settings: Settings, name: str) -> SinkConfig:
    found = {one.name: one for one in load(settings)}
    if name not in found:
        known = ", ".join(found) or "none"
        raise NotFoundError(f"There is no sink {name!r}; there are: {known}.", code="sink_unknown")
    return found[name]


def _document(one: SinkConfig) -> dict[str, object]:
    return {
        "name": one.name,
        "to": one.shown,
        "provider": one.provider,
        "state": one.state,
        "handler": one.handler,
        "origin": one.origin,
    }
