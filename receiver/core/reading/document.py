"""The document that a message brings, as its shape says: JSON, a form, a query string, claims, or bytes."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from receiver.core.body.encoding import EncodingError, is_known, undone, unpacked
from receiver.core.body.fields import Fields
from receiver.core.body.jsontext import looks_like_json
from receiver.core.body.members import Json
from receiver.core.body.multipart import form_fields, is_multipart
from receiver.core.charset import as_utf8, charset_of, is_utf8
from receiver.core.description.shape import Content, Shape, search_of, split_path
from receiver.core.errors import UnreadableError
from receiver.core.message import Message

_CODED: Final = {
    "body_encoding_unknown": "The body's Content-Encoding is unknown.",
    "body_encoding_broken": "The body is not what Content-Encoding says.",
    "body_inflates_too_far": "The body is too large once decompressed.",
}


class Source(Protocol):
    """What values are found in."""

    def find(self, keys: Sequence[str]) -> Any:  # noqa: ANN401
        """The value that the keys lead to, strictly read; ``None`` where there is none."""
        ...

    def cut(self, keys: Sequence[str]) -> bytes | None:
        """The bytes of that value, exactly as sent; ``None`` where there is none."""
        ...


class Document:
    """A document of one shape, and the message that brought it."""

    __slots__ = ("_codec", "_message", "_original", "_source", "is_form", "plain")

    def __init__(
        self, message: Message, shape: Shape, *, largest: int, claims: Mapping[str, Any] | None = None
    ) -> None:
        """Take the body of *message*, its codings undone to at most *largest* bytes.

        A Content-Encoding that does not fit the bytes is passed over where they can be read without it.

        Raises:
            UnreadableError: it is no document of that kind.
        """
        trouble: str | None = None
        #: The whole document, as it would be the result.
        self.plain = message.body
        #: Whether it is a form where its shape says that it is JSON.
        self.is_form = False
        self._message = message
        self._codec: str | None = None
        self._original: str | None = None
        try:
            self.plain = undone(message.body, message.headers, largest=largest)
        except EncodingError as error:
            trouble = error.code
        try:
            self._source = self._read_as_shown(shape, claims, largest=largest)
        except UnreadableError as error:
            if trouble is None and not is_known(message.headers):
                trouble = "body_encoding_unknown"
            if trouble is None:
                raise
            raise UnreadableError(_CODED[trouble], code=trouble) from error

    def find(self, path: str) -> Any:  # noqa: ANN401
        """The value at *path* of the document, or beside it; ``None`` where there is none.

        Objects and lists come as their bytes.

        Raises:
            UnreadableError: what stands there cannot be read as one reader and another would.
        """
        beside, keys = _parsed(path)
        return self._source.find(keys) if beside is None else _beside(self._message, *beside)

    def cut(self, path: str) -> bytes | None:
        """The bytes at *path*, exactly as sent; ``None`` where there is none, or null."""
        beside, keys = _parsed(path)
        if beside is not None:
            return None
        return self.plain if not keys else self._source.cut(keys)

    def count(self, path: str) -> int | None:
        """How many items the list at *path* has; ``None`` where there is none."""
        beside, keys = _parsed(path)
        return self._source.count(keys) if beside is None and isinstance(self._source, Json) else None

    def charset(self, cut: bytes) -> str | None:
        """What *cut*, which was cut out of the document, is written in, if it is not UTF-8."""
        if cut is self.plain and self._original is not None:
            return self._original
        return None if self._codec is None or is_utf8(cut) else self._codec

    def _read_as_shown(self, shape: Shape, claims: Mapping[str, Any] | None, *, largest: int) -> Source:
        """Read it as it is, or else, where its own bytes say that it is packed, without that."""
        try:
            return self._read(shape, claims)
        except UnreadableError:
            plain = unpacked(self.plain, largest=largest)
            if plain is None:
                raise
            self.plain = plain
        return self._read(shape, claims)

    def _read(self, shape: Shape, claims: Mapping[str, Any] | None) -> Source:
        content = shape.content
        # The header is not signed: what is an object or a list by its own first bytes is read as no form.
        if shape.content_types and not (content == "json" and looks_like_json(self.plain)):
            content = shape.content_of(self._message.header(b"content-type"))
        if content == "query":
            return Fields(self._message.query)
        if content in {"any", "claims"}:
            return _Claims(dict(claims or {}) if content == "claims" else {})
        return self._body(content, shape.field)

    def _body(self, content: Content, field: str | None) -> Source:
        if content in {"form", "form-json"}:
            return self._form(content, field)
        text, self._codec, self._original = as_utf8(self.plain, self._message)
        found = Json(text, self._codec)
        if content == "json":
            return found
        if content == "json-json" and field is not None:
            return self._nested(found, field)
        if content == "json-string":
            inner_text = found.find(())
            if isinstance(inner_text, str):
                self.plain = _encoded(inner_text)
                return Json(self.plain)
        return found

    def _form(self, content: Content, field: str | None) -> Source:
        kind = self._message.header(b"content-type")
        if is_multipart(kind):
            return self._parts(content, field)
        text, codec, self._original = as_utf8(self.plain, self._message)
        # A form is ASCII, whatever the characters are that it stands for.
        self._codec = codec = codec or charset_of(kind or b"")
        form = Fields(text, codec)
        inner = form.cut((field,)) if content == "form-json" and field is not None else None
        if inner is None:
            self.is_form = content == "form-json"
            return form
        self.plain = inner
        return Json(inner, codec)

    def _parts(self, content: Content, field: str | None) -> Source:
        """The same fields in the other spelling of a form; one that is cut short is none."""
        try:
            pairs = form_fields(self.plain, self._message.header(b"content-type"))
        except ValueError as error:
            raise UnreadableError("The form is not readable.", code="body_not_form") from error
        form = Fields(urlencode(pairs).encode())
        inner = form.cut((field,)) if content == "form-json" and field is not None else None
        if inner is None:
            self.is_form = content == "form-json"
            return form
        self.plain = inner
        return Json(inner)

    def _nested(self, outer: Json, field: str) -> Source:
        """The JSON in a text of *outer*; *outer* itself where that text is none."""
        text = outer.find((field,))
        if not isinstance(text, str):
            return outer
        try:
            inner = Json(_encoded(text))
        except UnreadableError:
            return outer
        self.plain = _encoded(text)
        return inner


class _Claims:
    """What a token was proved to say."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._claims = claims

    def find(self, keys: Sequence[str]) -> Any:  # noqa: ANN401
        value: Any = self._claims
        for key in keys:
            sought = search_of(key)
            if sought is not None:
                value = next((one for one in _members(value) if _is_at(one, *sought)), None)
            elif isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
        return value

    def cut(self, keys: Sequence[str]) -> bytes | None:  # noqa: ARG002  (claims are no bytes that arrived)
        return None


def _members(value: Any) -> Sequence[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else ()


def _is_at(member: Any, key: str, wanted: str) -> bool:  # noqa: ANN401
    return isinstance(member, Mapping) and isinstance(member.get(key), str) and member[key] == wanted


def _beside(message: Message, kind: str, name: str) -> str | None:
    if kind == "header":
        value = message.header(name.lower().encode())
        return None if value is None else value.decode("latin-1")
    try:
        return Fields(message.query).find((name,)) or None
    except UnreadableError:
        return None


@cache
def _parsed(path: str) -> tuple[tuple[str, str] | None, tuple[str, ...]]:
    """A path of a description: ``header`` or ``query`` and a name, or the keys on the way into the document."""
    kind, found, name = path.partition(":")
    if found and kind in {"header", "query"}:
        return (kind, name), ()
    return None, () if path == "." else split_path(path)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnreadableError("The JSON inside the JSON is not Unicode.", code="body_not_utf8") from error
