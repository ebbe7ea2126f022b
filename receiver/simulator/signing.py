"""How callbacks are signed: written from the specifications, sharing no code with what verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Literal, TypeAlias

#: How `X-Perplexity-Signature` is written. Its only page does not say, so it can be chosen.
Encoding: TypeAlias = Literal["hex", "base64", "sha256="]


def standard_webhooks_secret(seed: bytes) -> str:
    """Return a signing secret `whsec_…` of 32 bytes made from *seed*."""
    return "whsec_" + base64.b64encode(hashlib.sha256(seed).digest()).decode()


def standard_webhooks(body: bytes, *, secret: str, message_id: str, timestamp: int) -> dict[str, str]:
    """Return the three headers of a Standard Webhooks message; *timestamp* in Unix seconds.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (2026-11-20).

    Raises:
        ValueError: *secret* is not base64 after an optional `whsec_`.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def perplexity(body: bytes, *, secret: str, encoding: Encoding) -> str:
    """Return the value of `X-Perplexity-Signature`: HMAC-SHA256 of *body*, keyed by the text of *secret*."""
    digest = hmac.digest(secret.encode(), body, "sha256")
    match encoding:
        case "hex":
            return digest.hex()
        case "base64":
            return base64.b64encode(digest).decode()
        case "sha256=":
            return f"sha256={digest.hex()}"
