"""A token in a header: algorithm pinned, key chosen among ours, claims held against the scheme."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from msgspec.structs import replace

from receiver.core.errors import (
    ClaimInvalidError,
    KeyUnavailableError,
    KeyUnknownError,
    RejectionError,
    SignatureMalformedError,
    TimestampFutureError,
    TimestampMissingError,
    TimestampStaleError,
)
from receiver.core.signature.keyform import rsa_public
from receiver.core.signature.verify import Message, Verified, sign, verify

from .samples import BODY, NOW, SCHEMES, header, key, message, signed

SCHEME = SCHEMES["gemini"]
NOW_S = NOW // 1000
CLAIMS: dict[str, Any] = {
    "aud": "projects/receiver",
    "iss": "https://generativelanguage.googleapis.com",
    "iat": NOW_S,
    "exp": NOW_S + 60,
    "type": "batch.succeeded",
}


def issued(claims: dict[str, Any], *, headers: dict[str, Any] | None = None) -> Message:
    """A message with a token that PyJWT made."""
    private = load_der_private_key(key("gemini").secret, password=None)
    token = jwt.encode(claims, private, algorithm="RS256", headers=headers or {"kid": "key-0"})  # type: ignore[arg-type]
    return message(BODY, [(b"webhook-signature", token.encode())])


def check(arrived: Message, *, now: int = NOW) -> Verified:
    """Verify with two keys in force."""
    return verify(
        arrived, scheme=SCHEME, keys=[key("gemini"), replace(key("gemini", 1), id="other")], now=now
    )


def test_a_token_of_another_library_is_accepted() -> None:
    """What PyJWT issues is genuine, and its claims carry the event."""
    verified = check(issued(CLAIMS))
    assert verified.key_id == "key-0"
    assert verified.claims is not None
    assert verified.claims["type"] == "batch.succeeded"
    assert check(issued({**CLAIMS, "aud": ["a", "projects/receiver"]})).authenticated


def test_another_library_accepts_our_token() -> None:
    """What sign makes, PyJWT verifies."""
    token = header(signed("gemini"), "Webhook-Signature").decode()
    options: Any = {"verify_exp": False, "verify_iat": False}
    decoded = jwt.decode(
        token, rsa_public(key("gemini")), algorithms=["RS256"], audience=SCHEME.audience, options=options
    )
    assert decoded["iat"] == NOW_S


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"aud": "projects/other"}, ClaimInvalidError),
        ({"aud": None}, ClaimInvalidError),
        ({"aud": []}, ClaimInvalidError),
        ({"aud": [["projects/receiver"]]}, ClaimInvalidError),
        ({"iss": "https://evil.example"}, ClaimInvalidError),
        ({"iss": None}, ClaimInvalidError),
        ({"exp": "tomorrow"}, ClaimInvalidError),
        ({"exp": True}, ClaimInvalidError),
        ({"exp": -1}, ClaimInvalidError),
        ({"exp": 1 << 80}, ClaimInvalidError),
        ({"exp": NOW_S - 301}, TimestampStaleError),
        ({"iat": NOW_S + 301}, TimestampFutureError),
        ({"nbf": NOW_S + 301}, TimestampFutureError),
        ({"exp": None, "iat": NOW_S - 301}, TimestampStaleError),
        ({"exp": None, "iat": None}, TimestampMissingError),
    ],
)
def test_a_claim_that_is_not_as_expected_is_refused(changed: dict[str, Any], error: type[Exception]) -> None:
    """A genuine token of the same issuer, made for someone else or for another time, is refused."""
    claims = {name: value for name, value in (CLAIMS | changed).items() if value is not None}
    with pytest.raises(error):
        check(issued(claims))


def test_the_algorithm_is_never_the_tokens_choice() -> None:
    """Neither "none" nor an HMAC keyed with the public key is accepted (RFC 8725, 2.1)."""
    public = rsa_public(key("gemini"))
    for algorithm in ("none", "HS256", "RS512", "rs256", None):
        parts = [encoded({"alg": algorithm, "kid": "key-0"}), encoded(CLAIMS)]
        mac = hmac.digest(str(public).encode(), ".".join(parts).encode(), "sha256")
        for signature in ("", base64.urlsafe_b64encode(mac).rstrip(b"=").decode()):
            with pytest.raises(SignatureMalformedError):
                check(message(BODY, [(b"webhook-signature", ".".join([*parts, signature]).encode())]))


def test_an_unknown_key_id_has_a_code_of_its_own() -> None:
    """The caller may then read the provider's key set again; nothing else is worth that."""
    for headers in ({"kid": "rotated"}, {"kid": ""}, {"typ": "JWT"}):
        with pytest.raises(KeyUnknownError):
            check(issued(CLAIMS, headers=headers))


def test_an_extension_that_must_be_understood_is_refused() -> None:
    """RFC 7515, 4.1.11: "crit" names what a verifier must know, and this one knows none."""
    with pytest.raises(SignatureMalformedError):
        check(issued(CLAIMS, headers={"kid": "key-0", "crit": ["exp"]}))


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"a",
        b"a.b",
        b"a.b.c",
        b"a.b.c.d",
        b"..",
        b"e30.e30.",
        b"W10.W10.AA",
        b"\xff.\xff.\xff",
        b"A" * 20_000,
    ],
)
def test_what_is_no_token_is_refused(token: bytes) -> None:
    """Junk in the header is a rejection like any other."""
    with pytest.raises(RejectionError):
        check(message(BODY, [(b"webhook-signature", token)]))


def test_a_token_vouches_for_a_body_only_by_its_hash() -> None:
    """Where the scheme names a claim with the body's hash, another body is refused."""
    scheme = SCHEMES["jwt-with-body"]
    genuine = signed("jwt-with-body")
    keys = [key("jwt-with-body")]
    assert verify(genuine, scheme=scheme, keys=keys, now=NOW).authenticated
    with pytest.raises(ClaimInvalidError):
        verify(replace(genuine, body=b"{}"), scheme=scheme, keys=keys, now=NOW)
    for held in (
        {"body_sha256": None},
        {"body_sha256": hashlib.sha256(b"").hexdigest()},
        {"body_sha256": "\u0131"},
    ):
        headers = sign(BODY, scheme=scheme, key=keys[0], now=NOW, claims=held)
        with pytest.raises(ClaimInvalidError):
            verify(message(BODY, headers), scheme=scheme, keys=keys, now=NOW)
    assert check(replace(signed("gemini"), body=b"{}")).claims is not None


def encoded(value: object) -> str:
    """One part of a token, made by hand."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_an_audience_that_is_not_set_is_our_fault_not_the_senders() -> None:
    """While the setting that names it is missing, nothing is called forged: the sender is to try again."""
    scheme = replace(SCHEME, audience="env:GEMINI_WEBHOOK_AUDIENCE")
    with pytest.raises(KeyUnavailableError) as missing:
        verify(issued(CLAIMS), scheme=scheme, keys=[key("gemini")], now=NOW)
    assert "GEMINI_WEBHOOK_AUDIENCE" in str(missing.value)
