"""Marks that something on the way has left in a body whose original is lost, so that no trying finds it.

None of them proves anything: whoever forges may leave them as well. They say where to look first.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

from receiver.core.body.encoding import codings_of
from receiver.core.message import Message

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}".encode()
_LARGEST: Final = 1 << 20
#: Fewer members may well be in order by chance.
_ORDERED: Final = 5
_PYTHON: Final = re.compile(rb"\s*(?:b['\"]|\{\s*'|\[\s*\{\s*')")
_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78")


def damage(message: Message) -> str | None:
    """A sentence that names the first mark of *message*'s body; ``None`` where it has none."""
    body = message.body
    if not body:
        return (
            "The body is empty. A redirect that turns POST into GET drops it, and so does a program on the way that "
            "reads the body before it hands the request on."
        )
    if _REPLACEMENT in body:
        return (
            "The body holds U+FFFD, which is written where bytes could not be decoded: something on the way took it "
            "for text in another charset, and the bytes that were signed are lost."
        )
    if codings_of(message.headers) and not body.startswith(_PACKED):
        return (
            "Content-Encoding says that the body is packed, and it is not: something on the way unpacked it and left "
            "the label. If the provider signs the packed bytes, have them passed on as they came."
        )
    if _PYTHON.match(body):
        return (
            "The body is written as Python prints objects, not as JSON: a program on the way hands on its own copy of "
            "the document instead of the bytes."
        )
    return _of_json(body)


def _of_json(body: bytes) -> str | None:
    text = body.strip()
    if text[:1] not in {b"{", b"["} or len(text) > _LARGEST:
        return None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if text[-1:] in {b"}", b"]"} and error.pos < len(error.doc):
            return None
        return "The body is JSON that stops in the middle: it was cut off on the way."
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict) and _in_order(list(document)):
        return (
            "The members of the JSON stand in alphabetical order, as where a program on the way has read and written "
            "it anew: then the order in which it was signed is lost. Pass the bytes on as they came."
        )
    return None


def _in_order(names: Sequence[str]) -> bool:
    return len(names) >= _ORDERED and list(names) == sorted(names)
