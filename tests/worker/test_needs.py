"""What open jobs need of a process that starts: it is refused, or told of soon after, where that is not there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver import Receiver
from receiver.core.errors import ConfigurationError
from receiver.core.identity import JOB, new_id
from receiver.keys import Keys
from receiver.settings import Settings
from receiver.storage import open_keys
from receiver.storage.store import Store
from tests import sqlite
from tests.core.making import NOW
from tests.path.world import MASTER_KEY, until
from tests.storage.making import Desk

MANY = 40


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a receiver that polls nobody."""
    url = sqlite.migrated(tmp_path / "receiver.db")
    return Settings.load(
        {
            "RECEIVER_DATABASE_URL": url,
            "RECEIVER_SECRET_KEY": MASTER_KEY,
            "RECEIVER_PROVIDERS_DIR": str(tmp_path),
        }
    )


@pytest.fixture
async def desk(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A store of a provider that is described, where three open jobs are looked at, at either end, and one between."""
    (tmp_path / "acme.toml").write_text(
        'name = "acme"\ntitle = "Acme"\norigins = ["https://acme.example"]\n'
        'sources = [{ url = "https://acme.example", read = "2026-11-30" }]\n'
        '[submit]\nurl = "https://acme.example/jobs"\nanswer = "event"\n'
        '[poll]\nurl = ["https://acme.example/jobs/{id}"]\nanswer = "event"\n'
        '[shapes.event]\nid = ["id"]\nstatus = "status"\nstates = { done = "succeeded" }\nresult = "result"\n',
        encoding="utf-8",
    )
    for name, few in (("_ENDS", 3), ("_BETWEEN", 1), ("_RANGE", 7)):
        monkeypatch.setattr(open_keys, name, few)
    store = await Store.open(settings.database_url)
    yield Desk(store)
    await store.close()


async def needing(desk: Desk, settings: Settings, *, gone: int) -> None:
    """Have open jobs, one a millisecond, of which that of this number needs a key that is not there any more."""
    there = Keys(settings).newest.id
    for number in range(MANY):
        await desk.submitted(id=new_id(JOB, NOW + number), key_id="gone" if number == gone else there)


@pytest.mark.parametrize("gone", [0, MANY - 1])
async def test_a_receiver_that_lacks_a_key_of_an_open_job_does_not_start(
    desk: Desk, settings: Settings, gone: int
) -> None:
    """The sentence names the key, and the setting where it belongs."""
    await needing(desk, settings, gone=gone)
    with pytest.raises(
        ConfigurationError, match="need the master key gone, which is not in RECEIVER_SECRET_KEY"
    ):
        await Receiver(settings).start()


async def test_a_key_that_a_start_did_not_come_to_is_told_of_soon_after(
    desk: Desk, settings: Settings
) -> None:
    """Every open job is looked at, a range at a time; what is missing is logged, and stands among the warnings."""
    await needing(desk, settings, gone=10)
    receiver = Receiver(settings)
    running = await receiver.start(worker=False)
    try:
        await until(lambda: running.needs.trouble is not None)
        assert any("need the master key gone" in one for one in running.warnings())
        with pytest.raises(ConfigurationError):
            await running.needs.check_all()
    finally:
        await receiver.stop()
