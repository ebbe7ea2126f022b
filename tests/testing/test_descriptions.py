"""Descriptions of a project's own are played as the packaged ones are, whatever their callbacks are signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from receiver import Receiver
from receiver.testing import Clock
from receiver.testing.kit import staged

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.testing import Provider

DESCRIBED = """
name = "made-up"
title = "Made up"
origins = ["https://made-up.example"]
sources = [{ url = "https://made-up.example/docs", read = "2026-11-20" }]
[[credentials]]
header = "X-Key"
secret = "env:MADE_UP_KEY"
[submit]
url = "https://made-up.example/jobs"
[callback]
where = "body"
path = "hook"
delivers = "result"
result = "answer"
[verify]
%s
[poll]
url = ["https://made-up.example/jobs/{id}"]
[cancel]
url = "https://made-up.example/jobs/{id}/cancel"
[shapes.answer]
id = ["id"]
status = "state"
states = { queued = "submitted", busy = "running", done = "succeeded", broken = "failed", stopped = "canceled" }
result = "output"
error = ["why"]
[[files]]
path = "links.*"
"""
SIGNED = 'header = "X-Signature"\nsigned = "{timestamp}.{body}"\ntimestamp = "header:X-Time"'
KEY = '[key]\nsecret = "env:MADE_UP_SIGNING"'
ASYMMETRIC = f'scheme = "ed25519"\n{SIGNED}\nkey_encoding = '
BEARER = 'header = "Authorization"\nprefix = "Bearer "'
TOKEN = f'scheme = "jwt"\n{BEARER}\naudience = "us"\nbody_claim = "body"\nkey_encoding = '
SCHEMES = {
    "hmac": f'scheme = "hmac"\n{SIGNED}\n{KEY}',
    "hmac-base64": f'scheme = "hmac"\n{SIGNED}\nkey_encoding = "base64"\n{KEY}',
    "hmac-hex": f'scheme = "hmac"\n{SIGNED}\nkey_encoding = "hex"\n{KEY}',
    "ed25519-hex": f'{ASYMMETRIC}"hex"\n{KEY}',
    "ed25519-base64": f'{ASYMMETRIC}"base64"\n{KEY}',
    "ed25519-pem": f'{ASYMMETRIC}"pem"\n{KEY}',
    "ed25519-jwk": f'{ASYMMETRIC}"jwk"\n{KEY}',
    "jwt-pem": f'{TOKEN}"pem"\n{KEY}',
    "jwt-jwks": f'{TOKEN}"jwk"\n[key]\nsource = "jwks"\nurl = "https://made-up.example/keys"',
    "header": f'scheme = "header_token"\nheader = "X-Token"\n{KEY}',
    "basic": f'scheme = "basic"\nheader = "Authorization"\n{KEY}',
    "given-with-the-answer": f'scheme = "hmac"\n{SIGNED}\n[key]\nsource = "submit-answer"\npath = "secret"',
}


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    """A way to sign."""
    return str(request.param)


@pytest.fixture
def receiver_environ(tmp_path: Path, scheme: str) -> dict[str, str]:
    """The settings of this project: a folder with its description."""
    (tmp_path / "made-up.toml").write_text(DESCRIBED % SCHEMES[scheme], encoding="utf-8")
    return {"RECEIVER_PROVIDERS_DIR": str(tmp_path)}


async def test_a_description_of_ones_own_is_played(
    scheme: str, receiver: Receiver, provider: Provider
) -> None:
    """A job ends with the test's result, and a stranger is not believed."""
    job = await receiver.submit("made-up", {"what": "?"})
    forged = await provider.forge(job, {"n": 0})
    assert forged.answers[0].status == 401
    assert not forged.job.state.ended
    done = await provider.complete(job, {"n": 1})
    assert done.job.state == "succeeded"
    assert done.job.result is not None
    assert done.job.result.json() == {"n": 1}
    assert [one.headers["x-key"] for one in provider.asked if one.method == "POST"] == ["test"]


@pytest.mark.parametrize("scheme", ["hmac"])
async def test_a_job_is_canceled_when_it_is_asked_for(receiver: Receiver, provider: Provider) -> None:
    """The provider takes the cancellation, and says so when it is asked."""
    job = await receiver.submit("made-up", {"what": "?"})
    await receiver.cancel(job.id)
    done = await provider.settle(job)
    assert done.job.state == "canceled"


@pytest.mark.parametrize("scheme", ["hmac"])
async def test_progress_is_heard_of(receiver: Receiver, provider: Provider) -> None:
    """What is still at work can be told before the end, and handlers of that state hear of it once."""
    heard: list[str] = []

    @receiver.on("made-up", state="running")
    async def show(job: object) -> None:
        heard.append("running")

    job = await receiver.submit("made-up", {"what": "?"})
    first = await provider.begin(job)
    assert not first.job.state.ended
    await provider.begin(job)
    assert heard == ["running"]


def test_a_wrong_description_is_told_with_its_file(tmp_path: Path) -> None:
    """The kit says what the receiver would say at its start."""
    (tmp_path / "wrong.toml").write_text("name = 1", encoding="utf-8")
    environ = {"RECEIVER_PROVIDERS_DIR": str(tmp_path)}
    with (
        pytest.raises(Exception, match=r"wrong\.toml"),
        staged(Receiver(), clock=Clock(), folder=tmp_path, environ=environ),
    ):
        pass


@pytest.mark.parametrize("scheme", ["hmac"])
async def test_the_files_that_a_result_links_to_can_be_served(
    receiver: Receiver, provider: Provider, receiver_environ: dict[str, str]
) -> None:
    """The test says what is at an address; a link that nobody serves is a file that is lost."""
    provider.serve("https://made-up.example/a.png", b"a picture", content_type="image/png")
    job = await receiver.submit("made-up", {"what": "?"})
    links = ["https://made-up.example/a.png", "https://made-up.example/b.png"]
    done = await provider.complete(job, {"links": links})
    assert done.job.state == "succeeded"
    assert [(one.state, one.size) for one in done.job.files] == [("stored", 9), ("lost", None)]
