"""Bodies in other charsets than UTF-8: byte order marks passed over, declared charsets honoured.

JSON is UTF-8 (RFC 8259, 8.1), and most of what says otherwise is UTF-8 all the same; some is not.
"""

import codecs
import json
import re
from typing import Final, NamedTuple

from receiver.core.message import Message

_MARK: Final = codecs.BOM_UTF8
_CHARSET: Final = re.compile(rb'charset\s*=\s*"?([A-Za-z0-9_.:-]{1,40})', re.IGNORECASE)
#: One byte a character, and ASCII as ASCII: brackets, quotes and digits stand where they stand in UTF-8.
_SINGLE: Final = re.compile(r"iso8859-\d+|cp125\d|koi8-[rtu]|mac-[a-z-]+|latin_?1")
#: Nothing that only Python knows, and nothing that makes brackets of other bytes by a mode of its own.
_SEVERAL: Final = re.compile(
    r"utf-(16|32)(-[bl]e)?|gb2312|gbk|gb18030|big5|big5hkscs|shift_jis|cp932|euc[_-](jp|kr)|cp949"
)


class Text(NamedTuple):
    """A body as text that JSON or a form can be read from."""

    text: bytes
    #: What strings in it are written in, if they are not UTF-8.
    codec: str | None = None
    #: What the body itself is written in, if the text had to be written anew.
    original: str | None = None


def as_utf8(body: bytes, message: Message) -> Text:
    """Take *body*, which *message* brought, past its byte order mark and out of charsets that hide ASCII.

    A body whose charset keeps ASCII as it is stays byte for byte, but for a mark in front of it.
    """
    if body.isascii() and b"\0" not in body[:4]:
        return Text(body)  # the same in every charset that is honoured
    body = body.removeprefix(_MARK)
    codec = charset_of(message.header(b"content-type") or b"")
    if codec is not None and _SINGLE.fullmatch(codec):
        return Text(body, codec)
    if (codec is None and b"\0" in body[:4]) or body[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        # UTF-16 and UTF-32 show by their zeros.
        codec = json.detect_encoding(body)
    if codec is not None and _SEVERAL.fullmatch(codec):
        try:
            text = body.decode(codec).removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").encode()
        except UnicodeError:
            return Text(body)
        return Text(text, original=codec)
    return Text(body)


def is_utf8(text: bytes) -> bool:
    """Whether *text* can be read as UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def charset_of(content_type: bytes) -> str | None:
    """Python's name of the charset that a content type declares, if it is one that is honoured, and not UTF-8."""
    found = _CHARSET.search(content_type) if b";" in content_type else None
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode()).name
    except LookupError:
        return None
    return name if _SINGLE.fullmatch(name) or _SEVERAL.fullmatch(name) else None
