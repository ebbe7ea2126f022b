"""diagnose(): why a callback was refused, as a stable code and a sentence that says what to do next.

It is found by trying, offline, what would have made the callback genuine. That costs up to some hundred MACs,
so it belongs behind the answer, never in front of it: a flood of forgeries must cost one MAC each. Neither a
key nor an expected signature nor any part of the body is ever in the sentence.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from receiver.core.description.scheme import OVER_BYTES, Scheme
from receiver.core.errors import (
    CertificateInvalidError,
    ClaimInvalidError,
    ConfigurationError,
    CredentialMissingError,
    DigestMismatchError,
    KeyUnknownError,
    RejectionError,
    SignatureMalformedError,
    SignatureMismatchError,
    SignatureMissingError,
    SignedValueMissingError,
    TimestampFutureError,
    TimestampMalformedError,
    TimestampMissingError,
    TimestampStaleError,
)
from receiver.core.message import Message
from receiver.core.signature.damage import damage
from receiver.core.signature.guess import OtherKeys, guesses, lookalikes, shown
from receiver.core.signature.keyform import Key
from receiver.core.signature.proof import signature_length
from receiver.core.signature.timestamp import parse_timestamp
from receiver.core.signature.verify import build

_MOST_TRIES: Final = 600
_MOST_BYTES: Final = 128 << 20
_ON_TIME: Final = (TimestampStaleError, TimestampFutureError, TimestampMalformedError)
_NO_OTHERS: Final[OtherKeys] = {}


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Why a callback was refused."""

    #: Stable; the error's own code where no cause was found.
    code: str
    #: For a person: the cause, and what to do next.
    sentence: str


def diagnose(
    message: Message,
    *,
    scheme: Scheme,
    keys: Sequence[Key],
    now: int,
    error: RejectionError,
    other_keys: OtherKeys = _NO_OTHERS,
    retired_keys: Sequence[Key] = (),
) -> Diagnosis:
    """Name the cause of *error*, which ``verify`` raised for *message* at *now* (milliseconds).

    *other_keys* are those of other providers, *retired_keys* this provider's that are no longer in force. The
    work is bounded by the number of tries and by the bytes they hash. Raises nothing.
    """
    if isinstance(error, _ON_TIME):
        return _of_time(message, scheme=scheme, keys=tuple(keys), now=now, error=error)
    if isinstance(error, DigestMismatchError):
        return Diagnosis(
            code=error.code,
            sentence="The signature is over Content-Digest, and this body has another digest: something on the way "
            "decoded, decompressed or wrote it again, or it is forged.",
        )
    if isinstance(error, (ClaimInvalidError, CertificateInvalidError)):
        return Diagnosis(code=error.code, sentence=str(error))
    if isinstance(error, KeyUnknownError):
        return Diagnosis(
            code="key_unknown",
            sentence="The message names a key that is not in the key set we hold. Read the provider's key "
            "set again; if it still is not there, the message is not the provider's.",
        )
    spent = 0
    for tries, guess in enumerate(
        guesses(message, scheme=scheme, keys=keys, others=other_keys, retired=retired_keys)
    ):
        if tries >= _MOST_TRIES or spent > _MOST_BYTES:
            break
        proves, digested = _proves(guess.message, guess.scheme, guess.keys, now=now)
        if proves:
            return Diagnosis(code=guess.code, sentence=guess.sentence)
        # Most guesses at a spelling end at the header, before a byte of the body is read.
        spent += len(guess.message.body) * max(1, len(guess.keys)) if digested else 0
    return _unproved(message, scheme, error)


def _proves(message: Message, scheme: Scheme, keys: tuple[Key, ...], *, now: int) -> tuple[bool, bool]:
    """Whether the signature holds, whatever its age; and whether that had to be computed."""
    try:
        return build(scheme, keys).verify(message, now=now).authenticated, True
    except _ON_TIME:
        return True, True
    except (SignatureMissingError, SignatureMalformedError, ConfigurationError):
        return False, False
    except (RejectionError, ValueError):
        # A guess may combine what no description may: a key of another kind, a template without its source.
        return False, True


def _of_time(
    message: Message, *, scheme: Scheme, keys: tuple[Key, ...], now: int, error: RejectionError
) -> Diagnosis:
    others = [
        form
        for form in ("unix", "unix-ms", "unix-us", "iso8601", "http-date")
        if form != scheme.timestamp_format
    ]
    for form in others if scheme.kind != "jwt" else ():
        if _accepted(message, replace(scheme, timestamp_format=form), keys, now=now):
            units = {"unix-ms": "timestamp_in_milliseconds", "unix": "timestamp_in_seconds"}
            return Diagnosis(
                code=units.get(form, "timestamp_format"),
                sentence=f"The signature is genuine and on time, if its timestamp is read as {form!r}. "
                f"Set timestamp_format = {form!r}.",
            )
    if isinstance(error, TimestampMalformedError):
        return Diagnosis(
            code="timestamp_format",
            sentence="The signature is genuine, but its timestamp is in no form that we know. Compare "
            "timestamp_format with the provider's documentation.",
        )
    if isinstance(error, TimestampFutureError):
        return Diagnosis(
            code="clock_skew",
            sentence=f"The signature is genuine. {error} One of two clocks is wrong: check ours with NTP.",
        )
    sent = _sent_at(message)
    if (
        sent is not None
        and abs(now - sent) > scheme.tolerance * 1000
        and _accepted(message, scheme, keys, now=sent)
    ):
        return Diagnosis(
            code="clock_skew",
            sentence=f"The signature is genuine. {error} By its Date header it was sent when it was signed, "
            "so our clock is ahead, or it was held back on the way: check the clock with NTP.",
        )
    return Diagnosis(
        code="timestamp_stale",
        sentence=f"The signature is genuine. {error} It was held back, or someone sends an old message "
        "again. If the provider retries with its first signature, raise 'tolerance' to cover its retries.",
    )


def _accepted(message: Message, scheme: Scheme, keys: tuple[Key, ...], *, now: int) -> bool:
    try:
        return build(scheme, keys).verify(message, now=now).authenticated
    except (RejectionError, ConfigurationError, ValueError):
        return False


def _sent_at(message: Message) -> int | None:
    value = message.header(b"date")
    try:
        return None if value is None else parse_timestamp(value, "http-date")
    except TimestampMalformedError:
        return None


def _unproved(message: Message, scheme: Scheme, error: RejectionError) -> Diagnosis:
    """What can be said although nothing that was tried made the signature genuine."""
    if isinstance(error, SignatureMissingError) and scheme.proof:
        return Diagnosis(
            code=error.code,
            sentence=f"{error} The provider signs inside the body: check that this address belongs to "
            "this provider, and that signing is on there.",
        )
    if isinstance(error, (SignatureMissingError, CredentialMissingError)):
        found = lookalikes(message, scheme)
        if found:
            names = ", ".join(map(shown, found))
            return Diagnosis(
                code="header_lookalike",
                sentence=f"{error} These are there and look like it: {names}. Compare with the provider's "
                "documentation, and check that the address belongs to this provider.",
            )
        return Diagnosis(
            code="header_missing",
            sentence=f"{error} Nothing like it is there. Turn signing on at the provider, and check that no "
            "proxy drops the header.",
        )
    if isinstance(error, (TimestampMissingError, SignedValueMissingError)):
        return Diagnosis(
            code=error.code,
            sentence=f"{error} Check that no proxy drops it, and that the scheme is this provider's.",
        )
    if isinstance(error, SignatureMalformedError) and scheme.kind in OVER_BYTES and scheme.headers:
        return _malformed(message, scheme, error)
    if isinstance(error, SignatureMismatchError):
        return _mismatch(message, scheme)
    return Diagnosis(code=error.code, sentence=_UNEXPLAINED.get(error.code, str(error)))


def _mismatch(message: Message, scheme: Scheme) -> Diagnosis:
    """What was signed by a signature that no key of ours made, as far as the message tells."""
    mark = damage(message)
    if mark is not None:
        return Diagnosis(
            code="body_altered",
            sentence=f"No key we hold made this signature. {mark} If that is not so, copy the secret again.",
        )
    sentence = _UNEXPLAINED["signature_mismatch"]
    if scheme.covers_url:
        address = "/".join(message.url.split("/", 3)[:3])
        sentence += (
            f" The signature covers the address as well: we took it to begin with {address!r}; compare that with what "
            "is entered at the provider."
        )
    if scheme.plugin == "twilio":
        sentence += (
            " It covers every field of the form too, so one that was dropped, added or trimmed counts."
        )
    return Diagnosis(code="signature_mismatch", sentence=sentence)


def _malformed(message: Message, scheme: Scheme, error: RejectionError) -> Diagnosis:
    carriers = {name.lower().encode() for name in scheme.headers}
    values = [value for name, value in message.headers if name in carriers]
    length = signature_length(scheme)
    if len(values) == 1:
        text = values[0].rpartition(scheme.prefix.encode())[2] if scheme.prefix else values[0]
        if not text.strip():
            return Diagnosis(
                code="signature_empty",
                sentence=f"The header {scheme.headers[0]!r} is there and empty. The provider has no secret "
                "to sign with, or something on the way blanks it.",
            )
        if length is not None and scheme.prefix.encode() in values[0] and len(text) < length:
            return Diagnosis(
                code="signature_truncated",
                sentence=f"The signature has {len(text)} characters and should have {length}. It was cut "
                "off, or the provider signs with another algorithm.",
            )
    return Diagnosis(
        code=error.code, sentence=f"{error} Compare the scheme with the provider's documentation."
    )


_UNEXPLAINED: Final[Mapping[str, str]] = {
    "signature_mismatch": "No key we hold made this signature, and no known mistake explains it. Most often the "
    "secret is that of another endpoint, account or environment (test and live have one each): copy it from the "
    "provider again. If it is right, the body was changed on the way or it is forged.",
    "credential_mismatch": "The credential in the header is not one we hold, and no known mistake explains "
    "it. Compare what was set at the provider with what is configured here.",
}
