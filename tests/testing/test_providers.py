"""Every description that comes along can be played by the kit: what it tells is believed."""

import pytest

from receiver import Job, Receiver, RejectionError, verify
from receiver.catalog import _packaged
from receiver.core.description.provider import Provider as Description
from receiver.testing import Clock, Kit, Provider

DESCRIBED: dict[str, Description] = dict(_packaged())
SUBMITTING = sorted(name for name, one in DESCRIBED.items() if one.submit is not None)
SIGNED = sorted(
    name
    for name, one in DESCRIBED.items()
    if one.signed and one.key is not None and one.key.source == "settings"
)
#: What a request needs because the address of the submission does, or its body.
NEEDED = (
    *("customer", "zone", "model", "prompt", "actor", "endpoint_id", "dataset_id", "function_id", "input"),
    *("namespace", "owner", "processor", "product", "project", "queue", "recognizer", "repo", "workflow_id"),
    *("deployment_name", "deployment_owner", "generation", "model_name", "model_owner", "version_id"),
)
REQUEST = dict.fromkeys(NEEDED, "x")
#: A result that every one of them has a place for.
RESULT = {"text": "Hello"}
#: What their descriptions know no failure of.
NEVER_FAIL = {"anthropic-batch", "brightdata-serp", "deepgram", "elevenlabs", "exa", "netnut-serp"}


def operation_of(name: str) -> str:
    """The operation that is tried."""
    return next(iter(DESCRIBED[name].operations), "")


@pytest.mark.parametrize("name", SUBMITTING)
async def test_jobs_of_every_provider_are_played(name: str, receiver: Receiver, provider: Provider) -> None:
    """Submitted, told or asked, fetched and handled once: the handler has the result that the test gave.

    And where the description knows failures, another job fails as the provider tells it.
    """
    got: list[Job] = []

    @receiver.on(name)
    async def take(job: Job) -> None:
        got.append(job)

    job = await receiver.submit(name, REQUEST, operation=operation_of(name))
    done = await provider.complete(job, RESULT)
    assert done.job.state == "succeeded"
    assert [one.id for one in got] == [job.id]
    assert got[0].result is not None
    assert b"Hello" in got[0].result.content
    assert [one.state for one in done.handled] == ["succeeded"]
    if name not in NEVER_FAIL:
        failed = await provider.fail(
            await receiver.submit(name, REQUEST, operation=operation_of(name)), "no luck"
        )
        assert failed.job.state == "failed"
        assert failed.job.error is not None
    assert len(got) == 1
    assert provider.unanswered == []


@pytest.mark.parametrize(
    "name", [one for one in SUBMITTING if (submit := DESCRIBED[one].submit) is not None and submit.upload]
)
async def test_jobs_that_are_made_of_lines_are_played_too(
    name: str, receiver: Receiver, provider: Provider
) -> None:
    """The lines arrive as a file before the job, which ends with the result, the failure or the end of the test's."""
    lines = [{"custom_id": "1", "body": {"text": "déjà vu"}}, {"custom_id": "2"}]
    asked = {**REQUEST, "requests": lines}
    job = await receiver.submit(name, asked, operation=operation_of(name))
    assert (job.submission, job.error) == ("sent", None)
    (brought,) = [one for one in provider.asked if "déjà vu".encode() in one.content]
    assert brought.content.count(b"custom_id") == len(lines)
    done = await provider.complete(job, RESULT)
    assert done.job.state == "succeeded"
    assert done.job.result is not None
    assert b"Hello" in done.job.result.content
    second = await receiver.submit(name, asked, operation=operation_of(name))
    failed = await provider.fail(second, "no luck")
    assert (failed.job.state, failed.job.id) == ("failed", second.id)
    over = await provider.never(await receiver.submit(name, asked, operation=operation_of(name)))
    assert over.job.state == "timed_out"
    assert provider.unanswered == []


@pytest.mark.parametrize("name", SIGNED)
def test_a_request_is_signed_as_every_provider_signs(
    name: str, receiver_kit: Kit, receiver_clock: Clock, provider: Provider
) -> None:
    """What the kit signs is verified by the library's own public function, and not once it was changed."""
    moment = receiver_clock.now.isoformat().replace("+00:00", "Z")
    forms = {"twilio": b"Body=Hello", "transloadit": b"transloadit=%7B%7D"}
    body = forms.get(name) or f'{{"id": "a", "time": "{moment}"}}'.encode()
    content_type = "application/x-www-form-urlencoded" if name in forms else "application/json"
    request = provider.signed(name, body, content_type=content_type)

    def verified(body: bytes) -> str | None:
        found = verify(
            name,
            body=body,
            headers=request.headers,
            url=request.url,
            at=receiver_clock.now,
            settings=receiver_kit.settings,
        )
        return found.key_id

    assert verified(request.body)
    scheme = DESCRIBED[name].verify
    assert scheme is not None
    if scheme.kind not in {"header_token", "basic"}:
        with pytest.raises(RejectionError):
            verified(request.body + b" ")
