"""A command: started for each event without a shell, the event on its standard input; exit code 0 confirms.

``command:/usr/local/bin/on-job --flag``: words are split as a shell would split them, and nothing else is done to
them. The process gets the CloudEvent as one JSON document, and its attributes as ``CE_ID``, ``CE_TYPE`` and so on.
"""

import asyncio
import contextlib
import os
import shlex
import signal
from pathlib import Path
from typing import Final

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkRefusedError

#: EX_DATAERR and EX_NOPERM of sysexits.h: the event itself is at fault, so another attempt would end alike.
_NEVER: Final = frozenset({65, 77})
_LONGEST_WORDS: Final = 2000
#: Seconds between asking a process that is late to end, and ending it.
_GRACE: Final = 2.0


class CommandSink:
    """Runs a program for each event."""

    def __init__(self, config: SinkConfig) -> None:
        try:
            self._words = shlex.split(config.to.partition(":")[2])
        except ValueError as error:
            raise config.wrong("to", f"it is no command: {error}.") from error
        if not self._words or not Path(self._words[0]).is_absolute():
            raise config.wrong("to", "a command begins with the whole path of a program.")
        if not os.access(self._words[0], os.X_OK):
            raise config.wrong("to", f"{self._words[0]} is not there, or may not be run.")
        self._timeout = config.timeout

    async def send(self, event: Event) -> str:
        """Run the command; raises as ``Sink.send`` says."""
        environ = {**_inherited(), **{f"CE_{name.upper()}": text for name, text in event.attributes.items()}}
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environ,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SinkAwayError(f"{self._words[0]} cannot be started: {error.strerror}.") from error
        try:
            async with asyncio.timeout(self._timeout):
                words = await _talk(process, event.structured())
                code = await process.wait()
        except TimeoutError:
            raise SinkFailedError(
                f"It did not end within {self._timeout:g} seconds and was stopped."
            ) from None
        finally:
            await _end(process)
        said = f"exit code {code}{': ' if words else ''}{words}"
        if code in _NEVER:
            raise SinkRefusedError(f"It refused the event: {said}")
        if code != 0:
            raise SinkFailedError(f"It ended with {said}")
        return said

    async def close(self) -> None:
        """Nothing is kept between events."""


def _inherited() -> dict[str, str]:
    """What a program needs to run, and none of our secrets."""
    return {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
        if name in os.environ
    }


async def _talk(process: asyncio.subprocess.Process, document: bytes) -> str:
    """Hand over the event, and read what the program says; the end of a long text counts."""
    assert process.stdin is not None  # noqa: S101  (it was made with pipes)
    assert process.stdout is not None  # noqa: S101
    found = b""

    async def write(stdin: asyncio.StreamWriter) -> None:
        # A program that does not read to the end has read enough.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(document)
            await stdin.drain()
            stdin.close()
            await stdin.wait_closed()

    writing = asyncio.create_task(write(process.stdin))
    try:
        while piece := await process.stdout.read(_LONGEST_WORDS):
            found = (found + piece)[-_LONGEST_WORDS:]
        await writing
    finally:
        writing.cancel()
    text = found.decode(errors="replace")
    return "".join(one if one.isprintable() else " " for one in text).strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that the program and what it started are gone."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            await process.wait()
    # What it started may have taken no notice.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
