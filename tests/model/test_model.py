"""A model of all that may happen to a receiver, against both databases; README.md beside this file says more."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.storage.sqlite import driver, files
from tests.memory import MEMORY, has_room
from tests.model.crowd import Crowd, SmallCrowd
from tests.model.loop import ModelLoop
from tests.model.machine import Machine
from tests.model.record import Database, PostgresDatabase, SqliteFile
from tests.model.rounds import at_length, seeds


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, where a commit waits for no disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if has_room() else None) as made:
        yield Path(made)


def play(
    seed: int, database: Database, folder: Path, *, nodes: int, kind: type[Machine] = Machine
) -> Machine:
    """Play one round; raises BrokenPromiseError."""
    machines: list[Machine] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ModelLoop)
        machines.append(kind(seed, database, folder, loop, nodes=nodes))
        await machines[0].run()

    loop = ModelLoop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return machines[0]


@pytest.mark.parametrize("seed", seeds(5))
def test_promises_hold_on_sqlite(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One node on a file: whatever happens, every promise of the design is kept."""
    # The real time for which a lock is waited for, which the model's time does not count.
    for module in (driver, files):
        monkeypatch.setattr(module, "PATIENCE", 0.02)
    play(seed, SqliteFile(folder), folder, nodes=1)


@pytest.mark.parametrize("seed", seeds(4))
def test_promises_hold_on_postgresql(
    seed: int, folder: Path, migrated_url: str, postgres_template: str
) -> None:
    """One to three nodes on PostgreSQL: whatever happens, every promise of the design is kept."""
    play(seed, PostgresDatabase(migrated_url, postgres_template), folder, nodes=1 + seed % 3)


@pytest.mark.parametrize("seed", seeds(1))
def test_nothing_waits_for_long_on_sqlite(seed: int, folder: Path) -> None:
    """One node on a file: however much is to be done, limits are kept and everything has its turn in time."""
    play(seed, SqliteFile(folder), folder, nodes=1, kind=Crowd)


@pytest.mark.parametrize("seed", seeds(1))
def test_nothing_waits_for_long_on_postgresql(
    seed: int, folder: Path, migrated_url: str, postgres_template: str
) -> None:
    """Two nodes on PostgreSQL share what providers may be asked, and pauses; everything has its turn in time."""
    kind = Crowd if at_length() else SmallCrowd
    play(seed, PostgresDatabase(migrated_url, postgres_template), folder, nodes=2, kind=kind)
