"""A command: started for each event without a shell, the event on its standard input; exit code 0 confirms.

``command:/usr/local/bin/on-job --job={job}``: words are split as a shell would split them; then fields and variables
are filled in, and whatever they hold, each word stays one argument. The process gets the CloudEvent as one JSON
document, and its attributes as ``CE_ID``, ``CE_TYPE`` and so on.
"""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from receiver.sinks.configuration import FIELD, SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkRefusedError

#: EX_DATAERR and EX_NOPERM of sysexits.h: the event itself is at fault, so another attempt would end alike.
_NEVER: Final = frozenset({65, 77})
_LONGEST_WORDS: Final = 2000
#: Seconds between asking a process that is late to end, and ending it.
_GRACE: Final = 2.0


class CommandSink:
    """Runs a program for each event."""

    def __init__(self, config: SinkConfig, *, resolve: Callable[[str], str | None]) -> None:
        try:
            words = shlex.split(config.to.partition(":")[2])
        except ValueError as error:
            raise config.wrong("to", f"it is no command: {error}.") from error
        self._words = [_Word(word, config=config, resolve=resolve) for word in words]
        if not words or not Path(self._words[0].filled({})).is_absolute():
            raise config.wrong("to", "a command begins with the whole path of a program.")
        if any("\0" in word.filled({}) for word in self._words):
            raise config.wrong("to", "no argument of a program can have a NUL in it.")
        if self._words[0].fields:
            raise config.wrong(
                "to", "which program is run does not go by an event: fields stand behind its path."
            )
        self._program = self._words[0].filled({})
        if not os.access(self._program, os.X_OK):
            raise config.wrong("to", f"{self._program} is not there, or may not be run.")
        self._timeout = config.timeout

    async def send(self, event: Event) -> str:
        """Run the command; raises as ``Sink.send`` says."""
        environ = {**_inherited(), **{f"CE_{name.upper()}": text for name, text in event.attributes.items()}}
        pipe = asyncio.subprocess.PIPE
        words = [word.filled(event.fields) for word in self._words]
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environ,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SinkAwayError(f"{self._program} cannot be started: {error.strerror}.") from error
        try:
            async with asyncio.timeout(self._timeout):
                said = await _talk(process, event.structured())
                code = await process.wait()
        except TimeoutError:
            raise SinkFailedError(
                f"It did not end within {self._timeout:g} seconds and was stopped."
            ) from None
        finally:
            await _end(process)
        said = f"exit code {code}{': ' if said else ''}{said}"
        if code in _NEVER:
            raise SinkRefusedError(f"It refused the event: {said}")
        if code != 0:
            raise SinkFailedError(f"It ended with {said}")
        return said

    async def close(self) -> None:
        """Nothing is kept between events."""


class _Word:
    """One word of a command: a variable that it refers to is filled in now, the fields of an event for each."""

    def __init__(self, text: str, *, config: SinkConfig, resolve: Callable[[str], str | None]) -> None:
        self._pieces: list[str] = []
        #: The places of fields among the pieces.
        self.fields: set[int] = set()
        for place, piece in enumerate(FIELD.split(text)):
            if place % 2 and not piece.startswith("env:"):
                self.fields.add(place)
            self._pieces.append(
                config.value(piece, resolve) if place % 2 and place not in self.fields else piece
            )

    def filled(self, values: Mapping[str, str]) -> str:
        """The word for one event; ``{metadata.x}`` that a job does not have is ``none``."""
        return "".join(
            values.get(piece, "none") if place in self.fields else piece
            for place, piece in enumerate(self._pieces)
        )


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
