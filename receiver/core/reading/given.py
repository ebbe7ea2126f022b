"""A provider's whole answer, and where in it a result lies."""

import hashlib
from typing import Final

from receiver.core.model import Held, ResultAt, Value

#: The part of a job's stored bytes that holds its provider's last word whole: beyond those of looks, which are counted
#: from 1, and below those of pages.
ANSWER: Final = 999_999_999


class Given(Value, frozen=True, kw_only=True):
    """A document as a provider gave it."""

    content: bytes
    content_type: str

    def __repr__(self) -> str:
        return f"Given({len(self.content)} bytes)"


def place(result: ResultAt, *, part: int, whole: Given | None) -> tuple[Held, bytes | None]:
    """Where a result is stored that came along, and what is stored of it beside the document that brought it.

    A result that stands in the document as it is, is not stored a second time.
    """
    inside = whole is not None and result.offset is not None
    held = Held(
        offset=ANSWER if inside else part,
        start=result.offset or 0 if inside else 0,
        size=len(result.content),
        sha256=hashlib.sha256(result.content).hexdigest(),
        content_type=result.content_type,
    )
    return held, None if inside else result.content
