"""Columns: every value of a noun is written under its own name, and read back from there."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from msgspec.structs import replace

from receiver.core.file import Download, File, FileState
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
    ends_as=JobState.FAILED,
    attention="attention",
    word="word",
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
FILE: Final = File(
    number=1,
    name="name",
    place="place",
    source="source",
    state=FileState.STORED,
    code="code",
    size=2,
    content_type="type",
    sha256="sha256",
    stored_at=3,
)


@pytest.mark.parametrize(
    ("noun", "row", "back"),
    [
        (JOB, rows.job_params, rows.job_of),
        (CALLBACK, rows.callback_params, rows.callback_of),
        (DUE, rows.due_params, rows.due_of),
        (DISPATCH, rows.dispatch_params, rows.dispatch_of),
        (ATTEMPT, rows.attempt_params, rows.attempt_of),
        (DOWNLOAD, files.DOWNLOAD.row, files.DOWNLOAD.noun),
        (FILE, files.FILE.row, files.FILE.noun),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_noun_is_read_as_it_was_written(
    noun: Value | Download | File, row: Callable[[Any], Row], back: Callable[[Row], Any]
) -> None:
    """Every value comes back, those of parts in several columns included, and only plain ones are written."""
    written = row(noun)
    assert back(written) == noun
    assert {type(one) for one in written} <= {str, int, bytes, type(None)}


@pytest.mark.parametrize("noun", [JOB, DISPATCH])
def test_a_noun_without_its_parts_is_read_as_it_was_written(noun: Job | Dispatch) -> None:
    """What is not there is nothing again: no failure without a code, no result without a size."""
    bare = replace(noun, error=None)
    if isinstance(bare, Job):
        bare = replace(bare, held=None, answer_held=None, settled_by=None)
        assert rows.job_of(rows.job_params(bare)) == bare
    else:
        assert rows.dispatch_of(rows.dispatch_params(bare)) == bare


@pytest.mark.parametrize(
    ("noun", "columns", "written"),
    [
        (JOB, rows.JOB, rows.job_params(JOB)),
        (JOB, rows.JOB_PROGRESS, rows.progress_params(JOB)),
        (CALLBACK, rows.CALLBACK, rows.callback_params(CALLBACK)),
    ],
)
def test_each_value_has_its_own_column(noun: Job | Callback, columns: str, written: Row) -> None:
    """Where columns are written out by hand: in a row of a dozen texts none may change places with another."""
    named = dict(zip(split(columns), written, strict=True))
    plain = [name for name in named.keys() & set(noun.__struct_fields__) if name != "headers"]
    assert {name: named[name] for name in plain} == {name: getattr(noun, name) for name in plain}
    assert len(plain) >= len(named) - 11, "the others are the parts of a result, an answer and a failure"


@pytest.mark.parametrize(
    "headers", [(), ((b"a", b""),), ((b"a", b"x\xff"), (b"b", b"1\n2")), ((b"", b"\n"),)]
)
def test_headers_are_kept_byte_for_byte(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Also where there are none, or one has a line break in it, which another server may let through."""
    callback = replace(CALLBACK, headers=headers)
    assert rows.callback_of(rows.callback_params(callback)).headers == headers


def test_a_new_dispatch_is_read_as_one() -> None:
    """What is said of a new one is what the columns of its statement are called."""
    said = dict(
        zip(split(rows.NEW_DISPATCH), rows.new_dispatch("job_id", "handler", "replay_id", 1), strict=True)
    )
    assert Dispatch(**said) == Dispatch(
        job_id="job_id", handler="handler", replay_id="replay_id", run_at=1, created_at=1
    )
