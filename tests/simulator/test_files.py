"""What results link to: signed links that expire, ranges, validators, digests, and everything that goes wrong there."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import time
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver.simulator import SimulatorSettings, fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.simulator import Simulator

    from .clients import Client

    Clients = Callable[[str], Client]

QUICK = SimulatorSettings(run_seconds=0.02, video_seconds=0.0, brief_seconds=60)
IMAGE, VIDEO, BRIEF = range(3)


@pytest.fixture
def settings() -> SimulatorSettings:
    """Send files as fast as they go."""
    return QUICK


async def links(client: Client, *faults: Any) -> list[str]:  # noqa: ANN401  any order
    """Submit a task with *faults*, let it end, and return what its output links to."""
    client.sim.faults("runway", *faults)
    return await again(client, await client.done())


async def again(client: Client, job_id: str) -> list[str]:
    """Ask for the output of a task."""
    output: list[str] = (await client.status(job_id)).json()["output"]
    return output


async def received(http: httpx.AsyncClient, url: str, **headers: str) -> tuple[bytes, bool]:
    """Return what arrives of a file, and whether it ends as it should."""
    body = b""
    try:
        async with http.stream("GET", url, headers=headers) as answer:
            async for piece in answer.aiter_raw():
                body += piece
    except httpx.RemoteProtocolError:
        return body, False
    except httpx.ReadError:
        return body, False
    return body, True


async def test_three_links(client: Clients, http: httpx.AsyncClient) -> None:
    """A task's output is an image, a video of 30 MiB and a small one, each with its type, length and digests."""
    sizes = []
    for url in await links(client("runway")):
        answer = (await http.get(url)).raise_for_status()
        sizes.append(len(answer.content))
        md5 = base64.b64encode(hashlib.md5(answer.content, usedforsecurity=False).digest()).decode()
        sha256 = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
        assert answer.headers["content-md5"] == md5
        assert answer.headers["repr-digest"] == f"sha-256=:{sha256}:"
        assert answer.headers["content-length"] == str(sizes[-1])
        assert answer.headers["content-type"] in {"image/png", "video/mp4"}
    assert sizes[VIDEO] == 30 * 1024 * 1024


async def test_the_image_is_one(client: Clients, http: httpx.AsyncClient) -> None:
    """It is a PNG file: 64 rows of 64 grey pixels, each with its filter byte."""
    image = (await http.get((await links(client("runway")))[IMAGE])).content
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    begin = image.index(b"IDAT") + 4
    assert len(zlib.decompressobj().decompress(image[begin:])) == 64 * 65


async def test_no_part_of_a_file_is_like_another(client: Clients, http: httpx.AsyncClient) -> None:
    """Whoever goes on at a wrong place has other bytes: no two stretches of a video are alike."""
    video = (await http.get((await links(client("runway")))[VIDEO])).content
    stretches = {video[start : start + 65_536] for start in range(0, len(video), 65_536)}
    assert len(stretches) == len(video) // 65_536


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=0.02, video_seconds=0.3)])
async def test_the_video_is_slow(client: Clients, http: httpx.AsyncClient) -> None:
    """It takes its time, chunk by chunk."""
    url = (await links(client("runway")))[VIDEO]
    started = time.monotonic()
    assert len((await http.get(url)).content) == 30 * 1024 * 1024
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=0.02, brief_seconds=0.0)])
async def test_one_dies_soon(client: Clients, http: httpx.AsyncClient, sim: Simulator) -> None:
    """Once it is deleted, no link leads to it any more, and every link says when that is."""
    runway = client("runway")
    url = httpx.URL((await links(runway))[BRIEF])
    assert url.params["X-Amz-Expires"] == "0"
    (job,) = sim.jobs("runway")
    assert job.ended_at is not None
    assert url.params["X-Amz-Date"] == job.ended_at.strftime("%Y%m%dT%H%M%SZ")
    for fresh in (url, (await again(runway, job.id))[BRIEF]):
        assert (await http.get(fresh)).status_code == 403


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=0.02, link_seconds=0)])
async def test_links_expire(client: Clients, http: httpx.AsyncClient) -> None:
    """A link is good until its own parameters say that it is not."""
    answer = await http.get((await links(client("runway")))[IMAGE])
    assert answer.status_code == 403
    assert "Request has expired" in answer.text


async def test_a_link_is_all_that_is_asked_for(client: Clients, http: httpx.AsyncClient) -> None:
    """Without its signature there is a 403, with one of somebody else's making too, and with credentials a 400."""
    url = httpx.URL((await links(client("runway")))[IMAGE])
    altered = url.copy_set_param("X-Amz-Expires", "604800")
    assert (await http.get(url.copy_remove_param("X-Amz-Signature"))).status_code == 403
    assert (await http.get(altered)).status_code == 403
    assert (await http.get(url, headers={"authorization": "Bearer key"})).status_code == 400
    assert (await http.get(url)).status_code == 200


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=65530-65545", 65_530, 65_546),
        ("bytes=262000-", 262_000, 262_144),
        ("bytes=262000-999999", 262_000, 262_144),
        ("bytes=-10", 262_134, 262_144),
    ],
)
async def test_ranges(client: Clients, http: httpx.AsyncClient, asked: str, start: int, stop: int) -> None:
    """Exactly what is asked for is sent, with its place, and the digest of the whole."""
    url = (await links(client("runway")))[BRIEF]
    whole = await http.get(url)
    part = await http.get(url, headers={"range": asked, "if-range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[start:stop])
    assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/262144"
    assert part.headers["repr-digest"] == whole.headers["repr-digest"]
    assert "content-md5" not in part.headers


async def test_ranges_that_are_none(client: Clients, http: httpx.AsyncClient) -> None:
    """A range beyond the end is a 416 that says how long the file is; several ranges, or odd ones, get all of it."""
    url = (await links(client("runway")))[BRIEF]
    beyond = await http.get(url, headers={"range": "bytes=262144-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */262144")
    for odd in ("bytes=0-1,5-6", "bytes=9-1", "lines=1-2", "bytes=-"):
        assert (await http.get(url, headers={"range": odd})).status_code == 200


async def test_conditions(client: Clients, http: httpx.AsyncClient) -> None:
    """What has not changed is not sent again, and a part of what has changed is never sent."""
    url = (await links(client("runway")))[BRIEF]
    etag = (await http.head(url)).headers["etag"]
    assert (await http.get(url, headers={"if-none-match": etag})).status_code == 304
    assert (await http.get(url, headers={"if-match": '"other"'})).status_code == 412
    whole = await http.get(url, headers={"range": "bytes=5-", "if-range": '"other"'})
    assert (whole.status_code, len(whole.content)) == (200, 262_144)


async def test_file_broken(client: Clients, http: httpx.AsyncClient) -> None:
    """The connection is cut in the middle; the rest can be asked for."""
    url = (await links(client("runway"), fault("file_broken", size=1000, part="brief.mp4")))[BRIEF]
    first, ended = await received(http, url)
    assert (len(first), ended) == (1000, False)
    etag = (await http.head(url)).headers["etag"]
    rest = await http.get(url, headers={"range": "bytes=1000-", "if-range": etag})
    assert rest.status_code == 206
    assert first + rest.content == (await http.get(url)).content


async def test_file_changed(client: Clients, http: httpx.AsyncClient) -> None:
    """After the break it is another file, with another validator, and the rest of the first one is not to be had."""
    url = (await links(client("runway"), fault("file_changed", size=1000, part="brief.mp4")))[BRIEF]
    before = (await http.head(url)).headers["etag"]
    first, ended = await received(http, url)
    assert (len(first), ended) == (1000, False)
    anew = await http.get(url, headers={"range": "bytes=1000-", "if-range": before})
    assert anew.status_code == 200
    assert anew.headers["etag"] != before
    assert not anew.content.startswith(first)


async def test_file_revoked(client: Clients, http: httpx.AsyncClient, sim: Simulator) -> None:
    """The first link is refused; the task brings another, which is good."""
    runway = client("runway")
    revoked = await links(runway, fault("file_revoked", part="image.png"))
    assert (await http.get(revoked[IMAGE])).status_code == 403
    assert (await http.get(revoked[BRIEF])).status_code == 200
    fresh = await again(runway, sim.jobs("runway")[0].id)
    assert (await http.get(fresh[IMAGE])).status_code == 200
    assert (await http.get(revoked[IMAGE])).status_code == 403


@pytest.mark.parametrize(("stated", "arrived", "ended"), [(1000, 1000, True), (300_000, 262_144, False)])
async def test_file_length(
    client: Clients,
    http: httpx.AsyncClient,
    stated: int,
    arrived: int,
    ended: bool,  # noqa: FBT001
) -> None:
    """The stated length is another's: what is sent ends there, or the connection ends before."""
    url = (await links(client("runway"), fault("file_length", size=stated)))[BRIEF]
    assert (await http.head(url)).headers["content-length"] == str(stated)
    body, whole = await received(http, url)
    assert (len(body), whole) == (arrived, ended)


async def test_file_digest(client: Clients, http: httpx.AsyncClient) -> None:
    """The stated digests are another's."""
    answer = await http.get((await links(client("runway"), "file_digest"))[BRIEF])
    truth = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert truth not in answer.headers["repr-digest"]


async def test_file_endless(client: Clients, http: httpx.AsyncClient) -> None:
    """It goes on, far beyond its size, without a length, until the client has had enough."""
    url = (await links(client("runway"), fault("file_endless", part="brief.mp4")))[BRIEF]
    size = 0
    async with http.stream("GET", url) as answer:
        assert "content-length" not in answer.headers
        async for piece in answer.aiter_raw():
            size += len(piece)
            if size > 2_000_000:
                break
    assert size > 2_000_000


async def test_file_stalled(client: Clients, http: httpx.AsyncClient) -> None:
    """After a while nothing comes any more; the next time it does."""
    url = (await links(client("runway"), fault("file_stalled", size=65_536, part="brief.mp4")))[BRIEF]
    with pytest.raises(httpx.ReadTimeout):
        await http.get(url, timeout=0.2)
    assert len((await http.get(url)).content) == 262_144


async def test_redirects(client: Clients, http: httpx.AsyncClient) -> None:
    """A link leads elsewhere a number of times, or to an address that nobody should ask."""
    url = (await links(client("runway"), fault("file_hops", times=3)))[IMAGE]
    answer = await http.get(url, follow_redirects=True)
    assert (answer.status_code, len(answer.history)) == (200, 3)
    private = await http.get((await links(client("runway"), "file_private"))[IMAGE])
    assert (private.status_code, private.headers["location"]) == (302, "http://169.254.169.254/latest/")


async def test_file_type(client: Clients, http: httpx.AsyncClient) -> None:
    """An image says that it is a page of HTML."""
    answer = await http.head((await links(client("runway"), "file_type"))[IMAGE])
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_refused_files(client: Clients, http: httpx.AsyncClient) -> None:
    """Files are refused as often as ordered, then sent."""
    faults = (fault("file_5xx", part="image.png"), fault("file_429", seconds=7, part="image.png"))
    url = (await links(client("runway"), *faults))[IMAGE]
    answers = [await http.get(url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 429, 200]
    assert answers[1].headers["retry-after"] == "7"


async def test_many_and_large(client: Clients, http: httpx.AsyncClient) -> None:
    """There may be as many files as are ordered, as large as they are ordered, and none of it is kept."""
    urls = await links(client("runway"), fault("many_files", size=60))
    assert len(urls) == 63
    answers = await asyncio.gather(*(http.get(url) for url in urls[3:]))
    assert len({answer.content for answer in answers}) == 60
    huge = await links(client("runway"), fault("many_files", size=2), fault("large_files", size=1 << 40))
    end = await http.get(huge[4], headers={"range": f"bytes={(1 << 40) - 10}-"})
    assert (end.status_code, len(end.content)) == (206, 10)
    assert "repr-digest" not in end.headers


async def test_a_broken_range_goes_on(client: Clients, http: httpx.AsyncClient) -> None:
    """What breaks again and again can be put together all the same."""
    url = (await links(client("runway"), fault("file_broken", size=100_000, times=2, part="brief.mp4")))[
        BRIEF
    ]
    etag = (await http.head(url)).headers["etag"]
    whole = b""
    for _ in itertools.count():
        more, ended = await received(http, url, range=f"bytes={len(whole)}-", **{"if-range": etag})
        whole += more
        if ended:
            break
    assert whole == (await http.get(url)).content
