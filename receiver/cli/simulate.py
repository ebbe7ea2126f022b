"""``receiver simulate``."""

import os
from dataclasses import replace

import click
import msgspec

from receiver.cli import options
from receiver.cli.command import Command, note
from receiver.cli.session import stop_signal
from receiver.core.errors import ConfigurationError
from receiver.settings import read_secret
from receiver.simulator import PROVIDERS, Simulator, SimulatorSettings
from receiver.simulator.server import pointers


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8400,
    show_default=True,
    help="The port; 0 takes a free one.",
)
@click.option(
    "--run-seconds", type=click.FloatRange(0), default=0.3, show_default=True, help="How long a job runs."
)
@click.option(
    "--pulse-webhook", metavar="URL", help="Where Pulse sends its webhooks, signed with PULSE_WEBHOOK_SECRET."
)
@options.as_json
async def simulate(
    *, host: str, port: int, run_seconds: float, pulse_webhook: str | None, as_json: bool
) -> None:
    """Simulate the providers on one port.

    It speaks their seven APIs at their paths, each below its name, calls back as they do, and keeps the files
    that results link to. What goes wrong is ordered at /_control/faults. Firecrawl's callbacks are signed with
    FIRECRAWL_WEBHOOK_SECRET, where that is set. Ends on SIGTERM or Ctrl-C. With --json the addresses go to
    standard output.
    """
    simulator = Simulator(host=host, port=port, settings=_settings(run_seconds))
    stop = stop_signal()
    try:
        async with simulator:
            if pulse_webhook:
                _add_webhook(simulator, pulse_webhook)
            if as_json:
                urls = {name: simulator.base_url(name) for name in PROVIDERS}
                click.echo(msgspec.json.encode({"url": simulator.url, "providers": urls}))
            else:
                note(pointers(simulator))
            await stop.wait()
    except OSError as error:
        raise ConfigurationError(
            f"{host} port {port} cannot be listened at: {error.strerror}; see --host and --port.",
            code="address_unusable",
        ) from error


def _settings(run_seconds: float) -> SimulatorSettings:
    settings = SimulatorSettings(run_seconds=run_seconds)
    secret = read_secret(os.environ, "FIRECRAWL_WEBHOOK_SECRET")
    return replace(settings, firecrawl_secret=secret) if secret else settings


def _add_webhook(simulator: Simulator, url: str) -> None:
    secret = read_secret(os.environ, "PULSE_WEBHOOK_SECRET")
    if not secret:
        raise ConfigurationError("--pulse-webhook needs PULSE_WEBHOOK_SECRET.", code="key_unavailable")
    try:
        simulator.pulse_webhook(url, secret)
    except ValueError as error:
        raise ConfigurationError(f"PULSE_WEBHOOK_SECRET: {error}.", code="key_malformed") from error
