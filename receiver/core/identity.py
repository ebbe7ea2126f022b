"""Ids: a prefix that says what it names, and a UUIDv7, so that ids sort by the time they were made.

The layout of a UUIDv7 is RFC 9562, section 5.7 (https://www.rfc-editor.org/rfc/rfc9562#section-5.7, read
2026-11-20): 48 bits of milliseconds, then version, variant and 74 random bits.
"""

import os
import re
from typing import Final

JOB, CALLBACK, ATTEMPT, REPLAY, DEED, COMPLETION = "job", "cb", "att", "rpl", "aud", "cpl"
ALARM = "alm"

_ID = re.compile(r"[a-z]{2,3}_[0-9a-f]{32}")
_DISPATCH_ID: Final = re.compile(r"(job_[0-9a-f]{32}):((?:sink:)?[^:]{1,100})(?::([^:]{1,100}))?")
_MILLISECONDS: Final = 0xFFFF_FFFF_FFFF
_VERSION: Final = 7
#: Random bytes of an id, and ids for which they are asked at once.
_BYTES: Final = 10
_AHEAD: Final = 256
_VARIANTS: Final = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}


#: Random digits for ids, asked of the kernel for many at a time: each call to it gives the interpreter's lock away.
#: Any thread may take one, and none is taken twice.
_chances: list[str] = []
# Two processes must not hold the same.
os.register_at_fork(after_in_child=_chances.clear)


def new_id(prefix: str, now: int) -> str:
    """Make an id for something that began at *now* (milliseconds since the Unix epoch)."""
    try:
        chance = _chances.pop()
    except IndexError:
        chance = _asked_for()
    # The digit after the version's twelve random bits holds the variant in its upper two.
    return f"{prefix}_{now & _MILLISECONDS:012x}{_VERSION}{chance[:3]}{_VARIANTS[chance[3]]}{chance[4:19]}"


def _asked_for() -> str:
    """Ask the kernel for the random digits of many ids; return those of one and put the others aside."""
    digits = os.urandom(_AHEAD * _BYTES).hex()
    first, *others = (digits[place : place + 2 * _BYTES] for place in range(0, len(digits), 2 * _BYTES))
    _chances.extend(others)
    return first


def is_id(text: str, prefix: str) -> bool:
    """Say whether *text* is a whole id of the kind that *prefix* names."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None


def to_bytes(any_id: str) -> bytes:
    """The sixteen bytes of an id, without its prefix."""
    return bytes.fromhex(any_id.rpartition("_")[2])


def from_bytes(prefix: str, raw: bytes) -> str:
    """The id that ``to_bytes`` came from."""
    return f"{prefix}_{raw.hex()}"


def made_at(any_id: str) -> int:
    """When the id was made, in milliseconds since the Unix epoch."""
    return int(any_id.rpartition("_")[2][:12], 16)


def dispatch_key(text: str) -> tuple[str, str, str] | None:
    """The job, handler and replay that a dispatch's id names; ``None`` if it is no such id.

    The name of a sink's handler has a colon of its own: ``sink:orders``.
    """
    found = _DISPATCH_ID.fullmatch(text)
    return None if found is None else (found[1], found[2], found[3] or "")
