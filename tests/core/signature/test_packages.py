"""What independent packages sign is genuine here; what we sign is genuine there.

Some of them read the clock themselves, so these tests do too. Each test imports the package that it is about: all
of them together take seconds, and every process of pytest's reads this file.
"""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from receiver.core.errors import RejectionError
from receiver.core.signature.verify import Key, load_key, sign, verify

from .samples import FORM, SCHEMES, from_text, message

TEXT = '{"id":"evt_1","object":"event","data":{"n":1.5,"t":"déjà vu"}}'
BODY = TEXT.encode()
WHSEC = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SECRET = "a shared secret of some length"
NOW = time.time_ns() // 1_000_000
SECONDS = NOW // 1000


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages compare the time with their own clock, and a run of all tests takes longer than they wait."""
    now = time.time_ns() // 1_000_000
    monkeypatch.setattr(f"{__name__}.NOW", now)
    monkeypatch.setattr(f"{__name__}.SECONDS", now // 1000)


URL = "https://receiver.example/callbacks/p/t?foo=1&bar=2"


def key(name: str, text: str) -> Key:
    """A key as an operator configures it."""
    return load_key("k", text, scheme=SCHEMES[name])


def accepted(name: str, text: str, headers: dict[str, str], *, body: bytes = BODY, url: str = URL) -> None:
    """Verify, and make sure that it is not accepted with another body or a changed key."""
    arrived = message(body, from_text(headers), url=url)
    held = key(name, text)
    assert verify(arrived, scheme=SCHEMES[name], keys=[held], now=NOW).key_id == "k"
    for changed, other in [
        (replace(arrived, body=body + b"&x=1"), held),
        (arrived, replace(held, secret=bytes(32))),
    ]:
        with pytest.raises(RejectionError):
            verify(changed, scheme=SCHEMES[name], keys=[other], now=NOW)


def ours(name: str, text: str, *, body: bytes = BODY, url: str = URL) -> dict[str, str]:
    """The headers that we sign a body with, as packages take them."""
    headers = sign(body, scheme=SCHEMES[name], key=key(name, text), now=NOW, url=url, delivery_id="msg_1")
    return {field.decode(): value.decode() for field, value in headers}


def test_standardwebhooks() -> None:
    """The reference library of Standard Webhooks."""
    import standardwebhooks

    package = standardwebhooks.Webhook(WHSEC)
    moment = datetime.fromtimestamp(SECONDS, UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(SECONDS),
        "webhook-signature": package.sign("msg_1", moment, TEXT),
    }
    accepted("standard-webhooks", WHSEC, headers)
    assert package.verify(TEXT, ours("standard-webhooks", WHSEC)) == json.loads(TEXT)


def test_svix() -> None:
    """Svix, under both names of its headers."""
    import svix

    package = svix.Webhook(WHSEC)
    signature = package.sign("msg_1", datetime.fromtimestamp(SECONDS, UTC), TEXT)
    for family in ("svix", "webhook"):
        values = {"id": "msg_1", "timestamp": str(SECONDS), "signature": signature}
        accepted("standard-webhooks", WHSEC, {f"{family}-{name}": value for name, value in values.items()})
    headers = ours("standard-webhooks", WHSEC)
    package.verify(TEXT, headers)
    package.verify(TEXT, {name.replace("webhook", "svix"): value for name, value in headers.items()})
    with pytest.raises(svix.WebhookVerificationError):
        package.verify(TEXT + " ", headers)


def test_openai() -> None:
    """OpenAI's client accepts what we sign."""
    import openai

    client = openai.OpenAI(api_key="none", webhook_secret=WHSEC)
    headers = ours("standard-webhooks", WHSEC)
    client.webhooks.verify_signature(TEXT, headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(TEXT + " ", headers)


def test_replicate() -> None:
    """Replicate's client accepts what we sign."""
    import replicate.webhook

    secret = replicate.webhook.WebhookSigningSecret(key=WHSEC)
    headers = ours("standard-webhooks", WHSEC)
    validate: Any = replicate.webhook.Webhooks.validate
    validate(headers=headers, body=TEXT, secret=secret, tolerance=300)
    with pytest.raises(replicate.webhook.InvalidSignatureError):
        validate(headers=headers, body=TEXT + " ", secret=secret, tolerance=300)


def test_stripe() -> None:
    """Stripe, both ways."""
    import stripe

    package: Any = stripe.WebhookSignature
    header = package.generate_signature_header(TEXT, SECRET, SECONDS)
    accepted("stripe", SECRET, {"Stripe-Signature": header})
    made = ours("stripe", SECRET)["Stripe-Signature"]
    assert package.verify_header(TEXT, made, SECRET, tolerance=300)
    with pytest.raises(stripe.SignatureVerificationError):
        package.verify_header(TEXT + " ", made, SECRET, tolerance=300)


def test_slack_sdk() -> None:
    """Slack, both ways."""
    import slack_sdk.signature

    package = slack_sdk.signature.SignatureVerifier(SECRET)
    signature = package.generate_signature(timestamp=str(SECONDS), body=BODY)
    assert signature is not None
    accepted("slack", SECRET, {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(SECONDS)})
    made = ours("slack", SECRET)
    assert package.is_valid_request(BODY, made)
    assert not package.is_valid_request(BODY + b" ", made)


@pytest.mark.parametrize("alg", ["sha1", "sha256"])
def test_twilio(alg: str) -> None:
    """Twilio, both ways, for a form and for JSON with bodySHA256."""
    import twilio.request_validator  # type: ignore[import-untyped]

    package = twilio.request_validator.RequestValidator(SECRET)
    algorithm = f"HMAC_{alg.upper()}"
    scheme = replace(SCHEMES["twilio"], alg=alg)
    held = load_key("k", SECRET, scheme=scheme)
    fields = {"CallSid": "CA1234567890ABCDE", "Digits": "1234", "From": "+14158675309", "Empty": ""}
    json_url = f"{URL}&bodySHA256={package.compute_hash(TEXT)}"
    for url, parameters, body in [(URL, fields, FORM), (json_url, {}, BODY), (URL, {}, b"")]:
        signature = package.compute_signature(url, parameters, algorithm)
        arrived = message(body, [(b"x-twilio-signature", signature.encode())], url=url)
        assert verify(arrived, scheme=scheme, keys=[held], now=NOW).authenticated
        made = dict(sign(body, scheme=scheme, key=held, now=NOW, url=url))[b"X-Twilio-Signature"].decode()
        assert package.validate(url, TEXT if body == BODY else parameters, made, algorithm)
        assert not package.validate(url + "0", TEXT if body == BODY else parameters, made, algorithm)


@pytest.mark.parametrize(
    ("name", "header"), [("github", "X-Hub-Signature-256"), ("github-sha1", "X-Hub-Signature")]
)
def test_gidgethub(name: str, header: str) -> None:
    """GitHub, by gidgethub."""
    from gidgethub import ValidationFailure
    from gidgethub.sansio import validate_event

    signature = ours(name, SECRET)[header]
    validate_event(BODY, signature=signature, secret=SECRET)
    with pytest.raises(ValidationFailure):
        validate_event(BODY + b" ", signature=signature, secret=SECRET)


def test_elevenlabs() -> None:
    """ElevenLabs' client accepts what we sign."""
    from elevenlabs.client import ElevenLabs

    client = ElevenLabs(api_key="none")
    made = ours("elevenlabs", SECRET)["ElevenLabs-Signature"]
    assert client.webhooks.construct_event(TEXT, made, SECRET) == json.loads(TEXT)
    with pytest.raises(Exception, match="does not match"):
        client.webhooks.construct_event(TEXT + " ", made, SECRET)


@pytest.mark.parametrize("alg", ["sha1", "sha256"])
def test_cloudinary(alg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cloudinary, both ways; its package reads the secret from a global configuration."""
    import cloudinary  # type: ignore[import-untyped]
    from cloudinary import utils as cloudinary_utils

    monkeypatch.setattr(cloudinary.config(), "api_secret", SECRET, raising=False)
    scheme = replace(SCHEMES["cloudinary"], alg=alg)
    held = load_key("k", SECRET, scheme=scheme)
    signature = cloudinary_utils.compute_hex_hash(f"{TEXT}{SECONDS}{SECRET}", alg)
    headers = {"X-Cld-Signature": signature, "X-Cld-Timestamp": str(SECONDS)}
    assert verify(message(BODY, from_text(headers)), scheme=scheme, keys=[held], now=NOW).authenticated
    made = dict(sign(BODY, scheme=scheme, key=held, now=NOW))[b"X-Cld-Signature"].decode()
    assert cloudinary_utils.verify_notification_signature(TEXT, SECONDS, made, algorithm=alg)
    assert not cloudinary_utils.verify_notification_signature(TEXT + " ", SECONDS, made, algorithm=alg)


def test_mindee() -> None:
    """Mindee, both ways, with line ends that are not signed."""
    from mindee import LocalResponse

    body = b'{\r\n "job": {"id": "j_1"}\n}\n'
    package = LocalResponse(body)
    signature = package.get_hmac_signature(SECRET)
    accepted("mindee", SECRET, {"X-Mindee-Hmac-Signature": signature}, body=body)
    made = ours("mindee", SECRET, body=body)["X-Mindee-Hmac-Signature"]
    assert package.is_valid_hmac_signature(SECRET, made)
    assert not package.is_valid_hmac_signature(SECRET + "x", made)
