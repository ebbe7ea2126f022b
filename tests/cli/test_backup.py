"""A backup by hand: one state, for its owner only, while the database is served."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from .programs import DATABASE_PASSWORD
from .test_database import JOB, make

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program


def mode(path: Path) -> int:
    """Who may read the file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_backup_is_the_database_for_its_owner_only(alone: Program, tmp_path: Path) -> None:
    """Made while it is served, it has what was committed, and can be served in its turn."""
    make(alone)
    with alone.started("serve", "--port", "0") as serving:
        serving.wait_for("receiver_listening")
        done = alone.json("db", "backup", "backup.db")
    copy = tmp_path / "backup.db"
    assert (done["bytes"], mode(copy)) == (copy.stat().st_size, 0o600)
    assert not [*tmp_path.glob("backup.db?*")]
    restored = alone.but(RECEIVER_DATABASE_URL=f"sqlite:///{copy}")
    assert [one["id"] for one in restored.json("jobs", "list")["jobs"]] == [JOB]
    checks = {one["name"]: one["status"] for one in restored.json("doctor")["checks"]}
    assert (checks["file"], checks["migrations"], "mode" in checks) == ("ok", "ok", False)
    copy.chmod(0o644)
    assert {one["name"]: one["status"] for one in restored.json("doctor")["checks"]}["mode"] == "warn"


def test_a_backup_is_one_state_while_others_write(alone: Program, tmp_path: Path) -> None:
    """Whoever writes meanwhile goes on, and what is copied was true at one moment."""
    make(alone)
    stop, committed = threading.Event(), [0]

    def write() -> None:
        with closing(sqlite3.connect(tmp_path / "receiver.db", isolation_level=None)) as connection:
            while not stop.is_set() and committed[0] < 2000:
                # Two rows at a time: a copy that has an odd number of them is torn.
                connection.execute("BEGIN IMMEDIATE")
                for _ in range(2):
                    connection.execute("INSERT INTO pruned VALUES (?, 1)", (os.urandom(32) * 64,))
                connection.execute("COMMIT")
                committed[0] += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        before = committed[0]
        for number in range(3):
            assert alone.run("db", "backup", f"{number}.db").code == 0
        assert committed[0] > before
    finally:
        stop.set()
        writing.join()
    for number in range(3):
        with closing(sqlite3.connect(tmp_path / f"{number}.db")) as connection:
            ((rows,),) = connection.execute("SELECT count(*) FROM pruned")
            assert rows % 2 == 0
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_nothing_is_overwritten_and_nothing_is_left(alone: Program, tmp_path: Path) -> None:
    """A file that is there stays as it is; without room, folder or database no half of one stays."""
    assert alone.run("db", "backup", "early.db", "--json").problem["code"] == "database_missing"
    make(alone)
    (tmp_path / "kept.db").write_text("kept")
    (tmp_path / "new.db.part").write_text("of another")
    for name in ("kept.db", "new.db"):
        refused = alone.run("db", "backup", name, "--json")
        assert (refused.code, refused.problem["code"]) == (1, "backup_exists")
    assert (tmp_path / "kept.db").read_text() == "kept"
    assert (tmp_path / "new.db.part").read_text() == "of another"
    nowhere = alone.run("db", "backup", "no/folder.db", "--json")
    assert (nowhere.code, nowhere.problem["code"]) == (1, "backup_failed")
    assert {one.name for one in tmp_path.glob("*.db*")} >= {"kept.db", "new.db.part"}
    assert not [*tmp_path.glob("early*"), *tmp_path.glob("new.db")]


def test_postgresql_is_backed_up_with_its_own_tools(alone: Program) -> None:
    """The sentence names them; nobody is asked, and no password is told."""
    url = f"postgresql://u:{DATABASE_PASSWORD}@127.0.0.1:1/db"
    refused = alone.but(RECEIVER_DATABASE_URL=url).run("db", "backup", "x.db")
    assert refused.code == 2
    assert "pg_dump" in refused.err
