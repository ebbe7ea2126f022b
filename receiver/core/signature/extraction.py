"""What a scheme refers to in a message: headers, signatures, timestamp, ids. Strict and bounded."""

from collections.abc import Sequence
from typing import Any, Final

from receiver.core.body.fields import split_fields
from receiver.core.body.members import Json
from receiver.core.body.multipart import form_fields
from receiver.core.charset import as_utf8
from receiver.core.description.scheme import Scheme, Source, listed, parse_sources
from receiver.core.errors import SignatureMalformedError, SignatureMissingError, UnreadableError
from receiver.core.message import Message

#: A header with more signatures than any rotation needs is an attempt to buy work.
MOST_CANDIDATES: Final = 16
_MOST_ITEMS: Final = 64
_MOST_QUERY_FIELDS: Final = 100
_LONGEST_ID: Final = 256
_NONE: Final[frozenset[bytes]] = frozenset()
#: As numbers: to look for bytes in bytes, Python first tries to take them for one, and drops the error that says no.
_COMMA, _BLANK, _TAB = b", \t"


class Extraction:
    """The values of one message, looked up for one scheme."""

    __slots__ = ("_claims", "headers", "items", "message")

    def __init__(
        self, message: Message, wanted: frozenset[bytes], foldable: frozenset[bytes] = _NONE
    ) -> None:
        """Look up headers; the lines of one that is *foldable* are joined as RFC 9110 says (5.3).

        Raises:
            SignatureMalformedError: another one that is *wanted* is there twice.
        """
        self.message = message
        self.items: Sequence[bytes] = ()
        self._claims: dict[str, Any] | None = None
        self.headers = dict(message.headers)
        if len(self.headers) < len(message.headers) or not b"".join(self.headers).islower():
            self.headers = _by_name(message.headers, wanted, foldable)

    def with_claims(self, claims: dict[str, Any]) -> "Extraction":
        """Let ``claim:`` sources read from *claims*."""
        self._claims = claims
        return self

    def read(self, sources: Sequence[Source]) -> bytes | None:
        """Return the first of *sources* that the message has, as received; ``None`` where it has none.

        Raises:
            SignatureMalformedError: a value is there twice.
        """
        for source in sources:
            value = self.headers.get(source.key) if source.place == "header" else self._look(source)
            if value is not None:
                return value
        return None

    def identifier(self, sources: Sequence[Source]) -> str | None:
        """Return the first of *sources* as the text of an id; ``None`` where it is absent or no id."""
        value = self.read(sources)
        if value is None or not 0 < len(value) <= _LONGEST_ID:
            return None
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() else None

    def _look(self, source: Source) -> bytes | None:
        if source.place == "body":
            return _text(_path(self.message, source.name))
        if source.place == "claim":
            return _text(_walk(self._claims, source.name))
        if source.place == "part":
            values = [item[len(source.key) :] for item in self.items if item.startswith(source.key)]
        elif source.place == "form":
            values = [value for name, value in _form_fields(self.message) if name == source.key]
        else:
            values = [value for name, value in query_fields(self.message) if name == source.key]
        if len(values) > 1:
            raise SignatureMalformedError(f"The value {str(source)!r} was sent twice.")
        return values[0] if values else None


def _by_name(
    headers: Sequence[tuple[bytes, bytes]], wanted: frozenset[bytes], foldable: frozenset[bytes]
) -> dict[bytes, bytes]:
    named: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in wanted or lower not in named:
            named[lower] = value
        elif lower in foldable:
            named[lower] += b", " + value
        else:
            # Which of two would another reader take? The sender meant one.
            raise SignatureMalformedError(f"The header {lower.decode('latin-1')!r} was sent twice.")
    return named


class ProofHeader:
    """The header that carries the proof, taken apart as the scheme says."""

    __slots__ = ("_labels", "_prefix", "_proof", "_separator", "_skip", "foldable", "names")

    def __init__(self, scheme: Scheme) -> None:
        self._labels = scheme.headers
        self._proof = parse_sources(scheme.proof, field="proof")
        #: The names in lower case, as they are looked up.
        self.names = tuple(name.lower().encode() for name in scheme.headers)
        self._prefix = scheme.prefix.encode()
        self._skip = len(self._prefix)
        self._separator = scheme.item_sep.encode()
        #: The same, where lines can be what one signature was split into at its commas; not where each item is one.
        self.foldable = _NONE if self._separator == b"," and not _has_parts(scheme) else frozenset(self.names)

    def candidates(self, found: Extraction) -> list[bytes]:
        """Return the signatures in the header, still encoded, at most 16.

        Items with another prefix (versions that we do not know, a timestamp) are left aside and can be read
        by ``part:`` sources.

        Raises:
            SignatureMissingError: the header is absent, whatever name it may have.
            SignatureMalformedError: it holds more items than any scheme uses.
        """
        items: list[bytes] = []
        if self._proof and (text := found.read(self._proof)) is not None:
            items += self._items(text)
        for name in self.names:
            value = found.headers.get(name)
            if value is not None:
                items += self._items(value)
        if not items and self._proof:
            raise SignatureMissingError(f"The signature should be at {self._proof[0]}, and is not.")
        if not items:
            raise SignatureMissingError(f"The header {self._labels[0]!r} is missing.")
        found.items = items
        prefix, skip = self._prefix, self._skip
        candidates = [item[skip:] for item in items if item.startswith(prefix)]
        if len(candidates) > MOST_CANDIDATES or len(items) > _MOST_ITEMS:
            raise SignatureMalformedError("The header with the signature holds more than any scheme uses.")
        return candidates

    def _items(self, value: bytes) -> list[bytes]:
        if _COMMA in value and (_BLANK in value or _TAB in value):
            # Something on the way has taken the header apart at its commas, and written it anew. Two whole signatures
            # side by side are none, as ever: no item of a list is one then.
            value = b",".join(piece.strip(b" \t") for piece in value.split(b",", 2 * _MOST_ITEMS))
        if not self._separator:
            return [value]
        return [item.strip(b" \t") for item in value.split(self._separator, _MOST_ITEMS)]


def _has_parts(scheme: Scheme) -> bool:
    sources = (*listed(scheme.timestamp), *listed(scheme.delivery_id), scheme.signed)
    return any("part:" in source for source in sources)


def query_fields(message: Message) -> list[tuple[bytes, bytes]]:
    """Return the decoded fields of a message's query; raises SignatureMalformedError beyond 100 of them."""
    raw = message.query or message.url.partition("?")[2].partition("#")[0].encode("utf-8", "surrogatepass")
    try:
        return split_fields(raw, most=_MOST_QUERY_FIELDS)
    except ValueError as error:
        raise SignatureMalformedError("The query has more fields than are read.") from error


def _form_fields(message: Message) -> list[tuple[bytes, bytes]]:
    try:
        return form_fields(message.body, message.header(b"content-type"))
    except ValueError as error:
        raise SignatureMissingError(
            "The body is no form, and the signature is over a field of one."
        ) from error


def _path(message: Message, path: str) -> object:
    """Read one value of a JSON body; ``None`` where it is not there, or not as two readers would both read it."""
    try:
        text, codec, _ = as_utf8(message.body, message)
        return Json(text, codec).find(tuple(path.split(".")))
    except UnreadableError:
        return None


def _walk(document: object, path: str) -> object:
    for step in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(step)
    return document


def _text(value: object) -> bytes | None:
    """Return the bytes of a JSON string or integer; ``None`` for anything else."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode() if abs(value) < 1 << 64 else None
    return None
