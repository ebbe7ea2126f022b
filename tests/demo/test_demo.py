"""The demo tells the truth: it passes when everything is right, and fails when something is wrong."""

import json
from pathlib import Path

import pytest

from receiver.demo import run

#: A receiver that forgets that a job has ended, and whose dispatches have no unique name.
FORGETFUL = """
import secrets

from receiver.core.job import standing
from receiver.demo.handlers import receiver
from receiver.storage.ledger import Ledger

dispatch = Ledger.dispatch


def forgetful(job):
    return False


def nameless(self, job, *, replay_id, **more):
    return dispatch(self, job, replay_id=replay_id or secrets.token_hex(4), **more)


standing.settled = forgetful
Ledger.dispatch = nameless
"""


def test_the_demo_ends_well(capfd: pytest.CaptureFixture[str]) -> None:
    """Every simulated system, and a forged, a duplicated, a lost and an early callback: exit code 0."""
    assert run(as_json=True) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["ok"] is True
    outcomes = {one["scene"]: (one["state"], one["settled_by"]) for one in document["jobs"]}
    assert outcomes == {
        "netnut": ("succeeded", "callback"),
        "pulse": ("succeeded", "callback"),
        "yandex": ("succeeded", "poll"),
        "perplexity": ("succeeded", "poll"),
        "perplexity-webhook": ("succeeded", "callback"),
        "firecrawl": ("succeeded", "callback"),
        "runway": ("succeeded", "poll"),
        "forged": ("succeeded", "poll"),
        "duplicated": ("succeeded", "callback"),
        "lost": ("succeeded", "poll"),
        "early": ("succeeded", "callback"),
    }
    assert {(one["dispatches"], one["handler_runs"]) for one in document["jobs"]} == {(1, 1)}
    assert {one["scene"]: one["pages"] for one in document["jobs"] if one["pages"]} == {"firecrawl": 3}
    kept = {
        one["name"]: one["size"]
        for job in document["jobs"]
        for one in job["files"]
        if one["state"] == "stored"
    }
    assert kept["video.mp4"] == 30 * 1024 * 1024


def test_the_demo_fails_with_a_wrong_key(capfd: pytest.CaptureFixture[str]) -> None:
    """A receiver that holds another webhook key rejects what is genuine, and the demo says so."""
    wrong = {"PULSE_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    assert run(as_json=True, environ=wrong, patience=25) == 1
    document = json.loads(capfd.readouterr().out)
    failed = [one["scene"] for one in document["jobs"] if not one["ok"]]
    assert (document["ok"], failed) == (False, ["pulse"])


def test_the_demo_fails_with_dedupe_broken(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that forgets what has ended runs the handler twice, and the demo says so."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken = {"RECEIVER_HANDLERS": "forgetful:receiver"}
    assert run(as_json=True, environ=broken, patience=25) == 1
    document = json.loads(capfd.readouterr().out)
    duplicated = next(one for one in document["jobs"] if one["scene"] == "duplicated")
    assert duplicated["handler_runs"] == 2
