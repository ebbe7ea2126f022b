"""A list's filters, as they stand in its address: what cannot be read is said beside its field, the rest is kept."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from starlette.datastructures import QueryParams

from receiver.api.filters import parse_moment
from receiver.console.shown import plain
from receiver.core.identity import is_id
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Value

_SPAN: Final = re.compile(r"([0-9]{1,6})\s*(s|min|m|h|d)")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY}
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST: Final = 200

Reader = Callable[[str], Any]


class Filters(Value, frozen=True, kw_only=True):
    """What a list is filtered by."""

    #: What was read, by field.
    values: dict[str, Any]
    #: What stands in the address, by field; also what could not be read.
    given: dict[str, str]
    #: What is wrong, by field; empty where nothing is.
    problems: dict[str, str]

    @property
    def kept(self) -> dict[str, str]:
        """What an address of the same list holds; not which page of it."""
        return {name: text for name, text in self.given.items() if text and name != "cursor"}

    @property
    def readable(self) -> bool:
        """Whether every filter could be read."""
        return not any(self.problems.values())

    @property
    def active(self) -> bool:
        """Whether the list is filtered at all."""
        return bool(self.kept)


def read(params: QueryParams | Mapping[str, str], readers: Mapping[str, Reader]) -> Filters:
    """Read the filters of an address."""
    values: dict[str, Any] = {}
    given = dict.fromkeys(readers, "")
    problems = dict.fromkeys(readers, "")
    for name, reader in readers.items():
        text = (params.get(name) or "").strip()
        if not text:
            continue
        given[name] = plain(text, _LONGEST)
        try:
            values[name] = reader(text)
        except ValueError as error:
            problems[name] = str(error)
    return Filters(values=values, given=given, problems=problems)


def one_of(known: Iterable[str]) -> Reader:
    """Reads one of some words."""
    words = list(known)

    def reader(text: str) -> str:
        if text not in words:
            raise ValueError("There is none of that name.")
        return text

    return reader


def moment(now: int) -> Reader:
    """Reads a time: how long ago (``30min``, ``24h``, ``7d``), or a date with its time."""

    def reader(text: str) -> int:
        if found := _SPAN.fullmatch(text):
            return max(now - int(found[1]) * _UNITS[found[2]], 0)
        try:
            return parse_moment(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
        except ValueError:
            raise ValueError("A time is 30min, 24h, 7d, or 2026-11-29T13:00:00Z.") from None

    return reader


def words(text: str) -> str:
    """Reads a text as it is."""
    if len(text) > _LONGEST:
        raise ValueError(f"At most {_LONGEST} characters.")
    return text


def id_of(*kinds: str) -> Reader:
    """Reads a whole id of one of some kinds."""

    def reader(text: str) -> str:
        if not any(is_id(text, kind) for kind in kinds):
            raise ValueError("This page cannot be found again; begin at the first one.")
        return text

    return reader
