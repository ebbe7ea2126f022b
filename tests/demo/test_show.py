"""What the demo shows while it runs."""

import io
from typing import Any

from rich.console import Console

from receiver.demo.run import Played
from receiver.demo.scenes import SCENES
from receiver.demo.show import progress


def shown(record: dict[str, Any], *, runs: int) -> list[str]:
    """The live table in 80 columns, every job in the same state."""
    console = Console(file=io.StringIO(), width=80)
    console.print(progress([_played(scene, record, runs) for scene in SCENES]))
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().splitlines()


def _played(scene: Any, record: dict[str, Any], runs: int) -> Played:  # noqa: ANN401
    return Played(scene=scene, job_id="job_1", record=record, runs=runs)


def test_the_live_table_keeps_its_widths() -> None:
    """What happens fills cells in; it moves none, and none is too wide for 80 columns."""
    callbacks = [
        {"kind": "callback", "callback": {"verdict": one}} for one in ("accepted", "duplicate", "rejected")
    ]
    files = [{"state": "stored", "size": 12_345}] * 12
    begun: dict[str, Any] = {"state": "submitting", "settled_by": None, "result": None, "timeline": []}
    ended: dict[str, Any] = {
        "state": "succeeded",
        "settled_by": "callback",
        "result": {"size": 1},
        "timeline": callbacks,
        "files": files,
    }
    early, late = shown(begun, runs=0), shown(ended, runs=12)
    assert early[1:3] == late[1:3]
    assert max(map(len, late)) <= 80
    assert not any("…" in line for line in late)
