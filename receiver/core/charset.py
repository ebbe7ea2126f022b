"""Bodies in other charsets than UTF-8: byte order marks passed over, declared charsets honoured.

JSON is UTF-8 (RFC 8259, 8.1), and most of what says otherwise is UTF-8 all the same; some is not.
"""

import codecs
import json
import re
from typing import Final

from receiver.core.message import Message

_MARK: Final = codecs.BOM_UTF8
_CHARSET: Final = re.compile(rb'charset\s*=\s*"?([A-Za-z0-9_.:-]{1,40})', re.IGNORECASE)
#: One byte a character, and ASCII as ASCII: brackets, quotes and digits stand where they stand in UTF-8.
_SINGLE: Final = re.compile(r"iso8859-\d+|cp125\d|koi8-[rtu]|mac-[a-z-]+|latin_?1")
#: Left out are charsets that only Python knows, and those with modes in which other bytes stand for brackets.
_SEVERAL: Final = re.compile(
    r"utf-(16|32)(-[bl]e)?|gb2312|gbk|gb18030|big5|big5hkscs|shift_jis|cp932|euc[_-](jp|kr)|cp949"
)


#: A body as text that JSON or a form can be read from; what strings in it are written in, if they are not UTF-8; and
#: what the body itself is written in, if the text had to be written anew.
Text = tuple[bytes, str | None, str | None]


def as_utf8(body: bytes, message: Message) -> Text:
    """Take *body*, which *message* brought, past its byte order mark and out of charsets that hide ASCII.

    A body whose charset keeps ASCII as it is stays byte for byte, but for a mark in front of it. A declaration counts
    only for what is not UTF-8: it is not signed, so whoever passes on a genuine body must not choose what it says.
    """
    if body.isascii() and 0 not in body[:4]:
        return body, None, None  # the same in every charset that is honoured
    if body.startswith(_MARK):
        return body[len(_MARK) :], None, None
    if b"\0" in body[:4] or body[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        # UTF-16 and UTF-32 show by their zeros, whatever is declared.
        return _written_anew(body, json.detect_encoding(body))
    codec = charset_of(message.header(b"content-type") or b"")
    if codec is None or is_utf8(body):
        return body, None, None
    return (body, codec, None) if _SINGLE.fullmatch(codec) else _written_anew(body, codec)


def _written_anew(body: bytes, codec: str) -> Text:
    try:
        text = body.decode(codec).removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").encode()
    except UnicodeError:
        return body, None, None
    return text, None, codec


def in_utf8(body: bytes, content_type: str) -> bytes:
    """*body*, which is of *content_type*, in UTF-8 as far as it shows or says what it is written in."""
    headers = ((b"content-type", content_type.encode("latin-1", "replace")),)
    text, codec, _ = as_utf8(body, Message(headers=headers))
    return text if codec is None else text.decode(codec, "replace").encode()


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
