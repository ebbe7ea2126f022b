"""The doctor: what it finds, and that it changes nothing."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from receiver.cli.database_checks import check_pages
from tests.ports import free_port

from .programs import DATABASE_PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import PostgresServer

    from .programs import Program


@pytest.mark.usefixtures("forged", "succeeded")
def test_the_doctor_looks_at_everything(program: Program) -> None:
    """Beside a serving process all is well, but for what the doctor warns about."""
    report = program.json("doctor")
    checks = {one["name"]: one for one in report["checks"]}
    assert report["ok"] is True
    assert {one["status"] for one in report["checks"]} <= {"ok", "warn"}
    for name in ("settings", "secret key", "providers", "migrations", "open jobs", "serving", "handlers"):
        assert checks[name]["status"] == "ok", checks[name]
    assert checks["public url"]["status"] == "warn"
    assert "reverify" in checks["quarantine pulse"]["next"]


def test_the_doctor_changes_nothing(alone: Program, tmp_path: Path) -> None:
    """No database is made, and no migration carried out."""
    done = alone.run("doctor")
    assert done.code == 0
    assert "There is no database" in done.out
    assert not (tmp_path / "receiver.db").exists()

    last = alone.json("db", "migrate")["migrations"][-1]
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        connection.execute("DELETE FROM migration WHERE name = ?", (last,))
    connection.close()
    checks = {one["name"]: one for one in alone.json("doctor")["checks"]}
    assert (checks["migrations"]["status"], last in checks["migrations"]["text"]) == ("warn", True)
    assert "receiver db migrate" in checks["migrations"]["next"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"RECEIVER_PORT": "door"}, "settings"),
        ({"RECEIVER_SECRET_KEY": "short"}, "secret key"),
        ({"RECEIVER_PROVIDERS_DIR": "nowhere"}, "providers"),
        ({"RECEIVER_DATABASE_URL": "sqlite:///hooks.py"}, "database"),
    ],
)
def test_the_doctor_fails_with_what_to_do(alone: Program, settings: dict[str, str], name: str) -> None:
    """A failure is 1, and says what to do next."""
    done = alone.but(**settings).run("doctor", "--json")
    (failed,) = [one for one in done.json["checks"] if one["status"] == "fail"]
    assert (done.code, failed["name"]) == (1, name)
    assert failed["next"]


def test_handlers_are_looked_at_without_a_database(alone: Program) -> None:
    """That they can be loaded is known before anything is served."""
    checks = {one["name"]: one for one in alone.json("doctor")["checks"]}
    assert (checks["handlers"]["status"], checks["handlers"]["text"]) == ("ok", "broken, save")
    done = alone.but(RECEIVER_HANDLERS="nowhere:receiver").run("doctor", "--json")
    (failed,) = [one for one in done.json["checks"] if one["status"] == "fail"]
    assert failed["name"] == "handlers"


def test_the_doctor_looks_at_postgresql(on_postgres: Program) -> None:
    """Reachable, durable, of which version; before anything is there, and after."""
    checks = {one["name"]: one for one in on_postgres.json("doctor")["checks"]}
    assert (checks["migrations"]["status"], checks["migrations"]["text"]) == ("warn", "nothing is there yet")
    on_postgres.json("db", "migrate")
    checks = {one["name"]: one for one in on_postgres.json("doctor")["checks"]}
    for name in ("database", "clock", "listening", "migrations", "open jobs", "dead letters"):
        assert checks[name]["status"] == "ok", checks[name]
    assert "PostgreSQL" in checks["database"]["text"]
    assert checks["serving"]["text"] == "no process serves this database"


def test_a_server_that_forgets_is_warned_of(alone: Program, postgres_server: PostgresServer) -> None:
    """What it acknowledges could be lost; the tests' own server is one."""
    program = alone.but(RECEIVER_DATABASE_URL=postgres_server.url())
    checks = {one["name"]: one for one in program.json("doctor")["checks"]}
    assert checks["durability"]["status"] == "warn"
    assert "fsync and full_page_writes are off" in checks["durability"]["text"]


@pytest.mark.parametrize(
    "url", ["postgresql://receiver:{}@127.0.0.1:{}/db", "postgres://receiver@127.0.0.1:{1}/db?password={0}"]
)
def test_a_server_out_of_reach_is_a_failure(alone: Program, url: str) -> None:
    """The doctor, serve and a command say so; none of them says the password."""
    program = alone.but(RECEIVER_DATABASE_URL=url.format(DATABASE_PASSWORD, free_port()))
    done = program.run("doctor", "--json")
    (failed,) = [one for one in done.json["checks"] if one["status"] == "fail"]
    assert (done.code, failed["name"]) == (1, "database")
    for command in (["serve", "--port", "0"], ["jobs", "list"], ["db", "migrate"]):
        refused = program.run(*command, "--json")
        assert (refused.code, refused.problem["code"]) == (1, "store_unavailable")


def test_a_file_is_read_for_as_long_as_there_is_time(alone: Program, tmp_path: Path) -> None:
    """What was not read is said, and how to have all of it read; how far that has come is told beside the checks."""
    alone.run("db", "migrate")
    file, told = tmp_path / "receiver.db", list[str]()
    cut = check_pages(file, tell=told.append, seconds=0.0)
    assert (cut.status, told) == ("ok", [])
    assert "no damage was found in 0 s, and 0 of its" in cut.text
    assert "'receiver doctor --whole'" in cut.text
    whole = check_pages(file, tell=told.append, seconds=math.inf)
    assert (whole.status, whole.text) == ("ok", "its pages are whole")
    done = alone.run("doctor", "--whole")
    assert (done.code, "file: its pages are whole" in done.out) == (0, True)
    assert told[0] in done.err


@pytest.mark.parametrize("options", [(), ("--whole",)])
def test_a_damaged_page_is_found(alone: Program, tmp_path: Path, options: tuple[str, ...]) -> None:
    """The doctor reads the file, names what is wrong with it, and fails; a file that is whole is said to be so."""
    alone.run("db", "migrate")
    checks = {one["name"]: one for one in alone.json("doctor")["checks"]}
    assert (checks["file"]["status"], checks["file"]["text"]) == ("ok", "its pages are whole")
    file = tmp_path / "receiver.db"
    content = file.read_bytes()
    with closing(sqlite3.connect(file)) as connection, connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'attempt'")
    connection.close()
    place = (root - 1) * 4096
    file.write_bytes(content[:place] + b"\xff" * 4096 + content[place + 4096 :])
    done = alone.run("doctor", "--json", *options)
    checks = {one["name"]: one for one in done.json["checks"]}
    assert (done.code, checks["file"]["status"]) == (1, "fail")
    assert "is damaged" in checks["file"]["text"]


def test_a_database_that_is_lost_is_a_failure(alone: Program, tmp_path: Path) -> None:
    """One that was never made is none; and what only reads says the same."""
    alone.run("db", "migrate")
    (tmp_path / "receiver.db").unlink()
    checks = {one["name"]: one for one in alone.run("doctor", "--json").json["checks"]}
    assert checks["migrations"]["status"] == "fail"
    assert "receiver db init" in checks["migrations"]["text"]
    for command in (("jobs", "list"), ("db", "migrate"), ("db", "export", "-"), ("serve", "--port", "0")):
        refused = alone.run(*command)
        assert (refused.code, "receiver db init" in refused.err + refused.out) == (2, True), command
    assert not (tmp_path / "receiver.db").exists()
    assert alone.json("db", "init")["made"] is True
    assert alone.json("db", "init") == {"made": False, "migrations": []}
    assert alone.json("jobs", "list")["jobs"] == []
