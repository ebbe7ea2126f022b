"""What stands empty in a description where that can only be a mistake: a text or a list that nobody filled in."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

#: What is sent, compared or a sample of what comes: the provider's own, so anything may be empty there.
_THEIRS: Final = {"set", "set_polled", "headers", "body", "query", "claims", "is", "not", "when"}
#: Texts that are put before, behind or between others: an empty one says that there is none.
_BESIDE: Final = {"prefix", "public_prefix", "secret_prefix", "suffix", "item_sep"}
#: Tables whose keys are names.
_NAMED: Final = {"shapes", "operations"}


def first_empty(document: Mapping[str, Any]) -> str | None:
    """The place of the first text or list in a parsed description that is empty and must not be."""
    return next(_empty(document, "", named=False), None)


def _empty(value: object, place: str, *, named: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if not named and (key in _THEIRS or (key in _BESIDE and isinstance(one, str))):
                continue
            yield from _empty(one, f"{place}.{key}".lstrip("."), named=not place and key in _NAMED)
    elif isinstance(value, list):
        if not value:
            yield place
        for number, one in enumerate(value):
            yield from _empty(one, f"{place}[{number}]", named=False)
    elif isinstance(value, str) and not value.strip():
        yield place
