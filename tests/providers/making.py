"""The packaged descriptions, and a genuine message for each that signs."""

import base64
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from receiver.catalog import _packaged
from receiver.core.description.parts import is_reference
from receiver.core.description.provider import Provider
from receiver.core.description.scheme import Scheme
from receiver.core.message import lowered
from receiver.core.model import Delivery, Job
from receiver.core.signature.timestamp import write_timestamp
from receiver.core.signature.verify import Key, Message, load_key, sign

NOW: Final = 1_795_000_000_000
TOPIC: Final = "arn:aws:sns:eu-west-1:1:t"
JOB_ID: Final = f"job_{NOW:012x}7000800000000000000a"
SECRET: Final = b"5ec7e7" * 10
URL: Final = "https://hooks.example/callbacks/p/token?id=a"
LARGEST: Final = 1024 * 1024

#: What an account has of its own in addresses.
ACCOUNT: Final = {
    "AWS_REGION": "eu-west-1",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
    "DOCUMENTINTELLIGENCE_ENDPOINT": "https://mine.cognitiveservices.azure.com",
    "FIREWORKS_ACCOUNT_ID": "mine",
    "GOOGLE_CLOUD_PROJECT": "p1",
    "OPENAI_API_VERSION": "2024-10-21",
}
PROVIDERS: Final[dict[str, Provider]] = {one.name: one.completed(ACCOUNT) for one in _packaged().values()}
#: Those whose proof is in a header, and those that sign inside the body.
SIGNED: Final = sorted(
    name for name, one in PROVIDERS.items() if one.verify and one.signed and one.verify.headers
)
INSIDE: Final = sorted(name for name, one in PROVIDERS.items() if one.signed and name not in SIGNED)
SUBMITTING: Final = sorted(name for name, one in PROVIDERS.items() if one.submit is not None)


def scheme_of(name: str) -> Scheme:
    """How the provider signs."""
    scheme = PROVIDERS[name].verify
    assert scheme is not None
    # An audience that is a setting is put in when the catalog is loaded.
    scheme = replace(scheme, audience="ours") if is_reference(scheme.audience or "") else scheme
    return replace(scheme, account=TOPIC) if is_reference(scheme.account or "") else scheme


@cache
def key_of(name: str) -> Key:
    """A key of the form that the provider uses, able to sign."""
    scheme = scheme_of(name)
    if scheme.kind == "ed25519":
        return Key(id="k", secret=bytes([7]) * 32, private=True)
    if scheme.kind == "jwt":
        private = generate_private_key(65537, 2048)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return load_key("k", pem, scheme=replace(scheme, key_encoding="pem"))
    if scheme.key_encoding == "whsec":
        return load_key("k", "whsec_" + base64.b64encode(bytes(range(24))).decode(), scheme=scheme)
    return load_key("k", SECRET.decode(), scheme=scheme)


def body_of(name: str, *, now: int = NOW) -> bytes:
    """A callback's body, as the description's own sample shows one."""
    provider = PROVIDERS[name]
    if scheme_of(name).timestamp == "body:time":
        return b'{"request_id":"r_1","time":"' + write_timestamp(now, "iso8601") + b'","data":{"n":1}}'
    shapes = {id(provider.shape(delivery)) for delivery in provider.deliveries}
    bodies = [one.body for one in provider.samples if id(provider.shapes[one.shape]) in shapes and one.body]
    return (bodies or ['{"id": "a"}'])[0].encode()


def genuine(name: str, *, now: int = NOW, body: bytes | None = None) -> Message:
    """A message that the provider signed at *now*."""
    body = body_of(name, now=now) if body is None else body
    headers = sign(body, scheme=scheme_of(name), key=key_of(name), now=now, url=URL, delivery_id="msg_1")
    return Message(body=body, headers=[(b"host", b"hooks.example"), *lowered(headers)], url=URL)


def job_of(name: str) -> Job:
    """A job that is about to be submitted."""
    provider = PROVIDERS[name]
    return Job(
        id=JOB_ID,
        provider=name,
        operation=next(iter(provider.operations), ""),
        delivery=provider.deliveries[0] if provider.deliveries else Delivery.NONE,
        key_id="00000000",
        created_at=NOW,
        deadline_at=NOW + provider.deadline,
    )
