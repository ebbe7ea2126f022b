"""Single-use addresses: what was certainly not sent is not spent, and what was is never asked for again."""

import json

import pytest

from receiver import Job, JobState
from receiver.core.errors import FetchRefusedError

from .hurry import hurried
from .stub import Asked, Reply, always, stub
from .test_outbound import described, get, outbound
from .world import REQUESTS, World, ended

ODD = [
    "https:///x",
    "https:x",
    "https://:443/x",
    "https://..../x",
    "https://a..b/x",
    "https://xn--/x",
    f"https://{'a' * 64}.example/x",
    "https://api.example.com:0/x",
    "https://api.example.com:port/x",
    "https://[::1/x",
    "https://a\tb/x",
    "https://\u2024/x",
    "//api.example.com/x",
    "mailto:x@example.com",
    "",
    " ",
]


@pytest.mark.parametrize("url", ODD)
async def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    """However it is not one: the same refusal, never an error of another library, never "no answer"."""
    provider = described("https://api.example.com")
    client = outbound(provider)
    try:
        with pytest.raises(FetchRefusedError):
            await client.send(provider, get(url, anywhere=True))
    finally:
        await client.close()


async def test_a_redirect_is_refused_and_was_sent() -> None:
    """Whoever answers with one has been asked."""
    async with always(Reply(status=302, headers={"location": "https://elsewhere.example/"})) as target:
        provider = described("https://api.example.com").at(target.url)
        client = outbound(provider)
        try:
            with pytest.raises(FetchRefusedError):
                await client.send(provider, get(f"{target.url}/x"))
        finally:
            await client.close()


def _answer(url: str) -> Reply:
    return Reply(
        body=json.dumps(
            {"job_id": "p1", "status": "completed", "result": {"is_url": True, "url": url}}
        ).encode()
    )


@pytest.mark.parametrize(
    "odd", ["https:///x", "https://a..b/x", "http://169.254.169.254/x", "https://10.0.0.1/x"]
)
async def test_an_address_that_was_never_asked_is_not_spent(world: World, odd: str) -> None:
    """The provider names it again once it is right: it is fetched, and the job succeeds."""
    looks: list[str] = []
    downloads: list[str] = []

    async def pulse(asked: Asked) -> Reply:
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        if asked.path.startswith("/large/"):
            downloads.append(asked.path)
            return Reply(body=b'{"markdown": "# here"}')
        looks.append(asked.path)
        return _answer(odd if len(looks) == 1 else f"{provider.url}/large/1")

    world.cadence(expected="1s")
    async with stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert (job.state, downloads) == (JobState.SUCCEEDED, ["/large/1"])


#: What says by its status that it is no result, whatever would follow.
NO_RESULT = {
    "not found": Reply(status=404),
    "redirect": Reply(status=302, headers={"location": "https://elsewhere.example/"}),
    "too many": Reply(status=429, headers={"retry-after": "1"}),
    "broken off": Reply(status=500, headers={"content-length": "100"}, body=b"<ht"),
    "for a while": Reply(status=503, headers={"retry-after": "1"}, body=b"later"),
    "not yet": Reply(status=202),
    "forbidden": Reply(status=403, body=b"no"),
}


HERE = b'{"markdown": "# here"}'


async def downloaded(world: World, *replies: Reply) -> tuple[Job, list[str]]:
    """A job whose result has a single-use address, as it ended; what was asked for there, answered so, in turn."""
    downloads: list[str] = []

    async def pulse(asked: Asked) -> Reply:
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        if asked.path.startswith("/large/"):
            downloads.append(asked.path)
            return replies[min(len(downloads), len(replies)) - 1]
        return _answer(f"{provider.url}/large/1")

    world.cadence(expected="1s")
    async with stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            return await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"])), downloads


@pytest.mark.parametrize("no", NO_RESULT.values(), ids=NO_RESULT)
async def test_an_answer_that_is_no_success_spends_nothing(world: World, no: Reply) -> None:
    """No result was handed out, so the one address there is gets asked again, and the job succeeds."""
    job, downloads = await downloaded(world, no, no, Reply(body=HERE))
    assert (job.state, downloads) == (JobState.SUCCEEDED, ["/large/1"] * 3)


@pytest.mark.parametrize("status", [201, 203])
async def test_a_result_that_comes_with_another_success_is_taken(world: World, status: int) -> None:
    """Made on demand, or changed by a proxy on the way: it is here, and asked for once."""
    job, downloads = await downloaded(world, Reply(status=status, body=HERE))
    assert (job.state, downloads) == (JobState.SUCCEEDED, ["/large/1"])
    assert job.held is not None
    assert job.held.size == len(HERE)


#: What may have been the result, whatever came of it here.
PERHAPS = {
    "hung up": None,
    "broken off": Reply(headers={"content-length": "100"}, body=b'{"markdo'),
}


@pytest.mark.parametrize("perhaps", PERHAPS.values(), ids=PERHAPS)
async def test_an_answer_that_may_have_been_the_result_spends_the_address(
    world: World, perhaps: Reply | None
) -> None:
    """The provider names no other, so the job ends as lost, and the address is asked once."""
    downloads: list[str] = []

    async def pulse(asked: Asked) -> Reply:
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        if asked.path.startswith("/large/"):
            downloads.append(asked.path)
            if perhaps is None:
                raise ConnectionResetError
            return perhaps
        return _answer(f"{provider.url}/large/1")

    world.cadence(expected="1s")
    async with stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert (job.state, job.error and job.error.code) == (JobState.EXPIRED, "result_lost")
            assert downloads == ["/large/1"]
