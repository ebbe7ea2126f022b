"""What Gemini delivers: Standard Webhooks v1a by any key of a published set whose keys have no names."""

import base64
import json
import time

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from receiver import JobState
from receiver.core.model import Source

from .stub import Asked, Reply, stub
from .world import World, ended

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 4)]
BODY = b'{"type":"interaction.completed","data":{"id":"int1"}}'


def jwks() -> bytes:
    """The key set as it is published."""
    raw = [
        base64.urlsafe_b64encode(one.public_key().public_bytes_raw()).rstrip(b"=").decode() for one in KEYS
    ]
    known = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
    return json.dumps({"keys": [known | {"x": one} for one in raw]}).encode()


async def gemini(asked: Asked) -> Reply:
    """The provider: its key set, a submission, and an interaction that is done."""
    if "jwks" in asked.path:
        return Reply(body=jwks())
    return Reply(
        body=json.dumps(
            {"id": "int1", "status": "in_progress" if asked.method == "POST" else "completed"}
        ).encode()
    )


def signed(key: Ed25519PrivateKey, body: bytes = BODY) -> dict[str, str]:
    """The headers of a delivery."""
    now = str(int(time.time()))
    signature = base64.b64encode(key.sign(f"msg_1.{now}.".encode() + body)).decode()
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": now, "Webhook-Signature": f"v1a,{signature}"}


@pytest.mark.parametrize("number", range(3))
async def test_a_delivery_by_any_of_the_published_keys_ends_the_job(world: World, number: int) -> None:
    """It is proved by the set, and the provider is asked for the outcome; a stranger's key is refused."""
    async with stub(gemini) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        world.environ |= {
            "RECEIVER_GEMINI_DYNAMIC_BASE_URL": provider.url,
            "GEMINI_API_KEY": "a key of Gemini",
        }
        async with world.receiver() as receiver:
            job = await receiver.submit("gemini-dynamic", {"model": "m", "input": "x"})
            submitted = next(one for one in provider.asked if one.method == "POST")
            url = json.loads(submitted.body)["webhook_config"]["uris"][0]
            stranger = await client.post(url, content=BODY, headers=signed(Ed25519PrivateKey.generate()))
            assert (stranger.status_code, stranger.json()) == (401, {"code": "signature_mismatch"})
            assert (await client.post(url, content=BODY, headers=signed(KEYS[number]))).status_code == 200
            job = await ended(receiver, job)
            assert (job.state, job.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
            # However many strangers come: the set is not asked for again at their pace.
            assert len([one for one in provider.asked if "jwks" in one.path]) == 1
