"""Which handlers get completions, and how one that was removed no longer does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .programs import PATIENCE

if TYPE_CHECKING:
    from .programs import Program

ONE_HANDLER = """
from receiver import Job, Receiver

receiver = Receiver()


@receiver.on("perplexity-webhook")
async def save(job: Job) -> None:
    job.result.json()
"""


def test_handlers_are_listed(program: Program) -> None:
    """Each with what it wants, when it was last seen, and how many of its dispatches are not finished."""
    broken, save = program.json("handlers", "list")["handlers"]
    assert (save["name"], save["provider"], save["state"]) == ("save", "perplexity-webhook", "succeeded")
    assert (broken["name"], broken["provider"], broken["state"]) == ("broken", "netnut", "any")
    assert save["seen_at"].endswith("Z")
    assert {"waiting", "dead"} < save.keys()
    head, *rows = program.run("handlers", "list").out.splitlines()
    assert head.split() == ["NAME", "PROVIDER", "STATE", "SEEN", "WAITING", "DEAD", "CIRCUIT"]
    assert [row.split()[0] for row in rows] == ["broken", "save"]


def test_a_handler_that_lives_is_not_forgotten(program: Program) -> None:
    """That is a conflict; a name that nobody knows is not found."""
    done = program.run("handlers", "forget", "save", "--json")
    assert (done.code, done.out, done.problem["code"]) == (1, "", "handler_in_use")
    assert "restart every node without it" in done.problem["detail"]
    done = program.run("handlers", "forget", "nobody", "--json")
    assert (done.code, done.out, done.problem["code"]) == (3, "", "handler_unknown")


def test_a_handler_that_was_removed_is_forgotten(on_postgres: Program) -> None:
    """PostgreSQL keeps it registered when nodes start without it; the doctor names the command that drops it."""
    before = on_postgres.but(RECEIVER_LEASE="2")
    (before.folder / "fewer.py").write_text(ONE_HANDLER, encoding="utf-8")
    after = before.but(RECEIVER_HANDLERS="fewer:receiver")

    def checked() -> tuple[str, str, str]:
        found = {one["name"]: one for one in after.json("doctor")["checks"]}["handlers"]
        return found["status"], found["text"], found["next"]

    with before.started("worker") as working:
        working.wait_for("worker_started")
        assert after.run("handlers", "forget", "broken", "--json").problem["code"] == "handler_in_use"
        assert working.stop() == 0
    with after.started("worker") as working:
        working.wait_for("worker_started")
        status, text, following = checked()
        assert (status, "broken" in text, "save" in text) == ("warn", True, False)
        assert "receiver handlers forget" in following
        until = time.monotonic() + PATIENCE
        while (done := after.run("handlers", "forget", "broken")).code == 1:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert (done.code, done.out, done.err) == (0, "forgotten broken\n", "")
        assert [one["name"] for one in after.json("handlers", "list")["handlers"]] == ["save"]
        assert checked()[:2] == ("ok", "save")
