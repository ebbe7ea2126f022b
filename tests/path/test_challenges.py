"""Challenges of a new address over real sockets: echoed, hashed, visited; and certificates that messages name."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.clock import read_clock
from receiver.core.signature.timestamp import write_timestamp
from tests.certificates import self_signed

from .stub import Asked, Reply, Stub
from .world import API_TOKEN, World

SECRET = "a webhook secret of thirty-two bytes"
ECHOES = """
name = "echoes"
title = "Asks a new address in every way"
origins = ["https://echoes.example"]
sources = [{ url = "https://echoes.example/docs", read = "2026-11-20" }]
[callback]
where = "registered"
methods = ["POST", "HEAD"]
[[callback.challenge]]
path = "query:hub.challenge"
methods = ["GET"]
when = { "query:hub.mode" = "subscribe", "query:hub.verify_token" = "env:ECHOES_VERIFY_TOKEN" }
proved = false
[[callback.challenge]]
path = "query:validationToken"
proved = false
[[callback.challenge]]
path = "challenge"
when = { type = "url_verification" }
proved = false
answer = { challenge = "{challenge}" }
[[callback.challenge]]
path = "payload.plainToken"
when = { event = "endpoint.url_validation" }
answer = { plainToken = "{challenge}", encryptedToken = "{hmac}" }
[verify]
scheme = "hmac"
header = "X-Signature"
[key]
secret = "env:ECHOES_SECRET"
[shapes.result]
id = ["id"]
status = "status"
states = { done = "succeeded" }
result = "output"
"""
SNS = """
name = "sns"
title = "Messages of Amazon SNS"
origins = ["https://sns.example"]
sources = [{ url = "https://sns.example/docs", read = "2026-11-20" }]
[callback]
where = "registered"
delivers = "result"
[[callback.challenge]]
path = "SubscribeURL"
when = { Type = "SubscriptionConfirmation" }
visit = ["sns.{region}.amazonaws.com"]
[verify]
scheme = "rsa"
plugin = "sns"
proof = "body:Signature"
account = "env:SNS_TOPIC_ARN"
encoding = "base64"
timestamp = "body:Timestamp"
timestamp_format = "iso8601"
delivery_id = "body:MessageId"
key_encoding = "pem"
[key]
source = "certificate"
at = "body:SigningCertURL"
hosts = ["sns.{region}.amazonaws.com"]
[shapes.result]
content = "json-json"
field = "Message"
about = { path = "kind", is = ["job"] }
id = ["id"]
status = "status"
states = { done = "succeeded" }
result = "output"
"""


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    """The webhook endpoint of a receiver that knows the provider."""
    (world.folder / "providers" / "echoes.toml").write_text(ECHOES, encoding="utf-8")
    world.environ |= {"ECHOES_SECRET": SECRET, "ECHOES_VERIFY_TOKEN": "v3rify-me"}
    async with world.receiver():
        yield f"{world.url}/webhooks/echoes"


async def called(method: str, url: str, **more: Any) -> httpx.Response:  # noqa: ANN401
    """One request."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.request(method, url, **more)


def signed(body: bytes) -> dict[str, str]:
    """The header of a genuine callback."""
    return {"x-signature": hmac.digest(SECRET.encode(), body, "sha256").hex()}


async def test_a_text_in_the_query_is_echoed_to_whoever_knows_the_word(url: str) -> None:
    """Meta's hub.challenge: repeated as text where the verify token is ours, else not answered."""
    query = {"hub.mode": "subscribe", "hub.verify_token": "v3rify-me", "hub.challenge": "11 584<b>"}
    answer = await called("GET", url, params=query)
    assert (answer.status_code, answer.text) == (200, "11 584<b>")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    for change in ({"hub.verify_token": "wrong"}, {"hub.mode": "unsubscribe"}, {"hub.challenge": ""}):
        answer = await called("GET", url, params=query | change)
        assert (answer.status_code, answer.text) == (405, "")


async def test_a_validation_token_is_echoed(url: str) -> None:
    """Microsoft Graph posts without a body and wants its token back, decoded."""
    answer = await called("POST", url, params={"validationToken": "Validation: Testing +reach"})
    assert (answer.status_code, answer.text) == (200, "Validation: Testing +reach")


async def test_a_challenge_in_the_body_is_echoed_as_json(url: str) -> None:
    """A member of the body is repeated in a JSON object, unsigned; nothing is recorded of it."""
    answer = await called("POST", url, json={"type": "url_verification", "challenge": 'a"b'})
    assert (answer.status_code, answer.json()) == (200, {"challenge": 'a"b'})
    assert answer.headers["content-type"] == "application/json"
    answer = await called("POST", url, json={"type": "other", "challenge": "x"})
    assert answer.status_code == 401


async def test_a_hashed_answer_needs_a_genuine_question(url: str) -> None:
    """Zoom's plainToken comes back with its HMAC; whoever cannot sign does not make us sign for him."""
    body = json.dumps(
        {"event": "endpoint.url_validation", "payload": {"plainToken": "q9ibPhGeRZ6ayx5"}}
    ).encode()
    answer = await called("POST", url, content=body, headers=signed(body))
    assert answer.json() == {
        "plainToken": "q9ibPhGeRZ6ayx5",
        "encryptedToken": hmac.digest(SECRET.encode(), b"q9ibPhGeRZ6ayx5", "sha256").hex(),
    }
    answer = await called("POST", url, content=body, headers={"x-signature": "00" * 32})
    assert answer.status_code == 401
    assert "encryptedToken" not in answer.text


async def test_head_is_answered(url: str) -> None:
    """A vendor that tests an address with HEAD hears 200."""
    answer = await called("HEAD", url)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_word_that_is_not_set_is_our_fault(world: World) -> None:
    """Without the verify token nobody can say whether the asker may ask: 503, so that it is tried again."""
    (world.folder / "providers" / "echoes.toml").write_text(ECHOES, encoding="utf-8")
    world.environ |= {"ECHOES_SECRET": SECRET}
    async with world.receiver():
        query = {"hub.mode": "subscribe", "hub.verify_token": "x", "hub.challenge": "1"}
        answer = await called("GET", f"{world.url}/webhooks/echoes", params=query)
        assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable")


class Amazon:
    """Amazon's side: a certificate at an address, an address to visit, and messages signed with the key."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate: Reply | None = Reply(body=self_signed(self.key))
        self.visited = Reply(body=b"<ConfirmSubscriptionResponse/>")
        self.stub = Stub(self.answer)

    async def answer(self, asked: Asked) -> Reply:
        """Give what is there."""
        if asked.path.startswith("/cert"):
            return self.certificate or Reply(status=404)
        return self.visited

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Amazon"]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self.stub.serve, "127.0.0.1", 0)
        self.stub.port = server.sockets[0].getsockname()[1]
        self.stub.url = f"http://127.0.0.1:{self.stub.port}"
        async with server:
            yield self

    def message(self, text: str = "", *, certificate: str = "/cert.pem", **more: str) -> bytes:
        """A signed message."""
        stamp = write_timestamp(read_clock(), "iso8601").decode()
        document = {
            "Message": text,
            "MessageId": "m",
            "Timestamp": stamp,
            "TopicArn": "arn",
            "Type": "Notification",
        }
        document |= more
        names = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
        content = "".join(f"{name}\n{document[name]}\n" for name in names if name in document)
        signature = self.key.sign(content.encode(), padding.PKCS1v15(), SHA256())
        document |= {"SignatureVersion": "2", "SigningCertURL": self.at(certificate)}
        return json.dumps(document | {"Signature": base64.b64encode(signature).decode()}).encode()

    def at(self, place: str) -> str:
        """An address of ours, or another one as it is."""
        return self.stub.url + place if place.startswith("/") else place

    def confirmation(self, place: str = "/confirm") -> bytes:
        """A message that asks to be confirmed."""
        return self.message("Visit", Type="SubscriptionConfirmation", Token="t", SubscribeURL=self.at(place))


@pytest.fixture
async def amazon(world: World) -> AsyncIterator[Amazon]:
    """The provider, described to the receiver."""
    async with Amazon().serving() as amazon:
        world.environ |= {"RECEIVER_SNS_BASE_URL": amazon.stub.url, "SNS_TOPIC_ARN": "arn"}
        (world.folder / "providers" / "sns.toml").write_text(SNS, encoding="utf-8")
        yield amazon


async def test_a_certificate_that_the_message_names_proves_it(world: World, amazon: Amazon) -> None:
    """It is fetched once, from a listed host; the job that the inner document tells of is settled."""
    text = json.dumps({"kind": "job", "id": "r1", "status": "done", "output": {"n": 1}})
    async with world.receiver():
        url = f"{world.url}/webhooks/sns"
        for _ in range(3):
            assert (await called("POST", url, content=amazon.message(text))).status_code == 200
        assert [one.path for one in amazon.stub.gets()] == ["/cert.pem"]
        headers = {"authorization": f"Bearer {API_TOKEN}"}
        (job,) = (await called("GET", f"{world.url}/v1/jobs", headers=headers)).json()["jobs"]
        assert (job["remote_id"], job["state"]) == ("r1", "succeeded")
        forged = amazon.message(text).replace(b"done", b"gone")
        assert (await called("POST", url, content=forged)).status_code == 401


async def test_a_certificate_elsewhere_is_not_asked_for(world: World, amazon: Amazon) -> None:
    """A forger's own certificate proves nothing, wherever it is, and is never fetched."""
    places = (
        "https://sns.eu-west-1.amazonaws.com.evil.example/c.pem",
        "https://sns.s3.amazonaws.com/c.pem",
        "https://sns.s3-us-west-2.amazonaws.com/c.pem",
        "https://evil@sns.eu-west-1.amazonaws.com/c.pem",
        "https://sns.eu-west-1.amazonaws.com:444/c.pem",
        "http://sns.eu-west-1.amazonaws.com/c.pem",
        "https://SNS.eu-west-1.amazonaws.com/c.pem",
        "file:///etc/passwd",
        "",
    )
    async with world.receiver():
        for place in places:
            body = amazon.message("{}", certificate=place or "x")
            answer = await called("POST", f"{world.url}/webhooks/sns", content=body)
            assert (answer.status_code, answer.json()["code"]) == (401, "certificate_invalid"), place
        assert amazon.stub.asked == []


async def test_a_certificate_that_cannot_be_had_is_503_and_one_that_is_none_401(
    world: World, amazon: Amazon
) -> None:
    """Trouble on the way is ours; an address where nothing is, or something else, is the sender's."""
    async with world.receiver():
        url = f"{world.url}/webhooks/sns"
        amazon.certificate = Reply(status=500)
        answer = await called("POST", url, content=amazon.message("{}"))
        assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable")
        for reply in (None, Reply(body=b"no certificate")):
            amazon.certificate = reply
            answer = await called("POST", url, content=amazon.message("{}", certificate="/cert2.pem"))
            assert (answer.status_code, answer.json()["code"]) == (401, "certificate_invalid")
        amazon.certificate = Reply(body=self_signed(amazon.key))
        assert (await called("POST", url, content=amazon.message("{}"))).status_code == 200


async def test_addresses_made_up_by_a_forger_are_not_all_asked_for(world: World, amazon: Amazon) -> None:
    """Twenty in a minute, and then 503: a genuine message whose certificate is known is still taken."""
    amazon.certificate = Reply(body=self_signed(amazon.key))
    async with world.receiver():
        url = f"{world.url}/webhooks/sns"
        assert (await called("POST", url, content=amazon.message("{}"))).status_code == 200
        amazon.certificate = None
        answers = [
            await called("POST", url, content=amazon.message("{}", certificate=f"/cert/{n}.pem"))
            for n in range(22)
        ]
        assert {one.status_code for one in answers[:19]} == {401}
        assert answers[-1].status_code == 503
        assert len(amazon.stub.gets()) == 20
        assert (await called("POST", url, content=amazon.message("{}"))).status_code == 200


async def test_a_topic_of_somebody_elses_is_not_believed_nor_confirmed(world: World, amazon: Amazon) -> None:
    """A message that Amazon signed for another topic is rejected, and its address is not visited."""
    async with world.receiver():
        url = f"{world.url}/webhooks/sns"
        body = amazon.message(
            "Visit", Type="SubscriptionConfirmation", Token="t", SubscribeURL="x", TopicArn="b"
        )
        answer = await called("POST", url, content=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "claim_invalid")
        assert [one.path for one in amazon.stub.gets()] == ["/cert.pem"]


async def test_a_subscription_is_confirmed_by_a_visit(world: World, amazon: Amazon) -> None:
    """A genuine confirmation is visited once it is stored; a forged one, or one to elsewhere, is not."""
    async with world.receiver():
        url = f"{world.url}/webhooks/sns"
        assert (await called("POST", url, content=amazon.confirmation())).status_code == 200
        assert [one.path for one in amazon.stub.gets()] == ["/cert.pem", "/confirm"]
        forged = amazon.confirmation().replace(b"/confirm", b"/confirn")
        assert (await called("POST", url, content=forged)).status_code == 401
        elsewhere = amazon.confirmation("https://evil.example/")
        assert (await called("POST", url, content=elsewhere)).status_code == 200
        assert len(amazon.stub.gets()) == 2


async def test_a_visit_that_fails_makes_amazon_ask_again(world: World, amazon: Amazon) -> None:
    """Without the visit nothing would ever be sent: 503, so that the confirmation comes again."""
    amazon.visited = Reply(status=500)
    async with world.receiver():
        url = f"{world.url}/webhooks/sns"
        answer = await called("POST", url, content=amazon.confirmation())
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_error")
        amazon.visited = Reply()
        assert (await called("POST", url, content=amazon.confirmation())).status_code == 200
