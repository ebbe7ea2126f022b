"""Settings, descriptions, the database and the doctor."""

from __future__ import annotations

import base64
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from receiver.cli import demo as demo_command
from receiver.cli import main
from receiver.core.model import DAY

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program


def test_keygen_needs_nothing(tmp_path: Path) -> None:
    """Every key is new and long enough, and no setting is read for it."""
    del tmp_path
    runner = CliRunner(env={"RECEIVER_PORT": "not a port"})
    one, other = runner.invoke(main, ["keygen"]).output, runner.invoke(main, ["keygen", "--json"]).output
    assert len(one.strip()) >= 32
    assert len(json.loads(other)["key"]) >= 32
    assert "," not in one


def test_demo_exits_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command hands over whether JSON is wanted, and exits with the answer."""
    asked = []

    def run(*, as_json: bool) -> int:
        asked.append(as_json)
        return 1

    monkeypatch.setattr(demo_command, "run", run)
    assert CliRunner().invoke(main, ["demo", "--json"]).exit_code == 1
    assert asked == [True]


def test_config_says_where_values_come_from(alone: Program, tmp_path: Path) -> None:
    """Environment, file or default; secrets are masked; a wrong one is named with exit code 2."""
    (tmp_path / "token").write_text("canary-token-from-a-file", encoding="utf-8")
    program = alone.but(
        RECEIVER_API_TOKEN="",
        RECEIVER_API_TOKEN_FILE="token",
        PORT="8123",
        RECEIVER_PULSE_BASE_URL="https://proxy.example",
    )
    shown = {one["name"]: one for one in program.json("config", "show")["settings"]}
    assert shown["RECEIVER_SECRET_KEY"] == {
        "name": "RECEIVER_SECRET_KEY",
        "value": "***",
        "source": "environment",
    }
    assert shown["RECEIVER_API_TOKEN"]["source"] == "file token"
    assert shown["RECEIVER_PORT"]["value"] == "8123"
    assert shown["RECEIVER_HOST"]["source"] == "default"
    assert shown["PULSE_API_KEY"]["value"] == "***"
    assert shown["RECEIVER_PULSE_BASE_URL"]["value"] == "https://proxy.example"
    text = alone.run("config", "show").out
    assert "RECEIVER_HANDLERS" in text
    wrong = alone.but(RECEIVER_PORT="door").run("config", "show")
    assert wrong.code == 2
    assert "RECEIVER_PORT" in wrong.err


def test_providers_are_listed_shown_and_checked(alone: Program, tmp_path: Path) -> None:
    """The packaged descriptions are right; a wrong one is 1, with file, key and reason."""
    listed = {one["name"]: one for one in alone.json("providers", "list")["providers"]}
    assert listed["pulse"]["credentials"] is True
    assert "pulse" in alone.run("providers", "list").out
    assert alone.json("providers", "show", "pulse")["poll"]["every"] == 5000
    shown = alone.run("providers", "show", "pulse").out
    assert "PULSE_WEBHOOK_SECRET" in shown
    assert "/webhooks/pulse" in shown
    assert alone.run("providers", "show", "brew").code == 2
    assert alone.json("providers", "check")["ok"] is True

    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "tea.toml").write_text('name = "tea"\ntitle = 1\n', encoding="utf-8")
    checked = alone.run("providers", "check", str(folder))
    assert checked.code == 1
    assert checked.out.startswith("tea.toml: title:")
    assert alone.run("providers", "check", "nowhere").code == 2


def test_the_database_is_migrated_and_exported(alone: Program, tmp_path: Path) -> None:
    """Migrations are carried out once; every table is exported, bytes in base64, for the owner only."""
    assert alone.run("db", "export", "out").code == 3
    assert alone.json("db", "migrate")["migrations"][0] == "0001_initial.sql"
    assert alone.json("db", "migrate")["migrations"] == []
    with sqlite3.connect(tmp_path / "receiver.db") as connection:
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


def test_prune_deletes_what_is_old(alone: Program, tmp_path: Path) -> None:
    """A dry run counts; four days are the least."""
    alone.run("db", "migrate")
    with sqlite3.connect(tmp_path / "receiver.db") as connection:
        connection.execute(
            "INSERT INTO job (id, provider, operation, state, delivery, key_id, created_at, ended_at, deadline_at, "
            "keep_from, submission, callbacks) "
            "VALUES ('job_00', 'pulse', '', 'failed', 'none', '', 1, ?, 1, 'completion', 'sent', 0)",
            (DAY,),
        )
    connection.close()
    counted = {"dry_run": True, "jobs": 1, "callbacks": 0}
    assert alone.json("db", "prune", "--older-than", "30d", "--dry-run") == counted
    assert alone.run("db", "prune", "--older-than", "30d").out == "deleted 1 jobs and 0 callbacks\n"
    refused = alone.run("db", "prune", "--older-than", "95h")
    assert refused.code == 2
    assert "4 days" in refused.err


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
    with sqlite3.connect(tmp_path / "receiver.db") as connection:
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
