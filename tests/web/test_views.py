"""Noun → document: times and masks, which every face shares."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from receiver.core.model import Callback, Delivery, Failure, Held, Job, JobState, Source
from receiver.views.callback import callback_detail
from receiver.views.document import timestamp
from receiver.views.job import job_document, job_of
from receiver.views.masking import masked

TOKEN = "AbC-d_" * 8


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1795237200007, "2026-11-21T05:00:00.007Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(milliseconds: int, text: str) -> None:
    """With milliseconds, always; one beyond the calendar is its last."""
    assert timestamp(milliseconds) == text


@pytest.mark.parametrize(
    "text",
    [
        f"cannot reach https://host/callbacks/netnut/{TOKEN}?a=1",
        f'{{"url":"https:\\/\\/host\\/hooks\\/callbacks\\/netnut\\/{TOKEN}"}}',
        f"/login?next=%2Fcallbacks%2fperplexity-webhook%2F{TOKEN}",
    ],
)
def test_a_token_in_a_text_is_masked(text: str) -> None:
    """However a provider or a proxy wrote the callback URL."""
    job = Job(id="job_1", provider="p", created_at=0, deadline_at=0, error=Failure(code="c", text=text))
    error = job_document(job).error
    assert error is not None
    assert error.text == masked(text) == text.replace(TOKEN, "***")


def test_the_header_that_carries_the_proof_is_masked_whatever_its_name() -> None:
    """The description names it; the rest goes by what the name tells."""
    callback = Callback(id="cb_1", provider="p", route="webhooks", received_at=0, headers=((b"X-Odd", b"1"),))
    assert callback_detail(callback).headers == [("X-Odd", "1")]
    assert callback_detail(callback, proofs=["x-odd"]).headers == [("X-Odd", "***")]


def test_what_settled_a_job_is_said_once_it_has_ended() -> None:
    """Not before."""
    job = Job(id="job_1", provider="p", created_at=0, deadline_at=0, settled_by=Source.POLL)
    assert job_document(job).settled_by is None
    ended = Job(
        id="job_1", provider="p", created_at=0, deadline_at=0, settled_by=Source.POLL, state=JobState.FAILED
    )
    assert job_document(ended).settled_by == "poll"


def test_a_job_comes_back_from_its_document() -> None:
    """Whoever has the document has every fact of the job that is in it, each by its own name."""
    job = Job(
        id="job_01a1fc955f4d7000800000000000000a",
        provider="netnut",
        operation="search",
        state=JobState.FAILED,
        remote_id="r",
        submission="sent",
        delivery=Delivery.NOTIFICATION,
        created_at=1000,
        submitted_at=2000,
        succeeded_at=3000,
        ended_at=4000,
        deadline_at=5000,
        cancel_requested_at=6000,
        settled_by=Source.POLL,
        error=Failure(code="provider_reported", text="no luck"),
        held=Held(size=3, sha256="ab", content_type="text/plain"),
        attention="needs_action",
        word="waiting",
        callbacks=7,
        metadata={"topic": "tea"},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    document = job_document(job)
    empty = {name for name in document.__struct_fields__ if getattr(document, name) in (None, UNSET)}
    assert empty == {"callback_url"}, "give this test a value for what is new, and job_of its line"
    assert job_document(job_of(document)) == document
