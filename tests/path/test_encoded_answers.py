"""Answers of providers that are packed although nobody asked for it: what has arrived is not thrown away."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from receiver import Job, JobState
from receiver.core.asking.exchange import HttpRequest
from receiver.core.reading.given import ANSWER
from tests.core.packing import PACKERS, gzipped

from .hurry import hurried
from .stub import Asked, Reply, always, stub
from .test_outbound import described, outbound
from .world import REQUESTS, World, ended

PACKED = pytest.mark.parametrize(
    ("label", "pack"), PACKERS, ids=[f"{number}-{label}" for number, (label, _) in enumerate(PACKERS)]
)
RESULT = b'{"markdown": "# stored"}'
#: Plain text below a label; a label of no coding; a coding that is cut off, and one that nobody knows.
ODD = [
    ("gzip", RESULT, None),
    ("br", RESULT, None),
    ("utf-8", RESULT, None),
    ("none", RESULT, None),
    ("gzip", gzipped(RESULT)[:-3], "body_encoding_broken"),
    ("gzip", gzipped(RESULT) + b"tail", "body_encoding_broken"),
    ("compress", b"\x1f\x9d\x90", "body_encoding_unknown"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, world: World) -> str:
    """The world on one database and then on the other."""
    if request.param == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return str(request.param)


async def sent(body: bytes, label: str, *, largest: int = 1000) -> bytes:
    """What the client makes of an answer."""
    async with always(Reply(body=body, headers={"content-encoding": label})) as target:
        provider = described("https://api.example.com").at(target.url)
        client = outbound(provider, max_result=largest)
        try:
            request = HttpRequest(purpose="poll", method="GET", url=f"{target.url}/x")
            return (await client.send(provider, request)).body
        finally:
            await client.close()


@PACKED
async def test_a_packed_answer_is_unpacked(label: str, pack: Callable[[bytes], bytes]) -> None:
    """Whatever the coding, the conversation sees the plain document."""
    assert await sent(pack(RESULT), label) == RESULT


@pytest.mark.parametrize(("label", "body", "code"), ODD)
async def test_what_cannot_be_unpacked_is_kept_as_it_arrived(
    label: str, body: bytes, code: str | None
) -> None:
    """A wrong, unknown or broken label costs nobody the bytes."""
    assert await sent(body, label) == body


async def test_an_answer_that_unfolds_beyond_the_limit_is_kept_packed() -> None:
    """The bound of a result holds for what it unfolds to; the few bytes that came are kept."""
    bomb = gzipped(b"x" * 1001)
    assert await sent(bomb, "gzip") == bomb
    assert await sent(gzipped(b"x" * 1000), "gzip") == b"x" * 1000


async def fetched(world: World, body: bytes, label: str) -> tuple[Job, bytes, list[str | None]]:
    """A job of Pulse whose result is one GET away: how it ended, what was stored, the codes of its fetches."""

    async def pulse(asked: Asked) -> Reply:
        if asked.path.startswith("/files/"):
            return Reply(body=body, headers={"content-encoding": label, "content-type": "application/json"})
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        result = {"is_url": True, "url": f"{provider.url}/files/1"}
        return Reply(body=json.dumps({"job_id": "p1", "status": "completed", "result": result}).encode())

    world.cadence(expected="1s")
    async with stub(pulse) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            stored = await receiver.running.store.result(job)
            record = await receiver.running.store.record(job.id)
            codes = [
                one.code for one in record.attempts if one.step == "fetch" and one.outcome == "succeeded"
            ]
            return job, stored, codes


@PACKED
@pytest.mark.usefixtures("database")
async def test_a_packed_result_is_stored_unpacked(
    world: World, label: str, pack: Callable[[bytes], bytes]
) -> None:
    """An object store sends the gzip that it was given: the job succeeds, and the handler reads plain JSON."""
    job, stored, codes = await fetched(world, pack(RESULT), label)
    assert (job.state, stored, codes) == (JobState.SUCCEEDED, RESULT, [None])
    assert job.held is not None
    assert (job.held.size, job.held.content_type) == (len(RESULT), "application/json")


@pytest.mark.parametrize(("label", "body", "code"), ODD)
@pytest.mark.usefixtures("database")
async def test_a_result_that_cannot_be_unpacked_is_stored_as_it_arrived(
    world: World, label: str, body: bytes, code: str | None
) -> None:
    """The one GET of a single-use address is not spent for nothing; the timeline says if it is still packed."""
    job, stored, codes = await fetched(world, body, label)
    assert (job.state, stored, codes) == (JobState.SUCCEEDED, body, [code])


async def test_a_large_packed_result_is_stored_whole(world: World) -> None:
    """Many chunks unfold from few; those that arrived packed are dropped, and the answer that led there is kept."""
    large = json.dumps({"markdown": [f"line {number}" for number in range(100_000)]}).encode()
    job, stored, _ = await fetched(world, gzipped(large), "gzip")
    assert stored == large
    with closing(sqlite3.connect(world.folder / "receiver.db")) as connection, connection:
        parts = connection.execute(
            "SELECT DISTINCT part FROM result_chunk WHERE job_id = ? AND part <> ?", (job.id, ANSWER)
        ).fetchall()
    assert job.held is not None
    assert parts == [(job.held.offset,)]


@pytest.mark.usefixtures("database")
async def test_the_id_in_a_packed_answer_to_a_submission_is_learnt(world: World) -> None:
    """The job is running and paid for: its id is read, whatever the answer is packed in."""
    answer = gzipped(b'{"job_id": "p1", "status": "pending"}')
    async with always(Reply(status=202, body=answer, headers={"content-encoding": "gzip"})) as target:
        world.environ["RECEIVER_PULSE_BASE_URL"] = target.url
        async with hurried(world) as receiver:
            job = await receiver.submit("pulse", REQUESTS["pulse"])
            assert (job.submission, job.remote_id) == ("sent", "p1")


async def test_a_submission_whose_answer_cannot_be_read_is_not_called_refused(world: World) -> None:
    """The provider may have taken the job: its outcome is unknown, not failed, and a callback settles it."""
    async with always(Reply(body=b"\x1f\x8b", headers={"content-encoding": "gzip"})) as target:
        world.environ["RECEIVER_NETNUT_BASE_URL"] = target.url
        async with hurried(world) as receiver:
            job = await receiver.submit("netnut", REQUESTS["netnut"])
            assert (job.state, job.submission) == (JobState.SUBMITTING, "unknown")


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (b'{"job_id": "p1", "status": "pending"}', True),
        (b' \n{"job_id": "p1", "status": "pending", "odd": NaN}\n', True),
        (b'{"job_id": "p1", "status": "pend', False),
        (b'{"job_id": "p1"} {', False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("ends", ["length", "chunks"])
@pytest.mark.parametrize("packed", [None, 0, 8])
async def test_an_id_in_hand_is_learnt_though_the_answer_breaks_off(
    world: World, body: bytes, ends: str, packed: int | None, *, known: bool
) -> None:
    """A length that is not reached, chunks without the last one: the object is whole, or the outcome is unknown.

    So it is where it comes packed, whole or without its last bytes.
    """
    headers = {}
    if packed is not None:
        body, headers = gzipped(body)[: -packed or None], {"content-encoding": "gzip"}
    reply = Reply(status=202, body=body, headers={"content-length": "1000"} | headers)
    if ends == "chunks":
        reply = Reply(status=202, body=body, chunked=True, cut=True, headers=headers)
    async with always(reply) as target:
        world.environ["RECEIVER_PULSE_BASE_URL"] = target.url
        async with hurried(world) as receiver:
            job = await receiver.submit("pulse", REQUESTS["pulse"])
            assert (job.submission, job.remote_id) == (("sent", "p1") if known else ("unknown", None))
