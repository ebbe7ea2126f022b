"""What a program makes of an HTTP sink's request: proved, read whatever its result is, and answered in plain WSGI."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from receiver.client.events import CompletionEvent, EventUnreadableError, read_event
from receiver.client.wsgi import CompletionHook
from receiver.clock import read_clock
from receiver.core.errors import ConfigurationError, RejectionError
from receiver.core.model import Job, JobState, Result
from receiver.core.signature.standard import STANDARD_WEBHOOKS
from receiver.core.signature.verify import load_key, sign
from receiver.sinks.event import event_of, example

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of it!").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 b..").decode()


def sent(
    job: Job, *, secret: str = SECRET, largest: int = 10_000, test: bool = False
) -> tuple[bytes, dict[str, str]]:
    """What an HTTP sink would send."""
    event = event_of(job, largest=largest, public_url="https://hooks.example", now=read_clock(), test=test)
    key = load_key("key", secret, scheme=STANDARD_WEBHOOKS)
    proof = sign(event.data, scheme=STANDARD_WEBHOOKS, key=key, now=read_clock(), delivery_id=event.id)
    return event.data, event.headers("ce-") | {name.decode(): value.decode() for name, value in proof}


def ended(
    content: bytes | None = b'{"a": 1}',
    content_type: str = "application/json",
    *,
    state: JobState = JobState.SUCCEEDED,
    metadata: dict[str, Any] | None = None,
) -> Job:
    """A job that has ended."""
    return Job(
        id=example(now=1000).id,
        provider="netnut",
        created_at=1000,
        deadline_at=9000,
        ended_at=2000,
        state=state,
        metadata=metadata or {},
        result=None
        if content is None
        else Result(content=content, content_type=content_type, size=len(content)),
    )


def test_a_completion_is_read() -> None:
    """Job, result and what else is known, also with the older of two secrets."""
    job = ended(metadata={"topic": "tea"})
    body, headers = sent(job, test=True)
    for secret in (SECRET, f"{OTHER},{SECRET}"):
        event = read_event(body, headers, secret=secret)
        assert (event.id, event.job_id, event.provider) == (job.id, job.id, "netnut")
        assert (event.state, event.test, event.elsewhere) == (JobState.SUCCEEDED, True, False)
        assert event.job is not None
        assert event.job.metadata == {"topic": "tea"}
        assert event.result is not None
        assert event.result.json() == {"a": 1}


def test_whatever_the_result_is(tmp_path: object) -> None:
    """Bytes come as bytes with their type, a large one is elsewhere, and a failure has none."""
    event = read_event(*sent(ended(b"%PDF", "application/pdf")), secret=SECRET)
    assert event.result is not None
    assert (event.job, event.result.content, event.result.content_type) == (None, b"%PDF", "application/pdf")
    event = read_event(*sent(ended(b'"' + b"x" * 99 + b'"'), largest=50), secret=SECRET)
    assert (event.result, event.elsewhere) == (None, True)
    event = read_event(*sent(ended(None, state=JobState.FAILED)), secret=SECRET)
    assert (event.state, event.result, event.elsewhere) == (JobState.FAILED, None, False)


def test_what_is_not_proved_is_refused() -> None:
    """Another secret, another body, an old time; and an event about something else is no completion."""
    body, headers = sent(ended())
    with pytest.raises(RejectionError):
        read_event(body, headers, secret=OTHER)
    with pytest.raises(RejectionError):
        read_event(body + b" ", headers, secret=SECRET)
    with pytest.raises(RejectionError):
        read_event(body, headers, secret=SECRET, now=read_clock() / 1000 + 3600)
    with pytest.raises(EventUnreadableError, match="no completion"):
        read_event(body, headers | {"ce-type": "receiver.alarm.raised.v1"}, secret=SECRET)
    with pytest.raises(ConfigurationError):
        read_event(body, headers, secret="short")


def answered(
    handle: Callable[[CompletionEvent], object],
    body: bytes,
    headers: dict[str, str],
    **environ: Any,  # noqa: ANN401
) -> int:
    """The status that the hook answers, checked against the rules of WSGI (PEP 3333) on the way."""
    asked: dict[str, Any] = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "QUERY_STRING": ""}
    asked |= environ
    asked["wsgi.input"] = io.BytesIO(body)
    for name, value in headers.items():
        asked["CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"] = value
    setup_testing_defaults(asked)
    statuses: list[str] = []

    def start(
        status: str, _headers: list[tuple[str, str]], _trouble: object = None
    ) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _: None

    answer = validator(CompletionHook(handle, secret=SECRET, largest=5000))(asked, start)
    list(answer)
    answer.close()  # type: ignore[attr-defined]
    return int(statuses[0].split()[0])


def test_the_hook_answers_what_the_sink_understands() -> None:
    """204 once the function has returned, 500 if it raised, and a status that is never retried for what is no event."""
    got: list[str] = []
    body, headers = sent(ended())
    assert answered(lambda event: got.append(event.id), body, headers) == 204
    assert len(got) == 1

    def fail(_event: CompletionEvent) -> None:
        raise ValueError

    assert answered(fail, body, headers) == 500
    assert answered(fail, body + b" ", headers) == 401
    assert answered(fail, body, headers | {"ce-type": "other"}) == 422
    assert answered(fail, body, headers, CONTENT_LENGTH="") == 411
    assert answered(fail, body, headers, CONTENT_LENGTH="5001") == 413
    assert answered(fail, body, headers, REQUEST_METHOD="GET") == 405
    assert len(got) == 1
