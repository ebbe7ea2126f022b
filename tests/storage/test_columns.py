"""Columns: every value of a noun is written under its own name, and read back from there."""

from typing import Any, Final

import pytest

from receiver.core.file import Download
from receiver.core.model import (
    Attempt,
    Callback,
    Delivery,
    Dispatch,
    Due,
    Failure,
    Held,
    Job,
    JobState,
    Source,
    Step,
    Value,
    Verdict,
)
from receiver.storage import files, rows
from receiver.storage.driver import Row, split

JOB: Final = Job(
    id="id",
    provider="provider",
    operation="operation",
    state=JobState.FETCHING,
    delivery=Delivery.RESULT,
    key_id="key_id",
    remote_id="remote_id",
    response_url="response_url",
    cancel_url="cancel_url",
    created_at=1,
    submitted_at=2,
    succeeded_at=3,
    ended_at=4,
    deadline_at=5,
    keep_ms=6,
    keep_from="keep_from",
    submission="submission",
    cancel_requested_at=7,
    woken_by="woken_by",
    settled_by=Source.POLL,
    held=Held(callback_id="callback", offset=8, start=11, size=9, sha256="sha256", content_type="type"),
    answer_held=Held(callback_id="answered", size=12, sha256="", content_type="kind"),
    error=Failure(code="code", text="text"),
    callbacks=10,
    first_callback="first_callback",
    files_when="beside",
)
CALLBACK: Final = Callback(
    id="id",
    provider="provider",
    route="webhooks",
    job_id="job_id",
    received_at=1,
    method="PUT",
    query=b"query",
    headers=((b"name", b"\xff"),),
    body=b"body",
    verdict=Verdict.REJECTED,
    code="code",
    key_id="key_id",
    delivery_id="delivery_id",
    remote_id="remote_id",
    is_first=True,
    sender="sender",
)
DUE: Final = Due(
    job_id="job_id",
    step=Step.CANCEL,
    provider="provider",
    run_at=1,
    expires_at=2,
    attempt=3,
    owner="owner",
    failures=4,
    spent_url="spent_url",
    result_url="result_url",
    candidate_id="candidate_id",
    lane=5,
    urgent_at=6,
    doubt_since=7,
)
DISPATCH: Final = Dispatch(
    job_id="job_id",
    handler="handler",
    replay_id="replay_id",
    state="dead",
    run_at=1,
    attempt=2,
    owner="owner",
    created_at=3,
    error=Failure(code="code", text="text"),
    failures=4,
    interruptions=5,
)
NEW_DISPATCH: Final = Dispatch(
    job_id="job_id", handler="handler", replay_id="replay_id", run_at=1, created_at=1
)
ATTEMPT: Final = Attempt(
    id="id",
    job_id="job_id",
    step="step",
    handler="handler",
    replay_id="replay_id",
    number=1,
    started_at=2,
    duration_ms=3,
    outcome="outcome",
    code="code",
    detail={"a": 1},
)
DOWNLOAD: Final = Download(
    job_id="job_id",
    number=1,
    provider="provider",
    url="url",
    origin="origin",
    authenticated=True,
    largest=2,
    run_at=3,
    expires_at=4,
    attempt=5,
    owner="owner",
    failures=6,
    renewed=True,
    partial="partial",
    received=7,
    validator="validator",
)
#: Columns that hold a part of a noun of their own.
PARTS: Final = {
    "held_callback": "callback",
    "held_offset": 8,
    "held_size": 9,
    "held_sha256": "sha256",
    "held_type": "type",
    "held_start": 11,
    "answer_callback": "answered",
    "answer_size": 12,
    "answer_type": "kind",
    "error_code": "code",
    "error_text": "text",
    "headers": b'[["name","\xc3\xbf"]]',
    "detail": b'{"a":1}',
}


@pytest.mark.parametrize(
    ("noun", "columns", "row", "back"),
    [
        (JOB, rows.JOB, rows.job_params(JOB), rows.job_of),
        (JOB, rows.JOB_PROGRESS, rows.progress_params(JOB), None),
        (CALLBACK, rows.CALLBACK, rows.callback_params(CALLBACK), rows.callback_of),
        (DUE, rows.DUE, rows.due_params(DUE), rows.due_of),
        (DOWNLOAD, files.DOWNLOAD, files.download_params(DOWNLOAD), files.download_of),
        (
            DISPATCH,
            rows.DISPATCH,
            ("job_id", "handler", "replay_id", "dead", 1, 2, 3, "owner", "code", "text", 4, 5),
            rows.dispatch_of,
        ),
        (
            NEW_DISPATCH,
            rows.NEW_DISPATCH,
            rows.new_dispatch("job_id", "handler", "replay_id", 1),
            lambda row: rows.dispatch_of((*row, None, None, None, 0, 0)),
        ),
        (ATTEMPT, rows.ATTEMPT, rows.attempt_params(ATTEMPT), rows.attempt_of),
    ],
)
def test_each_value_has_its_own_column(noun: Value | Download, columns: str, row: Row, back: Any) -> None:  # noqa: ANN401
    """In a row of a dozen texts none may change places with another."""
    for name, value in zip(split(columns), row, strict=True):
        assert value == (PARTS[name] if name in PARTS else getattr(noun, name)), name
    assert back is None or back(row) == noun
