"""A body as it may have been when it was signed: before or after someone on the way changed its bytes."""

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Final

_LARGEST_JSON: Final = 1 << 20
_LARGEST_INFLATED: Final = 8 << 20
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_BOM: Final = b"\xef\xbb\xbf"


def alterations(body: bytes) -> Iterator[tuple[bytes, str, str]]:
    """Yield other bytes of *body*, a stable code for the change, and what they are, in words.

    Nothing is inflated beyond 8 MiB, and only documents of up to 1 MiB are written again.
    """
    trimmed = body.rstrip(b"\r\n")
    if trimmed != body:
        yield trimmed, "body_trailing_newline", "the body without the line break at its end"
    for end in (b"\n", b"\r\n"):
        yield body + end, "body_trailing_newline", "the body with a line break at its end, which was cut off"
    bare = body.removeprefix(_BOM)
    yield (
        (bare if bare != body else _BOM + body),
        "body_bom",
        (
            "the body without its byte order mark"
            if bare != body
            else "the body with a byte order mark, which was cut off"
        ),
    )
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
        yield from _written_again(body)


def _written_again(body: bytes) -> Iterator[tuple[bytes, str, str]]:
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
