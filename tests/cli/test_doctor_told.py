"""The doctor and sinks: what is configured is known, to it, to serve and to config show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program, Started

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"


def checks(program: Program) -> dict[str, dict[str, str]]:
    """What the doctor finds, by the name of the check."""
    return {one["name"]: one for one in program.run("doctor", "--json").json["checks"]}


def told(serving: Started) -> list[str]:
    """What serve has logged, by name."""
    return [json.loads(one)["event"] for one in serving.err if one.startswith("{")]


@pytest.fixture(params=["sqlite", "postgres"])
def sinking(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    """The program with a sink that a variable makes, from a file, and one of a file of sinks that has a secret."""
    program: Program = request.getfixturevalue("alone" if request.param == "sqlite" else "on_postgres")
    (tmp_path / "address").write_text(f"file://{tmp_path}/orders.jsonl", encoding="utf-8")
    (tmp_path / "sinks.toml").write_text(
        '[sinks.bills]\nto = "https://127.0.0.1:1/"\nsecret = "env:RECEIVER_BILLS_SECRET"\n', encoding="utf-8"
    )
    return program.but(
        RECEIVER_SINK_ORDERS_FILE=str(tmp_path / "address"),
        RECEIVER_SINKS=str(tmp_path / "sinks.toml"),
        RECEIVER_BILLS_SECRET=SECRET,
    )


def test_sinks_are_neither_unknown_nor_orphans(sinking: Program) -> None:
    """A process that serves knows their variables, the doctor their names; with or without handlers beside them."""
    for program in (sinking, sinking.but(RECEIVER_HANDLERS="")):
        with program.started("serve", "--port", "0") as serving:
            serving.wait_for("receiver_listening")
            assert "setting_unknown" not in told(serving)
            found = checks(program)
            assert "setting unknown" not in found
            assert found["sinks"]["status"] == "ok"
            if program is sinking:
                assert found["handlers"]["status"] == "ok", found["handlers"]
                assert found["handlers"]["text"] == "broken, save, sink:bills, sink:orders"
    # Its handlers are still in the record, and they alone are gone.
    assert found["handlers"]["text"].endswith(": broken, save")


def test_what_makes_sinks_is_shown(sinking: Program) -> None:
    """With where it came from, and without a secret."""
    done = sinking.run("config", "show", "--json")
    shown = {one["name"]: one for one in done.json["settings"]}
    assert done.json["unknown"] == []
    assert shown["RECEIVER_SINK_ORDERS"]["value"].endswith("/orders.jsonl")
    assert shown["RECEIVER_SINK_ORDERS"]["source"].startswith("file ")
    assert shown["RECEIVER_BILLS_SECRET"]["value"] == "***"
    assert SECRET not in done.out


def test_a_sink_that_is_wrong_fails(alone: Program) -> None:
    """Without a database too, as serve would; nobody is told that its variable is unknown."""
    found = checks(alone.but(RECEIVER_SINK_ORDERS="nowhere:x"))
    assert found["sinks"]["status"] == "fail"
    assert "RECEIVER_SINK_ORDERS" in found["sinks"]["text"]
    assert "setting unknown" not in found
