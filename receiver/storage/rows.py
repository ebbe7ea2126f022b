"""Nouns ↔ rows: the column lists, and how each noun is written and read back."""

from typing import Any, Final

import msgspec

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
    Verdict,
)
from receiver.storage.driver import Row

JOB: Final = (
    "id, provider, operation, state, delivery, key_id, remote_id, response_url, cancel_url, created_at, "
    "submitted_at, succeeded_at, ended_at, deadline_at, keep_ms, keep_from, submission, cancel_requested_at, "
    "woken_by, settled_by, held_callback, held_offset, held_size, held_sha256, held_type, error_code, "
    "error_text, callbacks"
)
CALLBACK: Final = (
    "id, provider, route, job_id, received_at, method, query, headers, body, verdict, code, key_id, delivery_id, "
    "remote_id"
)
DUE: Final = "job_id, step, provider, run_at, expires_at, attempt, owner, failures, spent_url, result_url, candidate_id"
DISPATCH: Final = (
    "job_id, handler, replay_id, state, run_at, attempt, owner, created_at, error_code, error_text"
)
#: What may change of a job once it is recorded, but for its name. SQLite renews every index on a column that a
#: statement sets, whether or not its value is another, so what does not change is not set.
JOB_PROGRESS: Final = (
    "state, response_url, cancel_url, submitted_at, succeeded_at, ended_at, deadline_at, submission, "
    "cancel_requested_at, woken_by, settled_by, held_callback, held_offset, held_size, held_sha256, held_type, "
    "error_code, error_text, callbacks"
)
DUE_KEY: Final = "job_id, step"
DISPATCH_KEY: Final = "job_id, handler, replay_id"
ATTEMPT: Final = (
    "job_id, id, step, handler, replay_id, number, started_at, duration_ms, outcome, code, detail"
)

_encode = msgspec.json.encode
_headers = msgspec.json.Decoder(list[tuple[str, str]])
# To look a word up is a tenth of the work of calling its class.
_STATES: Final = {one.value: one for one in JobState}
_DELIVERIES: Final = {one.value: one for one in Delivery}
_SOURCES: Final = {None: None} | {one.value: one for one in Source}


def job_params(job: Job) -> dict[str, Any]:
    """A job as parameters."""
    return progress_params(job) | {
        "provider": job.provider,
        "operation": job.operation,
        "delivery": job.delivery.value,
        "key_id": job.key_id,
        "remote_id": job.remote_id,
        "created_at": job.created_at,
        "keep_ms": job.keep_ms,
        "keep_from": job.keep_from,
    }


def progress_params(job: Job) -> dict[str, Any]:
    """What may change of a job, as parameters, with its id."""
    held, error = job.held, job.error
    return {
        "id": job.id,
        "state": job.state.value,
        "response_url": job.response_url,
        "cancel_url": job.cancel_url,
        "submitted_at": job.submitted_at,
        "succeeded_at": job.succeeded_at,
        "ended_at": job.ended_at,
        "deadline_at": job.deadline_at,
        "submission": job.submission,
        "cancel_requested_at": job.cancel_requested_at,
        "woken_by": job.woken_by,
        "settled_by": None if job.settled_by is None else job.settled_by.value,
        "held_callback": None if held is None else held.callback_id,
        "held_offset": None if held is None else held.offset,
        "held_size": None if held is None else held.size,
        "held_sha256": None if held is None else held.sha256,
        "held_type": None if held is None else held.content_type,
        "error_code": None if error is None else error.code,
        "error_text": None if error is None else error.text,
        "callbacks": job.callbacks,
    }


def job_of(row: Row) -> Job:
    """A job from a row of JOB; metadata and result are loaded apart."""
    held = None
    if row[22] is not None:
        held = Held(callback_id=row[20], offset=row[21], size=row[22], sha256=row[23], content_type=row[24])
    return Job(
        id=row[0],
        provider=row[1],
        operation=row[2],
        state=_STATES[row[3]],
        delivery=_DELIVERIES[row[4]],
        key_id=row[5],
        remote_id=row[6],
        response_url=row[7],
        cancel_url=row[8],
        created_at=row[9],
        submitted_at=row[10],
        succeeded_at=row[11],
        ended_at=row[12],
        deadline_at=row[13],
        keep_ms=row[14],
        keep_from=row[15],
        submission=row[16],
        cancel_requested_at=row[17],
        woken_by=row[18],
        settled_by=_SOURCES[row[19]],
        held=held,
        error=None if row[25] is None else Failure(code=row[25], text=row[26] or ""),
        callbacks=row[27],
    )


def callback_params(callback: Callback) -> dict[str, Any]:
    """A callback as parameters. Header bytes are kept one to one as latin-1 text in JSON."""
    return {
        "id": callback.id,
        "provider": callback.provider,
        "route": callback.route,
        "job_id": callback.job_id,
        "received_at": callback.received_at,
        "method": callback.method,
        "query": callback.query,
        "headers": _encode([(k.decode("latin-1"), v.decode("latin-1")) for k, v in callback.headers]),
        "body": callback.body,
        "verdict": callback.verdict.value,
        "code": callback.code,
        "key_id": callback.key_id,
        "delivery_id": callback.delivery_id,
        "remote_id": callback.remote_id,
    }


def callback_of(row: Row) -> Callback:
    """A callback from a row of CALLBACK."""
    headers = tuple((k.encode("latin-1"), v.encode("latin-1")) for k, v in _headers.decode(row[7]))
    return Callback(
        id=row[0],
        provider=row[1],
        route=row[2],
        job_id=row[3],
        received_at=row[4],
        method=row[5],
        query=bytes(row[6]),
        headers=headers,
        body=bytes(row[8]),
        verdict=Verdict(row[9]),
        code=row[10],
        key_id=row[11],
        delivery_id=row[12],
        remote_id=row[13],
    )


def due_params(due: Due) -> dict[str, Any]:
    """A due row as parameters."""
    return {name: getattr(due, name) for name in DUE.split(", ")} | {"step": due.step.value}


def due_of(row: Row) -> Due:
    """A due row from a row of DUE."""
    return Due(
        job_id=row[0],
        step=Step(row[1]),
        provider=row[2],
        run_at=row[3],
        expires_at=row[4],
        attempt=row[5],
        owner=row[6],
        failures=row[7],
        spent_url=row[8],
        result_url=row[9],
        candidate_id=row[10],
    )


def dispatch_params(dispatch: Dispatch) -> dict[str, Any]:
    """A dispatch as parameters."""
    error = dispatch.error
    return {
        "job_id": dispatch.job_id,
        "handler": dispatch.handler,
        "replay_id": dispatch.replay_id,
        "state": dispatch.state,
        "run_at": dispatch.run_at,
        "attempt": dispatch.attempt,
        "owner": dispatch.owner,
        "created_at": dispatch.created_at,
        "error_code": None if error is None else error.code,
        "error_text": None if error is None else error.text,
    }


def dispatch_of(row: Row) -> Dispatch:
    """A dispatch from a row of DISPATCH."""
    return Dispatch(
        job_id=row[0],
        handler=row[1],
        replay_id=row[2],
        state=row[3],
        run_at=row[4],
        attempt=row[5],
        owner=row[6],
        created_at=row[7],
        error=None if row[8] is None else Failure(code=row[8], text=row[9] or ""),
    )


def attempt_params(attempt: Attempt) -> dict[str, Any]:
    """An attempt as parameters."""
    return {
        "job_id": attempt.job_id,
        "id": attempt.id,
        "step": attempt.step,
        "handler": attempt.handler,
        "replay_id": attempt.replay_id,
        "number": attempt.number,
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "outcome": attempt.outcome,
        "code": attempt.code,
        "detail": _encode(attempt.detail),
    }


def attempt_of(row: Row) -> Attempt:
    """An attempt from a row of ATTEMPT."""
    return Attempt(
        job_id=row[0],
        id=row[1],
        step=row[2],
        handler=row[3],
        replay_id=row[4],
        number=row[5],
        started_at=row[6],
        duration_ms=row[7],
        outcome=row[8],
        code=row[9],
        detail=msgspec.json.decode(row[10]),
    )
