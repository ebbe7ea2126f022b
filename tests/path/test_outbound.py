"""Requests to providers: where they may go, what they carry, and how much may come back."""

import json
from pathlib import Path

import pytest

from receiver import JobState, Settings
from receiver.core.asking.exchange import HttpRequest
from receiver.core.description.provider import Provider, describe
from receiver.core.errors import FetchRefusedError, NeverConnectedError, NoAnswerError, ProviderError
from receiver.keys import Keys
from receiver.outbound.client import Outbound
from tests.certificates import certificate
from tests.ports import free_port

from .hurry import hurried
from .stub import Asked, Reply, Stub, always, stub
from .world import REQUESTS, World, ended, until

SECRET = "a credential that is nobody else's"


def described(*origins: str) -> Provider:
    """A provider at *origins* with one credential."""
    return describe(
        {
            "name": "other",
            "title": "Another API",
            "sources": [{"url": "https://example.com", "read": "2026-11-20"}],
            "origins": list(origins),
            "credentials": [{"prefix": "Bearer ", "secret": "env:OTHER_KEY"}],
        }
    )


def outbound(provider: Provider, *, max_result: int = 1000, patience: float = 5) -> Outbound:
    """Requests to *provider*, with its credential configured."""
    keys = Keys(Settings.load({"OTHER_KEY": SECRET}))
    return Outbound(keys=keys, providers=[provider], max_result=max_result, patience=patience)


def get(url: str, *, anywhere: bool = False) -> HttpRequest:
    """A request for a result."""
    return HttpRequest(purpose="fetch", method="GET", url=url, anywhere=anywhere)


async def refused(url: str, *origins: str, anywhere: bool = False) -> None:
    """Assert that a GET of *url* is refused before anything is sent."""
    provider = described(*origins)
    client = outbound(provider)
    try:
        with pytest.raises(FetchRefusedError) as caught:
            await client.send(provider, get(url, anywhere=anywhere))
        assert caught.value.code == "fetch_refused"
        assert SECRET not in str(caught.value)
    finally:
        await client.close()


async def at(target: Stub, request: HttpRequest | None = None, *, max_result: int = 1000) -> bytes:
    """What a provider that was moved to *target* answers."""
    provider = described("https://api.example.com").at(target.url)
    client = outbound(provider, max_result=max_result)
    try:
        return (await client.send(provider, request or get(f"{target.url}/x"))).body
    finally:
        await client.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.com/x",
        "https://api.example.com:8443/x",
        "https://api.example.com.attacker.example/x",
        "https://user@api.example.com/x",
        "https://api.example.com@attacker.example/x",
        "https://api.example.com/x#fragment",
        "http://api.example.com/x",
        "ftp://api.example.com/x",
        "//api.example.com/x",
        "/x",
        "",
        "https://[::1",
        "https://api.example.com/" + "x" * 3000,
    ],
)
async def test_only_the_listed_origins_are_asked(url: str) -> None:
    """Another host, port, scheme or a trick with the form of the address: refused, nothing is sent."""
    await refused(url, "https://api.example.com")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"])
async def test_a_private_address_is_refused_even_where_any_origin_will_do(host: str) -> None:
    """A result address that a provider names must be public; plain http is refused as well."""
    await refused(f"https://{host}/x", "https://api.example.com", anywhere=True)
    await refused(f"http://{host}/x", "https://api.example.com", anywhere=True)


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1"])
async def test_a_name_that_resolves_to_a_private_address_is_refused(host: str) -> None:
    """Judged is the address that is dialled, not the name: a listed origin with a private answer is refused."""
    async with always(Reply()) as target:
        await refused(f"https://{host}:{target.port}/x", f"https://{host}:{target.port}")
        assert target.asked == []


async def test_credentials_go_to_the_listed_origin(world: World) -> None:
    """The provider that the operator moved to this address gets its credential, and asks for plain bytes."""
    async with always(Reply(body=b"here")) as target:
        assert await at(target) == b"here"
        (asked,) = target.asked
        assert asked.header("authorization") == f"Bearer {SECRET}"
        assert asked.header("accept-encoding") == "identity"


async def test_a_redirect_takes_no_credentials_anywhere() -> None:
    """It is refused where it is answered; nobody is asked at the address that it names."""
    async with always(Reply(body=b"stolen")) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            there = {"location": f"{elsewhere.url}/x"}
            async with always(Reply(status=status, headers=there)) as target:
                with pytest.raises(FetchRefusedError):
                    await at(target)
                assert len(target.asked) == 1
        assert elsewhere.asked == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_is_bounded(*, chunked: bool) -> None:
    """Whether or not it says how long it is, an answer over the limit is cut off; one at the limit is taken."""
    async with always(Reply(body=b"x" * 1000, chunked=chunked)) as target:
        assert len(await at(target, max_result=1000)) == 1000
        with pytest.raises(ProviderError) as caught:
            await at(target, max_result=999)
        assert caught.value.code == "result_too_large"


async def test_nobody_there_and_no_answer_are_told_apart() -> None:
    """A refused connection cannot have been heard; one that was cut may have been."""

    async def cut(_asked: Asked) -> Reply:
        raise ConnectionResetError

    async with stub(cut) as target:
        with pytest.raises(NoAnswerError):
            await at(target)
        target.url = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(NeverConnectedError):
            await at(target)


async def test_a_result_on_another_origin_is_fetched_without_credentials(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signed storage link in an authenticated poll answer: asked over https, and nothing of ours goes along."""
    trusted, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    async def storage(_asked: Asked) -> Reply:
        return Reply(body=b'{"markdown": "# stored"}', headers={"content-type": "application/json"})

    async def pulse(asked: Asked) -> Reply:
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        result = {"is_url": True, "url": f"{bucket.url}/signed?token=1"}
        return Reply(body=json.dumps({"job_id": "p1", "status": "completed", "result": result}).encode())

    world.cadence(expected="1s")
    async with stub(storage, context=context) as bucket, stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        # The address is loopback, which only a setting may allow: another provider is said to live there.
        world.environ["RECEIVER_NETNUT_BASE_URL"] = bucket.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert job.state is JobState.SUCCEEDED
            assert await receiver.running.store.result(job) == b'{"markdown": "# stored"}'
        assert {one.header("x-api-key") for one in provider.asked} == {"pulse key"}
        (asked,) = bucket.asked
        assert asked.path == "/signed?token=1"
        assert asked.header("x-api-key") is None
        assert asked.header("authorization") is None


@pytest.mark.parametrize("url", ["https://10.0.0.1/result", "http://storage.example.com/result"])
async def test_a_result_address_that_is_not_asked_leaves_the_job_to_its_polls(world: World, url: str) -> None:
    """`fetch_refused` in the timeline; the job is neither lost nor over, and a better address is taken."""
    answers = [{"is_url": True, "url": url}, {"markdown": "# inline after all"}]

    async def pulse(asked: Asked) -> Reply:
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        result = answers[0] if len(provider.gets()) < 3 else answers[1]
        return Reply(body=json.dumps({"job_id": "p1", "status": "completed", "result": result}).encode())

    world.cadence(expected="1s")
    async with stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await receiver.submit("pulse", REQUESTS["pulse"])

            async def noted() -> bool:
                attempts = (await world.record(receiver, job)).attempts
                return ("fetch", "refused", "fetch_refused") in [
                    (a.step, a.outcome, a.code) for a in attempts
                ]

            await until(noted)
            assert (await receiver.job(job.id)).state is JobState.FETCHING
            assert (await ended(receiver, job)).state is JobState.SUCCEEDED
