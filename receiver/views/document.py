"""What all documents share: their base, how a time is written, why something failed."""

from functools import lru_cache
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from receiver.core.model import Failure
from receiver.core.signature.timestamp import parse_timestamp, write_timestamp
from receiver.views.masking import masked

#: The last millisecond that RFC 3339 can write.
_LAST_MOMENT: Final = 253_402_300_799_999

Moment: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every document."""


def fields(document: type[Document], noun: object, **given: Any) -> dict[str, Any]:  # noqa: ANN401  (fields of any type)
    """The fields of a *document* about *noun*: the noun's own of the same names, but for those that are *given*."""
    return {name: getattr(noun, name) for name in document.__struct_fields__ if name not in given} | given


class FailureDocument(Document, frozen=True, kw_only=True):
    """Why something did not succeed."""

    code: str
    text: str


def timestamp(milliseconds: int) -> str:
    """Write a time: ``2026-11-21T05:00:00.000Z``."""
    seconds, rest = divmod(min(max(milliseconds, 0), _LAST_MOMENT), 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(4096)
def _second(seconds: int) -> str:
    """The beginning of all times of one second: what is written together is of few of them."""
    return write_timestamp(seconds * 1000, "iso8601").decode().partition(".")[0]


def milliseconds(text: str) -> int:
    """Read a time that ``timestamp`` wrote."""
    return parse_timestamp(text.encode(), "iso8601")


def moment(milliseconds: int | None) -> str | None:
    """Write a time that may not have come yet."""
    return None if milliseconds is None else timestamp(milliseconds)


def failure_document(failure: Failure | None) -> FailureDocument | None:
    """Describe why something did not succeed."""
    return None if failure is None else FailureDocument(code=failure.code, text=masked(failure.text))
