"""The doctor beside the alarms: what both would tell is told once."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program

ALARM = (
    "INSERT INTO alarm (id, name, provider, subject, raised_at, cause, advice) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
DISPATCH = (
    "INSERT INTO dispatch (job_id, handler, replay_id, state, run_at, attempt, created_at, error_code, error_text) "
    "VALUES ('job_1', 'mail', '', 'dead', ?, 8, ?, 'ConnectionError', 'gone')"
)
CIRCUIT = (
    "INSERT INTO circuit (handler, state, failures, since, trials, error_code, error_text) "
    "VALUES ('mail', 'open', 5, ?, 0, 'ConnectionError', 'gone')"
)


def test_what_a_check_tells_is_not_told_again_by_its_alarm(alone: Program, tmp_path: Path) -> None:
    """Dead letters, circuits and what else has a check of its own; an alarm about anything else stays a line."""
    assert alone.run("db", "migrate").code == 0
    now = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection:
        connection.execute(
            "INSERT INTO handler (name, provider, state, seen_at) VALUES ('mail', '', 'any', ?)", (now,)
        )
        connection.execute(DISPATCH, (now, now))
        connection.execute(CIRCUIT, (now,))
        for number, (name, provider, subject) in enumerate(
            [("dead_letters", "", "mail"), ("circuit_open", "", "mail"), ("callbacks_silent", "pulse", "")]
        ):
            connection.execute(
                ALARM, (f"alarm_{number}", name, provider, subject, now, f"why {name}", "Look.")
            )
        connection.commit()
    found = [(one["name"], one["status"], one["text"]) for one in alone.json("doctor")["checks"]]
    text = "1 dispatch has no attempts left: 1 of mail (ConnectionError)"
    assert ("dead letters", "warn", text) in found
    assert [status for name, status, _ in found if name == "circuit mail"] == ["warn"]
    assert [name for name, *_ in found if name.startswith("alarm")] == ["alarm callbacks_silent pulse"]

    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection:
        connection.execute("DELETE FROM alarm WHERE name = 'callbacks_silent'")
        connection.commit()
    (last,) = (one for one in alone.json("doctor")["checks"] if one["name"] == "alarms")
    assert last["status"] == "ok"
