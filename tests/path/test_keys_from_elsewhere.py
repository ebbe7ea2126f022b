"""Keys that are not among the settings: published by the provider, or handed out with the submit answer."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from receiver import Settings
from receiver.core.errors import KeyUnavailableError
from receiver.core.signature.verify import Key, sign
from receiver.keys import Keys
from receiver.wire.server import server
from tests.ports import free_port
from tests.serving import served

from .world import MASTER_KEY, World, until

DESCRIPTION = """
name = "acme"
title = "A provider with published keys"
origins = ["https://acme.example"]
sources = [{ url = "https://acme.example/docs", read = "2026-11-20" }]
[callback]
where = "registered"
delivers = "result"
[verify]
scheme = "ed25519"
header = "X-Signature"
key_encoding = "jwk"
signed = "{body}"
[key]
source = "jwks"
url = "https://acme.example/jwks.json"
cache = "1s"
[shapes.result]
id = ["id"]
status = "status"
states = { done = "succeeded" }
result = "output"
"""

HANDED_OUT = """
name = "acme"
title = "A provider that hands a key out with each job"
origins = ["https://acme.example"]
sources = [{ url = "https://acme.example/docs", read = "2026-11-20" }]
[submit]
url = "https://acme.example/jobs"
[callback]
where = "body"
path = "callback_url"
delivers = "result"
[verify]
scheme = "hmac"
header = "X-Signature"
[key]
source = "submit-answer"
path = "secret"
[shapes.answer]
id = ["id"]
[shapes.result]
id = ["id"]
status = "status"
states = { done = "succeeded" }
result = "output"
"""


class Acme:
    """The provider: a key set that can be changed and taken away, and jobs with a secret."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.private: list[Ed25519PrivateKey] = []
        self.asked = 0
        self.down = False
        self.status = 200
        self.submissions: list[dict[str, Any]] = []
        self.secret = "a secret of this one job"

    def new_key(self) -> None:
        """Publish another key."""
        self.private = [Ed25519PrivateKey.generate()]

    def signed(self, body: bytes) -> dict[str, str]:
        """The headers of a genuine callback."""
        return {"x-signature": self.private[0].sign(body).hex()}

    async def jwks(self, _request: Request) -> Response:
        """Answer with the key set."""
        self.asked += 1
        if self.down:
            return Response(status_code=503)
        raw = [one.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) for one in self.private]
        keys = [
            {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(one).rstrip(b"=").decode()}
            for one in raw
        ]
        return JSONResponse({"keys": keys}, status_code=self.status)

    async def submit(self, request: Request) -> Response:
        """Take a job and hand its key out."""
        self.submissions.append(await request.json())
        return JSONResponse({"id": f"r{len(self.submissions)}", "secret": self.secret})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Acme"]:
        """Listen while the block runs."""
        app = Starlette(
            routes=[
                Route("/jwks.json", self.jwks),
                Route("/jobs", self.submit, methods=["POST"]),
            ]
        )
        serving = server(app, host="127.0.0.1", port=self.port, receive_timeout=5)
        async with served(serving):
            yield self


@pytest.fixture
async def acme(world: World) -> AsyncIterator[Acme]:
    """The provider, described to the receiver."""
    provider = Acme()
    provider.new_key()
    world.environ["RECEIVER_ACME_BASE_URL"] = provider.url
    (world.folder / "providers" / "acme.toml").write_text(DESCRIPTION, encoding="utf-8")
    async with provider.serving():
        yield provider


async def post(world: World, acme: Acme, body: bytes) -> httpx.Response:
    """Send a genuine callback."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{world.url}/webhooks/acme", content=body, headers=acme.signed(body))


def event(number: int) -> bytes:
    """A job that is done."""
    return json.dumps({"id": f"remote-{number}", "status": "done", "output": {"n": number}}).encode()


async def test_a_published_key_proves_a_callback_and_is_fetched_once(world: World, acme: Acme) -> None:
    """The set is fetched for the first callback and used for those that follow."""
    description = world.folder / "providers" / "acme.toml"
    # However long five callbacks take.
    description.write_text(description.read_text().replace('cache = "1s"', 'cache = "1h"'), encoding="utf-8")
    async with world.receiver():
        for number in range(5):
            assert (await post(world, acme, event(number))).status_code == 200
        assert acme.asked == 1


async def test_a_key_set_that_was_changed_on_the_way_is_one(world: World, acme: Acme) -> None:
    """203 is 200 that a proxy has touched (RFC 9110, 15.3.4)."""
    acme.status = 203
    async with world.receiver():
        assert (await post(world, acme, event(1))).status_code == 200


async def test_a_stale_set_serves_while_a_fresh_one_is_fetched(world: World, acme: Acme) -> None:
    """Past its time the set still proves, also while the provider's key server is down."""
    with capture_logs() as lines:

        def told(word: str) -> int:
            return len([one for one in lines if one["event"] == word])

        async with world.receiver():
            assert (await post(world, acme, event(1))).status_code == 200
            acme.down = True
            await asyncio.sleep(1.1)
            assert (await post(world, acme, event(2))).status_code == 200
            await until(lambda: told("key_set_stale") == 1)
            assert acme.asked == 2
            acme.down = False
            acme.new_key()
            assert (await post(world, acme, event(3))).status_code in {200, 401}
            await until(lambda: told("key_set_fetched") >= 2)
            assert (await post(world, acme, event(4))).status_code == 200


async def test_an_unreachable_key_set_is_503_and_never_401(world: World, acme: Acme) -> None:
    """Without the keys nobody can say that a callback is forged: the sender tries again."""
    acme.down = True
    async with world.receiver():
        for _ in range(3):
            answer = await post(world, acme, event(1))
            assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable")
        assert acme.asked == 1


async def test_a_key_from_the_submit_answer_proves_callbacks_and_is_stored_encrypted(
    world: World, acme: Acme
) -> None:
    """The key that the provider hands out is kept under the master key, and nowhere in the clear."""
    (world.folder / "providers" / "acme.toml").write_text(HANDED_OUT, encoding="utf-8")
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        job = await receiver.submit("acme", {"prompt": "x"})
        url = acme.submissions[0]["callback_url"]
        body = b'{"id": "r1", "status": "done", "output": 1}'
        scheme = receiver.running.catalog["acme"].verify
        assert scheme is not None
        key = Key(id="it", secret=acme.secret.encode())
        headers = {k.decode(): v.decode() for k, v in sign(body, scheme=scheme, key=key, now=0)}
        assert (await client.post(url, content=body, headers={"x-signature": "0" * 64})).status_code == 401
        assert (await client.post(url, content=body, headers=headers)).status_code == 200
        assert (await receiver.job(job.id)).state == "succeeded"
    stored = b"".join(one.read_bytes() for one in world.folder.glob("receiver.db*"))
    assert acme.secret.encode() not in stored


def test_a_sealed_key_opens_for_its_job_only() -> None:
    """What is sealed for one job opens for no other, and not after the master key is gone."""
    keys = Keys(Settings(secret_key=MASTER_KEY))
    sealed = keys.seal("job_1", "the key")
    assert keys.unseal("job_1", sealed) == "the key"
    with pytest.raises(KeyUnavailableError):
        keys.unseal("job_2", sealed)
    with pytest.raises(KeyUnavailableError):
        Keys(Settings(secret_key="another master key, long enough".replace(",", ""))).unseal("job_1", sealed)
