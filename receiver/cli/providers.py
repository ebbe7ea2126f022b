"""``receiver providers``: the descriptions, as they are in force."""

import sys
from pathlib import Path
from typing import Final, Protocol

import click
import msgspec

from receiver.catalog import Catalog, check_samples, check_times, in_folder, load_file, packaged
from receiver.cli import options, output
from receiver.cli.command import FAILED, Group, note
from receiver.cli.table import show_table
from receiver.core.description.callbacks import CallbackTerms
from receiver.core.description.credential import Credential
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, RequestError
from receiver.keys import Keys
from receiver.settings import Settings, from_environment
from receiver.watch import compare

_KEYS: Final = {
    "per-job": "one for each job, derived from RECEIVER_SECRET_KEY",
    "submit-answer": "one for each job, in the provider's answer to the submission",
    "jwks": "published by the provider",
    "certificate": "in the certificate that each message names",
}


class DescriptionFile(Protocol):
    """A path, or a resource of the package."""

    @property
    def name(self) -> str:
        """The file's name."""
        ...

    def read_bytes(self) -> bytes:
        """The file's content."""
        ...


@click.group(cls=Group)
def providers() -> None:
    """List, show and check provider descriptions."""


@providers.command("list")
@options.as_json
def list_providers(*, as_json: bool) -> None:
    """List the providers, and whether credentials or signing secrets of theirs are missing."""
    settings = from_environment()
    found = list(Catalog.load(settings).values())
    if as_json:
        output.show_json({"providers": [_summary(one, settings) for one in found]})
        return
    show_table(
        ("name", "submit", "callback", "signed", "poll", "cancel", "secrets"),
        [
            (
                one.name,
                _yes(one.submit),
                one.callback.delivers if one.callback else "no",
                _yes(one.signed or None),
                _yes(one.poll),
                _yes(one.cancel),
                _configured(one, settings).partition(":")[0],
            )
            for one in found
        ],
        none="No provider is described.",
    )
    if sys.stdout.isatty() and any(Keys(settings).lacks(one).missing for one in found):
        note("What is missing is told by: receiver providers show NAME")


@providers.command()
@click.argument("name")
@options.as_json
def show(*, name: str, as_json: bool) -> None:
    """Show one provider's description, with its sources and what they leave open."""
    settings = from_environment()
    one = Catalog.load(settings).named(name)
    if as_json:
        output.show_json(msgspec.to_builtins(one, enc_hook=int))
        return
    public_url = (settings.public_url or "{RECEIVER_PUBLIC_URL}").rstrip("/")
    registered = one.callback is not None and one.callback.where == "registered"
    output.show_fields(
        [
            ("name", one.name),
            ("title", one.title),
            ("origins", ", ".join(one.origins)),
            ("operations", ", ".join(one.operations)),
            ("submit", one.submit and f"{one.submit.method} {one.submit.url}"),
            ("callback", one.callback and _called_back(one.callback)),
            (
                "webhook",
                f"{public_url}/webhooks/{one.name} (enter it at the provider)" if registered else None,
            ),
            ("expected", one.callback and f"within {output.span(one.callback.expected)}"),
            ("signature", one.verify.kind if one.verify is not None else None),
            ("key", one.key and _KEYS.get(one.key.source, one.key.secret)),
            (
                "poll",
                one.poll
                and f"every {output.span(one.poll.every)}, then up to {output.span(one.poll.longest)}",
            ),
            ("cancel", one.cancel and f"{one.cancel.method} {one.cancel.url}"),
            (
                "kept",
                one.retention and f"{output.span(one.retention.keeps)} from {one.retention.counted_from}",
            ),
            ("deadline", output.span(one.deadline)),
            ("credentials", " or ".join(map(_references, one.credentials))),
            ("configured", _configured(one, settings)),
            *(("source", f"{cited.url} (read {cited.read})") for cited in one.sources),
            *(("unverified", sentence) for sentence in one.unverified),
        ]
    )


@providers.command()
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "--against-sdk",
    "against",
    metavar="NAME",
    help="Compare provider NAME with its vendor's package installed here.",
)
@options.as_json
def check(*, folder: Path | None, against: str | None, as_json: bool) -> None:
    """Check descriptions and read their own samples.

    Without DIR the packaged ones and those of RECEIVER_PROVIDERS_DIR. With --against-sdk one description is compared
    with the words and paths of its vendor's own package, whose files are read and not run. Exits 1 if one is wrong.
    """
    if against is not None:
        if folder is not None:
            raise click.UsageError("Give DIR or --against-sdk, not both.")
        _against(against, as_json=as_json)
        return
    if folder is not None:
        files = list(in_folder(folder))
    else:
        settings = from_environment()
        own = in_folder(Path(settings.providers_dir)) if settings.providers_dir else []
        files = [*packaged(), *own]
    findings = {file.name: check_file(file) for file in sorted(files, key=lambda one: one.name)}
    if as_json:
        output.show_json(
            {
                "ok": not any(findings.values()),
                "files": [{"file": f, "problems": p} for f, p in findings.items()],
            }
        )
    else:
        for name, problems in findings.items():
            for sentence in problems or ["ok"]:
                click.echo(output.clean(f"{name}: {sentence}" if not sentence.startswith(name) else sentence))
        if not findings:
            note(f"There are no descriptions in {folder}.")
    if any(findings.values()):
        raise click.exceptions.Exit(FAILED)


def _against(name: str, *, as_json: bool) -> None:
    """Compare one description with every package that it names."""
    provider = Catalog.load(from_environment()).named(name)
    if not provider.sdk:
        raise RequestError(
            f"The description of {name} names no package of its vendor's to compare it with.",
            code="sdk_missing",
        )
    found = [compare(provider, sdk) for sdk in provider.sdk]
    if as_json:
        output.show_json(
            {"ok": not any(one.problems for one in found), "packages": msgspec.to_builtins(found)}
        )
    else:
        for one in found:
            label = f"{one.package} {one.version}"
            for sentence in one.problems or ("ok",):
                click.echo(output.clean(f"{label}: {sentence}"))
            for sentence in one.notes:
                note(f"{label}: {sentence}")
    if any(one.problems for one in found):
        raise click.exceptions.Exit(FAILED)


def check_file(file: DescriptionFile) -> list[str]:
    """What is wrong with one description file, in sentences."""
    try:
        provider = load_file(file)
        return [*check_samples(provider), *check_times(provider)]
    except ConfigurationError as error:
        return [str(error)]


def _summary(one: Provider, settings: Settings) -> dict[str, object]:
    lacks = Keys(settings).lacks(one)
    return {
        "name": one.name,
        "title": one.title,
        "operations": list(one.operations),
        "submit": one.submit is not None,
        "callback": one.callback.delivers if one.callback else None,
        "signed": one.signed,
        "poll": one.poll is not None,
        "cancel": one.cancel is not None,
        "credentials": not lacks.credentials,
        "missing": list(lacks.missing),
        "relocated": one.relocated,
    }


def _configured(one: Provider, settings: Settings) -> str:
    lacks = Keys(settings).lacks(one)
    if lacks.unusable:
        return f"unusable: {lacks.unusable}"
    if lacks.missing:
        return f"missing: {', '.join(lacks.missing)}"
    return "set" if one.credentials or (one.signed and one.key is not None) else "none"


def _called_back(callback: CallbackTerms) -> str:
    """What is posted, and how the provider learns the address."""
    if callback.where == "registered":
        return f"{callback.delivers}, to one address of the account"
    where = f"{callback.where} ({callback.path})" if callback.path else callback.where
    return f"{callback.delivers}, to the address that a submission names in its {where}"


def _references(one: Credential) -> str:
    return " and ".join(map(_plain, one.references))


def _plain(reference: str) -> str:
    """A reference as the name of a variable, or the path of a file."""
    return reference.partition(":")[2]


def _yes(value: object) -> str:
    return "no" if value is None else "yes"
