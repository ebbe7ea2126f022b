"""Keys, settings and descriptions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from receiver.cli import main

from .programs import DATABASE_PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program

#: A description of one's own, whose sample does not read as it says.
TEA = """
name = "tea"
title = "Tea"
origins = ["https://tea.example"]
deadline = "1h"
sources = [{ url = "https://tea.example/docs", read = "2026-11-20" }]

[[credentials]]
secret = "env:RECEIVER_TEA_KEY"

[submit]
url = "https://tea.example/jobs"
answer = "job"

[poll]
url = ["https://tea.example/jobs/{id}"]
answer = "job"
every = "10s"
longest = "1m"

[shapes.job]
id = ["id"]
status = "status"
states = { done = "succeeded" }

[[samples]]
shape = "job"
body = '{"id": "42", "status": "done"}'
id = "43"
"""


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

    def run(*, as_json: bool, keep: bool) -> int:
        asked.append((as_json, keep))
        return 1

    monkeypatch.setattr("receiver.demo.run", run)
    assert CliRunner().invoke(main, ["demo", "--json"]).exit_code == 1
    assert asked == [(True, False)]


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
    assert (shown["RECEIVER_MIGRATE"]["value"], shown["RECEIVER_MIGRATE"]["source"]) == ("1", "default")
    text = alone.run("config", "show").out
    assert "RECEIVER_HANDLERS" in text
    wrong = alone.but(RECEIVER_PORT="door").run("config", "show")
    assert wrong.code == 2
    assert "RECEIVER_PORT" in wrong.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:{}@h:5432/db?sslmode=require", "postgresql://u:***@h:5432/db?sslmode=require"),
        ("postgresql://u:a@b:{}@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a/{}@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?user=u&password={}", "postgresql://h/db?user=u&password=***"),
        ("postgresql://h/db?sslmode=require&pasword={}", "postgresql://h/db?sslmode=require&pasword=***"),
        ("host=h password={}", "***"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
    ],
)
def test_a_databases_password_is_never_shown(alone: Program, tmp_path: Path, url: str, shown: str) -> None:
    """However it is written, and from a file too."""
    (tmp_path / "url").write_text(url.format(DATABASE_PASSWORD), encoding="utf-8")
    program = alone.but(RECEIVER_DATABASE_URL="", RECEIVER_DATABASE_URL_FILE="url")
    (one,) = [
        one for one in program.json("config", "show")["settings"] if one["name"] == "RECEIVER_DATABASE_URL"
    ]
    assert (one["value"], one["source"]) == (shown, "file url")


def test_a_misspelled_setting_is_named(alone: Program, tmp_path: Path) -> None:
    """With the known one that is most like it; what others read, or nobody set, is left alone."""
    (tmp_path / "tea.toml").write_text(TEA, encoding="utf-8")
    program = alone.but(
        RECEIVER_PUBLIK_URL="https://example.com",
        RECEIVER_PULS_BASE_URL="https://example.com",
        RECEIVER_TEA_BASE_URL="https://example.com",
        RECEIVER_TEA_KEY_FILE="tea.toml",
        RECEIVER_API_TOKENS_FILE="tokens",
        RECEIVER_PROVIDERS_DIR=str(tmp_path),
        RECEIVER_EMPTY="",
        RECEIVER_TEST_POSTGRES_URL="postgresql://",
        RECEIVER_SERVICE_HOST="10.0.0.1",
        RECEIVER_PORT_8000_TCP_ADDR="10.0.0.1",
    )
    found = {one["name"]: one["nearest"] for one in program.json("config", "show")["unknown"]}
    assert found == {
        "RECEIVER_API_TOKENS_FILE": "RECEIVER_API_TOKEN",
        "RECEIVER_PUBLIK_URL": "RECEIVER_PUBLIC_URL",
        "RECEIVER_PULS_BASE_URL": "RECEIVER_PULSE_BASE_URL",
    }
    assert "Did you mean RECEIVER_PUBLIC_URL?" in program.run("config", "show").err
    report = program.run("doctor", "--json").json
    warned = [one for one in report["checks"] if one["name"] == "setting unknown"]
    assert [one["status"] for one in warned] == ["warn"] * 3
    with program.started("serve", "--port", "0") as serving:
        said = json.loads(serving.wait_for("RECEIVER_PUBLIK_URL"))
        assert (said["event"], said["level"]) == ("setting_unknown", "warning")
        assert said["nearest"] == "RECEIVER_PUBLIC_URL"


def test_jobs_are_not_kept_for_less_than_senders_retry(alone: Program) -> None:
    """A number of days that could not be kept to is refused, with the reason."""
    for days, code in (("3", 2), ("4", 0), ("0", 0)):
        done = alone.but(RECEIVER_KEEP_DAYS=days).run("config", "show")
        assert done.code == code
        assert ("76 hours" in done.err) == bool(code)


def test_what_a_provider_still_lacks_is_named(alone: Program, tmp_path: Path) -> None:
    """Credentials and signing secret apart; a sample that reads otherwise is said in plain words."""
    program = alone.but(PULSE_WEBHOOK_SECRET="", PERPLEXITY_API_KEY="")
    listed = {one["name"]: one for one in program.json("providers", "list")["providers"]}
    assert (listed["pulse"]["credentials"], listed["pulse"]["missing"]) == (True, ["PULSE_WEBHOOK_SECRET"])
    assert listed["perplexity"]["missing"] == ["PERPLEXITY_API_KEY"]
    assert listed["netnut"]["missing"] == []
    rows = {line.split()[0]: line for line in program.run("providers", "list").out.splitlines()}
    assert max(map(len, rows.values())) <= 80
    assert rows["pulse"].endswith("missing")
    assert rows["netnut"].endswith("set")
    assert "missing: PULSE_WEBHOOK_SECRET" in program.run("providers", "show", "pulse").out

    (tmp_path / "tea.toml").write_text(TEA, encoding="utf-8")
    checked = program.run("providers", "check", str(tmp_path))
    assert checked.code == 1
    assert 'the id reads as "42", not "43"' in checked.out
    assert 'the state reads as "succeeded", not nothing' in checked.out


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
