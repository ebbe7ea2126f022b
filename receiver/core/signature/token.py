"""Callback tokens and per-job keys: derived from the master key, never stored.

``token = base64url(version ‖ key id ‖ job id ‖ HMAC-SHA256(master key, purpose ‖ provider ‖ job id)[:16])``

A token is a capability: whoever holds it may speak for one job, so it is unguessable, bound to its
provider, and checked before anything else is looked at.
"""

import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

import msgspec

from receiver.core.errors import ConfigurationError
from receiver.core.identity import JOB, from_bytes, made_at, new_id, to_bytes
from receiver.core.model import MINUTE
from receiver.core.signature.proof import maker_of_macs

_VERSION: Final = b"\x01"
_KEY_ID_SIZE: Final = 4
_JOB_ID_SIZE: Final = 16
_MAC_SIZE: Final = 16
_TOKEN_SIZE: Final = 1 + _KEY_ID_SIZE + _JOB_ID_SIZE + _MAC_SIZE
TOKEN_SIZE: Final = (_TOKEN_SIZE * 4 + 2) // 3
_PADDING: Final = b"=" * (-TOKEN_SIZE % 4)
MINIMUM_KEY_SIZE: Final = 16
#: The name under which a receiver asks itself; no provider can have it.
PROBE: Final = "-"
_PROBE_LIFE: Final = 10 * MINUTE
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class MasterKey(msgspec.Struct, frozen=True, cache_hash=True):
    """A key from ``RECEIVER_SECRET_KEY``; its id is public, its secret is never shown."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"MasterKey(id={self.id!r})"


def master_key(text: str) -> MasterKey:
    """Take a key as configured; raises ConfigurationError where it is shorter than 16 bytes."""
    secret = text.strip().encode("utf-8", "surrogateescape")
    if len(secret) < MINIMUM_KEY_SIZE:
        raise ConfigurationError(
            f"A key in RECEIVER_SECRET_KEY is shorter than {MINIMUM_KEY_SIZE} bytes; "
            "make one with: receiver keygen",
            code="secret_key_too_short",
        )
    return MasterKey(hashlib.sha256(b"receiver key id\0" + secret).digest()[:_KEY_ID_SIZE].hex(), secret)


def mint(job_id: str, *, provider: str, key: MasterKey) -> str:
    """Make the token that vouches for one job at one provider."""
    return _minter(key, provider)(to_bytes(job_id)).decode()


def callback_url(public_url: str, *, provider: str, token: str) -> str:
    """The address that is minted for one job; *public_url* may end in a slash."""
    return f"{public_url.rstrip('/')}/callbacks/{provider}/{token}"


def check(token: str, *, provider: str, keys: Iterable[MasterKey]) -> tuple[str, MasterKey] | None:
    """Return the job id that a genuine token names and the key it was made with; else ``None``.

    It does not say whether the token is wrong, foreign or malformed.
    """
    if len(token) != TOKEN_SIZE:
        return None
    try:
        given = token.encode("ascii")
        raw = binascii.a2b_base64(given.translate(_STANDARD) + _PADDING)
    except (binascii.Error, UnicodeEncodeError):
        return None
    key_id, job_raw = raw[1:5].hex(), raw[5:21]
    for key in keys:
        # The text as it was minted: no junk between the characters, no other alphabet, no stray bits in the last one.
        if key.id == key_id and hmac.compare_digest(_minter(key, provider)(job_raw), given):
            return from_bytes(JOB, job_raw), key
    return None


def probe(key: MasterKey, *, now: int) -> str:
    """Make a token with which a receiver asks itself whether an address leads to it."""
    return mint(new_id(JOB, now), provider=PROBE, key=key)


def is_probe(token: str, *, keys: Iterable[MasterKey], now: int) -> bool:
    """Whether *token* is a probe of the last minutes; which jobs there are it does not tell."""
    found = check(token, provider=PROBE, keys=keys)
    return found is not None and abs(now - made_at(found[0])) <= _PROBE_LIFE


def answer_to_probe(token: str) -> str:
    """The answer of a receiver to a probe; no server that answers everybody alike gives it."""
    return hashlib.sha256(b"receiver probe\0" + token.encode()).hexdigest()


def job_secret(job_id: str, *, provider: str, key: MasterKey, size: int = 32) -> bytes:
    """Derive the signing secret of one job, for providers that let the caller choose it per job.

    HKDF-SHA256 (RFC 5869) with ``info = purpose ‖ provider ‖ job id``; one block, so *size* is at most 32.
    """
    extracted = hmac.digest(bytes(32), key.secret, "sha256")
    info = b"receiver job secret\0" + provider.encode() + b"\0" + to_bytes(job_id)
    return hmac.digest(extracted, info + b"\x01", "sha256")[:size]


def sealing_key(key: MasterKey) -> bytes:
    """Derive the key under which a provider's own keys are stored (32 bytes)."""
    return hmac.digest(key.secret, b"receiver sealing key\0\x01", "sha256")


@lru_cache(256)
def _minter(key: MasterKey, provider: str) -> Callable[[bytes], bytes]:
    """What makes the tokens of *provider* under *key* from the bytes of a job's id."""
    begin = _VERSION + bytes.fromhex(key.id)
    mac = maker_of_macs(key.secret, begin=b"receiver callback token\0" + provider.encode() + b"\0")

    def minted(job_raw: bytes) -> bytes:
        raw = begin + job_raw + mac((job_raw,))[:_MAC_SIZE]
        return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_URL_SAFE)

    return minted
