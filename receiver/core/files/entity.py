"""What an answer says about the file that it brings: its size, its part of it, its validator, its digests."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from receiver.core.body.encoding import codings_of
from receiver.core.model import Value

#: Finds a header by its name in lower case.
Headers = Callable[[str], str | None]

_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
#: The names of RFC 9530 and RFC 3230 for digests that we can compute.
_NAMES: Final = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}
_MEMBER: Final = re.compile(r"\s*([A-Za-z0-9-]+)=:?([A-Za-z0-9+/=_-]+):?\s*")
_PART: Final = 206
#: What says that all of it follows: 203 too, which is 200 that was changed on the way (RFC 9110, 15.3.4), and 201,
#: which some answer wherever something is made on demand.
WHOLE: Final = frozenset({200, 201, 203})


class Entity(Value, frozen=True, kw_only=True):
    """What is told of a file."""

    #: Where in it the body begins.
    start: int
    #: Its size, where that is told.
    total: int | None
    #: What tells it from a later one at the same address, so that it can be gone on with.
    validator: str | None
    content_type: str
    #: Digests of the whole of it.
    digests: dict[str, bytes]
    #: The codings that it comes in, in the order in which they were applied.
    codings: tuple[bytes, ...] = ()


def entity(status: int, header: Headers) -> Entity | None:
    """What an answer with a body says; ``None`` where it is no file, or a part that cannot be placed."""
    start, total = 0, None
    if status == _PART:
        found = _RANGE.fullmatch(header("content-range") or "")
        if found is None:
            return None
        start, total = int(found[1]), None if found[3] == "*" else int(found[3])
    elif status in WHOLE:
        length = header("content-length") or ""
        total = int(length) if _LENGTH.fullmatch(length) else None
    else:
        return None
    return Entity(
        start=start,
        total=total,
        validator=_validator(header),
        content_type=_type(header("content-type")),
        digests=_digests(status, header),
        codings=tuple(codings_of([(b"content-encoding", (header("content-encoding") or "").encode())])),
    )


def _validator(header: Headers) -> str | None:
    """The entity tag, if it is a strong one, else the date of the last change (RFC 9110, 13.1.5)."""
    tag = header("etag")
    if tag is not None and tag.startswith('"') and len(tag) <= 200:  # noqa: PLR2004  (no tag is longer)
        return tag
    date = header("last-modified")
    return date if date is not None and tag is None and len(date) <= 40 else None  # noqa: PLR2004  (nor a date)


def _type(text: str | None) -> str:
    kept = (text or "").strip()[:200]
    return kept if kept and kept.isascii() and kept.isprintable() else "application/octet-stream"


def _digests(status: int, header: Headers) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if status in WHOLE:
        # In the answer with a part, these two headers are about the part.
        _add(found, "md5", header("content-md5"))
        for member in (header("digest") or "").split(","):
            _add_member(found, member)
    for member in (header("repr-digest") or "").split(","):
        _add_member(found, member)
    for member in (header("x-goog-hash") or "").split(","):
        _add_member(found, member)
    for name in ("sha256", "sha1", "crc32"):
        # With a number of parts after it, it is a digest of digests.
        _add(found, name, header(f"x-amz-checksum-{name}"))
    return found


def _add_member(found: dict[str, bytes], member: str) -> None:
    match = _MEMBER.fullmatch(member)
    if match is not None and (name := _NAMES.get(match[1].lower())) is not None:
        _add(found, name, match[2])


def _add(found: dict[str, bytes], name: str, text: str | None) -> None:
    sizes = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "crc32": 4}
    try:
        value = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return
    if len(value) == sizes[name]:
        found[name] = value
