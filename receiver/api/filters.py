"""Query parameters → a page of the record. Whatever is not understood is refused by name."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from msgspec.structs import replace
from starlette.requests import Request

from receiver.catalog import Catalog
from receiver.core.errors import RequestError, TimestampMalformedError
from receiver.core.identity import CALLBACK, JOB, dispatch_key, is_id
from receiver.core.model import SECOND, JobState, Verdict
from receiver.core.signature.timestamp import parse_timestamp
from receiver.storage.queries import Page

T = TypeVar("T")

#: The longest page; one more is read to know whether another follows.
MOST: Final = 200
_SECONDS: Final = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")
_FIELDS: Final = {"job": "job_id", "cursor": "before"}

Reader = Callable[[str], Any]


def read_page(request: Request, readers: Mapping[str, Reader]) -> Page:
    """Read the query of *request*, whose parameters are those of *readers*, and one row more than asked for.

    Raises:
        RequestError: a value cannot be read; ``field`` names the parameter.
    """
    found = read_query(request, readers)
    page = Page(**{_FIELDS.get(name, name): value for name, value in found.items()})
    return replace(page, limit=page.limit + 1)


def read_query(request: Request, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read the query of *request*, whose parameters are those of *readers*; raises as ``read_page`` does."""
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        try:
            found[name] = readers[name](text)
        except ValueError as error:
            raise RequestError(f"{name}: {error}", code="query_invalid", field=name) from error
    return found


def cut(found: list[T], page: Page, name: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Cut the one row too many off *found*; return the cursor of the next page, if there is one."""
    shown = found[: page.limit - 1]
    return shown, name(shown[-1]) if len(found) > len(shown) else None


def parse_moment(text: str) -> int:
    """Read RFC 3339 or seconds since the epoch as milliseconds; raises ValueError for anything else."""
    if _SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return int(whole) * SECOND + int((fraction + "000")[:3])
    try:
        moment = parse_timestamp(text.encode(), "iso8601")
    except (TimestampMalformedError, UnicodeEncodeError):
        moment = -1
    if moment < 0:
        raise ValueError(
            "a time is RFC 3339 (2026-11-21T05:00:00Z; write + as %2B) or seconds since the epoch."
        )
    return moment


def job_readers(catalog: Catalog) -> dict[str, Reader]:
    """The parameters of ``GET /v1/jobs``."""
    states = ["open", *(state.value for state in JobState)]
    return {
        "provider": provider_reader(catalog),
        "state": _one_of(states),
        "since": parse_moment,
        "limit": _limit,
        "cursor": _id_of(JOB),
    }


def callback_readers(catalog: Catalog) -> dict[str, Reader]:
    """The parameters of ``GET /v1/callbacks``."""
    return {
        "provider": provider_reader(catalog),
        "verdict": _one_of([verdict.value for verdict in Verdict]),
        "job": _id_of(JOB),
        "since": parse_moment,
        "limit": _limit,
        "cursor": _id_of(CALLBACK),
    }


def dispatch_readers() -> dict[str, Reader]:
    """The parameters of ``GET /v1/dispatches``."""
    return {
        "state": _one_of(["dead", "lined", "ready"]),
        "job": _id_of(JOB),
        "limit": _limit,
        "cursor": _dispatch,
    }


def completion_readers(catalog: Catalog, *, longest: float) -> dict[str, Reader]:
    """The parameters of ``GET /v1/completions``; a request waits for *longest* seconds at most."""
    return {
        "after": str,
        "wait": wait_reader(longest),
        "provider": provider_reader(catalog),
        "state": _one_of([state.value for state in JobState if state.ended]),
        "limit": _limit,
    }


def alarm_readers() -> dict[str, Reader]:
    """The parameters of ``GET /v1/alarms``."""
    return {"state": _one_of(["raised", "any"])}


def wait_reader(longest: float) -> Reader:
    """Reads seconds to wait, up to *longest*."""

    def read(text: str) -> float:
        if _SECONDS.fullmatch(text) is None or float(text) > longest:
            raise ValueError(f"it is a number of seconds, at most {longest:g}.")
        return float(text)

    return read


def provider_reader(catalog: Catalog) -> Reader:
    """Reads the name of a provider, which must exist."""
    return _one_of(list(catalog))


def _one_of(words: list[str]) -> Reader:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"it is one of {', '.join(words)}.")
        return text

    return read


def _id_of(kind: str) -> Reader:
    def read(text: str) -> str:
        if not is_id(text, kind):
            raise ValueError(f"it is a whole id that begins with {kind}_.")
        return text

    return read


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < len("10000") and 1 <= int(text) <= MOST):
        raise ValueError(f"it is a number from 1 to {MOST}.")
    return int(text)


def _dispatch(text: str) -> str:
    if dispatch_key(text) is None:
        raise ValueError("it is the cursor of the page before.")
    return text
