"""Ids: a prefix that says what it names, and a UUIDv7, so that ids sort by the time they were made.

The layout of a UUIDv7 is RFC 9562, section 5.7 (https://www.rfc-editor.org/rfc/rfc9562#section-5.7, read
2026-11-20): 48 bits of milliseconds, then version, variant and 74 random bits.
"""

import os
import re
from typing import Final

JOB, CALLBACK, ATTEMPT, REPLAY, DEED, COMPLETION = "job", "cb", "att", "rpl", "aud", "cpl"

_ID = re.compile(r"[a-z]{2,3}_[0-9a-f]{32}")
_MILLISECONDS: Final = 0xFFFF_FFFF_FFFF
_VERSION: Final = 7
_VARIANTS: Final = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}


def new_id(prefix: str, now: int) -> str:
    """Make an id for something that began at *now* (milliseconds since the Unix epoch)."""
    chance = os.urandom(10).hex()
    # The digit after the version's twelve random bits holds the variant in its upper two.
    return f"{prefix}_{now & _MILLISECONDS:012x}{_VERSION}{chance[:3]}{_VARIANTS[chance[3]]}{chance[4:19]}"


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
