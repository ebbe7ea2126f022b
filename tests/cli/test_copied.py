"""A database that was copied elsewhere is not served again by mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .test_database import JOB, make

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program


def test_what_was_copied_is_refused_until_somebody_says_so(alone: Program, tmp_path: Path) -> None:
    """In a sentence that names the other; it can be read, looked at and copied again all the same."""
    source = make(alone)
    for name in ("one", "two"):
        assert alone.run("db", "copy", source, f"sqlite:///{tmp_path}/{name}.db").code == 0
    refused = alone.run("serve", "--port", "0", "--json")
    assert (refused.code, refused.problem["code"]) == (2, "database_copied")
    assert "two.db" in refused.problem["detail"]
    assert [one["id"] for one in alone.json("jobs", "list")["jobs"]] == [JOB]
    checks = {one["name"]: one["status"] for one in alone.json("doctor")["checks"]}
    assert (checks["migrations"], checks["copied"]) == ("ok", "warn")
    with alone.but(RECEIVER_DATABASE_URL=f"sqlite:///{tmp_path}/two.db").started(
        "serve", "--port", "0"
    ) as other:
        other.wait_for("receiver_listening")

    assert alone.json("db", "reclaim") == {"reclaimed": True}
    assert alone.json("db", "reclaim") == {"reclaimed": False}
    with alone.started("serve", "--port", "0") as serving:
        serving.wait_for("receiver_listening")


def test_what_is_copied_back_may_be_served(alone: Program, tmp_path: Path) -> None:
    """A file in the place of one that was copied away is the record again."""
    source = make(alone)
    assert alone.run("db", "copy", source, f"sqlite:///{tmp_path}/other.db").code == 0
    for file in tmp_path.glob("receiver.db"):
        file.unlink()
    assert alone.run("db", "init").code == 0
    assert alone.run("db", "copy", f"sqlite:///{tmp_path}/other.db", source).code == 0
    with alone.started("serve", "--port", "0") as serving:
        serving.wait_for("receiver_listening")
