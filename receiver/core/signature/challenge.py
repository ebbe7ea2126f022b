"""Challenges: what a provider asks of a new address, found in a message, and what it wants to hear."""

import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from receiver.core.description.callbacks import CallbackTerms, Challenge
from receiver.core.description.parts import is_reference
from receiver.core.errors import KeyUnavailableError
from receiver.core.message import Message
from receiver.core.model import Value
from receiver.core.reading.observation import text_at

#: A handshake is small: nobody has megabytes parsed to see whether they are one.
LARGEST: Final = 64 * 1024


class Posed(Value, frozen=True, kw_only=True):
    """A challenge that a message poses, and the text or address that it brings."""

    challenge: Challenge
    text: str


def posed(
    message: Message, terms: CallbackTerms, *, proved: bool, resolve: Callable[[str], str | None]
) -> Posed | None:
    """The challenge that *message* poses, of those that must (*proved*) or need not be proved genuine.

    *resolve* reads a reference (``env:NAME``).

    Raises:
        KeyUnavailableError: what it should be compared with is not set.
    """
    for one in terms.challenge:
        if one.proved is not proved or message.method not in one.methods or len(message.body) > LARGEST:
            continue
        text = text_at(message, one.path)
        if text is not None and all(_holds(message, *pair, resolve=resolve) for pair in one.when.items()):
            return Posed(challenge=one, text=text)
    return None


def answer_to(found: Posed, *, secret: Callable[[], bytes]) -> tuple[str, bytes]:
    """The body of the answer, and its content type; *secret* is asked for where an HMAC is wanted."""

    def filled(word: str) -> str:
        if word == "{challenge}":
            return found.text
        return hmac.digest(secret(), found.text.encode(), "sha256").hex()

    answer = found.challenge.answer
    if isinstance(answer, str):
        return filled(answer), b"text/plain; charset=utf-8"
    document = {name: filled(word) for name, word in answer.items()}
    return msgspec.json.encode(document).decode(), b"application/json"


def _holds(message: Message, path: str, wanted: str, *, resolve: Callable[[str], str | None]) -> bool:
    found = text_at(message, path)
    if found is None:
        return False
    if is_reference(wanted):
        secret = resolve(wanted)
        if not secret:
            raise KeyUnavailableError(
                f"A challenge cannot be checked: {wanted.partition(':')[2]} is not set."
            )
        wanted = secret
    return hmac.compare_digest(found.encode(), wanted.encode())
