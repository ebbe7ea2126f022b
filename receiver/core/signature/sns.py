"""What Amazon SNS signs, which no template can say: members of the JSON body, by name, in an order of their own.

The order is the one of the packages ``aws-sns-message-validator`` 0.0.5 (PyPI) and ``sns-validator`` 0.3.5 (npm, the
one of AWS), read 2026-11-29.
"""

from typing import Final

import msgspec

from receiver.core.body.members import Json
from receiver.core.errors import (
    ClaimInvalidError,
    SignatureMalformedError,
    SignatureMissingError,
    SignedValueMissingError,
    UnreadableError,
)
from receiver.core.message import Message
from receiver.core.signature.extraction import Extraction

#: Amazon sends no larger ones (256 KiB of payload, escaped), and what is unproved is not parsed without a bound.
_LARGEST: Final = 1 << 20
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_OPTIONAL: Final = "Subject"


def content(found: Extraction) -> list[bytes]:
    """Return the bytes that Amazon signed for this message.

    Raises:
        SignatureMissingError: the body is no message of Amazon's at all.
        SignatureMalformedError: it is of no kind that is signed, or repeats a member.
        SignedValueMissingError: it lacks one.
    """
    document = _document(found.message)
    kind = _text(document, "Type")
    names = _SIGNED.get(kind or "")
    if names is None:
        raise SignatureMalformedError("The message's Type is none that Amazon SNS signs.")
    pieces = []
    for name in names:
        value = _text(document, name)
        if value is None and name == _OPTIONAL:
            continue
        if value is None:
            raise SignedValueMissingError(f"The signature covers {name!r}, which is missing.")
        pieces.append(f"{name}\n{value}\n".encode("utf-8", "surrogatepass"))
    return pieces


def check_topic(found: Extraction, topics: str) -> None:
    """Raise ClaimInvalidError where the message is from another topic than *topics*, comma-separated ARNs.

    Whoever has a topic of his own can have Amazon sign messages to any address.
    """
    topic = _text(_document(found.message), "TopicArn")
    if topic is None or topic not in {one.strip() for one in topics.split(",")}:
        raise ClaimInvalidError(
            "The message comes from another topic of Amazon SNS than those that count here; compare 'account' in the "
            "scheme."
        )


def signature(found: Extraction) -> bytes:
    """Return the signature, still encoded; raises SignatureMissingError where there is none."""
    text = _text(_document(found.message), "Signature")
    if text is None:
        raise SignatureMissingError("The body has no member 'Signature'.")
    return text.encode("utf-8", "surrogatepass")


def with_signature(body: bytes, encoded: bytes) -> bytes:
    """*body* with a signature in it, as Amazon would send it."""
    document = msgspec.json.decode(body)
    return msgspec.json.encode({**document, "Signature": encoded.decode()})


def _document(message: Message) -> Json:
    if len(message.body) > _LARGEST:
        raise SignatureMalformedError("The body is larger than any message of Amazon SNS.")
    try:
        return Json(message.body)
    except UnreadableError as error:
        raise SignatureMissingError("The body is no JSON, so it has no member 'Signature'.") from error


def _text(document: Json, name: str) -> str | None:
    try:
        value = document.find((name,))
    except UnreadableError as error:
        raise SignatureMalformedError(
            f"The body's member {name!r} cannot be read in one way only."
        ) from error
    return value if isinstance(value, str) else None
