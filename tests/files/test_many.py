"""A result with far more links than may be fetched, on both databases."""

import time
from collections import Counter
from pathlib import Path
from typing import Final

from receiver import JobState
from receiver.core.file import FileState
from tests.path.world import ended

from .conftest import Here, states
from .shelf import Kept
from .test_faces import client

_LINKS: Final = 10_000
_FETCHED: Final = 25
#: Seconds of the processor, and bytes.
_WITHIN: Final = 20.0
_MEMORY: Final = 64 * 1024 * 1024


async def test_ten_thousand_links_in_one_result(here: Here) -> None:
    """So many as may be are fetched, the others are lost with a code; the timeline tells how many in one line.

    Each is listed, none beyond the bound is asked for, and neither memory nor time grows out of hand.
    """
    for number in range(_FETCHED):
        here.shelf.put(f"n{number}", Kept(body=b"%d" % number))
    here.shelf.result = {"links": [f"{here.shelf.url}/n{number}" for number in range(_LINKS)]}
    async with here.receiver(RECEIVER_MAX_FILES=str(_FETCHED)) as receiver, client(receiver) as http:
        # The highest mark is that of now.
        _forget_peak()
        before, begun = _memory("VmHWM"), time.process_time()
        job = await here.run(receiver, patience=10 * _WITHIN)
        await ended(receiver, job)
        record = await receiver.running.store.record(job.id)
        listed = (await http.get(f"/v1/jobs/{job.id}/files")).json()["files"]
        assert time.process_time() - begun < _WITHIN
        assert _memory("VmHWM") - before < _MEMORY
    assert job.state is JobState.SUCCEEDED
    lost = [(FileState.LOST, "too_many_files")] * (_LINKS - _FETCHED)
    assert states(job.files) == [(FileState.STORED, None)] * _FETCHED + lost
    assert Counter(one["state"] for one in listed) == {"stored": _FETCHED, "lost": _LINKS - _FETCHED}
    assert [one["number"] for one in listed] == list(range(1, _LINKS + 1))
    (found,) = (one for one in record.attempts if one.step == "files")
    assert (found.code, found.detail) == (
        "too_many_files",
        {"files": _LINKS, "lost": _LINKS - _FETCHED},
    )
    assert len(record.attempts) < 2 * _FETCHED
    asked = [one for one in here.shelf.asked if one.path.startswith("/n")]
    assert len(asked) == _FETCHED


def _memory(name: str) -> int:
    """What the kernel says of the memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
