"""JSON of providers, read where it decides and nowhere else.

A result of which somebody wrote ``NaN`` somewhere is paid for all the same. So of a document only the way to what is
asked for is taken apart; what lies beside it must begin and end, and may be anything in between. What decides (an id, a
state, an address) is still read strictly: two readers never understand it differently.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NoReturn

import msgspec

from receiver.core.body.jsontext import BLANK, parse_json
from receiver.core.charset import is_utf8
from receiver.core.description.shape import search_of
from receiver.core.errors import UnreadableError

#: Bytes of a value, which stay in the document until somebody wants them.
_Bytes = bytes | msgspec.Raw

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
#: Names that JSON writes in one way only, escapes of ASCII apart.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_ .:@$-]+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SPACE: Final = re.compile(rb"[ \t\n\r]*+")
_SCALAR: Final = re.compile(rb'[^ \t\n\r"\[\]{},:]++')
#: Everything up to the next bracket, strings passed over whole; a quote alone begins a string that never ends.
_BRACKETS: Final = re.compile(
    rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[{]++|[\]}]++|"|\Z)', re.DOTALL
)
_OPENING: Final = frozenset({b"{", b"["})
#: Bytes of an object beside a name and its value: two quotes, a colon and a comma; and what a member is at least,
#: beside its name: these, and a digit.
_BESIDE_A_MEMBER: Final = len('"":,')
_BESIDE_A_KEY: Final = len('"":0,')
_CLOSING: Final = bytes.maketrans(b"[{", b"]}")


class Json:
    """One document; values are found by the keys on the way to them."""

    __slots__ = ("_codec", "_levels", "_text", "_top")

    def __init__(self, text: bytes, codec: str | None = None) -> None:
        """Take *text*, in which strings that are not UTF-8 are in *codec*; raises UnreadableError if it is no JSON."""
        # A mark may stand here though it was passed over before: in the field of a form, or where one was put twice.
        self._text = text = text.strip(BLANK).removeprefix(codecs.BOM_UTF8)
        self._codec = codec
        self._top = top = _taken_apart(text)
        #: What is below, by the keys that lead to it.
        self._levels: dict[Sequence[str], _Level | None] = {}
        if top is None:
            parse_json(text)

    def find(self, keys: Sequence[str]) -> Any:  # noqa: ANN401
        """The value that the keys lead to, strictly read; ``None`` where there is none, or null.

        Objects and lists come as their bytes: they may hold anything.

        Raises:
            UnreadableError: it is not what a strict parser reads, or one of the keys is there twice.
        """
        raw = self._at(keys, strictly=True)
        if raw is None:
            return None
        first = raw[:1]
        if first in _OPENING:
            return raw
        if self._codec is not None and not is_utf8(raw):
            raw = raw.decode(self._codec, "replace").encode()
        if first == b'"':
            try:
                return _TEXT.decode(raw)
            except msgspec.DecodeError:
                pass  # half an emoji is no mistake of JSON, and for all others there is a code
        return parse_json(raw)

    def cut(self, keys: Sequence[str]) -> bytes | None:
        """The bytes of the value that the keys lead to, exactly as sent; ``None`` where there is none, or null.

        Of a key that is there twice the last counts, as in the parsers that most readers have.
        """
        return self._at(keys, strictly=False)

    def count(self, keys: Sequence[str]) -> int | None:
        """How many items the list has that the keys lead to; ``None`` where there is none."""
        level = self._level(keys)
        return level.items if isinstance(level, _List) else None

    def _at(self, keys: Sequence[str], *, strictly: bool) -> bytes | None:
        if not keys:
            return self._text
        *above, key = keys
        level = self._level(tuple(above)) if above else self._top
        raw = None if level is None else level.at(key, strictly=strictly)
        if raw is None:
            return None
        # A key above may be there twice although the last of them leads on.
        if above and strictly:
            self._at(above, strictly=True)
        found = bytes(raw)
        return None if found == b"null" else found

    def _level(self, keys: Sequence[str]) -> "_Level | None":
        """The object or list that the keys lead to, taken apart; ``None`` where there is something else."""
        if not keys:
            return self._top
        if keys in self._levels:
            return self._levels[keys]
        above = self._level(keys[:-1])
        raw = None if above is None else above.at(keys[-1], strictly=False)
        self._levels[keys] = level = None if raw is None else _taken_apart(bytes(raw))
        return level


class _Object:
    """An object, its values still bytes."""

    __slots__ = ("_escapes", "_members", "_raw", "_repeated", "_spare")

    def __init__(
        self, raw: bytes, members: Mapping[str, _Bytes], repeated: frozenset[str] | None = None
    ) -> None:
        self._raw = raw
        self._members = members
        #: The keys that are there twice; ``None`` as long as nobody has looked.
        self._repeated = repeated
        #: How many bytes more there are than these members take; ``None`` as long as nobody has looked.
        self._spare: int | None = None
        #: Whether a name may be written with escapes for its letters; ``None`` as long as nobody has looked.
        self._escapes: bool | None = None

    def at(self, key: str, *, strictly: bool) -> _Bytes | None:
        found = self._members.get(key)
        if found is not None and strictly and self._repeats(key):
            # Two readers of such a document may disagree about what it says, so neither is believed.
            raise UnreadableError("The JSON repeats a key that decides.", code="json_repeated_key")
        return found

    def members(self) -> Iterator[tuple[str, bytes]]:
        for name, one in self._members.items():
            yield name, bytes(one).strip(BLANK)

    def _repeats(self, key: str) -> bool:
        if self._repeated is None:
            spare = self._spare
            if spare is None:
                self._spare = spare = _spare(self._raw, self._members)
            # As a rule there is no room for a second one, however briefly written: ``"key":0,``.
            if spare < len(key) + _BESIDE_A_KEY or self._is_written_once(key):
                return False
            self._repeated = _repeated(_names(self._raw))
        return key in self._repeated

    def _is_written_once(self, key: str) -> bool:
        """Whether the key is there once in all: then nobody needs to look at the names one by one."""
        if self._escapes is None:
            # Not by ``in``, which takes the bytes for a number first.
            self._escapes = self._raw.find(b"\\u00") >= 0
        written = None if self._escapes else _written(key)
        return written is not None and self._raw.count(written) == 1


class _List:
    """A list, its values still bytes."""

    __slots__ = ("_members",)

    def __init__(self, members: Sequence[_Bytes]) -> None:
        self._members = members

    @property
    def items(self) -> int:
        return len(self._members)

    def at(self, key: str, *, strictly: bool) -> _Bytes | None:  # noqa: ARG002  (nothing is there twice)
        members = self._members
        if (sought := search_of(key)) is not None:
            return next((one for one in members if _is_at(bytes(one), *sought)), None)
        return members[int(key)] if key.isdecimal() and int(key) < len(members) else None

    def members(self) -> Iterator[tuple[str, bytes]]:
        for place, one in enumerate(self._members):
            yield str(place), bytes(one).strip(BLANK)


_Level = _Object | _List


def _spare(raw: bytes, members: Mapping[str, _Bytes]) -> int:
    """How many bytes an object has beside its members, each as briefly written as can be: ``{"key":value,…}``."""
    brief = sum(map(len, members)) + sum(map(len, members.values())) + _BESIDE_A_MEMBER * len(members) + 1
    return len(raw) - brief


def _is_at(raw: bytes, key: str, wanted: str) -> bool:
    """Whether a member of a list is an object that has *wanted* at *key*, as a text, a number, true or false."""
    level = _taken_apart(raw.strip(BLANK))
    found = None if level is None or key.isdecimal() else level.at(key, strictly=True)
    if found is None:
        return False
    text = bytes(found).strip(BLANK)
    if text[:1] != b'"':
        return text == wanted.encode()
    try:
        return _TEXT.decode(text) == wanted
    except msgspec.DecodeError:
        return False


def members_of(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of the object or list that *raw* is, each with its name or place; raises UnreadableError."""
    level = _taken_apart(raw)
    if level is not None:
        yield from level.members()


def place_of(text: bytes, keys: Sequence[str]) -> tuple[int, int] | None:
    """Where in the document that *text* is, without blanks around it, a value begins and ends; ``None`` if nowhere.

    Of a key that is there twice the last counts, as for ``Json.cut``.

    Raises:
        UnreadableError: the text is no JSON.
    """
    begin, end = 0, len(text)
    for key in keys:
        if text[begin : begin + 1] not in (b"{", b"["):
            return None
        listed = text[begin : begin + 1] == b"["
        found = None
        for place, (name, start, stop) in enumerate(_scan(text[begin:end])):
            if (str(place) if listed else name) == key:
                found = begin + start, begin + stop
        if found is None:
            return None
        begin, end = found
    return begin, end


@cache
def _written(key: str) -> bytes | None:
    """How the key of a description stands in a document; ``None`` where it may be written in several ways."""
    return b'"%b"' % key.encode() if _PLAIN.fullmatch(key) is not None else None


class _Name(str):
    """A key on its way past us."""

    __slots__ = ()


def _names(raw: bytes) -> Sequence[str]:
    """The keys of an object that msgspec has read, each as often as it is there."""
    names: list[str] = []

    def note(_kind: type, name: str) -> _Name:
        names.append(name)
        return _Name(name)

    msgspec.json.decode(raw, type=dict[_Name, msgspec.Raw], dec_hook=note)
    return names


def _repeated(names: Sequence[str]) -> frozenset[str]:
    if len(set(names)) == len(names):
        return frozenset()
    return frozenset(name for name, times in Counter(names).items() if times > 1)


def _taken_apart(raw: bytes) -> _Level | None:
    first = raw[:1]
    try:
        if first == b"{":
            return _Object(raw, _FIELDS.decode(raw))
        if first == b"[":
            return _List(_ITEMS.decode(raw))
    except (msgspec.DecodeError, RecursionError):
        # NaN, half an emoji, a line break in a text, a thousand levels: msgspec stops at it, we pass it by.
        return _scanned(raw)
    return None


def _scanned(text: bytes) -> _Level:
    found = [(name, text[start:end]) for name, start, end in _scan(text)]
    if text[:1] == b"[":
        return _List([value for _, value in found])
    return _Object(text, dict(found), _repeated([name for name, _ in found]))


def _scan(text: bytes) -> Iterator[tuple[str, int, int]]:
    """The members of the object or list that *text* is: a name, and where the value begins and ends."""
    named, closing = text[:1] == b"{", text[:1].translate(_CLOSING)
    at, name = _space(text, 1), ""
    while text[at : at + 1] != closing:
        if named:
            end = _end_of(_STRING.match(text, at))
            name = _name(text[at:end])
            at = _space(text, end)
            if text[at : at + 1] != b":":
                _refuse()
            at = _space(text, at + 1)
        end = _value_end(text, at)
        yield name, at, end
        at = _space(text, end)
        if text[at : at + 1] == b",":
            at = _space(text, at + 1)
        elif text[at : at + 1] != closing:
            _refuse()
    if _space(text, at + 1) != len(text):
        raise UnreadableError("There is more than JSON in the body.", code="body_not_json")


def _value_end(text: bytes, at: int) -> int:
    first = text[at : at + 1]
    if first == b'"':
        return _end_of(_STRING.match(text, at))
    if first not in (b"[", b"{"):
        return _end_of(_SCALAR.match(text, at))
    open_ones = bytearray()
    while found := _BRACKETS.match(text, at):
        at, brackets = found.end(), found[1]
        if brackets[:1] in (b"[", b"{"):
            open_ones += brackets.translate(_CLOSING)
            continue
        # Closing brackets that stand side by side are looked at together.
        closed = min(len(brackets), len(open_ones))
        if not brackets or open_ones[: -closed - 1 : -1] != brackets[:closed]:
            _refuse()
        del open_ones[-closed:]
        if not open_ones:
            return found.start(1) + closed
    return _refuse()


def _space(text: bytes, at: int) -> int:
    return _end_of(_SPACE.match(text, at))


def _end_of(found: "re.Match[bytes] | None") -> int:
    return _refuse() if found is None else found.end()


def _name(written: bytes) -> str:
    if b"\\" in written:
        try:
            return str(json.loads(written))
        except ValueError:
            pass
    return written[1:-1].decode(errors="replace")


def _refuse() -> NoReturn:
    raise UnreadableError("The body is not JSON.", code="body_not_json")
