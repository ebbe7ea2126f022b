"""ECDSA and RSA: SendGrid's own package, GitHub's and PayPal's forms, and keys in every form they come in.

The signatures of the other side are made with ``cryptography`` itself, from what the vendors document.
"""

import base64
import json
import time
import zlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec.structs import replace
from sendgrid.helpers.eventwebhook import EventWebhook  # type: ignore[import-untyped]

from receiver.core.description.callbacks import KeyList
from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError, KeyUnavailableError, RejectionError
from receiver.core.message import Message, lowered
from receiver.core.signature.diagnosis import diagnose
from receiver.core.signature.published import load_certificate, load_key_set
from receiver.core.signature.verify import Key, load_key, sign, verify
from receiver.core.signature.walk import walk
from tests.certificates import self_signed

from .samples import PAIR

NOW = time.time_ns() // 1_000_000
BODY = '[{"event":"delivered","note":"déjà vu"}]'.encode()
CURVE = ec.generate_private_key(ec.SECP256R1())
SENDGRID = Scheme(
    kind="ecdsa",
    header="X-Twilio-Email-Event-Webhook-Signature",
    encoding="base64",
    timestamp="header:X-Twilio-Email-Event-Webhook-Timestamp",
    signed="{timestamp}{body}",
    key_encoding="base64",
)
GITHUB = Scheme(
    kind="ecdsa",
    header="Github-Public-Key-Signature",
    encoding="base64",
    key_encoding="pem",
    key_id="header:Github-Public-Key-Identifier",
)
PAYPAL = Scheme(
    kind="rsa",
    header="PAYPAL-TRANSMISSION-SIG",
    encoding="base64",
    timestamp="header:PAYPAL-TRANSMISSION-TIME",
    timestamp_format="iso8601",
    delivery_id="header:PAYPAL-TRANSMISSION-ID",
    signed="{delivery_id}|{timestamp}|{account}|{body_crc32}",
    account="WH-1",
    key_encoding="pem",
)


def spki(key: Any) -> str:  # noqa: ANN401
    """The public half of *key*, as SendGrid shows it."""
    der: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def pem(key: Any, *, private: bool = False) -> str:  # noqa: ANN401
    """*key* as PEM."""
    text: bytes = (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if private
        else key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return text.decode()


def private_key(key: Any, scheme: Scheme) -> Key:  # noqa: ANN401
    """*key*, able to sign."""
    return load_key("k", pem(key, private=True), scheme=replace(scheme, key_encoding="pem"))


def arrived(headers: dict[str, str], body: bytes = BODY) -> Message:
    """A message with these headers."""
    return Message(body=body, headers=lowered((n.encode(), v.encode()) for n, v in headers.items()))


def test_sendgrid_accepts_what_we_sign_and_we_what_it_would() -> None:
    """SendGrid's own package verifies our signature, and a signature over the same bytes is genuine here."""
    stamp = str(NOW // 1000)
    made = dict(sign(BODY, scheme=SENDGRID, key=private_key(CURVE, SENDGRID), now=NOW))
    package = EventWebhook(spki(CURVE))
    theirs = made[b"X-Twilio-Email-Event-Webhook-Signature"].decode()
    assert package.verify_signature(BODY.decode(), theirs, stamp)
    assert not package.verify_signature(BODY.decode() + " ", theirs, stamp)
    raw = CURVE.sign(stamp.encode() + BODY, ec.ECDSA(SHA256()))
    message = arrived(
        {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(raw).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        }
    )
    key = load_key("k", spki(CURVE), scheme=SENDGRID)
    assert verify(message, scheme=SENDGRID, keys=[key], now=NOW).key_id == "k"
    with pytest.raises(RejectionError) as refused:
        verify(replace(message, body=BODY + b"\n"), scheme=SENDGRID, keys=[key], now=NOW)
    assert refused.value.code == "signature_mismatch"
    found = diagnose(
        replace(message, body=BODY + b"\n"), scheme=SENDGRID, keys=[key], now=NOW, error=refused.value
    )
    assert found.code == "body_trailing_newline"
    assert {one.mark for one in walk(message, scheme=SENDGRID, keys=[key], now=NOW)} == {"ok"}


def test_of_several_published_keys_the_named_one_must_have_signed() -> None:
    """GitHub names the key: another one of its list does not do, and an unknown one makes us ask again."""
    other = ec.generate_private_key(ec.SECP256R1())
    listed = [
        {"key_identifier": name, "key": pem(one), "is_current": name == "a"}
        for name, one in (("a", CURVE), ("b", other))
    ]
    document = json.dumps({"public_keys": [*listed, {"key_identifier": "c", "key": "nonsense"}]}).encode()
    keys = load_key_set(
        document, scheme=GITHUB, entries=KeyList(path="public_keys", id="key_identifier", key="key")
    )
    assert [key.id for key in keys] == ["a", "b"]
    signature = base64.b64encode(CURVE.sign(BODY, ec.ECDSA(SHA256()))).decode()

    def named(name: str) -> Message:
        return arrived({"Github-Public-Key-Identifier": name, "Github-Public-Key-Signature": signature})

    assert verify(named("a"), scheme=GITHUB, keys=keys, now=NOW).key_id == "a"
    for name, code in (("b", "signature_mismatch"), ("gone", "key_unknown")):
        with pytest.raises(RejectionError) as refused:
            verify(named(name), scheme=GITHUB, keys=keys, now=NOW)
        assert refused.value.code == code
    made = dict(sign(BODY, scheme=GITHUB, key=replace(private_key(CURVE, GITHUB), id="a"), now=NOW))
    assert made[b"Github-Public-Key-Identifier"] == b"a"


def test_paypal_binds_time_id_account_and_checksum() -> None:
    """A certificate's key over PayPal's template; another account's id, an old time or another body is refused."""
    stamp = "2026-11-20T10:00:00Z"
    at = 1_795_168_800_000
    content = f"T-1|{stamp}|WH-1|{zlib.crc32(BODY)}".encode()
    signature = base64.b64encode(PAIR.sign(content, padding.PKCS1v15(), SHA256())).decode()
    message = arrived(
        {
            "PAYPAL-TRANSMISSION-ID": "T-1",
            "PAYPAL-TRANSMISSION-TIME": stamp,
            "PAYPAL-TRANSMISSION-SIG": signature,
        }
    )
    key = load_key("k", pem(PAIR), scheme=PAYPAL)
    assert verify(message, scheme=PAYPAL, keys=[key], now=at).delivery_id == "T-1"
    with pytest.raises(RejectionError):
        verify(replace(message, body=BODY + b" "), scheme=PAYPAL, keys=[key], now=at)
    with pytest.raises(RejectionError):
        verify(message, scheme=replace(PAYPAL, account="WH-2"), keys=[key], now=at)
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=PAYPAL, keys=[key], now=at + 301_000)
    assert refused.value.code == "timestamp_stale"
    with pytest.raises(KeyUnavailableError, match="PAYPAL_WEBHOOK_ID"):
        verify(message, scheme=replace(PAYPAL, account="env:PAYPAL_WEBHOOK_ID"), keys=[key], now=at)


@pytest.mark.parametrize("alg", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["pkcs1", "pss"])
def test_rsa_with_every_digest_and_padding(alg: Any, kind: Any) -> None:  # noqa: ANN401
    """What is signed one way is genuine that way, and no other."""
    scheme = Scheme(kind="rsa", header="X-S", encoding="base64", alg=alg, padding=kind, key_encoding="pem")
    headers = lowered(sign(BODY, scheme=scheme, key=private_key(PAIR, scheme), now=NOW))
    key = load_key("k", pem(PAIR), scheme=scheme)
    message = Message(body=BODY, headers=headers)
    assert verify(message, scheme=scheme, keys=[key], now=NOW).authenticated
    for other in (
        replace(scheme, alg="sha1"),
        replace(scheme, padding="pss" if kind == "pkcs1" else "pkcs1"),
    ):
        with pytest.raises(RejectionError):
            verify(message, scheme=other, keys=[key], now=NOW)


def test_a_wrong_digest_is_named() -> None:
    """A provider that signs with SHA-1 where the scheme says SHA-256 is told apart from a forger."""
    scheme = Scheme(kind="rsa", header="X-S", encoding="base64", key_encoding="pem")
    raw = PAIR.sign(BODY, padding.PKCS1v15(), SHA1())  # noqa: S303
    message = arrived({"X-S": base64.b64encode(raw).decode()})
    key = load_key("k", pem(PAIR), scheme=scheme)
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=scheme, keys=[key], now=NOW)
    found = diagnose(message, scheme=scheme, keys=[key], now=NOW, error=refused.value)
    assert found.code == "algorithm_differs"


def test_keys_of_another_kind_or_too_weak_are_refused() -> None:
    """A key that cannot be the scheme's is our mistake, and told when it is loaded."""
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    for text, scheme in (
        (pem(PAIR), GITHUB),
        (pem(ec.generate_private_key(ec.SECP384R1())), GITHUB),
        (pem(CURVE), PAYPAL),
        (pem(weak), PAYPAL),
        (spki(PAIR), SENDGRID),
        ("AAAA", SENDGRID),
    ):
        with pytest.raises(ConfigurationError):
            load_key("k", text, scheme=scheme)


def test_a_key_set_in_every_form() -> None:
    """A JWKS document, one PEM text and a certificate hold the same key."""
    numbers = CURVE.public_key().public_numbers()

    def word(value: int) -> str:
        return base64.urlsafe_b64encode(value.to_bytes(32)).rstrip(b"=").decode()

    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": word(numbers.x),
        "y": word(numbers.y),
        "kid": "one",
        "alg": "ES256",
    }
    (of_set,) = load_key_set(json.dumps({"keys": [jwk]}).encode(), scheme=GITHUB)
    (of_text,) = load_key_set(pem(CURVE).encode(), scheme=GITHUB)
    assert of_set.secret == of_text.secret
    assert of_set.id == "one"
    certificate = load_certificate(self_signed(PAIR, days=2), name="c.pem", scheme=PAYPAL)
    assert certificate.key.secret == load_key("k", pem(PAIR), scheme=PAYPAL).secret
    assert certificate.key_at(NOW).id == "c.pem"
    with pytest.raises(RejectionError, match="run out"):
        certificate.key_at(NOW + 3 * 86_400_000)
    with pytest.raises(RejectionError):
        load_certificate(b"-----BEGIN CERTIFICATE-----", name="c.pem", scheme=PAYPAL)


#: Members of a set that are no keys for us, as they are or may be published.
OTHERS: list[Any] = [
    None,
    "text",
    7,
    [],
    {},
    {"kty": ["EC"], "crv": "P-256"},
    {"kty": "EC", "alg": ["ES256"]},
    {"kty": "EC", "alg": {}, "crv": "P-256", "x": 1, "y": None},
    {"kty": "oct", "k": float("nan"), "big": 10**400},
    {"key_identifier": 1},
    {"key_identifier": "z", "key": None},
]


@pytest.mark.parametrize("written", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_no_member_takes_the_good_keys_of_a_set_away(other: object, written: str) -> None:
    """Whatever it is, and whatever the document is written in: callbacks are still proved."""
    point = CURVE.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(one.to_bytes(32)).rstrip(b"=").decode() for one in (point.x, point.y))
    good = {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "one"}
    document = json.dumps({"keys": [other, good, other]}).encode(written)
    assert [key.id for key in load_key_set(document, scheme=GITHUB)] == ["one"]
    listed = json.dumps({"list": [other, {"key_identifier": "a", "key": pem(CURVE)}]}).encode(written)
    entries = KeyList(path="list", id="key_identifier", key="key")
    assert [key.id for key in load_key_set(listed, scheme=GITHUB, entries=entries)] == ["a"]


@pytest.mark.parametrize("junk", [b"", b"\xff", b"AAAA", b"A" * 5000, b"MEUCIQ==", b"==", b"MAA="])
@pytest.mark.parametrize("scheme", [SENDGRID, PAYPAL], ids=["ecdsa", "rsa"])
def test_junk_is_refused_and_nothing_else(junk: bytes, scheme: Scheme) -> None:
    """Whatever stands in the header, only RejectionError is raised."""
    text = spki(CURVE) if scheme is SENDGRID else pem(PAIR)
    key = load_key("k", text, scheme=scheme)
    names = [*scheme.headers, "X-Twilio-Email-Event-Webhook-Timestamp", "PAYPAL-TRANSMISSION-TIME"]
    headers = [(names[0].lower().encode(), junk), *((n.lower().encode(), b"1") for n in names[1:])]
    headers.append((b"paypal-transmission-id", b"T"))
    with pytest.raises(RejectionError):
        verify(Message(body=BODY, headers=headers), scheme=scheme, keys=[key], now=NOW)
