"""What a run of the tests leaves in memory, however it ended, is gone once the next one has begun."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RUN = """
import sys, pathlib
from tests.memory import OwnFolder
own = OwnFolder(pathlib.Path(sys.argv[1]))
if "passed" in sys.argv:
    own.delete_at_exit()
(own.path / "left").write_text("some")
print(own.path.name, flush=True)
sys.stdin.read()
"""


class Run:
    """A run of the tests, as far as its folder goes."""

    def __init__(self, below: Path, *how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(below), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.folder = below / self.process.stdout.readline().strip()

    def end(self, *, killed: bool = False) -> None:
        """Have it end, and wait for that."""
        if killed:
            self.process.kill()
        self.process.communicate()


def test_the_next_run_deletes_what_is_left(tmp_path: Path) -> None:
    """One that was killed and one that failed leave their folders; one that goes on keeps its own."""
    killed, failed, alive = (Run(tmp_path) for _ in range(3))
    stranger = tmp_path / "others"
    stranger.mkdir()
    killed.end(killed=True)
    failed.end()
    assert all((one.folder / "left").exists() for one in (killed, failed, alive))
    following = Run(tmp_path, "passed")
    assert {one.name for one in tmp_path.iterdir()} == {alive.folder.name, following.folder.name, "others"}
    assert (alive.folder / "left").exists()
    following.end()
    assert not following.folder.exists()
    alive.end()
