"""Ids: a prefix that says what it names, and a UUIDv7, so that ids sort by the time they were made.

The layout of a UUIDv7 is RFC 9562, section 5.7 (https://www.rfc-editor.org/rfc/rfc9562#section-5.7, read
2026-11-20): 48 bits of milliseconds, version, 12 bits, variant and 62 random bits. The twelve bits count, as section
6.2 allows ("fixed bit-length dedicated counter"), so that what one process made within a millisecond is in order, too:
a timeline would else tell a second attempt before the first.
"""

import os
import re
from typing import Final

JOB, CALLBACK, ATTEMPT, REPLAY, DEED, COMPLETION = "job", "cb", "att", "rpl", "aud", "cpl"
ALARM = "alm"
#: Characters of what a provider calls a job, at most.
LONGEST_REMOTE_ID: Final = 256

_ID = re.compile(r"[a-z]{2,3}_[0-9a-f]{32}")
_DISPATCH_ID: Final = re.compile(r"(job_[0-9a-f]{32}):((?:sink:)?[^:]{1,100})(?::([^:]{1,100}))?")
_MILLISECONDS: Final = 0xFFFF_FFFF_FFFF
_VERSION: Final = 7
#: Random bytes of an id, and ids for which they are asked at once.
_BYTES: Final = 8
_AHEAD: Final = 256
#: A byte with the variant in its upper two bits, for every byte.
_VARIANT: Final = bytes(0x80 | byte & 0x3F for byte in range(256))


#: Variants and random digits of ids, asked of the kernel for many at a time: each call to it gives the interpreter's
#: lock away. Any thread may take one, and none is taken twice.
_chances: list[str] = []
# Two processes must not hold the same.
os.register_at_fork(after_in_child=_chances.clear)

#: The place of the last id among those of its millisecond, and that millisecond. With another one the count may begin
#: again, and does so once half of it is used: it never runs over within a millisecond.
_COUNTED: Final = 0xFFF
_HALF: Final = 0x7FF
_place = 0
_millisecond = 0


def new_id(prefix: str, now: int) -> str:
    """Make an id for something that began at *now* (milliseconds since the Unix epoch).

    It sorts after those that this process made for the same millisecond: 2,000 of them, which takes longer than one.
    """
    global _place, _millisecond  # noqa: PLW0603  (ids of one process are one sequence)
    try:
        chance = _chances.pop()
    except IndexError:
        chance = _asked_for()
    if now != _millisecond:
        _millisecond = now
        if _place > _HALF:
            _place = 0
    # Two threads may take the same place: which of them was first nobody can tell.
    _place = (_place + 1) & _COUNTED
    return f"{prefix}_{now & _MILLISECONDS:012x}{_VERSION}{_place:03x}{chance}"


def _asked_for() -> str:
    """Ask the kernel for the variants and random digits of many ids; return one's and put the others aside."""
    raw = bytearray(os.urandom(_AHEAD * _BYTES))
    raw[::_BYTES] = raw[::_BYTES].translate(_VARIANT)
    first, *others = raw.hex(" ", _BYTES).split()
    _chances.extend(others)
    return first


def is_id(text: str, prefix: str) -> bool:
    """Say whether *text* is a whole id of the kind that *prefix* names."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None


def is_remote_id(text: str) -> bool:
    """Say whether *text* can be what a provider calls a job.

    Control characters and lone surrogates would break logs, terminals and the database later. ``.`` and ``..`` are
    steps of an address: whoever asks about such a job asks somewhere else.
    """
    return (
        bool(text.strip())
        and len(text) <= LONGEST_REMOTE_ID
        and text.isprintable()
        and text not in {".", ".."}
    )


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
