"""An object store as the file store, tried against moto's server: the same promises as those of a folder."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from receiver import JobState, Settings
from receiver.core.file import FileState
from receiver.files.bucket import Bucket
from receiver.files.store import FileGoneError, FileStoreError
from tests.path.world import until

from .conftest import Here, poll, states
from .shelf import Kept
from .test_faces import client
from .test_order import SERVE

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environ(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an operator sets: a bucket of its own, and credentials."""
    import boto3  # type: ignore[import-untyped]  # it comes without types

    name = f"files-{tmp_path_factory.mktemp('bucket').name}".replace("_", "-")
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=name)
    return {
        "RECEIVER_FILES_URL": f"s3://{name}/some/prefix",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
async def bucket(environ: dict[str, str]) -> AsyncIterator[Bucket]:
    """The file store in it."""
    opened = Bucket(environ["RECEIVER_FILES_URL"], Settings.load(environ))
    yield opened
    await opened.close()


async def put(bucket: Bucket, content: bytes) -> str:
    """Put a file there."""
    writing = await bucket.begin()
    for start in range(0, len(content), MIB):
        await writing.write([content[start : start + MIB]])
    return await writing.finish()


async def nobody(_digests: Sequence[str]) -> set[str]:
    """No job has any of them."""
    return set()


async def test_what_is_finished_is_found_by_its_digest(bucket: Bucket, database_url: str) -> None:
    """In one part or in several; whole, in parts, and opened by a handler's thread."""
    for size in (0, 1000, 12 * MIB):
        content = os.urandom(size)
        digest = await put(bucket, content)
        assert digest == hashlib.sha256(content).hexdigest()
        assert await bucket.has(digest)
        assert b"".join([one async for one in bucket.read(digest, start=0, length=size)]) == content
        if size:
            assert b"".join([one async for one in bucket.read(digest, start=5, length=90)]) == content[5:95]

        def read(digest: str = digest) -> bytes:
            with bucket.open(digest) as file:
                file.seek(3)
                return file.read()

        if size:
            assert await asyncio.to_thread(read) == content[3:]
    with pytest.raises(FileGoneError):
        bucket.open("0" * 64)


async def test_what_is_not_finished_cannot_be_read(bucket: Bucket, database_url: str) -> None:
    """An upload that was never completed is not there, however much of it was sent; begun anew, it is."""
    writing = await bucket.begin()
    await writing.write([b"x" * 11 * MIB])
    assert await writing.secure() == 0
    assert (await bucket.sweep(nobody, unfinished=(), older_than=-60)).bytes == 0
    await writing.restart()
    await writing.write([b"y"])
    assert await writing.finish() == hashlib.sha256(b"y").hexdigest()


async def test_orphans_are_swept(bucket: Bucket, database_url: str) -> None:
    """What no job has goes, once it is old; what one has stays."""
    kept, orphan = await put(bucket, b"kept"), await put(bucket, b"orphan")

    async def has(digests: Sequence[str]) -> set[str]:
        return {kept} & set(digests)

    assert (await bucket.sweep(has, unfinished=(), older_than=3600)).files == 0
    swept = await bucket.sweep(has, unfinished=(), older_than=-60)
    assert (swept.files, swept.bytes) == (1, 6)
    assert [await bucket.has(one) for one in (kept, orphan)] == [True, False]


async def test_the_way_of_files_with_an_object_store(here: Here, environ: dict[str, str]) -> None:
    """From the link to the handler and to HTTP; a break is gone on with as long as the process lives."""
    here.environ |= environ
    kept = Kept(size=12 * MIB, breaks_after=6 * MIB, breaks=1)
    here.links(big=kept, small=Kept(body=b"small"))
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver, patience=60)
        assert (job.state, states(job.files)) == (JobState.SUCCEEDED, [(FileState.STORED, None)] * 2)
        assert job.files[0].sha256 == kept.sha256
        async with job.files[1].open() as stream:
            assert await stream.read() == b"small"
        with pytest.raises(FileStoreError, match="no path"):
            job.files[0].path()
        part = await http.get(f"/v1/jobs/{job.id}/files/1", headers={"range": "bytes=100-199"})
        assert part.content == kept.part(100, 200)
    assert len(here.shelf.gets("big")) == 2
    assert not (here.folder / "kept").exists()


@pytest.mark.parametrize("wrong", ["bucket", "endpoint"])
async def test_a_store_that_is_away_loses_nothing(here: Here, environ: dict[str, str], wrong: str) -> None:
    """No such bucket, or nobody at its address: the job waits in ``fetching``; put right, it goes on by itself."""
    bad = (
        {"RECEIVER_FILES_URL": "s3://nowhere"}
        if wrong == "bucket"
        else {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    )
    here.environ |= environ
    here.links(it=Kept(body=b"x"))
    async with here.receiver(None, **bad) as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def waits() -> bool:
            return states(await receiver.files(job.id)) == [(FileState.WAITING, "file_store_unavailable")]

        await until(waits, patience=45)
        assert (await receiver.job(job.id)).state is JobState.FETCHING
    async with here.receiver() as receiver:
        job = await receiver.wait(job.id, timeout=40)
    assert states(job.files) == [(FileState.STORED, None)]


async def test_killed_in_the_middle(here: Here, environ: dict[str, str], bucket: Bucket) -> None:
    """With kill -9 nothing half can be read; the file is begun anew, and what is left is what the record has."""
    here.environ |= environ | {"RECEIVER_LEASE": "5"}
    kept = Kept(size=24 * MIB, slow_after=16 * MIB)
    here.links(big=kept)
    async with here.receiver() as receiver:
        await receiver.running.worker.drain(patience=1)  # type: ignore[union-attr]
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE),
        env={**os.environ, **here.environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: bool(here.shelf.gets("big")) and here.shelf.sent > 12 * MIB)
    finally:
        process.kill()
        await process.wait()
    assert await keys(bucket) == ["receiver-files.id"]
    kept.slow_after = None
    async with here.receiver() as receiver:
        job = await receiver.wait(job.id, timeout=40)
        await receiver.running.sweeping(older_than=-60)
    assert [(one.state, one.sha256) for one in job.files] == [(FileState.STORED, kept.sha256)]
    assert await keys(bucket) == ["receiver-files.id", f"sha256/{kept.sha256[:2]}/{kept.sha256}"]
    assert here.shelf.gets("big")[-1].header("range") is None


async def keys(bucket: Bucket) -> list[str]:
    """What is in the bucket."""
    import obstore

    return sorted([one["path"] async for batch in obstore.list(bucket._store) for one in batch])


@pytest.mark.parametrize("url", ["s3://", "ftp://x/y", "file://host/x", "/var/files", "az:/x"])
async def test_a_setting_that_names_no_store_is_refused(here: Here, url: str) -> None:
    """When the receiver starts, with a sentence that names it."""
    with pytest.raises(Exception, match="RECEIVER_FILES_URL"):
        async with here.receiver(None, RECEIVER_FILES_URL=url):
            pass
