"""A body as it may have been when it was signed, before somebody on the way changed its bytes."""

import base64
import json
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from receiver.core.body.fields import split_fields
from receiver.core.signature.rewriting import rewritten

_LARGEST_JSON: Final = 1 << 20
#: To take a document apart into tokens and to lay it out anew costs a microsecond a token, some thirty times.
_LARGEST_TOKENS: Final = 1 << 18
_LARGEST_INFLATED: Final = 8 << 20
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_BOM: Final = b"\xef\xbb\xbf"
#: Where gateways, functions and form encoders put the body of a request.
_WRAPPERS: Final = ("body", "payload", "data", "rawBody", "event", "detail", "message", "Message")
#: Windows-1252 as browsers read it: the five bytes that it leaves out are control characters.
_WINDOWS: Final = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(256)}

Alteration = tuple[bytes, str, str]


def edges(body: bytes) -> Iterator[Alteration]:
    """Yield what was most likely added or cut off at either end of *body*; at most four, made at once."""
    trimmed = body.rstrip(b"\r\n")
    if trimmed != body:
        yield trimmed, "body_trailing_newline", "the body without the line break at its end"
    for end in (b"\n", b"\r\n"):
        yield body + end, "body_trailing_newline", "the body with a line break at its end, which was cut off"
    if body.startswith(_BOM):
        yield body.removeprefix(_BOM), "body_bom", "the body without its byte order mark"
    else:
        yield _BOM + body, "body_bom", "the body with a byte order mark, which was cut off"


def alterations(body: bytes) -> Iterator[Alteration]:
    """Yield other bytes of *body* than its edges, a stable code for the change, and what they are, in words.

    Nothing is inflated beyond 8 MiB, and only documents of up to 1 MiB are written again.
    """
    yield from _line_ends(body)
    inflated = _inflated(body)
    if inflated is not None:
        yield inflated, "body_decompressed", "the decompressed body, and it arrived compressed"
    decoded = _from_base64(body)
    if decoded is not None:
        yield (
            decoded,
            "body_base64",
            "the body itself, and it arrived in Base64, as API gateways hand bodies on",
        )
    if len(body) <= _LARGEST_JSON:
        yield from _blanks(body)
        yield from _in_charsets(body)
        yield from _unwrapped(body)
        yield from _written_again(body)


def _line_ends(body: bytes) -> Iterator[Alteration]:
    unix = body.replace(b"\r\n", b"\n")
    if unix != body:
        yield unix, "body_line_ends", "the body with line ends LF, which arrived as CRLF"
    if b"\n" in unix:
        yield (
            unix.replace(b"\n", b"\r\n"),
            "body_line_ends",
            "the body with line ends CRLF, which arrived as LF",
        )
        yield (
            unix.replace(b"\n", b"").replace(b"\r", b""),
            "body_line_ends",
            ("the body without its line ends (body_norm = 'strip_crlf' where the provider does so)"),
        )
    stripped = body.strip(b" \t\r\n\0")
    if stripped != body:
        yield stripped, "body_rewritten", "the body without the blanks around it"


def _blanks(body: bytes) -> Iterator[Alteration]:
    """The same text with other blanks around it, or with a byte order mark as well, which were cut off or changed."""
    core = body.removeprefix(_BOM).strip(b" \t\r\n\0")
    for front in (b"", _BOM, b" ", b"\t", b"\n", b"\r\n"):
        for end in (b"", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b" ", b"\t", b"\0"):
            if front == _BOM:
                code, what = "body_bom", "the body with a byte order mark and other blanks at its end"
            elif not front and end.strip(b"\r\n") == b"":
                code, what = "body_trailing_newline", "the body with other line breaks at its end"
            else:
                code, what = "body_rewritten", "the body with other blanks around it"
            if front + core + end != body:
                yield front + core + end, code, f"{what}, which were cut off or changed"


def _in_charsets(body: bytes) -> Iterator[Alteration]:
    """The same text in the other charsets that it may have been in, or been taken to be in."""
    codec = json.detect_encoding(body)
    if codec.startswith("utf-8") and body.isascii():
        if b"%" in body and b"=" in body:
            yield from _fields_in_charsets(body)
        return
    text = _text(body, codec)
    if text is not None and codec.startswith("utf-8"):
        yield from _mistaken(body, text)
        return
    for other in (codec, "cp1252", "latin-1"):
        text = _text(body, other)
        if text is not None:
            yield text.encode(), "body_charset", f"the same text in UTF-8, and it arrived in {other.upper()}"


def _fields_in_charsets(form: bytes) -> Iterator[Alteration]:
    """The same of the values of a form, which hide what they are in behind percent signs."""
    try:
        pieces = [piece for field in split_fields(form) for piece in field]
    except ValueError:
        return
    joined = b"\0".join(pieces)
    # What is plain text has been looked at, so this ends.
    for altered, code, what in () if joined.isascii() else _in_charsets(joined):
        values = iter(altered.split(b"\0"))
        fields = list(zip(values, values, strict=False))
        if 2 * len(fields) == len(pieces):
            yield urlencode(fields).encode(), code, what.replace("the same text", "the same fields")


def _mistaken(body: bytes, text: str) -> Iterator[Alteration]:
    """What was UTF-8 or one byte a character, before somebody took it for the other and wrote it again."""
    single = bytes(_WINDOWS[one] for one in text) if _WINDOWS.keys() >= {*text} else None
    latin = text.encode("latin-1") if max(text) < "\u0100" else None
    for original in dict.fromkeys((single, latin)):
        if original is not None:
            what = "the bytes from before something on the way took them for Windows-1252 or Latin-1 and wrote UTF-8"
            yield original, "body_charset", what
    for form in ("NFC", "NFD"):
        composed = unicodedata.normalize(form, text).encode()
        if composed != body:
            yield composed, "body_charset", f"the same text with its accents composed otherwise ({form})"


def _unwrapped(body: bytes) -> Iterator[Alteration]:
    """What is inside, where the body is an event of a gateway, or a form around the body."""
    for name, inner in _inside(body):
        what = f"what is inside this body at {name!r}, so it arrived wrapped"
        yield inner, "body_wrapped", what
        plain = _from_base64(inner)
        if plain is not None:
            yield plain, "body_wrapped", f"{what} and in Base64"


def _inside(body: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        yield from _in_form(body)
        return
    for name in _WRAPPERS if isinstance(document, dict) else ():
        inner = document.get(name)
        if isinstance(inner, str):
            yield name, inner.encode("utf-8", "replace")
        elif isinstance(inner, dict | list):
            try:
                text = json.dumps(inner, separators=(",", ":"), ensure_ascii=False)
            except (ValueError, RecursionError):
                return
            yield name, text.encode("utf-8", "replace")


def _in_form(body: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        fields = split_fields(body, most=len(_WRAPPERS))
    except ValueError:
        return
    if len(fields) == 1 and not fields[0][1]:
        # A JSON body that was taken for a form of one field without a value.
        yield "its only field", fields[0][0]
    wrappers = {name.encode(): name for name in _WRAPPERS}
    yield from ((wrappers[name], value) for name, value in fields if name in wrappers)


def _written_again(body: bytes) -> Iterator[Alteration]:
    if len(body) <= _LARGEST_TOKENS:
        yield from ((text, "body_rewritten", what) for text, what in rewritten(body))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(document, str):
        yield (
            document.encode("utf-8", "replace"),
            "body_json_string",
            ("the JSON document inside, and it arrived as one JSON string"),
        )
    if isinstance(document, dict) and all(isinstance(value, str) for value in document.values()):
        fields = urlencode(document, errors="replace").encode()
        yield fields, "body_rewritten", "the same fields as a form, and they arrived as JSON"
    separators: list[tuple[str, tuple[str, str], int | None]] = [
        ("compact", (",", ":"), None),
        ("spaced", (", ", ": "), None),
        ("indented", (",", ": "), 2),
    ]
    for name, separator, indent in separators:
        for ordered in (False, True):
            for escaped in (False, True):
                try:
                    text = json.dumps(
                        document, separators=separator, indent=indent, sort_keys=ordered, ensure_ascii=escaped
                    )
                except (ValueError, RecursionError):
                    return
                what = f"the same JSON written {name}" + (", with sorted keys" if ordered else "")
                what += ", with non-ASCII characters escaped" if escaped and not text.isascii() else ""
                yield text.encode("utf-8", "replace"), "body_rewritten", what


def _text(body: bytes, codec: str) -> str | None:
    try:
        return body.decode(codec)
    except UnicodeDecodeError:
        return None


def _from_base64(body: bytes) -> bytes | None:
    text = b"".join(body.split()).strip(b'"')
    try:
        return base64.b64decode(
            text + b"=" * (-len(text) % 4), altchars=b"-_" if {*b"-_"} & {*text} else None, validate=True
        )
    except ValueError:
        return None


def _inflated(body: bytes) -> bytes | None:
    for bits in (_GZIP_OR_ZLIB, -zlib.MAX_WBITS):
        inflater = zlib.decompressobj(bits)
        try:
            plain = inflater.decompress(body, _LARGEST_INFLATED)
        except zlib.error:
            continue
        if inflater.eof:
            return plain
    return None
