"""Provider bytes → Observation.

Nothing in here believes anything: whether what was read counts is decided in ``admission`` and ``transition``.
Whatever the bytes, reading returns or raises UnreadableError; its code says what is wrong with them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import msgspec

from receiver.core.encoding import EncodingError, is_known, undone
from receiver.core.errors import UnreadableError
from receiver.core.jsontext import object_of, parse_json, value_at
from receiver.core.message import Message
from receiver.core.model import Failure, JobState, Observation, ResultAt
from receiver.core.provider import Rule, Shape

_LONGEST_ID: Final = 256
_LONGEST_URL: Final = 2048
_LONGEST_TEXT: Final = 2000
_MOST_FIELDS: Final = 1000
_BEGINNING: Final = 32
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
# Named here for the same reason as in ``transition``.
_RUNNING: Final = JobState.RUNNING
_SUCCEEDED: Final = JobState.SUCCEEDED
_UNSUCCESSFUL: Final = frozenset({JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})


def read(
    message: Message, shape: Shape, *, largest: int, claims: Mapping[str, Any] | None = None
) -> Observation:
    """Read what a document of *shape* says about a job; *claims* are what a jwt beside it was proved to say.

    Raises:
        UnreadableError: it is not in the described form; decoded, it may have at most *largest* bytes.
    """
    found = _document(message, shape, largest=largest, claims=claims)
    if shape.about is not None:
        kind = found.find(shape.about.path)
        if not isinstance(kind, str) or not kind.startswith(shape.about.begins):
            raise UnreadableError("It is an event about something else than jobs.", code="event_of_no_job")
    state, word = found.state()
    result_url = None if shape.result_url is None else found.url(shape.result_url)
    if result_url and state is not _SUCCEEDED and shape.result_url in shape.templates:
        result_url = None  # an address that we make ourselves says nothing before the end
    return Observation(
        state=state,
        word=word,
        remote_id=found.identifier(shape.id),
        response_url=None if shape.response_url is None else found.url(shape.response_url),
        cancel_url=None if shape.cancel_url is None else found.url(shape.cancel_url),
        result_url=result_url,
        result=None if result_url else found.result(state),
        error=found.failure() if state in _UNSUCCESSFUL else None,
    )


def _document(
    message: Message, shape: Shape, *, largest: int, claims: Mapping[str, Any] | None
) -> "_Document":
    """The document that *message* brings, its codings undone; a label that does not fit is no reason not to read it."""
    trouble: str | None = None
    try:
        plain = undone(message.body, message.headers, largest=largest)
    except EncodingError as error:
        plain, trouble = message.body, error.code
    try:
        return _Document(message, shape, plain, claims)
    except UnreadableError as error:
        if trouble is None and not is_known(message.headers):
            trouble = "body_encoding_unknown"
        if trouble is None:
            raise
        raise UnreadableError(_CODED[trouble], code=trouble) from error


_CODED: Final = {
    "body_encoding_unknown": "The body's Content-Encoding is unknown.",
    "body_encoding_broken": "The body is not what Content-Encoding says.",
    "body_inflates_too_far": "The body is too large once decompressed.",
}


def text_at(message: Message, path: str) -> str | None:
    """The text at *path* of a JSON body, where there is one that can be printed."""
    try:
        value = _found(parse_json(message.body), message, path)
    except UnreadableError:
        return None
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def knows(shape: Shape, word: str | None) -> bool:
    """Say whether the description knows the provider's *word* for a state; if not, it deserves a warning."""
    return word is None or word in shape.states


class _Document:
    """A document of one shape, and the message that brought it."""

    __slots__ = ("_message", "_plain", "_shape", "_value")

    def __init__(
        self, message: Message, shape: Shape, plain: bytes, claims: Mapping[str, Any] | None
    ) -> None:
        self._message = message
        self._shape = shape
        self._plain = plain
        if shape.content == "json":
            self._value = parse_json(plain)
        elif shape.content == "json-string":
            self._plain, self._value = _unwrapped(plain)
        elif shape.content in {"any", "claims"}:
            self._value = dict(claims or {}) if shape.content == "claims" else {}
        else:
            self._value = _fields(plain if shape.content == "form" else message.query)

    def find(self, path: str) -> Any:  # noqa: ANN401
        return _found(self._value, self._message, path)

    def state(self) -> tuple[JobState | None, str | None]:
        """What it says of the state, and the provider's own word for that."""
        shape = self._shape
        for rule in shape.rules:
            if _holds(rule, self.find(rule.path)):
                return rule.state, None
        if shape.status is None:
            return None, None
        word = _written(self.find(shape.status))
        if word is None:
            raise UnreadableError(f"There is no status at {shape.status!r}.", code="status_missing")
        _clean(word, _LONGEST_ID, "status")
        return shape.states.get(word, _RUNNING), word

    def identifier(self, paths: Sequence[str]) -> str | None:
        value = self._first(paths)
        if value is None:
            return None
        text = _written(value)
        if text is None:
            raise UnreadableError("The job id is neither text nor a number.", code="id_unreadable")
        return _clean(text, _LONGEST_ID, "id")

    def url(self, path: str) -> str | None:
        if "{" in path:
            return self._filled(path)
        value = self._first((path,))
        if value is None:
            return None
        if not isinstance(value, str):
            raise UnreadableError("An address in the document is not text.", code="url_unreadable")
        return _clean(value, _LONGEST_URL, "url")

    def failure(self) -> Failure:
        value = self._first(self._shape.error)
        if value is None:
            return Failure(code="provider_reported")
        text = value if isinstance(value, str) else json.dumps(value)
        text = text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return Failure(code="provider_reported", text=text[:_LONGEST_TEXT])

    def result(self, state: JobState | None) -> ResultAt | None:
        shape, plain = self._shape, self._plain
        if shape.result is None:
            return None
        if state is None:
            if any(rule.state is _SUCCEEDED for rule in shape.rules):
                # The description says how success looks, and this does not look so.
                return None
        elif state is not _SUCCEEDED:
            return None
        content = plain if shape.result == "." else value_at(plain, shape.result)
        if content is None:
            return None
        # A result that can be pointed at inside the stored bytes is not stored a second time.
        offset = _place(content, plain) if plain is self._message.body else -1
        return ResultAt(
            content=content, content_type=shape.result_type, offset=None if offset < 0 else offset
        )

    def _first(self, paths: Sequence[str]) -> Any:  # noqa: ANN401
        for path in paths:
            value = _found(self._value, self._message, path)
            if value is not None:
                return value
        return None

    def _filled(self, template: str) -> str | None:
        """An address put together from values of the document; ``None`` where one of them is missing."""
        values = {path: self.identifier((path,)) for path in _PLACEHOLDER.findall(template)}
        if None in values.values():
            return None
        url = _PLACEHOLDER.sub(lambda found: quote(values[found[1]] or "", safe=""), template)
        return _clean(url, _LONGEST_URL, "url")


def _unwrapped(plain: bytes) -> tuple[bytes, Any]:
    """JSON inside a JSON string, if it is inside one: its bytes and its value."""
    inner = parse_json(plain)
    if isinstance(inner, str):
        try:
            plain = inner.encode()
        except UnicodeEncodeError as error:
            raise UnreadableError("The JSON inside the JSON is not Unicode.", code="body_not_utf8") from error
        return plain, parse_json(plain)
    return plain, inner


def _fields(form: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(form.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise UnreadableError("The form is not readable.", code="body_not_form") from error
    return object_of(pairs)


def _found(document: object, message: Message, path: str) -> Any:  # noqa: ANN401
    """The value at *path* of a document, or beside it; ``None`` where there is none."""
    beside, keys = _parsed(path)
    if beside is not None:
        return _beside(message, *beside)
    for key in keys:
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document


def _beside(message: Message, kind: str, name: str) -> object:
    if kind == "header":
        value = message.header(name.lower().encode())
        return None if value is None else value.decode("latin-1")
    try:
        return dict(parse_qsl(message.query.decode(), max_num_fields=_MOST_FIELDS)).get(name)
    except ValueError:
        return None


@cache
def _parsed(path: str) -> tuple[tuple[str, str] | None, Sequence[str]]:
    """A path of a description: ``header`` or ``query`` and a name, or the keys on the way into the document."""
    kind, found, name = path.partition(":")
    if found and kind in {"header", "query"}:
        return (kind, name), ()
    return None, () if path == "." else path.split(".")


def _holds(rule: Rule, value: object) -> bool:
    if rule.exists is not None:
        return (value is not None) == rule.exists
    if rule.is_ is not msgspec.UNSET:
        return type(value) is type(rule.is_) and value == rule.is_
    return not (type(value) is type(rule.not_) and value == rule.not_)


def _written(value: object) -> str | None:
    """A text or a whole number as text; ``None`` for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _clean(text: str, longest: int, what: str) -> str:
    # Control characters and lone surrogates would break logs, terminals and the database later.
    if not text or len(text) > longest or not text.isprintable():
        raise UnreadableError(f"The {what} is empty, too long or not printable.", code=f"{what}_unreadable")
    return text


def _place(content: bytes, body: bytes) -> int:
    """Where *content* begins in *body*; its beginning is looked for first, which as a rule is there once."""
    at = body.find(content[:_BEGINNING])
    return at if body.startswith(content, at) else body.find(content)
