"""What others published as genuine is genuine here, and what they sign is what we sign."""

from typing import Any

import pytest
from msgspec.structs import replace

from receiver.core.errors import RejectionError, TimestampStaleError
from receiver.core.signature.verify import Key, Message, load_key, sign, verify

from .samples import SCHEMES, from_text, load_vectors

VECTORS = load_vectors()


def build(vector: dict[str, Any]) -> tuple[Message, Key, int]:
    """Message, key and time of a vector."""
    scheme = SCHEMES[vector["scheme"]]
    body = bytes.fromhex(vector["body_hex"]) if "body_hex" in vector else vector["body"].encode()
    headers = from_text(vector["headers"])
    text = vector.get("key") or vector["key_hex"]
    key = load_key("published", text, scheme=scheme, minimum=1)
    return Message(body=body, headers=headers, url=vector.get("url", "")), key, vector.get("at", 0) * 1000


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_published_vector_is_accepted(vector: dict[str, Any]) -> None:
    """What the provider says is genuine is genuine, with its id and its time."""
    message, key, now = build(vector)
    verified = verify(message, scheme=SCHEMES[vector["scheme"]], keys=[key], now=now)
    assert verified.key_id == "published"
    assert verified.authenticated
    assert verified.timestamp == (now or None)
    assert verified.delivery_id == vector.get("delivery_id")


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_published_vector_with_another_body_is_refused(vector: dict[str, Any]) -> None:
    """A published signature proves its own body only."""
    message, key, now = build(vector)
    with pytest.raises(RejectionError):
        verify(
            replace(message, body=message.body + b"&x=1"),
            scheme=SCHEMES[vector["scheme"]],
            keys=[key],
            now=now,
        )


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS if SCHEMES[v["scheme"]].kind == "hmac" or "private key" in v["name"]],
    ids=lambda vector: str(vector["name"]),
)
def test_signing_makes_the_published_headers(vector: dict[str, Any]) -> None:
    """Signing the published body with the published key gives the published headers."""
    message, key, now = build(vector)
    made = sign(
        message.body,
        scheme=SCHEMES[vector["scheme"]],
        key=key,
        now=now,
        url=message.url,
        delivery_id=vector.get("delivery_id"),
    )
    # Svix's own names for the same headers are an alternative that signing does not take.
    published = {name.lower().replace(b"svix-", b"webhook-"): value for name, value in message.headers}
    assert {name.lower(): value for name, value in made}.items() >= published.items()


def test_a_vector_of_the_past_is_stale_today() -> None:
    """A genuine message that is replayed years later is called stale, not forged."""
    message, key, now = build(next(v for v in VECTORS if v["name"] == "Slack"))
    with pytest.raises(TimestampStaleError):
        verify(message, scheme=SCHEMES["slack"], keys=[key], now=now + 300_001)
    assert verify(message, scheme=SCHEMES["slack"], keys=[key], now=now + 300_000).authenticated
