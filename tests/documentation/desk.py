"""A desk to read a document at: a folder with what a reader has, and a terminal in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .blocks import Block

#: Seconds that a whole document may take.
PATIENCE = 120.0
_EXITS = re.compile(r"^(.*?\S) +# exits ([0-9]+)$")
#: What stands in documents for the ids of a reader's own.
_IDS = {"job_01a1fc955f4d": "$JOB_ID", "cb_01a1fc9560a2": "$ACCEPTED_ID", "cb_01a1fc9571b3": "$REJECTED_ID"}
_PROGRAM = """#!/usr/bin/env bash
[ "$1" = simulate ] && set -- "$@" --port "$SIMULATOR_PORT"
case "$1" in serve|worker|simulate)
    # Sent into the background it has no terminal; in the foreground somebody would see it start, and end it.
    if [ "$(readlink /proc/self/fd/0)" != /dev/null ]; then
        {python} -m receiver "$@" > said 2>&1 &
        until grep -qE "receiver_listening|receiver_started|Simulating" said; do
            kill -0 $! 2> said.not || break
            sleep 0.05
        done
        kill $! 2> said.not
        wait $!
        case $? in 0|143) exit 0;; *) cat said; exit 1;; esac
    fi;;
esac
exec {python} -m receiver "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where a document is tried."""

    folder: Path
    environ: dict[str, str]
    #: What a document writes → what is true here: addresses.
    here: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path, environ: dict[str, str], here: dict[str, str]) -> Desk:
        """Put the program and the files that a reader has on the desk."""
        (folder / "bin").mkdir(exist_ok=True)
        program = folder / "bin" / "receiver"
        program.write_text(_PROGRAM.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o755)
        root = Path(__file__).parents[2]
        shutil.copy(root / ".env.example", folder)
        return cls(
            folder=folder, environ=environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}, here=here
        )

    def read(self, blocks: Iterable[Block]) -> None:
        """Run *blocks* one after the other in one terminal; raises AssertionError with what was printed."""
        script = "\n".join(["set -euo pipefail", *(self._typed(one) for one in blocks)])
        (self.folder / "script").write_text(script + "\n", encoding="utf-8")
        (self.folder / "terminal").touch()
        with (self.folder / "terminal").open() as terminal, (self.folder / "screen").open("w") as screen:
            shell = subprocess.Popen(
                ["bash", str(self.folder / "script")],
                cwd=self.folder,
                env=self.environ,
                stdin=terminal,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = shell.wait(PATIENCE)
            finally:
                self._end(shell.pid)
                shell.wait()
        printed = (self.folder / "screen").read_text(encoding="utf-8")
        assert code == 0, f"exit code {code}:\n{printed[-6000:]}"
        assert "Traceback" not in printed, printed[-6000:]

    def _typed(self, block: Block) -> str:
        text = block.text
        for written, true in (_IDS | self.here).items():
            text = text.replace(written, true)
        lines = [f"echo '==== {block}'"]
        for line in text.splitlines():
            if (expected := _EXITS.match(line)) is not None:
                lines += ["code=0", f"{expected[1]} || code=$?", f'[ "$code" = {expected[2]} ]']
            else:
                lines.append(line)
        return "\n".join(lines)

    @staticmethod
    def _end(group: int) -> None:
        """End whatever the document left running."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                return
            _wait_for_end(group, seconds=12 if number is signal.SIGTERM else 1)


def _wait_for_end(group: int, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
