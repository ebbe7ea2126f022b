"""RS256 JSON Web Tokens in a header, against keys that the caller holds.

RFC 7519 and RFC 8725 (best current practice), read 2026-11-20: the algorithm is pinned, the key is chosen by
``kid`` among ours, and the audience must be this receiver.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from receiver.core.description.scheme import Scheme
from receiver.core.errors import (
    ClaimInvalidError,
    KeyUnknownError,
    SignatureMalformedError,
    SignatureMismatchError,
    TimestampFutureError,
    TimestampMissingError,
    TimestampStaleError,
)
from receiver.core.signature.keyform import Key, base64url, rsa_private, rsa_public
from receiver.core.signature.timestamp import check_age, span

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_LONGEST_TOKEN: Final = 16_384
#: Seconds; later moments are mistakes, and would not fit a millisecond count.
_LATEST: Final = 1e12
_PARTS: Final = 3


def prove_jwt(token: bytes, *, keys: "Mapping[str, RSAPublicKey]") -> tuple[str, dict[str, Any]]:
    """Return the id of the key that signed *token*, and its claims.

    Raises:
        SignatureMalformedError: it is not a JWS in compact form with ``alg`` RS256.
        KeyUnknownError: its ``kid`` is not among *keys*; the key set may have to be read again.
        SignatureMismatchError: the key did not sign it.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    parts = token.split(b".", _PARTS)
    if len(token) > _LONGEST_TOKEN or len(parts) != _PARTS:
        _malformed()
    header, signature = _object(parts[0]), _bytes(parts[2])
    # "crit" names extensions that must be understood, and none is (RFC 7515, 4.1.11).
    if header.get("alg") != "RS256" or "crit" in header:
        raise SignatureMalformedError("The token is not signed with RS256, which this scheme requires.")
    key_id = header.get("kid")
    if key_id is None and len(keys) == 1:
        key_id = next(iter(keys))
    public = keys.get(key_id) if isinstance(key_id, str) else None
    if public is None or not isinstance(key_id, str):
        raise KeyUnknownError
    try:
        public.verify(signature, parts[0] + b"." + parts[1], PKCS1v15(), SHA256())
    except InvalidSignature:
        raise SignatureMismatchError from None
    return key_id, _object(parts[1])


def check_claims(claims: Mapping[str, Any], *, scheme: Scheme, body: bytes, now: int) -> int | None:
    """Hold proved claims against the scheme; return when the token was issued (milliseconds), if it says.

    Raises:
        ClaimInvalidError: audience, issuer or body hash are not as the scheme says.
        TimestampMissingError: the token says neither when it was issued nor when it expires.
        TimestampStaleError, TimestampFutureError: it is outside its time, or the scheme's tolerance.
    """
    audience = claims.get("aud")
    if scheme.audience not in (audience if isinstance(audience, list) else [audience]):
        raise ClaimInvalidError("The token was made for another audience; compare 'audience' in the scheme.")
    if scheme.issuer is not None and claims.get("iss") != scheme.issuer:
        raise ClaimInvalidError("The token comes from another issuer; compare 'issuer' in the scheme.")
    if scheme.body_claim is not None:
        held = claims.get(scheme.body_claim)
        digest = hashlib.sha256(body).hexdigest().encode()
        if not isinstance(held, str) or not hmac.compare_digest(
            held.lower().encode("utf-8", "replace"), digest
        ):
            raise ClaimInvalidError("The token was made for another body.")
    issued, expires, begins = (_moment(claims, name) for name in ("iat", "exp", "nbf"))
    if issued is None and expires is None:
        raise TimestampMissingError(
            "The token says neither when it was issued (iat) nor when it expires (exp)."
        )
    if expires is not None and now - expires > scheme.tolerance * 1000:
        raise TimestampStaleError(f"The token expired {span(now - expires)} before it arrived.")
    for moment in (issued, begins):
        if moment is not None and moment - now > scheme.future_tolerance * 1000:
            raise TimestampFutureError(f"The token is valid only {span(moment - now)} ahead of our clock.")
    if expires is None and issued is not None:
        check_age(issued, scheme=scheme, now=now)
    return issued


def sign_jwt(claims: Mapping[str, object], *, key: Key) -> bytes:
    """Make an RS256 token; raises ConfigurationError where the key is only the public half."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    content = b".".join(_part(part) for part in ({"alg": "RS256", "kid": key.id, "typ": "JWT"}, claims))
    signature = rsa_private(key).sign(content, PKCS1v15(), SHA256())
    return content + b"." + _base64url(signature)


def public_keys(keys: tuple[Key, ...]) -> "dict[str, RSAPublicKey]":
    """Prepare keys for verification, by their ids."""
    return {key.id: rsa_public(key) for key in keys}


def _moment(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    # A NaN fails both comparisons.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise ClaimInvalidError(f"The token's claim {name!r} is not a time.")
    return int(value * 1000)


def _part(value: Mapping[str, object]) -> bytes:
    return _base64url(msgspec.json.encode(value))


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _bytes(part: bytes) -> bytes:
    try:
        return base64url(part)
    except ValueError:
        _malformed()


def _object(part: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(_bytes(part))
    except (ValueError, RecursionError):
        _malformed()
    if not isinstance(value, dict):
        _malformed()
    return value


def _malformed() -> NoReturn:
    raise SignatureMalformedError("The header does not hold a JSON Web Token in compact form.")
