"""A read that ends after its store was closed leaves no connection open."""

from pathlib import Path

import psycopg

from receiver.storage.postgres.driver import Postgres
from receiver.storage.schema import migrate
from receiver.storage.sqlite.driver import SQLite

SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_a_file_is_let_go(tmp_path: Path) -> None:
    """Nothing of this process has it open any more."""
    driver = SQLite(tmp_path / "receiver.db")
    migrate(driver)
    with driver.read() as tx:
        driver.close()
        assert tx.run("SELECT 1") == [(1,)]
    held = [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink() and one.exists()]
    assert not [one for one in held if one.name.startswith("receiver.db")]


def test_a_session_is_ended(migrated_url: str) -> None:
    """The server has none of ours any more."""
    driver = Postgres(migrated_url)
    with driver.read() as tx:
        driver.close()
        assert tx.run("SELECT 1") == [(1,)]
    with psycopg.connect(migrated_url, autocommit=True) as asking:
        # The server may take a moment to see that a session has ended.
        for _ in range(2000):
            if asking.execute(SESSIONS).fetchone() == (0,):
                return
            asking.execute("SELECT pg_sleep(0.02)")
    raise AssertionError("a session was left")
