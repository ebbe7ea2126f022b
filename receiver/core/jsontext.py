"""JSON as text: parsed strictly, and a value of it cut out exactly as it was sent."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from receiver.core.errors import UnreadableError

DEEPEST: Final = 64
#: A longer integer is beyond the range of a double, and of every id in use.
_LONGEST_INTEGER: Final = 308
_RAW_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SURROGATE: Final = b"\\ud"
_BLANK: Final = " \t\n\r"
_SPACE: Final = re.compile(f"[{_BLANK}]*")
_LENIENT: Final = json.JSONDecoder()


def parse_json(data: bytes) -> Any:  # noqa: ANN401
    """Parse JSON strictly: UTF-8, no NaN, no repeated key, no number beyond a double, bounded depth.

    Raises:
        UnreadableError: with a code that says which of these it is.
    """
    try:
        text = data.decode().strip(_BLANK)
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


def value_at(plain: bytes, path: str) -> bytes | None:
    """The bytes of the value at *path*, exactly as sent; ``None`` where there is none, or null."""
    raw = plain
    for key in path.split("."):
        try:
            fields: Mapping[str, msgspec.Raw] = _RAW_FIELDS.decode(raw)
            raw = bytes(fields[key])
        except (msgspec.DecodeError, KeyError):
            try:
                raw = bytes(_RAW_LIST.decode(raw)[int(key)]) if key.isdecimal() else b""
            except (msgspec.DecodeError, IndexError):
                raw = b""
        if not raw:
            # msgspec refuses lone surrogates; half an emoji at the end of a generated text leaves one.
            return _slice_leniently(plain.decode(), path) if _SURROGATE in plain.lower() else None
    raw = raw.strip()
    return None if raw == b"null" else raw


def _slice_leniently(text: str, path: str) -> bytes | None:
    """What ``value_at`` does, for JSON that Python reads and msgspec does not; *text* was parsed before."""
    start, end = 0, len(text)
    for key in path.split("."):
        start = _skip(text, start)
        for name, begin, after in _members(text, start):
            if name == key:
                start, end = begin, after
                break
        else:
            return None
    raw = text[start:end].strip()
    return None if raw == "null" else raw.encode()


def _members(text: str, start: int) -> Iterable[tuple[str, int, int]]:
    """The members of the object or array at *start*: name or number, and where the value begins and ends."""
    kind, place, number = text[start], _skip(text, start + 1), 0
    while kind in "{[" and text[place] not in "}]":
        name = str(number)
        if kind == "{":
            name, place = _LENIENT.raw_decode(text, place)
            place = _skip(text, _skip(text, place) + 1)
        _, after = _LENIENT.raw_decode(text, place)
        yield name, place, after
        place, number = _skip(text, after), number + 1
        if text[place] == ",":
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
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
    object_pairs_hook=object_of, parse_constant=_constant, parse_float=_float, parse_int=_integer
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
