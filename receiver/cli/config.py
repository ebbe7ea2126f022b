"""``receiver config show``."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Final

import click

from receiver.catalog import Catalog
from receiver.cli import options, output
from receiver.cli.command import Group, exit_code, report
from receiver.core.errors import ConfigurationError, ReceiverError
from receiver.core.model import Value
from receiver.documents import MASK
from receiver.settings import Settings, read_secret

_PASSWORD: Final = re.compile(r"(?<=:)[^:@/]*(?=@)")
_REFERENCE: Final = "env:"


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

    Of the providers' credentials, those that are set; 'receiver providers show' names what one takes.
    Exits 2 if a setting is wrong.
    """
    shown, wrong = settings_shown(os.environ)
    if as_json:
        output.show_json({"settings": shown})
    else:
        output.show_table(("name", "value", "from"), [(one.name, one.value, one.source) for one in shown])
    if wrong is not None:
        report(wrong, as_json=as_json)
        raise click.exceptions.Exit(exit_code(wrong))


def settings_shown(environ: Mapping[str, str]) -> tuple[list[Shown], ReceiverError | None]:
    """The settings in *environ* for showing, and what is wrong with them."""
    shown = [
        _own(environ, one.metadata["env"], one.default, secret=one.metadata["secret"]) for one in _settings()
    ]
    try:
        settings = Settings.load(dict(environ))
        catalog = Catalog.load(settings)
    except ConfigurationError as error:
        return shown, error
    credentials = [_own(environ, name, None, secret=True) for name in sorted(set(_referenced(catalog)))]
    # What providers nobody uses would need is a page of its own: receiver providers show.
    shown += [one for one in credentials if one.source != "not set"]
    for provider in catalog:
        name = f"RECEIVER_{provider.upper().replace('-', '_')}_BASE_URL"
        if environ.get(name):
            shown.append(Shown(name=name, value=environ[name], source="environment"))
    return shown, None


def _settings() -> Iterator[Field[object]]:
    return (one for one in fields(Settings) if "env" in one.metadata)


def _own(environ: Mapping[str, str], name: str, default: object, *, secret: bool) -> Shown:
    source = f"file {environ[f'{name}_FILE']}" if environ.get(f"{name}_FILE") else "environment"
    try:
        text = read_secret(environ, name)
    except ConfigurationError:
        return Shown(name=name, value=None, source=f"{source}, which cannot be read")
    if text is None and name == "RECEIVER_PORT" and environ.get("PORT"):
        text, source = environ["PORT"], "environment, PORT"
    if not text:
        value = None if default in {None, ""} else str(default)
        return Shown(name=name, value=value, source="default" if value is not None else "not set")
    return Shown(name=name, value=MASK if secret else _PASSWORD.sub(MASK, text), source=source)


def _referenced(catalog: Catalog) -> Iterator[str]:
    for provider in catalog.values():
        references = [one.secret for one in provider.credentials] + [
            reference for one in provider.credentials for reference in one.basic or ()
        ]
        references += [provider.key.secret if provider.key else None, *provider.headers.values()]
        for reference in references:
            if reference and reference.startswith(_REFERENCE):
                yield reference.removeprefix(_REFERENCE)
