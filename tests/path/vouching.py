"""How the fakes vouch for what they call back with: keys that they were given, sent, or that they publish."""

import base64
import json
import re
from email.parser import BytesParser
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from receiver.core.asking.assembly import at_path
from receiver.core.description.provider import Provider
from receiver.core.signature.keyform import ed25519_public
from receiver.core.signature.sign import signed_body
from receiver.core.signature.timestamp import write_timestamp
from receiver.core.signature.verify import Key, load_key, sign
from receiver.testing.writing import Written
from tests.certificates import self_signed
from tests.providers.making import SECRET, TOPIC, key_of, scheme_of

from .stub import Asked
from .world import World

WHSEC: Final = "whsec_" + base64.b64encode(bytes(range(24))).decode()
#: What the addresses of tokens hand out.
TOKEN: Final = "a-token-of-the-test"


def key_set(name: str) -> bytes:
    """The key set that a provider publishes: the public half of what it signs with."""
    key = key_of(name)
    public = base64.urlsafe_b64encode(ed25519_public(key).public_bytes_raw()).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": key.id, "x": public}]}).encode()


def callback_url(provider: Provider, submission: Asked, world: World) -> str | None:
    """Where the end of a job is told, as its submission says."""
    assert provider.callback is not None
    if provider.callback.where == "registered":
        return f"{world.url}/webhooks/{provider.name}"
    said = unquote(f"{submission.path} {submission.body.decode(errors='replace')}")
    for packed in re.findall(r"[A-Za-z0-9+/]{100,}={0,2}", said):
        said += base64.b64decode(packed + "==").decode(errors="replace")
    found = re.search(rf"{re.escape(world.url)}/callbacks/{provider.name}/[A-Za-z0-9_-]+", said)
    return found[0] if found is not None else None


def secret_of(provider: Provider, submission: Asked) -> Key | None:
    """What a callback of a job is signed with; ``None`` where nothing is signed."""
    if provider.key is None:
        return None
    source = provider.key.source
    if source in {"settings", "jwks"}:
        return key_of(provider.name)
    if source == "certificate":
        return load_key("k", amazons_key().decode(), scheme=scheme_of(provider.name))
    text = SECRET.decode()
    if source == "per-job":
        assert provider.callback is not None
        document = form_of(submission) if provider.callback.where != "query" else queried(submission)
        sent = at_path(document, provider.callback.secret_path or "")
        assert isinstance(sent, str), provider.name
        text = sent.removeprefix(provider.callback.secret_prefix)
    return load_key("k", text, scheme=scheme_of(provider.name))


@cache
def amazons_key() -> bytes:
    """What the fake of Amazon's notifications signs with; its certificate is at an address of the fake's own."""
    key = generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@cache
def amazons_certificate() -> bytes:
    """The certificate of that key."""
    key = load_pem_private_key(amazons_key(), None)
    assert isinstance(key, RSAPrivateKey)
    return self_signed(key)


def message_of_amazons(provider: Provider, told: bytes, *, named: str, now: int) -> bytes:
    """The message that Amazon makes of what a service says; in it stands where the certificate is.

    Believed at the fake's address only because a setting has put the whole provider there (``RECEIVER_…_BASE_URL``):
    elsewhere a certificate counts at Amazon's own hosts alone.
    """
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": named,
            "TopicArn": TOPIC,
            "Message": told.decode(),
            "Timestamp": write_timestamp(now, "iso8601").decode(),
            "SignatureVersion": "1",
            "SigningCertURL": f"{provider.origins[0]}/{provider.name}/amazon.pem",
        }
    ).encode()


def queried(submission: Asked) -> dict[str, str]:
    """The fields of an address."""
    return dict(parse_qsl(submission.path.partition("?")[2]))


def form_of(submission: Asked) -> Any:  # noqa: ANN401  (JSON)
    """What was submitted, in JSON or in the parts of a form; those that are JSON texts are read."""
    kind = submission.header("content-type") or ""
    if not kind.startswith("multipart/"):
        return json.loads(submission.body)
    whole = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + submission.body)
    fields: dict[str, Any] = {}
    for part in whole.walk():
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        if isinstance(content, bytes) and isinstance(name, str):
            fields[name] = json.loads(content) if content[:1] in {b"{", b"["} else content.decode()
    return fields


async def call_back(
    provider: Provider, written: Written, *, key: Key | None, url: str, named: str, now: int
) -> None:
    """Send what *written* says as the provider does, in a message that is *named* so; it must be taken."""
    assert provider.callback is not None
    if written.query:
        url += "?" + urlencode(written.query)
    headers = [(name.encode(), value.encode()) for name, value in written.headers.items()]
    body = written.body
    if key is not None:
        scheme = scheme_of(provider.name)
        if scheme.plugin == "sns":
            body = message_of_amazons(provider, body, named=named, now=now)
        body = signed_body(body, scheme=scheme, key=key)
        proof = sign(body, scheme=scheme, key=key, now=now, url=url, delivery_id=named)
        ours = {name.lower() for name, _ in proof}
        headers = [*(one for one in headers if one[0].lower() not in ours), *proof]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        method = provider.callback.methods[0]
        answer = await client.request(method, url, content=body, headers=headers)
    assert answer.is_success, (provider.name, answer.status_code, answer.text)
