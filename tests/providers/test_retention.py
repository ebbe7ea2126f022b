"""How long providers keep results, and that a lost callback is noticed while they do."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from receiver.catalog import check_times
from receiver.cli.providers import check_file
from receiver.core.asking.wanted import keeps_for
from receiver.core.description.keeping import expires_at, past_retention
from receiver.core.description.provider import describe
from receiver.core.job.cadence import first_look, next_look
from receiver.core.model import DAY, HOUR, MINUTE, Due, JobState, Step

from .making import NOW, PROVIDERS, job_of

#: All that are asked about their jobs.
ASKED = sorted(name for name, one in PROVIDERS.items() if one.poll)
#: The day on which retention was looked up again for all.
LOOKED_UP = "2026-11-30"
KEPT = [name for name in ASKED if PROVIDERS[name].retention is not None]
#: What providers say, in milliseconds.
DOCUMENTED = {
    "fal": 6 * MINUTE,
    "replicate": 60 * MINUTE,
    "openai": 30 * DAY,
    "speechmatics": 7 * DAY,
    "aws-transcribe": 90 * DAY,
    "dataforseo": 30 * DAY,
    "diffbot-bulk": 10 * DAY,
    "google-documentai": 30 * DAY,
    "gemini": 55 * DAY,
    "gemini-dynamic": 55 * DAY,
    "github-actions": 90 * DAY,
    "google-speech": 5 * DAY,
    "groq-batch": 30 * DAY,
    "ideogram": DAY,
    "kling": 30 * DAY,
    "mathpix": 30 * DAY,
    "openai-batch": 30 * DAY,
    "revai": 30 * DAY,
}
ACME = {
    "name": "acme",
    "title": "Acme",
    "origins": ["https://api.acme.example"],
    "sources": [{"url": "https://acme.example/docs", "read": "2026-11-29"}],
    "submit": {"url": "https://api.acme.example/jobs"},
    "callback": {"where": "body", "path": "url", "delivers": "notification"},
    "verify": {"scheme": "url_token"},
    "poll": {"url": ["https://api.acme.example/jobs/{id}"]},
    "shapes": {"answer": {"id": ["id"]}, "notification": {}},
}


@pytest.mark.parametrize("name", ASKED)
def test_how_long_results_are_kept_is_said(name: str) -> None:
    """A description knows, or says what its sources tell instead, and which of them were read on the day it names."""
    provider = PROVIDERS[name]
    said = any("kept" in one and LOOKED_UP in one for one in provider.unverified)
    read = any(one.read == LOOKED_UP for one in provider.sources)
    assert provider.retention is not None or (said and read)


@pytest.mark.parametrize("name", [one for one in ASKED if PROVIDERS[one].retention is None])
def test_what_nobody_knows_ends_nothing_and_is_looked_after_early(name: str) -> None:
    """Two looks within little more than an hour, however late a callback is expected; and it is never past."""
    provider, job = PROVIDERS[name], job_of(name)
    first = first_look(provider, job, now=NOW)
    due = Due(job_id=job.id, step=Step.LOOK, provider=name, run_at=first, attempt=1)
    second = next_look(provider, job, due, now=first, jitter=0.99)
    assert first - NOW <= HOUR
    assert second - NOW <= HOUR + 10 * MINUTE
    ended = replace(job, state=JobState.FETCHING, submitted_at=NOW, succeeded_at=NOW)
    assert expires_at(ended) is None
    assert not past_retention(ended, NOW + 1000 * DAY)


@pytest.mark.parametrize(("name", "keeps"), DOCUMENTED.items())
def test_documented_retention_is_described(name: str, keeps: int) -> None:
    """What the provider's own pages say is what the description says."""
    assert keeps_for(PROVIDERS[name], {}) == keeps


def test_a_request_may_shorten_it() -> None:
    """A response that is not to be stored is there for ten minutes."""
    assert keeps_for(PROVIDERS["openai"], {"store": False}) == 10 * MINUTE
    assert keeps_for(PROVIDERS["openai"], {"store": True}) == 30 * DAY
    assert keeps_for(PROVIDERS["luma"], {}) is None
    batches = PROVIDERS["openai-batch"]
    assert keeps_for(batches, {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}) == HOUR
    assert keeps_for(batches, {"output_expires_after": {"seconds": 10**9}}) == 30 * DAY
    assert keeps_for(batches, {"output_expires_after": {"seconds": "x"}}) == 30 * DAY
    assert keeps_for(PROVIDERS["revai"], {"delete_after_seconds": 3600}) == HOUR


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("jitter", [0.0, 0.99])
def test_two_looks_fit_before_the_result_is_deleted(name: str, jitter: float) -> None:
    """Also if the job was done at once, its callback was lost, and the request shortened the time."""
    provider = PROVIDERS[name]
    retention = provider.retention
    assert retention is not None
    assert check_times(provider) == []
    for keeps in [retention.keeps, *(one.keeps for one in retention.keeps_when)]:
        job = replace(job_of(name), keep_ms=int(keeps), keep_from=retention.counted_from)
        first = first_look(provider, job, now=NOW)
        due = Due(job_id=job.id, step=Step.LOOK, provider=name, run_at=first, attempt=1)
        second = next_look(provider, job, due, now=first, jitter=jitter)
        assert first - NOW < keeps / 2
        assert second - NOW < keeps


@pytest.mark.parametrize(
    ("expected", "retention", "refused"),
    [
        ("4m", {"keeps": "10m"}, False),
        ("5m", {"keeps": "10m"}, True),
        ("20m", {"keeps": "10m"}, True),
        ("5m", {"keeps": "1d", "keeps_when": [{"path": "store", "is": False, "keeps": "10m"}]}, True),
        ("5m", {"keeps": "1d"}, False),
    ],
)
def test_check_refuses_to_look_too_late(expected: str, retention: dict[str, Any], refused: bool) -> None:  # noqa: FBT001
    """From half of the time on for which results are kept, a lost callback is a lost result."""
    callback = {**ACME["callback"], "expected": expected}  # type: ignore[dict-item]
    found = check_times(describe({**ACME, "callback": callback, "retention": retention}))
    assert bool(found) == refused
    assert all("callback.expected" in one and "retention.keeps" in one for one in found)


def test_the_command_says_so(tmp_path: Path) -> None:
    """``receiver providers check`` names the key."""
    file = tmp_path / "acme.toml"
    file.write_text(
        """
name = "acme"
title = "Acme"
origins = ["https://api.acme.example"]
sources = [{ url = "https://acme.example/docs", read = "2026-11-29" }]
[submit]
url = "https://api.acme.example/jobs"
[callback]
where = "body"
path = "url"
delivers = "notification"
expected = "10m"
[verify]
scheme = "url_token"
[poll]
url = ["https://api.acme.example/jobs/{id}"]
[retention]
keeps = "6m"
[shapes.answer]
id = ["id"]
[shapes.notification]
""",
        encoding="utf-8",
    )
    assert [one.split(":")[0] for one in check_file(file)] == ["callback.expected"]
