"""JSON, parsed strictly and whole: what callers of ours write, and what decides in a provider's document."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from receiver.core.errors import UnreadableError

DEEPEST: Final = 64
#: A longer integer is beyond the range of a double, and of every id in use.
_LONGEST_INTEGER: Final = 308
#: What may stand around a value (RFC 8259, 2).
BLANK: Final = b" \t\n\r"
#: And before a whole document, in some charset: the bytes of marks, and the zeros of wide characters.
_BEFORE: Final = BLANK + b"\0\xef\xbb\xbf\xff\xfe"


def parse_json(data: bytes) -> Any:  # noqa: ANN401
    """Parse JSON strictly: UTF-8, no NaN, no repeated key, no number beyond a double, bounded depth.

    Raises:
        UnreadableError: with a code that says which of these it is.
    """
    try:
        text = data.strip(BLANK).decode()
        value, end = _STRICT.raw_decode(text)
    except UnicodeDecodeError as error:
        raise UnreadableError("The body is not UTF-8.", code="body_not_utf8") from error
    except RecursionError as error:
        raise UnreadableError("The JSON is nested too deeply.", code="json_too_deep") from error
    except ValueError as error:
        raise UnreadableError("The body is not JSON.", code="body_not_json") from error
    if end != len(text):
        raise UnreadableError("There is more than JSON in the body.", code="body_not_json")
    if len(data) - len(data.translate(None, b"[{")) > DEEPEST:
        _refuse_depth(value)
    return value


def looks_like_json(body: bytes) -> bool:
    """Whether *body*, in whatever charset, begins as an object or a list does."""
    return body.lstrip(_BEFORE)[:1] in {b"{", b"["}


def _object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these members; raises UnreadableError where a key is there twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        # Two readers of such a document may disagree about what it says, so neither is believed.
        raise UnreadableError("The JSON repeats a key in one object.", code="json_repeated_key")
    return value


def _constant(_name: str) -> NoReturn:
    raise UnreadableError("The JSON contains NaN or Infinity.", code="json_number_range")


def _float(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise UnreadableError("The JSON contains a number beyond a double.", code="json_number_range")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise UnreadableError("The JSON contains a number beyond a double.", code="json_number_range")
    return int(text)


# json.loads makes one for each document.
_STRICT: Final = json.JSONDecoder(
    object_pairs_hook=_object_of, parse_constant=_constant, parse_float=_float, parse_int=_integer
)


def _refuse_depth(value: object) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
        if not level:
            return
    raise UnreadableError(f"The JSON is nested deeper than {DEEPEST} levels.", code="json_too_deep")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
