"""Credentials that are minted: tokens had over real sockets, kept, renewed in time, and never written down."""

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from receiver import Settings
from receiver.core.asking.exchange import HttpRequest
from receiver.core.description.provider import Provider, describe
from receiver.core.errors import ConfigurationError, NeverConnectedError
from receiver.keys import Keys
from receiver.outbound.client import Outbound

from .stub import Asked, Reply, Stub, stub

NOW = 1_795_000_000_000
OAUTH = {
    "kind": "oauth",
    "token_url": "https://login.example/oauth/token",
    "client_id": "env:CLIENT_ID",
    "client_secret": "env:CLIENT_SECRET",
    "scope": "jobs",
}
SETTINGS = {"CLIENT_ID": "the client", "CLIENT_SECRET": "canary:secret"}


class Vendor:
    """A token's address and an API behind it."""

    def __init__(self) -> None:
        self.now = NOW
        self.life = 3600
        self.tokens = 0
        self.revoked: set[str] = set()
        self.token_reply: Reply | None = None
        self.stub: Stub

    async def answer(self, asked: Asked) -> Reply:
        """Hand a token out, or take one."""
        if asked.path == "/oauth/token":
            if self.token_reply is not None:
                return self.token_reply
            self.tokens += 1
            token = f"canary-token-{self.tokens}"
            body = {"access_token": token, "expires_in": self.life, "token_type": "Bearer"}
            return Reply(body=json.dumps(body).encode())
        if (asked.header("authorization") or "") in self.revoked:
            return Reply(status=401)
        return Reply(body=b"{}")

    def asked_for(self, path: str) -> list[Asked]:
        """What arrived at *path*."""
        return [one for one in self.stub.asked if one.path == path]

    @asynccontextmanager
    async def reached(self, mint: dict[str, Any], settings: dict[str, str]) -> AsyncIterator["Call"]:
        """Our side of it, with a credential that is minted so."""
        async with stub(self.answer) as self.stub:
            provider = made(mint).at(self.stub.url)
            keys = Keys(Settings.load(settings))
            outbound = Outbound(
                keys=keys, providers=[provider], max_result=10_000, patience=5, clock=lambda: self.now
            )
            try:

                async def call(body: bytes | None = None, path: str = "/jobs") -> int:
                    request = HttpRequest(
                        purpose="submit", method="POST", url=self.stub.url + path, body=body or b"{}"
                    )
                    return (await outbound.send(provider, request)).status

                yield call
            finally:
                await outbound.close()


Call = Callable[..., Awaitable[int]]


def made(mint: dict[str, Any], *, prefix: str = "Bearer ") -> Provider:
    """A provider whose credential is minted so."""
    return describe(
        {
            "name": "other",
            "title": "Another API",
            "sources": [{"url": "https://example.com", "read": "2026-11-20"}],
            "origins": ["https://api.eu-west-1.example.com"],
            "credentials": [{"prefix": prefix, "mint": mint}],
        }
    )


async def test_a_token_is_had_once_and_renewed_before_it_lapses() -> None:
    """Ten requests need one token; with a fifth of its life left (or five minutes) the next one brings a new one."""
    vendor = Vendor()
    async with vendor.reached(OAUTH, SETTINGS) as call:
        assert {await call() for _ in range(10)} == {200}
        assert vendor.tokens == 1
        (asked,) = vendor.asked_for("/oauth/token")
        assert parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["jobs"]}
        shown = base64.b64decode((asked.header("authorization") or "").removeprefix("Basic ")).decode()
        assert shown == "the+client:canary%3Asecret"  # RFC 6749, 2.3.1
        vendor.now += 3_600_000 - 301_000
        await call()
        assert vendor.tokens == 1
        vendor.now += 2_000
        await call()
        assert vendor.tokens == 2
        assert vendor.asked_for("/jobs")[-1].header("authorization") == "Bearer canary-token-2"


async def test_many_at_once_ask_for_one_token() -> None:
    """Requests that begin together wait for the same token."""
    import asyncio  # noqa: PLC0415

    vendor = Vendor()
    async with vendor.reached(OAUTH | {"shown": "form"}, SETTINGS) as call:
        await asyncio.gather(*(call() for _ in range(5)))
        assert vendor.tokens == 1
        form = parse_qs(vendor.asked_for("/oauth/token")[0].body.decode())
        assert form["client_secret"] == ["canary:secret"]


async def test_a_renewal_that_fails_is_no_harm_while_the_token_is_good() -> None:
    """A token is used to its end while its server is away; after that the request was never sent."""
    vendor = Vendor()
    async with vendor.reached(OAUTH, SETTINGS) as call:
        await call()
        vendor.token_reply = Reply(status=503)
        vendor.now += 3_600_000 - 10_000
        assert await call() == 200
        vendor.now += 20_000
        before = len(vendor.asked_for("/jobs"))
        with pytest.raises(NeverConnectedError):
            await call()
        assert len(vendor.asked_for("/jobs")) == before


async def test_a_token_that_was_made_is_one() -> None:
    """Some servers answer 201, as for anything that they make."""
    vendor = Vendor()
    vendor.token_reply = Reply(status=201, body=b'{"access_token": "canary-made", "expires_in": 3600}')
    async with vendor.reached(OAUTH, SETTINGS) as call:
        assert await call() == 200
        assert vendor.asked_for("/jobs")[-1].header("authorization") == "Bearer canary-made"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"access_token": 1}', b'{"access_token": "a\\nb"}', b"[" * 999]
)
async def test_an_answer_without_a_token_is_none(body: bytes) -> None:
    """Whatever comes instead of a token, nothing is sent with it."""
    vendor = Vendor()
    vendor.token_reply = Reply(body=body)
    async with vendor.reached(OAUTH, SETTINGS) as call:
        with pytest.raises(NeverConnectedError):
            await call()
        assert vendor.asked_for("/jobs") == []


async def test_refused_credentials_name_their_variables_and_no_value() -> None:
    """A client that the vendor does not know is our fault, told with the names of the settings."""
    vendor = Vendor()
    vendor.token_reply = Reply(status=401, body=b'{"error": "invalid_client"}')
    async with vendor.reached(OAUTH, SETTINGS) as call:
        with pytest.raises(ConfigurationError) as refused:
            await call()
        assert refused.value.code == "credentials_refused"
        assert "CLIENT_ID and CLIENT_SECRET" in str(refused.value)
        assert "canary" not in str(refused.value)


async def test_a_token_that_was_revoked_is_replaced_once() -> None:
    """A 401 to a token of some age brings a new one and the request again; to a new one it is the answer."""
    vendor = Vendor()
    async with vendor.reached(OAUTH, SETTINGS) as call:
        await call()
        vendor.revoked = {"Bearer canary-token-1"}
        vendor.now += 60_000
        assert await call() == 200
        assert vendor.tokens == 2
        vendor.revoked = {"Bearer canary-token-2"}
        assert await call() == 401
        assert vendor.tokens == 2


async def test_nothing_minted_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a secret nor a token is in a log line or in the repr of what holds them."""
    lines = structlog.testing.LogCapture()
    monkeypatch.setattr("receiver.outbound.minting.log", structlog.wrap_logger(None, processors=[lines]))
    async with Vendor().reached(OAUTH, SETTINGS) as call:
        await call()
    assert [line["event"] for line in lines.entries] == ["token_minted"]
    assert "canary" not in repr(lines.entries)
    keys = Keys(Settings.load(SETTINGS))
    assert "canary" not in repr(keys.minted(made(OAUTH)))


async def test_a_service_account_signs_its_assertion() -> None:
    """An independent library verifies the assertion; a key that is none is told by the name of its setting."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@p.iam.example", "private_key_id": "k1", "private_key": pem}
    mint = {
        "kind": "service-account",
        "token_url": "https://oauth2.example/oauth/token",
        "key": "env:GOOGLE_KEY",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
    }
    vendor = Vendor()
    async with vendor.reached(mint, {"GOOGLE_KEY": json.dumps(account)}) as call:
        assert await call() == 200
        form = parse_qs(vendor.asked_for("/oauth/token")[0].body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        claims = jwt.decode(
            form["assertion"][0],
            key.public_key(),
            algorithms=["RS256"],
            audience=vendor.stub.url + "/oauth/token",
            options={"verify_exp": False, "verify_iat": False},
        )
        assert claims["iss"] == "a@p.iam.example"
        assert claims["exp"] - claims["iat"] == 3600
    async with vendor.reached(mint, {"GOOGLE_KEY": "{}"}) as call:
        with pytest.raises(ConfigurationError, match="GOOGLE_KEY"):
            await call()


async def test_a_token_of_our_own_is_signed_with_the_secret_key() -> None:
    """Kling's form: HS256, in the name of the access key, for half an hour, renewed before that."""
    mint = {"kind": "hs256", "access_key": "env:AK", "secret_key": "env:SK"}
    secret = "canary secret of thirty-two bytes!"
    vendor = Vendor()
    async with vendor.reached(mint, {"AK": "access", "SK": secret}) as call:
        await call()
        await call()
        vendor.now += 1_800_000 - 299_000
        await call()
        tokens = [
            (one.header("authorization") or "").removeprefix("Bearer ") for one in vendor.asked_for("/jobs")
        ]
        assert tokens[0] == tokens[1] != tokens[2]
        claims = jwt.decode(
            tokens[0], secret, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False}
        )
        assert claims == {"iss": "access", "exp": NOW // 1000 + 1800, "nbf": NOW // 1000 - 5}


def signature_v4(asked: Asked, url: str, *, secret: str, region: str, service: str) -> str:
    """Signature Version 4 over a request as it arrived, written from its specification."""
    shown = asked.header("authorization") or ""
    names = shown.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    stamp = asked.header("x-amz-date") or ""
    lines = "".join(f"{name}:{(asked.header(name) or '').strip()}\n" for name in names)
    path = quote(urlsplit(url).path, safe="/~-._")
    digest = hashlib.sha256(asked.body).hexdigest()
    canonical = f"{asked.method}\n{path}\n{urlsplit(url).query}\n{lines}\n{';'.join(names)}\n{digest}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for word in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


async def test_each_request_to_amazon_is_signed() -> None:
    """Body, address and time are covered; another body has another signature, and the token of a session goes along."""
    mint = {
        "kind": "sigv4",
        "service": "transcribe",
        "access_key": "env:AK",
        "secret_key": "env:SK",
        "session_token": "env:ST",
    }
    vendor = Vendor()
    async with vendor.reached(mint, {"AK": "AKIDEXAMPLE", "SK": "canary", "ST": "session"}) as call:
        await call(b'{"a": 1}', "/x/y%3Az")
        await call(b'{"a": 2}', "/x/y%3Az")
        first, second = vendor.stub.asked
        seen = [(one.header("authorization") or "").partition("Signature=")[2] for one in (first, second)]
        assert len(set(seen)) == 2
        assert first.header("x-amz-security-token") == "session"
        made_of = signature_v4(
            first, vendor.stub.url + "/x/y%3Az", secret="canary", region="us-east-1", service="transcribe"
        )
        assert seen[0] == made_of
        stamp = dt.datetime.strptime(first.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(
            tzinfo=dt.UTC
        )
        assert abs((dt.datetime.now(dt.UTC) - stamp).total_seconds()) < 60


@pytest.mark.parametrize(
    ("mint", "word"),
    [
        ({"kind": "oauth", "token_url": "https://x.example/t", "client_id": "env:A"}, "client_secret"),
        (OAUTH | {"token_url": "http://login.example/t"}, "token_url"),
        (OAUTH | {"client_secret": "the secret itself"}, "reference"),
        ({"kind": "hs256", "access_key": "env:A", "secret_key": "env:B", "scope": "x"}, "scope"),
        ({"kind": "sigv4", "access_key": "env:A", "secret_key": "env:B"}, "service"),
    ],
)
def test_a_description_that_could_not_work_is_refused(mint: dict[str, str], word: str) -> None:
    """The sentence names the key that is missing or too much."""
    with pytest.raises(ValueError, match=word):
        made(mint)
