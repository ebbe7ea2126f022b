"""The catalog: every provider description, the packaged ones and the user's own, checked when loaded."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import msgspec
import tomli
from msgspec.structs import replace

from receiver.core.description.provider import Provider, Sample, describe, is_reference
from receiver.core.description.wording import in_toml
from receiver.core.errors import ConfigurationError, DescriptionError, RequestError, UnreadableError
from receiver.core.files.links import links
from receiver.core.job.admission import Terms, terms_for
from receiver.core.message import Message, lowered
from receiver.core.model import Job
from receiver.core.reading.observation import read
from receiver.docs import nearest
from receiver.settings import Settings

_LARGEST_SAMPLE = 1024 * 1024


class _File(Protocol):
    @property
    def name(self) -> str: ...

    def read_bytes(self) -> bytes: ...


class Catalog(Mapping[str, Provider]):
    """Providers by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(sorted(providers.items()))
        self._terms = cache(lambda name, key_id: terms_for(self._providers[name], key_id=key_id))

    @classmethod
    def load(cls, settings: Settings) -> "Catalog":
        """Load the packaged descriptions and those in ``RECEIVER_PROVIDERS_DIR``, which win.

        Raises:
            DescriptionError: one is wrong; the sentence names file, key and reason.
        """
        found = dict(_packaged())
        if settings.providers_dir:
            found |= {one.name: one for one in map(load_file, in_folder(Path(settings.providers_dir)))}
        for name, provider in found.items():
            base_url = settings.base_url(name)
            if base_url is not None:
                provider = found[name] = provider.at(base_url)  # noqa: PLW2901  (the same one, elsewhere)
            found[name] = _for_audience(_for_account(provider, settings), settings)
        return cls(found)

    def __getitem__(self, name: str) -> Provider:
        return self._providers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)

    def named(self, name: str) -> Provider:
        """The provider called *name*; raises RequestError naming those whose names are like it."""
        try:
            return self._providers[name]
        except KeyError:
            raise RequestError(
                f"There is no provider {name!r}. {self.hint(name)}",
                code="provider_unknown",
                field="provider",
            ) from None

    def hint(self, name: str) -> str:
        """What may have been meant by *name*, and where the list is."""
        near = nearest(name, self._providers)
        return f"{near}'receiver providers list' names all {len(self._providers)}."

    def terms(self, name: str, *, key_id: str) -> Terms:
        """How to record a job of the provider called *name* that was not submitted here; worked out once."""
        return self._terms(name, key_id)


@cache
def _packaged() -> Mapping[str, Provider]:
    # The descriptions do not change while a process runs, and reading them all takes a quarter of the time of a start.
    return {one.name: one for one in map(load_file, packaged())}


@cache
def _unsettled() -> frozenset[str]:
    # Most providers are in one place for everybody, and to look for settings in every address takes long.
    return frozenset(name for name, one in _packaged().items() if one.unsettled)


def packaged() -> list[_File]:
    """The description files that come with the receiver."""
    return [one for one in files("receiver.providers").iterdir() if one.name.endswith(".toml")]


def in_folder(folder: Path) -> Sequence[_File]:
    """The description files of *folder*; raises DescriptionError where it is none."""
    if not folder.is_dir():
        raise DescriptionError(f"RECEIVER_PROVIDERS_DIR: {folder} is not a folder.")
    return sorted(folder.glob("*.toml"))


def load_file(file: _File) -> Provider:
    """Read one description; raises DescriptionError with file, key and reason."""
    document: dict[str, Any] = {}
    try:
        document = tomli.loads(file.read_bytes().decode())
        provider = describe(document)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        key = _named(document, error, place).strip("`").removeprefix("$").lstrip(".") or "the description"
        raise DescriptionError(f"{file.name}: {key}: {in_toml(reason, place, Provider)}.") from error
    except (tomli.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DescriptionError(f"{file.name}: not readable as TOML: {error}.") from error
    if provider.name != file.name.removesuffix(".toml"):
        raise DescriptionError(f"{file.name}: name: it is {provider.name!r}; file and name must agree.")
    return provider


def _named(document: dict[str, Any], error: msgspec.ValidationError, place: str) -> str:
    """The place that an error names, with the name of the table among several: msgspec says ``shapes[...]``."""
    parent = place.strip("`").removeprefix("$.").partition("[...]")[0]
    tables = document.get(parent)
    if "[...]" not in place or not isinstance(tables, dict):
        return place
    for name, table in tables.items():
        try:
            describe(document | {parent: {name: table}})
        except msgspec.ValidationError as found:
            if str(found) == str(error):
                return place.replace("[...]", f".{name}", 1)
    return place


def _for_account(provider: Provider, settings: Settings) -> Provider:
    """Some addresses are an account's own, or a region's, and so settings."""
    if provider is _packaged().get(provider.name) and provider.name not in _unsettled():
        return provider
    values = {name: settings.resolve(f"env:{name}") or "" for name in provider.settings}
    try:
        return provider.completed({name: value for name, value in values.items() if value})
    except ValueError as error:
        raise ConfigurationError(f"{provider.name}: {error}", code="setting_invalid") from error


def _for_audience(provider: Provider, settings: Settings) -> Provider:
    """What signatures are bound to may be an account's own, so a setting: the audience of a jwt, an id signed along."""
    verify = provider.verify
    if verify is None:
        return provider
    given = {"audience": verify.audience, "account": verify.account}
    resolved = {
        name: settings.resolve(value) or value
        for name, value in given.items()
        if value and is_reference(value)
    }
    return replace(provider, verify=replace(verify, **resolved)) if resolved else provider


def check_times(provider: Provider) -> list[str]:
    """What of a description's times would lose results whose callback is lost, in sentences.

    Nobody knows how soon after its submission a job is done: two looks are to fit before its result is deleted.
    """
    callback, retention = provider.callback, provider.retention
    if callback is None or retention is None or provider.poll is None:
        return []
    keeps = min([retention.keeps, *(one.keeps for one in retention.keeps_when)])
    if callback.expected * 2 < keeps:
        return []
    return [
        (
            f"callback.expected: {callback.expected // 1000} s is not less than half of what retention.keeps says "
            f"({keeps // 1000} s): a result whose callback is lost is looked for once at most before it is deleted."
        )
    ]


def check_samples(provider: Provider) -> list[str]:
    """Read a description's own samples; the sentences say what came out otherwise than described."""
    return [
        f"samples.{place}: {problem}"
        for place, sample in enumerate(provider.samples)
        for problem in _check(provider, sample)
    ]


def _check(provider: Provider, sample: Sample) -> Iterator[str]:
    headers = [(name.encode(), value.encode()) for name, value in sample.headers.items()]
    message = Message(body=sample.body.encode(), headers=lowered(headers), query=sample.query.encode())
    try:
        seen = read(message, provider.shapes[sample.shape], claims=sample.claims, largest=_LARGEST_SAMPLE)
    except UnreadableError as error:
        yield f"{error} ({error.code})"
        return
    if seen.remote_id != sample.id:
        yield f"the id reads as {_said(seen.remote_id)}, not {_said(sample.id)}"
    if seen.state != sample.state:
        yield f"the state reads as {_said(seen.state)}, not {_said(sample.state)}"
    if (seen.result is not None) != sample.result:
        yield f"a result is {'found' if seen.result else 'not found'}"
    elif seen.result is not None:
        total = _files_in(seen.result.content, provider, answer=sample.body.encode())
        if total != sample.files:
            yield f"the result links to {total} files, not {sample.files}"
    if seen.goes_on != sample.pages:
        yield f"a next page is {'found' if seen.goes_on else 'not found'}"


def _files_in(content: bytes, provider: Provider, *, answer: bytes) -> int:
    """How many files there are that its provider's description would have fetched with a result."""
    job = Job(id="job", provider=provider.name, created_at=0, deadline_at=0)
    try:
        return links(content, provider, job, answer=answer, most=1, now=0)[1] if provider.files else 0
    except UnreadableError:
        return 0


def _said(value: str | None) -> str:
    return "nothing" if value is None else f'"{value}"'
