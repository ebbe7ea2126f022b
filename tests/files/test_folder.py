"""A folder as the file store: nothing half is ever readable, equal bytes are kept once, orphans are swept."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from receiver.files.folder import Folder
from receiver.files.store import DiskLowError, FileGoneError, FileStoreError


async def put(folder: Folder, content: bytes) -> str:
    """Put a file there."""
    writing = await folder.begin()
    await writing.write([content[:10], content[10:]])
    return await writing.finish()


async def nobody(_digests: Sequence[str]) -> set[str]:
    """No job has any of them."""
    return set()


def old(path: Path) -> None:
    """Have a file lie there for a day."""
    os.utime(path, (time.time() - 86_400,) * 2)


async def test_what_is_finished_is_found_by_its_digest(folder: Folder) -> None:
    """Whole, in parts, opened, and by its path; the same bytes twice are one file."""
    content = os.urandom(700_000)
    digest = await put(folder, content)
    assert digest == hashlib.sha256(content).hexdigest() == await put(folder, content)
    assert b"".join([one async for one in folder.read(digest, start=0, length=len(content))]) == content
    assert b"".join([one async for one in folder.read(digest, start=5, length=300_000)]) == content[5:300_005]
    assert folder.path(digest).read_bytes() == content
    assert folder.path(digest).stat().st_mode & 0o077 == 0
    root = folder.path(digest).parents[2]
    assert len(list((root / "sha256").glob("*/*"))) == 1
    assert not list((root / "unfinished").iterdir())


async def test_what_is_not_finished_cannot_be_read(folder: Folder) -> None:
    """It lies aside until it is whole; given up it leaves nothing."""
    writing = await folder.begin()
    await writing.write([b"half"])
    digest = hashlib.sha256(b"half").hexdigest()
    assert not await folder.has(digest)
    with pytest.raises(FileGoneError):
        folder.open(digest)
    await writing.discard()
    assert not list(folder.path(digest).parents[2].glob("unfinished/*"))


async def test_an_unfinished_file_is_gone_on_with(folder: Folder) -> None:
    """From as far as it was made safe; bytes beyond that are not trusted, and by a new name it is one writer's."""
    first = await folder.begin()
    await first.write([b"one"])
    assert await first.secure() == 3
    await first.write([b"not safe"])
    await first.leave()
    second = await folder.begin(partial=first.name, received=3)
    assert (second.size, second.name != first.name) == (3, True)
    await second.write([b"two"])
    assert await second.finish() == hashlib.sha256(b"onetwo").hexdigest()
    third = await folder.begin(partial=first.name, received=3)
    assert third.size == 0
    await third.discard()


@pytest.mark.parametrize("name", ["../../receiver.db", "/etc/passwd", "x", "a" * 31, "A" * 32])
async def test_a_name_that_is_not_ours_is_gone_on_with_by_nobody(folder: Folder, name: str) -> None:
    """Whatever the record says."""
    writing = await folder.begin(partial=name, received=5)
    assert writing.size == 0
    await writing.discard()


async def test_orphans_are_swept(folder: Folder) -> None:
    """What no job has and what nobody goes on with, once it is old; never what is fresh or wanted."""
    kept, orphan, fresh = [await put(folder, name) for name in (b"kept" * 9, b"orphan" * 9, b"fresh" * 9)]
    wanted, left = await folder.begin(), await folder.begin()
    for one in (wanted, left):
        await one.write([b"x" * 100])
        await one.secure()
        await one.leave()
    root = folder.path(kept).parents[2]
    for path in (folder.path(kept), folder.path(orphan), *(root / "unfinished").iterdir()):
        old(path)

    async def has(digests: Sequence[str]) -> set[str]:
        return {kept} & set(digests)

    swept = await folder.sweep(has, unfinished={wanted.name}, older_than=3600)
    assert (swept.files, swept.unfinished, swept.bytes) == (1, 1, 54 + 100)
    assert [await folder.has(one) for one in (kept, orphan, fresh)] == [True, False, True]
    assert [one.name for one in (root / "unfinished").iterdir()] == [wanted.name]


async def test_equal_bytes_that_come_anew_are_no_orphan(folder: Folder) -> None:
    """A sweep that has chosen a file leaves it where it was put there again meanwhile."""
    digest = await put(folder, b"again" * 9)
    old(folder.path(digest))

    async def meanwhile(_digests: Sequence[str]) -> set[str]:
        await put(folder, b"again" * 9)
        return set()

    assert (await folder.sweep(meanwhile, unfinished=(), older_than=3600)).files == 0
    assert await folder.has(digest)
    old(folder.path(digest))
    assert (await folder.sweep(nobody, unfinished=(), older_than=3600)).files == 1


async def test_a_disk_that_is_nearly_full_takes_nothing_more(tmp_path: Path) -> None:
    """Before a file is begun, and while it is written."""
    folder = Folder(tmp_path / "kept", floor=1 << 60)
    try:
        with pytest.raises(DiskLowError) as refused:
            await folder.begin()
        assert refused.value.code == "files_disk_low"
    finally:
        await folder.close()


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A file in its place: an error with a code, whoever asks."""
    (tmp_path / "kept").write_bytes(b"")
    folder = Folder(tmp_path / "kept", floor=0)
    try:
        with pytest.raises(FileStoreError) as refused:
            await folder.begin()
        assert refused.value.code == "file_store_unavailable"
    finally:
        await folder.close()


async def test_a_store_bears_one_id(folder: Folder) -> None:
    """The first that is given stays."""
    assert await folder.mark() is None
    await folder.set_mark("one")
    await folder.set_mark("two")
    assert await folder.mark() == "one"
