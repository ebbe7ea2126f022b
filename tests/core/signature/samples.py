"""Schemes, keys and genuine messages, one for each way of signing that is in use."""

import base64
import json
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from receiver.core.description.scheme import Scheme
from receiver.core.message import lowered
from receiver.core.signature.timestamp import write_timestamp
from receiver.core.signature.verify import Key, Message, load_key, sign

HERE: Final = Path(__file__).parent
NOW: Final = 1_795_000_000_000
SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()

SCHEMES: Final[dict[str, Scheme]] = {
    name: msgspec.convert(table, Scheme)
    for name, table in tomllib.loads((HERE / "schemes.toml").read_text("utf-8")).items()
}
SIGNING: Final = sorted(name for name, scheme in SCHEMES.items() if scheme.authenticates)
#: Those whose signature covers the body.
COVERING: Final = sorted(
    name for name in SIGNING if SCHEMES[name].kind in {"hmac", "hash", "ed25519"} or SCHEMES[name].body_claim
)
TIMED: Final = sorted(name for name in SIGNING if SCHEMES[name].timestamp or SCHEMES[name].kind == "jwt")

BODY: Final = (
    b'{"id":"evt_1","request_id":"r_1","time":"2026-11-18T11:06:40Z",'
    b'"data":{"n":1.5,"t":"d\xc3\xa9j\xc3\xa0"}}'
)
FORM: Final = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&Empty="

#: One pair of RSA keys for whoever needs one: making it takes longer than most modules do to be read.
PAIR: Final = generate_private_key(65537, 2048)


@cache
def key(name: str, number: int = 0) -> Key:
    """The *number*-th key of a scheme, able to sign."""
    scheme = SCHEMES[name]
    key_id = f"key-{number}"
    if scheme.kind == "ed25519":
        return Key(id=key_id, secret=bytes([7 + number]) * 32, private=True)
    if scheme.kind == "jwt":
        private = generate_private_key(65537, 2048) if number else PAIR
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return load_key(key_id, pem, scheme=msgspec.structs.replace(scheme, key_encoding="pem"))
    text = {
        "utf8": f"a shared secret, number {number}",
        "hex": bytes([number] * 20).hex(),
        "whsec": "whsec_" + base64.b64encode(bytes([number] * 24)).decode(),
    }[scheme.key_encoding]
    return load_key(key_id, f"user:{text}" if scheme.kind == "basic" else text, scheme=scheme)


def public(private: Key) -> Key:
    """The half of an ed25519 key that verifies."""
    raw = Ed25519PrivateKey.from_private_bytes(private.secret).public_key()
    return Key(id=private.id, secret=raw.public_bytes(Encoding.Raw, PublicFormat.Raw))


def body_of(name: str) -> bytes:
    """A body as this scheme's provider would send one."""
    return FORM if name == "twilio" else BODY


def url_of(name: str, now: int = NOW) -> str:
    """The address that it would be sent to."""
    url = "https://receiver.example/callbacks/p/token?a=1"
    if name == "url-and-query":
        url += "&at=" + quote_plus(write_timestamp(now, "http-date").decode())
    return url


def signed(name: str, *, body: bytes | None = None, now: int = NOW, with_key: Key | None = None) -> Message:
    """A genuine message."""
    body = body_of(name) if body is None else body
    url = url_of(name, now)
    signing = with_key or key(name)
    headers = sign(body, scheme=SCHEMES[name], key=signing, now=now, url=url, delivery_id="msg_1")
    return message(body, headers, url=url)


def message(body: bytes, headers: Sequence[tuple[bytes, bytes]], *, url: str = "") -> Message:
    """A message among the headers that every request has."""
    usual = [(b"host", b"receiver.example"), (b"content-type", b"application/json")]
    return Message(body=body, headers=[*usual, *lowered(headers)], url=url)


def from_text(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as a package returns them, as ASGI hands them over."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def replaced(original: Message, name: bytes, value: bytes | None) -> Message:
    """*original* with another value in one header, or without it."""
    headers = [(n, v) for n, v in original.headers if n != name.lower()]
    added = [] if value is None else [(name.lower(), value)]
    return msgspec.structs.replace(original, headers=headers + added)


def header(original: Message, name: str) -> bytes:
    """The value of one header."""
    return next(value for found, value in original.headers if found == name.lower().encode())


def load_vectors() -> list[dict[str, Any]]:
    """The published vectors."""
    vectors: list[dict[str, Any]] = tomllib.loads((HERE / "vectors.toml").read_text("utf-8"))["vector"]
    return vectors


def spaced(document: bytes) -> bytes:
    """A JSON document as a careless middleman would write it again."""
    return json.dumps(json.loads(document)).encode()
