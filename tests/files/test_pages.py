"""Files of a result that comes in pages: it is made whole first, then its links are read."""

import pytest

from receiver import JobState
from receiver.core.file import FileState

from .conftest import Here, states
from .shelf import Kept

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


async def test_the_links_of_all_pages_are_followed(here: Here) -> None:
    """Three pages with two links each: six files, in the order of the pages, and one result."""
    here.describe(
        '[[files]]\npath = "result.*"\n',
        shape_job='items = "result"\nnext = "next"',
        shape_result=".",
        shape_result_url="",
    )
    addresses = [here.shelf.put(f"n{number}", Kept(body=b"%d" % number)) for number in range(6)]
    here.shelf.pages = [addresses[:2], addresses[2:4], addresses[4:]]
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.json()["result"] == addresses
    assert states(job.files) == [(FileState.STORED, None)] * 6
    assert [one.name for one in job.files] == [f"n{number}" for number in range(6)]
