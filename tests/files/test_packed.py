"""Files that come in a content coding that nobody asked for: kept as what they are without it."""

import gzip
import hashlib
import zlib

import pytest
from structlog.testing import capture_logs

from receiver.core.file import FileState
from tests.core.packing import PACKERS, gzipped

from .conftest import Here
from .shelf import Kept

CSV = b"".join(
    b"%s\n" % hashlib.sha256(bytes([n % 256, n // 256])).hexdigest().encode() for n in range(9_000)
)


async def kept(here: Here, file: Kept, name: str = "it", **settings: str) -> tuple[bytes, str | None]:
    """The bytes of a job's only file, and its content type."""
    here.links(**{name: file})
    async with here.receiver(None, **settings) as receiver:
        job = await here.run(receiver)
        (found,) = job.files
        assert (found.state, found.code) == (FileState.STORED, None)
        with found.open() as stream:
            content: bytes = stream.read()
        assert found.size == len(content)
        return content, found.content_type


def of(body: bytes, coding: str, kind: str = "text/csv") -> Kept:
    """A file as an object store hands it out."""
    return Kept(body=body, headers={"content-encoding": coding, "content-type": kind})


@pytest.mark.parametrize("number", range(len(PACKERS)), ids=[label for label, _ in PACKERS])
async def test_a_packed_file_is_unpacked(here: Here, number: int) -> None:
    """Whatever the coding; its size and its digest are those of the file."""
    label, pack = PACKERS[number]
    assert await kept(here, of(pack(CSV), label)) == (CSV, "text/csv")


async def test_after_a_break_it_is_gone_on_with(here: Here) -> None:
    """Ranges are parts of what is sent, not of what that unfolds to."""
    file = of(gzipped(CSV), "gzip")
    file.breaks_after, file.breaks = len(file.body) // 2, 1
    assert (await kept(here, file))[0] == CSV
    assert [one.header("range") is None for one in here.shelf.gets("it")] == [True, False]


@pytest.mark.parametrize(
    ("body", "coding", "largest"),
    [
        (gzipped(CSV)[:-9], "gzip", "1000000"),
        (gzipped(CSV) + b"more", "gzip", "1000000"),
        (CSV, "gzip", "1000000"),
        (CSV, "aws-chunked", "1000000"),
        (CSV, "compress", "1000000"),
        (gzip.compress(bytes(3_000_000)), "gzip", "1000000"),
        (gzip.compress(gzip.compress(bytes(50_000_000))), "gzip, gzip", "100000000"),
        (zlib.compress(CSV)[:-1], "deflate", "1000000"),
    ],
    ids=["cut off", "something after it", "no gzip", "no coding", "unknown", "too large", "a bomb", "no end"],
)
async def test_what_does_not_unfold_stays_as_it_came(
    here: Here, body: bytes, coding: str, largest: str
) -> None:
    """It is not lost, nor tried again."""
    assert (await kept(here, of(body, coding), RECEIVER_MAX_FILE=largest))[0] == body
    assert len(here.shelf.gets("it")) == 1
    assert here.unfinished() == []


async def test_that_it_stays_packed_is_said(here: Here) -> None:
    """The log names the job and the file."""
    with capture_logs() as entries:
        await kept(here, of(gzipped(CSV)[:-9], "gzip"))
    assert [one["file"] for one in entries if one["event"] == "file_packed"] == [1]


@pytest.mark.parametrize(("name", "kind"), [("it.tar.gz", "application/x-tar"), ("it", "application/gzip")])
async def test_what_is_packed_by_its_own_name_or_type_is_left_alone(here: Here, name: str, kind: str) -> None:
    """Who asked for an archive gets the archive, though its label names what it is packed with once more."""
    assert await kept(here, of(gzipped(CSV), "gzip", kind), name) == (gzipped(CSV), kind)
