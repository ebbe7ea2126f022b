"""Tokens that are minted: those that need nobody else, and what an address is asked that gives them.

What is asked, and how it is answered, is said by RFC 6749 and RFC 7523.
"""

import base64
import hmac
from typing import Any, Final

import msgspec

from receiver.core.charset import in_utf8
from receiver.core.description.credential import Mint
from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError
from receiver.core.model import Value
from receiver.core.signature.jwt import sign_jwt
from receiver.core.signature.keyform import load_key

_HOUR: Final = 3600
#: How far a clock may be behind ours, in seconds.
_BACK: Final = 5
#: How long a token is good for, in seconds, where the answer does not say (RFC 6749, 5.1, only recommends it).
_UNSAID: Final = 300
_RS256: Final = Scheme(kind="jwt", header="Authorization", audience="-", key_encoding="pem")


class Token(Value, frozen=True, kw_only=True):
    """A token, and when it lapses (milliseconds)."""

    text: str
    made_at: int
    lapses_at: int

    def __repr__(self) -> str:
        return f"Token(lapses_at={self.lapses_at})"

    def is_fresh(self, now: int) -> bool:
        """Whether it need not be renewed yet: it has a fifth of its life left, or five minutes."""
        margin = min(300_000, (self.lapses_at - self.made_at) // 5)
        return now < self.lapses_at - margin


def own_token(mint: Mint, *, access_key: str, secret_key: str, now: int) -> Token:
    """Make an HS256 token in the name of *access_key*, good from a moment ago (RFC 7519, RFC 7515)."""
    seconds = now // 1000
    life = int(mint.lifetime or 1_800_000) // 1000
    claims = {"iss": access_key, "exp": seconds + life, "nbf": seconds - _BACK}
    content = b".".join(_part(part) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(secret_key.encode(), content, "sha256")
    text = (content + b"." + _base64url(signature)).decode()
    return Token(text=text, made_at=now, lapses_at=(seconds + life) * 1000)


def assertion(mint: Mint, *, key: str, now: int) -> str:
    """Make the assertion of a service account (RFC 7523) from the JSON text of its key.

    Raises:
        ConfigurationError: *key* is no such text (code ``key_malformed``); the sentence does not hold any of it.
    """
    try:
        account: dict[str, Any] = msgspec.json.decode(key)
        email, key_id, pem = (
            str(account[name]) for name in ("client_email", "private_key_id", "private_key")
        )
    except (ValueError, TypeError, LookupError) as error:
        raise ConfigurationError(
            f"{(mint.key or '').partition(':')[2]} does not hold the JSON text of a service account's key.",
            code="key_malformed",
        ) from error
    seconds = now // 1000
    claims = {"iss": email, "aud": mint.token_url, "iat": seconds, "exp": seconds + _HOUR}
    if mint.scope is not None:
        claims["scope"] = mint.scope
    return sign_jwt(claims, key=load_key(key_id, pem, scheme=_RS256)).decode()


def token_form(mint: Mint, *, values: dict[str, str], now: int) -> dict[str, str]:
    """The fields of the form that asks for a token; *values* are the secrets by the names that *mint* has for them."""
    if mint.kind == "service-account":
        return {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion(mint, key=values["key"], now=now),
        }
    fields = {"grant_type": "client_credentials", "scope": mint.scope, "audience": mint.audience}
    if mint.shown == "form":
        fields |= {"client_id": values["client_id"], "client_secret": values["client_secret"]}
    return {name: value for name, value in fields.items() if value}


def read_token(document: bytes, *, now: int) -> Token | None:
    """Read the answer of a token's address (RFC 6749, 5.1); ``None`` where it holds none that a header can carry."""
    try:
        answer = msgspec.json.decode(in_utf8(document, ""))
    except (ValueError, RecursionError):
        return None
    text = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        return None
    life = answer.get("expires_in", _UNSAID)
    life = int(life) if isinstance(life, (int, str)) and str(life).isdigit() else _UNSAID
    return Token(text=text, made_at=now, lapses_at=now + life * 1000)


def _part(value: dict[str, Any]) -> bytes:
    return _base64url(msgspec.json.encode(value))


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
