"""``receiver config show``."""

import os
from collections.abc import Iterator, Mapping, Sequence

import click

from receiver.catalog import Catalog
from receiver.cli import options, output
from receiver.cli.command import Group, exit_code, note, report
from receiver.cli.spelling import OF_PROVIDERS, referenced, setting_fields, unknown_settings
from receiver.cli.table import show_table
from receiver.core.errors import ConfigurationError, ReceiverError
from receiver.core.model import Value
from receiver.settings import Settings, provider_setting, read_secret
from receiver.sinks.configuration import VARIABLE, SinkConfig, load
from receiver.views.masking import MASK


class Shown(Value, frozen=True, kw_only=True):
    """One setting, its value masked where it is secret, and where it came from."""

    name: str
    value: str | None
    source: str


@click.group(cls=Group)
def config() -> None:
    """Show the settings and where they come from."""


@config.command()
@options.as_json
def show(*, as_json: bool) -> None:
    """Show every setting: its value, masked if it is secret, and where it came from.

    Of the providers' credentials, those that are set; 'receiver providers show' names those of one provider. Sinks that
    variables make, too; 'receiver sinks list' has those of a file. Variables that are named like a setting and are none
    are listed on standard error. Exits 2 if a setting is wrong.
    """
    shown, wrong = settings_shown(os.environ)
    unknown = unknown_settings(os.environ)
    if as_json:
        output.show_json({"settings": shown, "unknown": unknown})
    else:
        rows = [(one.name, one.value, one.source) for one in shown]
        show_table(("name", "value", "from"), rows, none="There are no settings.")
        for one in unknown:
            note(f"warning: {one.name} is set, and nobody reads it. {one.advice}")
    if wrong is not None:
        report(wrong, as_json=as_json)
        raise click.exceptions.Exit(exit_code(wrong))


def settings_shown(environ: Mapping[str, str]) -> tuple[list[Shown], ReceiverError | None]:
    """The settings in *environ* for showing, and what is wrong with them."""
    shown = [
        _own(environ, one.metadata["env"], one.default, secret=one.metadata["secret"])
        for one in setting_fields()
    ]
    try:
        settings = Settings.load(dict(environ))
        catalog = Catalog.load(settings)
    except ConfigurationError as error:
        return shown, error
    credentials = [
        _own(environ, name, None, secret=True) for name in sorted(set(referenced(catalog.values())))
    ]
    # What providers nobody uses would need is a page of its own: receiver providers show.
    shown += [one for one in credentials if one.source != "not set"]
    for provider in catalog:
        for what in OF_PROVIDERS:
            one = _own(environ, provider_setting(provider, what), None, secret=what == "EGRESS_PROXY")
            shown += [one] if one.source != "not set" else []
    try:
        sinks = load(settings)
    except ConfigurationError as error:
        return shown, error
    return shown + list(_of_sinks(environ, sinks)), None


def _of_sinks(environ: Mapping[str, str], sinks: Sequence[SinkConfig]) -> Iterator[Shown]:
    """The variables that make sinks, and those that sinks refer to."""
    for sink in sinks:
        if VARIABLE.fullmatch(sink.origin):
            one = _own(environ, sink.origin, None, secret=False)
            yield Shown(name=one.name, value=sink.shown, source=one.source)
    for name in sorted({name for sink in sinks for name in sink.variables}):
        one = _own(environ, name, None, secret=True)
        if one.source != "not set":
            yield one


def _own(environ: Mapping[str, str], name: str, default: object, *, secret: bool) -> Shown:
    source = f"file {environ[f'{name}_FILE']}" if environ.get(f"{name}_FILE") else "environment"
    try:
        text = read_secret(environ, name)
    except ConfigurationError:
        # What stands there may be the secret itself.
        return Shown(name=name, value=None, source=f"the file that {name}_FILE names, which cannot be read")
    if text is None and name == "RECEIVER_PORT" and environ.get("PORT"):
        text, source = environ["PORT"], "environment, PORT"
    if not text:
        value = None if default in {None, ""} else str(int(default) if isinstance(default, bool) else default)
        return Shown(name=name, value=value, source="default" if value is not None else "not set")
    if name == "RECEIVER_DATABASE_URL" or "://" in text:
        text = output.address(text)
    return Shown(name=name, value=MASK if secret else text, source=source)
