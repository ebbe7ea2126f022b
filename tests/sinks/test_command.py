"""The command sink: no shell, a time limit, an exit code that decides."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from receiver.core.errors import ConfigurationError
from receiver.settings import Settings
from receiver.sinks.command import CommandSink
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.sink import SinkFailedError, SinkRefusedError
from tests.sinks.making import event
from tests.sinks.test_references import ANY


def sink(
    tmp_path: Path, script: str, *, words: str = "", timeout: float = 5.0, **environ: str
) -> CommandSink:
    """A sink that runs *script*."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    config = SinkConfig(name="test", to=f"command:{program} {words}", origin="a test", timeout=timeout)
    return CommandSink(config, resolve=Settings(environ=environ).resolve)


#: Prints each argument behind the program on a line of its own, in brackets.
ARGUMENTS = 'cat > /dev/null; for one in "$@"; do echo "[$one]"; done'


async def test_fields_of_the_event_are_filled_in(tmp_path: Path) -> None:
    """Each word stays one argument, as in every address: of metadata letters and digits are left, and none is told."""
    words = "{job} --at={state}/{date} '{metadata.customer}' {metadata.nope}"
    said = await sink(tmp_path, ARGUMENTS, words=words).send(event(customer="two words; $(id) {job} *"))
    assert said.startswith(f"exit code 0: [{event().subject}] [--at=succeeded/")
    assert said.endswith(" [two_words____id___job___] [none]")


@given(value=ANY)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_variable_stays_one_argument(tmp_path: Path, value: str) -> None:
    """Blanks, quotes, signs of a shell and braces in a variable are given to the program as they are."""
    made = sink(tmp_path, "exit 0", words="--token={env:V} 'two words'", V=value)
    assert [word.filled({"job": "leaked"}) for word in made._words][1:] == [f"--token={value}", "two words"]


def test_what_no_argument_can_be_is_refused_at_start(tmp_path: Path) -> None:
    """A NUL, which a file may hold."""
    with pytest.raises(ConfigurationError, match="NUL"):
        sink(tmp_path, ARGUMENTS, words="{env:V}", V="a\0b")


@pytest.mark.parametrize(
    ("script", "raised", "told"),
    [
        ("echo no room; exit 1", SinkFailedError, "exit code 1: no room"),
        ("exit 65", SinkRefusedError, "exit code 65"),
        ("kill -9 $$", SinkFailedError, "exit code -9"),
    ],
)
async def test_the_exit_code_decides(tmp_path: Path, script: str, raised: type[Exception], told: str) -> None:
    """0 confirms; 65 says that this event is at fault; anything else is tried again. The program's words are kept."""
    with pytest.raises(raised, match=told):
        await sink(tmp_path, script).send(event())


async def test_there_is_no_shell_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words reach the program as they are, and none of our environment's secrets do."""
    monkeypatch.setenv("RECEIVER_SECRET_KEY", "canary")
    said = await sink(tmp_path, 'cat > /dev/null; echo "$1"; env', words="'$(id) > x'").send(event())
    assert "$(id) > x" in said
    assert "canary" not in said


async def test_a_program_that_does_not_end_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    """After the limit the program and its children are gone, and the attempt has failed."""
    began = time.monotonic()
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(SinkFailedError, match=r"within 3(\.0)? seconds"):
        await sink(tmp_path, script, timeout=3.0).send(event())
    assert time.monotonic() - began < 50
    assert not _lives(int((tmp_path / "child").read_text()))


def _lives(pid: int) -> bool:
    """Whether there is such a process that is not dead and waiting to be collected."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}


async def test_a_program_need_not_read_and_may_say_much(tmp_path: Path) -> None:
    """A program that ignores its input succeeds, and a flood of words is cut."""
    big = event(b'{"x": "%s"}' % (b"x" * 1024 * 1024), largest=1 << 30)
    said = await sink(tmp_path, "head -c 5000000 /dev/zero | tr '\\0' 'y'; exec < /dev/null").send(big)
    assert len(said) < 3000
