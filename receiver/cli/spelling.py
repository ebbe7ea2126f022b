"""Names of settings: the known ones, and those in the environment that nobody reads."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from typing import Final

from receiver.catalog import Catalog
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError
from receiver.core.model import Value
from receiver.settings import Settings, provider_setting
from receiver.sinks.configuration import VARIABLE, load

_OURS: Final = "RECEIVER_"
#: What can be set for each provider.
OF_PROVIDERS: Final = ("BASE_URL", "EGRESS_PROXY", "ALLOW_PRIVATE")
#: What the tests read, and what Kubernetes sets for a Service of our name.
_FOREIGN: Final = re.compile(
    r"RECEIVER_(TEST_\w+|(\w+_)?SERVICE_(HOST|PORT\w*)|(\w+_)?PORT_\d+_(TCP|UDP)\w*)"
)
_REFERENCE: Final = "env:"
#: How a sink's variable is often begun, and none is.
_SINKS: Final = "RECEIVER_SINKS_"
#: How much alike two names are of which one was meant to be the other, from 0 to 1.
_ALIKE: Final = 0.75


class Unknown(Value, frozen=True, kw_only=True):
    """A variable that nobody reads, and the known one that is most like it."""

    name: str
    nearest: str | None = None

    @property
    def advice(self) -> str:
        """What to do about it."""
        return (
            f"Did you mean {self.nearest}?" if self.nearest else "'receiver config show' lists all settings."
        )


def unknown_settings(environ: Mapping[str, str]) -> list[Unknown]:
    """The variables in *environ* that are named like ours and that nobody reads."""
    known = {one.metadata["env"] for one in setting_fields()}
    unknown = list(_unread(environ, known))
    if unknown:
        # Read only where something is unknown: reading all descriptions takes a while.
        known |= _of_descriptions(environ) | _of_sinks(environ)
        unknown = list(_unread(environ, known))
    return [Unknown(name=name, nearest=_nearest(name, known)) for name in unknown]


def _of_descriptions(environ: Mapping[str, str]) -> set[str]:
    """What can be set for each provider, and what descriptions refer to."""
    try:
        providers: Iterable[Provider] = Catalog.load(Settings.load(environ)).values()
    except ConfigurationError:
        # The providers cannot be loaded, so whatever is named like a provider's address may be one.
        return {name for name in environ if name.endswith(tuple(f"_{one}" for one in OF_PROVIDERS))}
    return {provider_setting(one.name, what) for one in providers for what in OF_PROVIDERS} | {
        name for name in referenced(providers) if name.startswith(_OURS)
    }


def _of_sinks(environ: Mapping[str, str]) -> set[str]:
    """The variables that make sinks, and what sinks refer to."""
    known = {name.removesuffix("_FILE") for name in environ if VARIABLE.fullmatch(name)}
    try:
        return known.union(*(one.variables for one in load(Settings.load(environ))))
    except ConfigurationError:
        return known  # told by whatever starts or checks them


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The known variable that *name* was meant to be; ``None`` where it looks like none."""
    begin = len(_OURS)
    if name.startswith(_SINKS):
        return f"RECEIVER_SINK_{name.removeprefix(_SINKS)}"
    # What all names begin with makes none of them alike.
    ends = {one[begin:]: one for one in sorted(known) if one.startswith(_OURS)}
    found = difflib.get_close_matches(name[begin:].removesuffix("_FILE"), ends, n=1, cutoff=_ALIKE)
    return ends[found[0]] if found else None


def setting_fields() -> Iterator[Field[object]]:
    """The fields of Settings that come from the environment."""
    return (one for one in fields(Settings) if "env" in one.metadata)


def referenced(providers: Iterable[Provider]) -> Iterator[str]:
    """The variables that descriptions refer to."""
    for provider in providers:
        references: list[str | None] = [
            reference for one in provider.credentials for reference in one.references
        ]
        references += [provider.key.secret if provider.key else None, *provider.headers.values()]
        for reference in references:
            if reference and reference.startswith(_REFERENCE):
                yield reference.removeprefix(_REFERENCE)


def _unread(environ: Mapping[str, str], known: set[str]) -> Iterator[str]:
    for name, value in sorted(environ.items()):
        if value and name.startswith(_OURS) and not _FOREIGN.fullmatch(name):
            # A provider's address does not come from a file, nor do its networks.
            plain = (
                name
                if name.endswith(("_BASE_URL_FILE", "_ALLOW_PRIVATE_FILE"))
                else name.removesuffix("_FILE")
            )
            if plain not in known and name not in known:
                yield name
