"""For every description that signs: accepted as signed, and rejected after the smallest change."""

import hmac
import json
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec.structs import replace

from receiver.core.errors import ConfigurationError, KeyUnavailableError, RejectionError
from receiver.core.signature.timestamp import write_timestamp
from receiver.core.signature.verify import Key, Message, Verified, load_key, signed_body, verify

from .making import INSIDE, NOW, PROVIDERS, SECRET, SIGNED, URL, body_of, genuine, key_of, scheme_of

#: Those whose signature covers the body: not a mere credential, nor a token that does not name the body.
COVERING = [n for n in SIGNED if scheme_of(n).kind in {"hmac", "hash", "ed25519"} or scheme_of(n).body_claim]
TIMED = [n for n in SIGNED if scheme_of(n).timestamp or scheme_of(n).kind == "jwt"]
WITH_URL = [n for n in SIGNED if "{url}" in scheme_of(n).signed or scheme_of(n).plugin == "twilio"]
#: A life of its own, beside the tolerance.
TOKEN_LIFE = 300


def check(name: str, message: Message, *, now: int = NOW) -> Verified:
    """Verify *message* with the public half of the key, as a receiver does."""
    key = key_of(name)
    if scheme_of(name).kind == "ed25519":
        raw = Ed25519PrivateKey.from_private_bytes(key.secret).public_key()
        key = Key(id=key.id, secret=raw.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return verify(message, scheme=scheme_of(name), keys=[key], now=now)


def proof_of(name: str, message: Message) -> tuple[int, bytes, bytes]:
    """Where the header with the proof is, its name and its value."""
    names = {header.lower().encode() for header in scheme_of(name).headers}
    for place, (header, value) in enumerate(message.headers):
        if header.lower() in names:
            return place, header, value
    raise AssertionError(name)


def with_proof(name: str, message: Message, value: bytes) -> Message:
    """*message* with another value in the header of the proof."""
    place, header, _ = proof_of(name, message)
    headers = list(message.headers)
    headers[place] = (header, value)
    return replace(message, headers=headers)


def rejected(name: str, message: Message, *, now: int = NOW) -> str:
    """The code with which *message* is refused."""
    with pytest.raises(RejectionError) as refused:
        check(name, message, now=now)
    return refused.value.code


@pytest.mark.parametrize("name", SIGNED)
def test_a_genuine_callback_is_accepted(name: str) -> None:
    """What was signed as described is accepted, and the key that signed it is named."""
    verified = check(name, genuine(name))
    assert verified.authenticated
    assert verified.key_id == "k"


@pytest.mark.parametrize("name", COVERING)
def test_one_bit_of_the_body_matters(name: str) -> None:
    """A body with one flipped bit is another body."""
    message = genuine(name)
    for place in (0, len(message.body) // 2, len(message.body) - 1):
        body = bytearray(message.body)
        body[place] ^= 1
        rejected(name, replace(message, body=bytes(body)))


@pytest.mark.parametrize("name", SIGNED)
def test_every_character_of_the_signature_matters(name: str) -> None:
    """A signature, token or credential with one changed character proves nothing."""
    message = genuine(name)
    _, _, value = proof_of(name, message)
    prefix = scheme_of(name).prefix.encode()
    start = value.rfind(prefix) + len(prefix) if prefix else 0
    for place in (start, (start + len(value)) // 2):
        changed = bytearray(value)
        changed[place] = ord("b") if value[place : place + 1] == b"a" else ord("a")
        rejected(name, with_proof(name, message, bytes(changed)))


@pytest.mark.parametrize("name", SIGNED)
def test_a_part_of_the_signature_is_not_enough(name: str) -> None:
    """Truncated and empty signatures, and a missing header, are rejected."""
    message = genuine(name)
    place, _, value = proof_of(name, message)
    for shorter in (value[:-1], value[:-2], value[: len(value) // 2], scheme_of(name).prefix.encode(), b""):
        rejected(name, with_proof(name, message, shorter))
    headers = [one for number, one in enumerate(message.headers) if number != place]
    rejected(name, replace(message, headers=headers))


@pytest.mark.parametrize("name", TIMED)
def test_an_old_or_future_callback_is_rejected(name: str) -> None:
    """A genuine callback is good for its tolerance, in both directions, and no longer."""
    scheme = scheme_of(name)
    past, future = scheme.tolerance * 1000, scheme.future_tolerance * 1000
    if scheme.kind == "jwt":
        past += TOKEN_LIFE * 1000
    check(name, genuine(name), now=NOW + past - 2000)
    check(name, genuine(name), now=NOW - future + 2000)
    assert rejected(name, genuine(name), now=NOW + past + 2000) == "timestamp_stale"
    assert rejected(name, genuine(name), now=NOW - future - 2000) == "timestamp_future"


@pytest.mark.parametrize("name", [one for one in TIMED if scheme_of(one).kind != "jwt"])
def test_the_timestamp_is_signed(name: str) -> None:
    """A stale callback does not become fresh by a new timestamp; a token's times are inside it anyway."""
    scheme = scheme_of(name)
    old, fresh = genuine(name, now=NOW - 3_600_000 * 24), genuine(name)
    if scheme.timestamp == "body:time":
        rejected(name, replace(old, body=body_of(name)))
        return
    sources = [scheme.timestamp] if isinstance(scheme.timestamp, str) else list(scheme.timestamp)
    separator = scheme.item_sep.encode()
    if sources[0].startswith("part:"):
        stamp = proof_of(name, fresh)[2].split(separator)[0]
        signature = proof_of(name, old)[2].split(separator)[1]
        rejected(name, with_proof(name, old, stamp + separator + signature))
        return
    header = sources[0].partition(":")[2].lower().encode()
    newer = {n.lower(): v for n, v in fresh.headers}[header]
    headers = [(n, newer if n.lower() == header else v) for n, v in old.headers]
    rejected(name, replace(old, headers=headers))


@pytest.mark.parametrize("name", WITH_URL)
def test_the_address_is_signed_where_described(name: str) -> None:
    """A callback that was sent to another address is rejected."""
    assert WITH_URL
    rejected(name, replace(genuine(name), url=URL.replace("token", "tokem")))


@pytest.mark.parametrize("name", SIGNED)
def test_an_empty_key_is_refused(name: str) -> None:
    """A key that is empty is our fault and never verifies anything."""
    with pytest.raises(ConfigurationError):
        load_key("k", " ", scheme=scheme_of(name))
    for keys in ([], [Key(id="k", secret=b"")]):
        with pytest.raises(KeyUnavailableError):
            verify(genuine(name), scheme=scheme_of(name), keys=keys, now=NOW)


def test_a_key_that_is_text_is_not_decoded() -> None:
    """Parallel signs as Standard Webhooks does, but with the text of its secret as the key."""
    secret = "whsec_" + b64encode(bytes(range(24))).decode()
    scheme, body = scheme_of("parallel"), b"{}"
    mac = hmac.digest(secret.encode(), b"m.1795000000." + body, "sha256")
    headers = [
        (b"webhook-id", b"m"),
        (b"webhook-timestamp", b"1795000000"),
        (b"webhook-signature", b"v1," + b64encode(mac)),
    ]
    key = load_key("k", secret, scheme=scheme)
    verified = verify(Message(body=body, headers=headers), scheme=scheme, keys=[key], now=NOW)
    assert verified.delivery_id == "m"


def test_the_schemes_differ_where_the_vendors_do() -> None:
    """A few facts that are easy to get wrong when a description is copied."""
    assert scheme_of("elevenlabs").tolerance == 1800
    assert scheme_of("cloudinary").kind == "hash"
    assert scheme_of("retell").signed == "{body}{timestamp}"
    assert scheme_of("mindee").body_norm == "strip_crlf"
    assert scheme_of("twilio").alg == "sha1"
    key = PROVIDERS["fal"].key
    assert key is not None
    assert (key.source, key.url, key.cache) == (
        "jwks",
        "https://rest.fal.ai/.well-known/jwks.json",
        86_400_000,
    )


@pytest.mark.parametrize("name", INSIDE)
def test_a_signature_inside_the_body_vouches_for_what_is_read(name: str) -> None:
    """What was signed as described is accepted, and not with one character of what counts changed."""
    scheme = (
        replace(scheme_of(name), key_encoding="pem") if scheme_of(name).kind == "rsa" else scheme_of(name)
    )
    text = (
        generate_private_key(65537, 2048)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
        if scheme.kind == "rsa"
        else SECRET.decode()
    )
    key = load_key("k", text, scheme=scheme)
    if name == "transloadit":
        plain, kind = body_of(name), b"application/x-www-form-urlencoded"
    else:
        stamp = write_timestamp(NOW, "iso8601").decode()
        envelope = {"Timestamp": stamp, "TopicArn": "arn:aws:sns:eu-west-1:1:t", **json.loads(body_of(name))}
        plain, kind = json.dumps(envelope).encode(), b"text/plain; charset=UTF-8"
    body = signed_body(plain, scheme=scheme, key=key)
    message = Message(body=body, headers=[(b"content-type", kind)])
    assert verify(message, scheme=scheme, keys=[key], now=NOW).key_id == "k"
    for word in (b"ASSEMBLY", b"Notification", b"2b3c", b"j1"):
        if word in body:
            changed = replace(message, body=body.replace(word, word.lower() + b"x"))
            with pytest.raises(RejectionError):
                verify(changed, scheme=scheme, keys=[key], now=NOW)
    with pytest.raises(RejectionError):
        verify(replace(message, body=plain), scheme=scheme, keys=[key], now=NOW)
