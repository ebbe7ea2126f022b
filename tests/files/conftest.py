import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from receiver import Job, Receiver, Settings
from receiver.core.file import File, FileState
from receiver.files.folder import Folder
from tests import sqlite
from tests.path.described import describe

from .shelf import Kept, Shelf, shelf

LINKS: Final = '[[files]]\npath = "links.*"\n'
DESCRIBED: Final = {"every": "1s", "expected": "1s"}


class Here:
    """One provider whose results are links, one database, and receivers that come and go."""

    def __init__(self, folder: Path, serving: Shelf, database_url: str) -> None:
        self.folder = folder
        self.shelf = serving
        self.environ = {
            "RECEIVER_DATABASE_URL": database_url,
            "RECEIVER_SECRET_KEY": "a master key for tests that is long enough",
            "RECEIVER_PROVIDERS_DIR": str(folder / "providers"),
            "RECEIVER_FILES_URL": (folder / "kept").as_uri(),
            "RECEIVER_DISK_FLOOR": "0",
            "RECEIVER_API_TOKEN": "the API token of the tests",
        }
        self.describe()

    def describe(self, files: str = LINKS, **options: Any) -> None:  # noqa: ANN401
        """Describe the provider, with its ``[[files]]``."""
        describe(self, self.shelf, files=files, **options)  # type: ignore[arg-type]

    def links(self, *names: str, **kept: Kept) -> None:
        """Have the next results link to *kept*."""
        del names
        self.shelf.result = {"links": [self.shelf.put(name, one) for name, one in kept.items()]}

    @asynccontextmanager
    async def receiver(
        self, prepare: Callable[[Receiver], object] | None = None, **settings: str
    ) -> AsyncIterator[Receiver]:
        """A receiver in this process, without a socket."""
        receiver = Receiver(Settings.load(self.environ | settings))
        if prepare is not None:
            prepare(receiver)
        await receiver.start()
        try:
            yield receiver
        finally:
            await receiver.stop()

    async def run(self, receiver: Receiver, *, patience: float = 15, **options: Any) -> Job:  # noqa: ANN401
        """A job from its submission to its end."""
        job = await receiver.submit("made-up", {"a": 1}, **options)
        # Nobody waits for the first regular question here.
        await poll(receiver, job)
        return await receiver.wait(job.id, timeout=patience)

    def kept(self) -> list[Path]:
        """What is whole in the folder."""
        return sorted(one for one in (self.folder / "kept" / "sha256").glob("*/*"))

    def unfinished(self) -> list[Path]:
        """What is not."""
        return sorted((self.folder / "kept" / "unfinished").glob("*"))


async def poll(receiver: Receiver, job: Job) -> None:
    """Ask about a job now."""
    from receiver.storage.claims import LookClaim  # noqa: PLC0415

    running = receiver.running
    wish = LookClaim(job_id=job.id, owner="a test", lease_ms=60_000, now=running.clock())
    claimed = await running.store.claim_look(wish)
    if claimed is not None:
        await running.steps.take(claimed)
        running.notify()


def states(files: tuple[File, ...]) -> list[tuple[FileState, str | None]]:
    """How files stand."""
    return [(one.state, one.code) for one in files]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        return sqlite.migrated(tmp_path / "receiver.db")
    made: str = request.getfixturevalue("migrated_url")
    return made


@pytest.fixture
async def here(tmp_path: Path, database_url: str) -> AsyncIterator[Here]:
    """A provider, and room for receivers."""
    async with shelf() as serving:
        yield Here(tmp_path, serving, database_url)


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    """A file store in a folder."""
    opened = Folder(tmp_path / "kept", floor=0)
    yield opened
    await opened.close()
    await asyncio.sleep(0)
