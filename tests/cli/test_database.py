"""The database by hand: migrated, pruned, exported and copied."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from receiver.core.model import DAY

from .conftest import CHAT

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program

JOB = "job_00000000000000000000000000000001"


def make(program: Program, error: str | None = None) -> str:
    """Make an SQLite database with one job that failed long ago; its address."""
    program.run("db", "migrate")
    with closing(sqlite3.connect(program.folder / "receiver.db")) as connection, connection:
        connection.execute(
            "INSERT INTO job (id, provider, operation, state, delivery, key_id, created_at, ended_at, deadline_at, "
            "keep_from, submission, callbacks, error_code, error_text) "
            "VALUES (?, 'pulse', '', 'failed', 'none', '', 1, ?, 1, 'completion', 'sent', 0, 'x', ?)",
            (JOB, DAY, error),
        )
    connection.close()
    return f"sqlite:///{program.folder}/receiver.db"


def test_the_database_is_migrated_and_exported(alone: Program, tmp_path: Path) -> None:
    """Migrations are carried out once; every table is exported, bytes in base64, for the owner only."""
    assert alone.run("db", "export", "out").code == 3
    assert alone.json("db", "migrate")["migrations"][0] == "0001_initial.sql"
    assert alone.json("db", "migrate")["migrations"] == []
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        connection.execute("INSERT INTO pruned VALUES (?, 1)", (b"\x00\xff",))
    connection.close()

    counts = alone.json("db", "export", "out")["tables"]
    assert counts["pruned"] == 1
    assert counts["job"] == 0
    row = json.loads((tmp_path / "out" / "pruned.ndjson").read_text(encoding="utf-8"))
    assert row == {
        "digest": {"$base64": True, "encoded": base64.b64encode(b"\x00\xff").decode()},
        "pruned_at": 1,
    }
    assert (tmp_path / "out" / "pruned.ndjson").stat().st_mode & 0o077 == 0
    lines = alone.run("db", "export", "-").out.splitlines()
    assert {"table": "pruned", "row": row} in map(json.loads, lines)


def test_prune_deletes_what_is_old(alone: Program) -> None:
    """A dry run counts; four days are the least."""
    make(alone)
    counted = {
        "dry_run": True,
        "jobs": 1,
        "callbacks": 0,
        "tables": {"job": 1},
        "files": 0,
        "file_bytes": 0,
    }
    assert alone.json("db", "prune", "--older-than", "30d", "--dry-run") == counted
    assert alone.run("db", "prune", "--older-than", "30d").out == "deleted 1 jobs and 0 callbacks\n"
    refused = alone.run("db", "prune", "--older-than", "95h")
    assert refused.code == 2
    assert "4 days" in refused.err


def test_room_that_is_free_is_given_back(on_postgres: Program, alone: Program) -> None:
    """In steps, on each database; a file of an older version is written anew once, which the command does by itself."""
    make(alone)
    with closing(sqlite3.connect(alone.folder / "receiver.db")) as connection, connection:
        connection.execute("CREATE TABLE large (content)")
        connection.execute("INSERT INTO large VALUES (zeroblob(3000000))")
        connection.execute("DROP TABLE large")
    connection.close()
    assert alone.json("db", "vacuum")["freed_bytes"] > 2_900_000
    assert (alone.folder / "receiver.db").stat().st_size < 1_000_000
    assert alone.json("db", "vacuum")["freed_bytes"] == 0
    on_postgres.run("db", "migrate")
    assert on_postgres.json("db", "vacuum")["freed_bytes"] >= 0


def test_postgresql_is_exported_too(on_postgres: Program, alone: Program) -> None:
    """In the same form, so that two exports can be compared."""
    source = make(alone)
    on_postgres.json("db", "copy", source, "env:RECEIVER_DATABASE_URL")
    assert on_postgres.run("db", "export", "-").out == alone.run("db", "export", "-").out
    assert on_postgres.json("db", "export", "out.ndjson")["tables"]["job"] == 1


def test_a_copy_is_the_record(on_postgres: Program, alone: Program) -> None:
    """Counts and checksums by table as JSON; afterwards the record is the target's, and the source is as it was."""
    source = make(alone, error="a\0b")
    before = alone.run("db", "export", "-").out
    done = on_postgres.json("db", "copy", source, "env:RECEIVER_DATABASE_URL")
    assert done["tables"]["job"]["rows"] == 1
    assert len(done["tables"]["job"]["sha256"]) == 64
    assert done["replaced"] == [f"job(id={JOB}).error_text"]
    assert [one["id"] for one in on_postgres.json("jobs", "list")["jobs"]] == [JOB]
    assert alone.run("db", "export", "-").out == before

    again = on_postgres.run("db", "copy", source, "env:RECEIVER_DATABASE_URL", "--json")
    assert (again.code, again.out, again.problem["code"]) == (1, "", "copy_not_empty")


def test_a_copy_says_how_far_it_is_and_what_comes_next(on_postgres: Program, alone: Program) -> None:
    """On standard error; the address to set is shown without its password."""
    source = make(alone, error="a\0b")
    done = on_postgres.run("db", "copy", source, "env:RECEIVER_DATABASE_URL")
    assert (done.code, done.out) == (0, "")
    lines = done.err.splitlines()
    assert "job: 1 rows copied" in lines
    assert "job: 1 rows agree" in lines
    assert f"1 texts held NUL characters, which became U+FFFD: job(id={JOB}).error_text" in done.err
    assert lines[-1].startswith("Now change RECEIVER_DATABASE_URL to postgresql://receiver:***@")


def test_a_copy_is_refused_where_it_could_not_be_true(program: Program, alone: Program) -> None:
    """A database that is served, one that is not there, an address that is none; nothing is made for it."""
    target = f"sqlite:///{alone.folder}/target.db"
    served = alone.run("db", "copy", program.settings["RECEIVER_DATABASE_URL"], target, "--json")
    assert (served.code, served.problem["code"]) == (2, "already_served")
    missing = alone.run("db", "copy", f"sqlite:///{alone.folder}/nowhere.db", target, "--json")
    assert (missing.code, missing.problem["code"]) == (3, "database_missing")
    assert "nowhere.db" in missing.problem["detail"]
    unset = alone.run("db", "copy", "env:NO_SUCH_URL", target, "--json")
    assert (unset.code, unset.problem["code"]) == (2, "database_url_invalid")
    assert not (alone.folder / "target.db").exists()
    words = alone.run("db", "copy", "env:NO_SUCH_URL", target).err.splitlines()
    assert words[-1].startswith("error: FROM: env:NO_SUCH_URL is not set")


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--port", "0"],
        ["worker"],
        ["submit", "pulse", "-"],
        ["jobs", "list"],
        ["db", "migrate"],
        ["db", "export", "out"],
        ["db", "copy", "sqlite:///receiver.db", "sqlite:///target.db"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_an_unfinished_copy_is_refused_everywhere(alone: Program, command: list[str]) -> None:
    """Half a record is nobody's to use; the doctor fails, and says so."""
    make(alone)
    with closing(sqlite3.connect(alone.folder / "receiver.db")) as connection, connection:
        connection.execute("CREATE TABLE copying (begun INTEGER PRIMARY KEY)")
    connection.close()
    done = alone.run(*command, "--json", given=CHAT)
    assert (done.code, done.problem["code"]) == (2, "copy_unfinished")
    report = alone.run("doctor", "--json")
    assert report.code == 1
    assert [one["name"] for one in report.json["checks"] if one["status"] == "fail"] == ["migrations"]


@pytest.mark.parametrize(
    "command",
    [
        *(["jobs", name, JOB] for name in ("show", "wait", "poll", "cancel", "resubmit", "abandon")),
        *(["callbacks", name, "cb_1"] for name in ("show", "body")),
        *([noun, "list"] for noun in ("jobs", "callbacks", "dead", "handlers")),
        ["handlers", "forget", "save"],
        ["callbacks", "reverify", "--provider", "pulse"],
        ["dead", "retry", "--all"],
        ["dead", "discard", "--all"],
        ["replay", JOB],
        ["tail"],
        ["sign", "perplexity-webhook", "-", "--job", "job_1"],
        ["db", "prune", "--older-than", "30d"],
        ["db", "export", "out"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_what_only_reads_makes_no_database(alone: Program, command: list[str]) -> None:
    """It says that there is none, with the exit code for what was not found; nor does it migrate an old one."""
    done = alone.run(*command, "--json", given="{}")
    assert (done.code, done.problem["code"]) == (3, "database_missing")
    assert not (alone.folder / "receiver.db").exists()

    last = alone.json("db", "migrate")["migrations"][-1]
    with closing(sqlite3.connect(alone.folder / "receiver.db")) as connection, connection:
        connection.execute("DELETE FROM migration WHERE name = ?", (last,))
    connection.close()
    done = alone.run(*command, "--json", given="{}")
    assert (done.code, done.problem["code"]) == (2, "schema_older")


def test_a_submission_makes_the_database(alone: Program, program: Program) -> None:
    """It is the first thing that is recorded; RECEIVER_MIGRATE=0 leaves that to db migrate."""
    urls = {name: url for name, url in program.settings.items() if name.endswith("_BASE_URL")}
    forbidden = alone.but(RECEIVER_MIGRATE="0").run("submit", "perplexity", "-", "--json", given=CHAT)
    assert (forbidden.code, forbidden.problem["code"]) == (3, "database_missing")
    submitted = alone.but(**urls).json("submit", "perplexity", "-", given=CHAT)
    assert alone.json("jobs", "show", submitted["id"])["state"] == "submitted"


def test_a_key_that_no_record_holds_needs_no_database(alone: Program) -> None:
    """The key of a whole job id is derived; nothing is made for it."""
    done = alone.run("sign", "perplexity-webhook", "-", "--job", JOB, given="{}")
    assert done.code == 0
    assert not (alone.folder / "receiver.db").exists()
