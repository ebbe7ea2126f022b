"""Forms and query strings (application/x-www-form-urlencoded), as bytes: a name or a value may be in any charset."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from receiver.core.errors import UnreadableError

MOST_FIELDS: Final = 1000


def split_fields(form: bytes, *, most: int = MOST_FIELDS) -> list[tuple[bytes, bytes]]:
    """Split *form* into names and values, decoded; what has no ``=`` is a name without a value.

    Raises:
        ValueError: it has more than *most* fields.
    """
    if form.count(b"&") >= most:
        raise ValueError("more fields than are read")
    pieces = (piece.partition(b"=") for piece in form.split(b"&") if piece)
    return [(_decoded(name), _decoded(value)) for name, _, value in pieces]


class Fields:
    """A form or a query string as a document of text fields."""

    __slots__ = ("_codec", "_fields", "_form")

    def __init__(self, form: bytes, codec: str | None = None) -> None:
        """Take *form*, of which values that are not UTF-8 are in *codec*; raises UnreadableError if it is none."""
        if form and b"=" not in form:
            raise _unreadable()
        try:
            self._fields = split_fields(form)
        except ValueError as error:
            raise _unreadable() from error
        self._form = form
        self._codec = codec

    def find(self, keys: Sequence[str]) -> str | None:
        """The value of a field; ``None`` where there is none.

        Raises:
            UnreadableError: it is no text, or there twice.
        """
        value = self.cut(keys)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            if self._codec is None:
                raise _unreadable() from error
            return value.decode(self._codec, "replace")

    def cut(self, keys: Sequence[str]) -> bytes | None:
        """The bytes of a field's value, or the whole form; raises UnreadableError where the field is there twice."""
        if not keys:
            return self._form
        name = ".".join(keys).encode("utf-8", "surrogatepass")
        values = [value for one, value in self._fields if one == name]
        if len(values) > 1:
            raise UnreadableError("The form repeats a field that decides.", code="json_repeated_key")
        return values[0] if values else None


def _decoded(piece: bytes) -> bytes:
    return unquote_to_bytes(piece.replace(b"+", b" "))


def _unreadable() -> UnreadableError:
    return UnreadableError("The form is not readable.", code="body_not_form")
