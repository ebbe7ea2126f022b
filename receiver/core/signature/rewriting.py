"""JSON as other programs would have written it: the same tokens, with other blanks and other escapes.

Numbers and the order of members stay as they arrived, so what only lays a document out anew is undone even where a
parser would read its numbers otherwise.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)
_HTML: Final = re.compile("[<>&\u2028\u2029]")
_DOTNET: Final = re.compile("[<>&'+`\u007f]")
_ESCAPE: Final = re.compile(r"(\\u[0-9a-f]{4})")
_OPENING: Final = frozenset("{[")
_CLOSING: Final = frozenset("}]")


class _Layout(NamedTuple):
    """Where blanks stand."""

    name: str
    comma: str
    colon: str
    indent: str | None = None


_COMPACT: Final = _Layout("compact", ",", ":")
_SPACED: Final = _Layout("spaced", ", ", ": ")
_LAYOUTS: Final = (
    _COMPACT,
    _SPACED,
    _Layout("indented", ",", ": ", "  "),
    _Layout("indented by four", ",", ": ", "    "),
    _Layout("indented by tabs", ",", ": ", "\t"),
)


def rewritten(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the document that *body* is in other spellings, each with how it is written; nothing where it is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    if _TOKEN.sub("", text).strip():
        return
    tokens = _TOKEN.findall(text)
    seen = {body}
    styles: dict[tuple[str, ...], str] = {}
    for name, write in _STYLES:
        try:
            styles.setdefault(tuple(_respelled(tokens, write)), name)
        except ValueError:
            return
    for layout in _LAYOUTS:
        for spelled, name in styles.items():
            document = _laid_out(spelled, layout).encode("utf-8", "surrogatepass")
            if document not in seen:
                seen.add(document)
                yield document, f"the same JSON written {layout.name}{name}"


def _respelled(tokens: Sequence[str], write: Callable[[str], str] | None) -> Iterator[str]:
    known: dict[str, str] = {}
    for token in tokens:
        if write is None or token[0] != '"':
            yield token
            continue
        if token not in known:
            known[token] = write(json.loads(token, strict=False))
        yield known[token]


def _laid_out(tokens: Sequence[str], layout: _Layout) -> str:
    pieces: list[str] = []
    depth, before = 0, ""
    for piece in tokens:
        if piece in _CLOSING:
            depth -= 1
            if before not in _OPENING:
                pieces.append(_line(layout, depth))
        elif before in _OPENING:
            pieces.append(_line(layout, depth))
        if piece == ",":
            pieces += [layout.comma, _line(layout, depth)]
        else:
            pieces.append(layout.colon if piece == ":" else piece)
        depth += piece in _OPENING
        before = piece
    return "".join(pieces)


def _line(layout: _Layout, depth: int) -> str:
    return "" if layout.indent is None else "\n" + layout.indent * min(max(depth, 0), 64)


def _plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _php(text: str) -> str:
    return json.dumps(text).replace("/", "\\/")


def _slashed(text: str) -> str:
    return _plain(text).replace("/", "\\/")


def _escaped(found: "re.Match[str]") -> str:
    return f"\\u{ord(found[0]):04x}"


def _html(text: str) -> str:
    return _HTML.sub(_escaped, _plain(text))


def _dotnet(text: str) -> str:
    inner = _DOTNET.sub(_escaped, json.dumps(text)[1:-1].replace('\\"', "\\u0022"))
    return '"' + _ESCAPE.sub(lambda found: "\\u" + found[1][2:].upper(), inner) + '"'


#: How texts are spelled: as they arrived, and as the writers of JSON do that most senders use.
_STYLES: Final[tuple[tuple[str, Callable[[str], str] | None], ...]] = (
    ("", None),
    (", with nothing escaped that need not be", _plain),
    (", with non-ASCII characters escaped", json.dumps),
    (", with slashes and non-ASCII characters escaped, as PHP does", _php),
    (", with slashes escaped", _slashed),
    (", with <, > and & escaped, as Go and Rails do", _html),
    (", with all escaped that .NET escapes", _dotnet),
)
