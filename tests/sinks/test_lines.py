"""JSON lines: appended and synced, in a file that its name rotates, or on standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from receiver.cli.streams import _text, _Tolerant
from receiver.sinks.sink import SinkAwayError
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from pathlib import Path

#: Python's names of what the kinds of sinks are sent with.
CLIENTS = {
    "aio_pika", "aiobotocore", "aiokafka", "arq", "celery", "dramatiq", "nats", "procrastinate", "psycopg", "redis",
    "taskiq",
}  # fmt: skip


def read(folder: Path) -> dict[str, list[str]]:
    """The ids in each file of *folder*."""
    return {
        one.name: [json.loads(line)["id"] for line in one.read_text().splitlines()]
        for one in folder.iterdir()
    }


async def test_a_day_is_a_file(tmp_path: Path) -> None:
    """A field in the name makes a new file where its value changes; what is there already stays before what comes."""
    sink = opened(f"file://{tmp_path}/jobs-{{date}}.jsonl")
    for number, day in enumerate(("2026-11-20", "2026-11-20", "2026-11-21")):
        one = event(number=number)
        said = await sink.send(replace(one, fields=one.fields | {"date": day}))
        assert said.startswith("synced at byte ")
    await sink.close()
    ids = [event(number=number).id for number in range(3)]
    assert read(tmp_path) == {"jobs-2026-11-20.jsonl": ids[:2], "jobs-2026-11-21.jsonl": ids[2:]}


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """It may be a volume that is mounted yet; no attempt is used up."""
    sink = opened(f"file://{tmp_path}/later/jobs.jsonl")
    with pytest.raises(SinkAwayError, match="No such file or directory"):
        await sink.send(event())
    (tmp_path / "later").mkdir()
    assert await sink.send(event()) == "synced at byte 0"
    await sink.close()


async def test_standard_output_gets_a_line_an_event(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Whole lines, for whoever collects them."""
    sink = opened("stdout:")
    for number in range(2):
        assert await sink.send(event(number=number)) == "written"
    await sink.close()
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [event(number=number).id for number in range(2)]


async def test_standard_output_that_nobody_reads_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it takes everything from handlers, as in what serves; and a handler that closes it changes nothing."""
    reading, writing = os.pipe()
    out = _text(_Tolerant(writing))
    monkeypatch.setattr(sys, "stdout", out)
    sink = opened("stdout:")
    out.close()
    assert await sink.send(event()) == "written"
    assert json.loads(os.read(reading, 100_000))["id"] == event().id
    os.close(reading)
    with pytest.raises(SinkAwayError, match="read by nobody"):
        await sink.send(event())
    await sink.close()
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SinkAwayError, match="standard output: it is closed"):
        await opened("stdout:").send(event())
    os.close(writing)


def test_no_client_of_another_kind_is_imported() -> None:
    """A process with a sink of one kind loads nothing of the others, installed as they all are."""
    code = (
        "import sys\n"
        "from receiver.settings import Settings\n"
        "from receiver.sinks.sinks import Sinks\n"
        "settings = Settings.load({'RECEIVER_SINK_JOBS': 'nats://127.0.0.1:4222/jobs.{provider}'})\n"
        "assert [one.name for one in Sinks(settings, clock=lambda: 0).configs] == ['jobs']\n"
        f"print(sorted({CLIENTS!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['nats']\n"
