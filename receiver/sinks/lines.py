"""JSON lines: one event a line, in a file that is synced, or on standard output.

``file:///var/log/jobs-{date}.jsonl``: a field in the name makes a new file where its value changes, which is how
files are rotated. ``stdout:`` writes to standard output, and whoever collects it keeps it.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Final

from receiver.durable import sync
from receiver.sinks.configuration import SinkConfig, filled
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError, SinkFailedError
from receiver.threads import publishing

#: Readable by its owner's group, like a log.
_MODE: Final = 0o640


class LinesSink:
    """Appends events to a file; several sinks and processes may share one."""

    def __init__(self, config: SinkConfig) -> None:
        scheme, _, rest = config.to.partition(":")
        self._path = rest.removeprefix("//") if scheme == "file" else ""
        if scheme == "stdout" and rest.strip("/"):
            raise config.wrong("to", "nothing follows stdout:")
        if scheme == "file" and not self._path.startswith("/"):
            raise config.wrong("to", "a file is named by its whole path: file:///var/log/jobs.jsonl")
        # Lines of two events must not mix, and a thread that syncs holds up nobody else.
        self._writing = threading.Lock()
        #: As it is now: a handler may put something else in its place.
        self._out = getattr(sys.stdout, "buffer", None) if scheme == "stdout" else None

    async def send(self, event: Event) -> str:
        """Append *event* and sync it; raises as ``Sink.send`` says."""
        line = event.structured() + b"\n"
        if not self._path:
            return await publishing(self._print, line)
        return await publishing(self._append, Path(filled(self._path, event.fields)), line)

    async def close(self) -> None:
        """Nothing stays open between events."""

    def _print(self, line: bytes) -> str:
        if self._out is None:
            raise SinkAwayError("Nothing can be written to standard output: it is closed.")
        # What serves has a standard output that takes everything, and counts what nobody could be given.
        counting = getattr(self._out, "raw", None)
        with self._writing:
            lost = getattr(counting, "lost", 0)
            try:
                self._out.write(line)
                self._out.flush()
            except (OSError, ValueError) as error:
                raise SinkAwayError(f"Nothing can be written to standard output: {error}.") from error
        if getattr(counting, "lost", 0) != lost:
            raise SinkAwayError(
                "Nothing can be written to standard output: it is closed, full, or read by nobody."
            )
        return "written"

    def _append(self, path: Path, line: bytes) -> str:
        with self._writing:
            try:
                file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            except OSError as error:
                raise SinkAwayError(f"{path} cannot be opened: {error.strerror}.") from error
            try:
                before = os.lseek(file, 0, os.SEEK_END)
                written = os.write(file, line)
                if written != len(line):
                    # Half a line would spoil the next one: it is taken back, so that the next attempt is whole.
                    os.ftruncate(file, before)
                    raise SinkFailedError(f"{path} took {written} of {len(line)} bytes; is the disk full?")
                os.fsync(file)
                if before == 0:
                    sync(path.parent)
            except OSError as error:
                raise SinkFailedError(f"{path} cannot be written: {error.strerror}.") from error
            finally:
                os.close(file)
        return f"synced at byte {before}"
