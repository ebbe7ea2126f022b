"""Provider bytes → Observation.

Nothing in here believes anything: whether what was read counts is decided in ``admission`` and ``transition``.
Whatever the bytes, reading returns or raises UnreadableError; its code says what is wrong with them.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, quote

import msgspec

from receiver.core.errors import UnreadableError
from receiver.core.model import Failure, JobState, Observation, ResultAt
from receiver.core.provider import Rule, Shape

DEEPEST: Final = 64
_LONGEST_ID: Final = 256
_LONGEST_URL: Final = 2048
_LONGEST_TEXT: Final = 2000
_MOST_FIELDS: Final = 1000
#: A longer integer is beyond the range of a double, and of every id in use.
_LONGEST_INTEGER: Final = 308
_MISSING: Final = object()
_BEGINNING: Final = 32
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS

_RAW_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SURROGATE: Final = b"\\ud"
_BLANK: Final = " \t\n\r"
_SPACE: Final = re.compile(f"[{_BLANK}]*")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_LENIENT: Final = json.JSONDecoder()


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a callback or of an answer that reading needs."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    query: bytes = b""
    #: What a jwt in the headers was proved to say.
    claims: Mapping[str, Any] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


def read(received: Received, shape: Shape, *, largest: int) -> Observation:
    """Read what a document of *shape* says about a job.

    Raises:
        UnreadableError: it is not in the described form; decoded, it may have at most *largest* bytes.
    """
    plain = _decoded(received, largest=largest)
    if shape.content == "json-string":
        inner = parse_json(plain)
        if isinstance(inner, str):
            try:
                plain = inner.encode()
            except UnicodeEncodeError as error:
                raise UnreadableError(
                    "The JSON inside the JSON is not Unicode.", code="body_not_utf8"
                ) from error
    document = _document(plain, received, shape)
    if shape.about is not None:
        kind = _find(document, received, shape.about.path)
        if not isinstance(kind, str) or not kind.startswith(shape.about.begins):
            raise UnreadableError("It is an event about something else than jobs.", code="event_of_no_job")
    state, word = _state(document, received, shape)
    result_url = None if shape.result_url is None else _url(document, received, shape.result_url)
    if result_url and state is not JobState.SUCCEEDED and shape.result_url in shape.templates:
        result_url = None  # an address that we make ourselves says nothing before the end
    return Observation(
        state=state,
        word=word,
        remote_id=_identifier(document, received, shape.id),
        response_url=None if shape.response_url is None else _url(document, received, shape.response_url),
        cancel_url=None if shape.cancel_url is None else _url(document, received, shape.cancel_url),
        result_url=result_url,
        result=None if result_url else _result(plain, received, shape, state),
        error=_failure(document, received, shape) if state in _UNSUCCESSFUL else None,
    )


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


_UNSUCCESSFUL: Final = {JobState.FAILED, JobState.CANCELED, JobState.EXPIRED}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
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


def _decoded(received: Received, *, largest: int) -> bytes:
    encoding = (received.header(b"content-encoding") or b"identity").strip().lower()
    if encoding in {b"identity", b""}:
        return received.body
    if encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        raise UnreadableError("The body's Content-Encoding is unknown.", code="body_encoding_unknown")
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = inflater.decompress(received.body, largest + 1)
    except zlib.error as error:
        raise UnreadableError(
            "The body is not what Content-Encoding says.", code="body_encoding_broken"
        ) from error
    if len(plain) > largest:
        raise UnreadableError("The body is too large once decompressed.", code="body_inflates_too_far")
    if not inflater.eof or inflater.unused_data:
        raise UnreadableError("The compressed body is cut or has a tail.", code="body_encoding_broken")
    return plain


def _document(plain: bytes, received: Received, shape: Shape) -> Any:  # noqa: ANN401
    if shape.content in {"json", "json-string"}:
        return parse_json(plain)
    if shape.content in {"any", "claims"}:
        return dict(received.claims or {}) if shape.content == "claims" else {}
    try:
        text = (plain if shape.content == "form" else received.query).decode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise UnreadableError("The form is not readable.", code="body_not_form") from error
    return _object(pairs)


def _find(document: object, received: Received, path: str) -> Any:  # noqa: ANN401
    kind, name, keys = _parsed(path)
    if kind == "header":
        value = received.header(name.lower().encode())
        return _MISSING if value is None else value.decode("latin-1")
    if kind == "query":
        try:
            return dict(parse_qsl(received.query.decode(), max_num_fields=_MOST_FIELDS)).get(name, _MISSING)
        except ValueError:
            return _MISSING
    for key in keys:
        if isinstance(document, dict):
            document = document.get(key, _MISSING)
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            return _MISSING
    return document


@cache
def _parsed(path: str) -> tuple[str, str, Sequence[str]]:
    """A path of a description: ``header`` or ``query`` and a name, or the keys on the way into the document."""
    kind, found, name = path.partition(":")
    if found and kind in {"header", "query"}:
        return kind, name, ()
    return "", "", () if path == "." else path.split(".")


def _first(document: object, received: Received, paths: Sequence[str]) -> Any:  # noqa: ANN401
    for path in paths:
        value = _find(document, received, path)
        if value is not _MISSING and value is not None:
            return value
    return None


def _state(document: object, received: Received, shape: Shape) -> tuple[JobState | None, str | None]:
    for rule in shape.rules:
        if _holds(rule, _find(document, received, rule.path)):
            return rule.state, None
    if shape.status is None:
        return None, None
    value = _find(document, received, shape.status)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UnreadableError(f"There is no status at {shape.status!r}.", code="status_missing")
    word = _clean(str(value), _LONGEST_ID, "status")
    return shape.states.get(word, JobState.RUNNING), word


def text_at(received: Received, path: str) -> str | None:
    """The text at *path* of a JSON body, where there is one that can be printed."""
    try:
        value = _find(parse_json(received.body), received, path)
    except UnreadableError:
        return None
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def knows(shape: Shape, word: str | None) -> bool:
    """Say whether the description knows the provider's *word* for a state; if not, it deserves a warning."""
    return word is None or word in shape.states


def _holds(rule: Rule, value: object) -> bool:
    if rule.exists is not None:
        return (value is not _MISSING and value is not None) == rule.exists
    if rule.is_ is not msgspec.UNSET:
        return value is not _MISSING and type(value) is type(rule.is_) and value == rule.is_
    return not (type(value) is type(rule.not_) and value == rule.not_)


def _identifier(document: object, received: Received, paths: Sequence[str]) -> str | None:
    value = _first(document, received, paths)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UnreadableError("The job id is neither text nor a number.", code="id_unreadable")
    return _clean(str(value), _LONGEST_ID, "id")


def _url(document: object, received: Received, path: str) -> str | None:
    if "{" in path:
        return _filled(document, received, path)
    value = _first(document, received, (path,))
    if value is None:
        return None
    if not isinstance(value, str):
        raise UnreadableError("An address in the document is not text.", code="url_unreadable")
    return _clean(value, _LONGEST_URL, "url")


def _filled(document: object, received: Received, template: str) -> str | None:
    """An address put together from values of the document; ``None`` where one of them is missing."""
    values = {path: _identifier(document, received, (path,)) for path in _PLACEHOLDER.findall(template)}
    if None in values.values():
        return None
    url = _PLACEHOLDER.sub(lambda found: quote(values[found[1]] or "", safe=""), template)
    return _clean(url, _LONGEST_URL, "url")


def _clean(text: str, longest: int, what: str) -> str:
    # Control characters and lone surrogates would break logs, terminals and the database later.
    if not text or len(text) > longest or not text.isprintable():
        raise UnreadableError(f"The {what} is empty, too long or not printable.", code=f"{what}_unreadable")
    return text


def _failure(document: object, received: Received, shape: Shape) -> Failure:
    value = _first(document, received, shape.error)
    if value is None:
        return Failure(code="provider_reported")
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return Failure(code="provider_reported", text=text[:_LONGEST_TEXT])


def _result(plain: bytes, received: Received, shape: Shape, state: JobState | None) -> ResultAt | None:
    if shape.result is None or state not in {JobState.SUCCEEDED, None}:
        return None
    if state is None and any(rule.state is JobState.SUCCEEDED for rule in shape.rules):
        # The description says how success looks, and this does not look so.
        return None
    if shape.result == ".":
        content = plain
    else:
        found = _slice(plain, shape.result)
        if found is None:
            return None
        content = found
    # A result that can be pointed at inside the stored bytes is not stored a second time.
    offset = _place(content, received.body) if plain is received.body else -1
    return ResultAt(content=content, content_type=shape.result_type, offset=None if offset < 0 else offset)


def _place(content: bytes, body: bytes) -> int:
    """Where *content* begins in *body*; its beginning is looked for first, which as a rule is there once."""
    at = body.find(content[:_BEGINNING])
    return at if body.startswith(content, at) else body.find(content)


def _slice(plain: bytes, path: str) -> bytes | None:
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
    """What ``_slice`` does, for JSON that Python reads and msgspec does not; *text* was parsed before."""
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
