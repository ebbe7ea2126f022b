"""Large documents are read in threads: as many at once as there are cores, the huge ones one at a time."""

import asyncio
import os
import threading
import time

import pytest

from receiver.readers import Readers

MANY = 64 * 1024
HUGE = 8 * 1024 * 1024


class Reading:
    """Work that notes how many do it at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, answer: int) -> int:
        """Read for a moment."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self._lock:
            self.now -= 1
        return answer


@pytest.mark.parametrize(("size", "most"), [(MANY, os.cpu_count() or 1), (HUGE, 1)], ids=["large", "huge"])
async def test_no_more_are_read_at_once_than_may_be(size: int, most: int) -> None:
    """Each gets its own answer; the cores are used, and the memory of huge ones is that of one."""
    readers, reading = Readers(), Reading()
    count = 4 * (os.cpu_count() or 1)
    answers = await asyncio.gather(*(readers.read(size, reading, n) for n in range(count)))
    assert answers == list(range(count))
    assert reading.most == most


async def test_an_error_is_the_callers_and_leaves_the_place_free() -> None:
    """Whoever comes next is read."""
    readers = Readers()
    for size in (MANY, HUGE):
        for _ in range(1 + (os.cpu_count() or 1)):
            with pytest.raises(ValueError, match="invalid literal"):
                await readers.read(size, int, "x")
        assert await readers.read(size, int, "7") == 7
