"""Nouns ↔ rows: the columns of each noun, and how it is written to them and read back."""

from operator import attrgetter
from typing import Final

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
from receiver.core.reading.given import ANSWER
from receiver.storage.driver import Row, split
from receiver.storage.layout import Layout, Otherwise

#: A completion as it is written; it gets its place in the feed later.
COMPLETION: Final = "id, job_id, replay_id, provider, state"
#: What a result changes of its job. SQLite takes its time for each column that a statement sets, and renews every index
#: on it, whether or not its value is another; so what does not change is not set.
JOB_OUTCOME: Final = (
    "state, succeeded_at, ended_at, settled_by, held_callback, held_offset, held_size, held_sha256, held_type, "
    "callbacks, first_callback"
)
#: What may change of a job once it is recorded, but for its name.
JOB_PROGRESS: Final = (
    f"{JOB_OUTCOME}, response_url, cancel_url, submitted_at, submission, cancel_requested_at, woken_by, error_code, "
    "error_text, ends_as, attention, word, held_start, answer_callback, answer_size, answer_type"
)
JOB: Final = (
    "id, provider, operation, delivery, key_id, remote_id, created_at, deadline_at, keep_ms, keep_from, "
    f"files_when, {JOB_PROGRESS}"
)
#: Where in a row of JOB_PROGRESS the outcome is, and where, in one of JOB too, what may change besides.
OUTCOME: Final = slice(len(split(JOB_OUTCOME)))
BESIDES: Final = slice(len(split(JOB_OUTCOME)) - len(split(JOB_PROGRESS)), None)
CALLBACK: Final = (
    "id, provider, route, job_id, received_at, method, query, headers, body, verdict, code, key_id, delivery_id, "
    "remote_id, is_first, sender"
)
#: The condition of the index ``callback_unsettled``: SQLite uses the index only where a statement repeats it.
UNSETTLED: Final = "verdict <> 'accepted'"
#: The callbacks of the job ``:job_id``: its first, and what the index holds of the others.
CALLBACKS_OF: Final = (
    "(id = (SELECT first_callback FROM job WHERE id = :job_id) OR (job_id = :job_id AND is_first = 0))"
)
#: The columns of a new dispatch; nobody owns it, and it has not failed.
NEW_DISPATCH: Final = "job_id, handler, replay_id, state, run_at, attempt, created_at"
DUE_KEY: Final = "job_id, step"
DISPATCH_KEY: Final = "job_id, handler, replay_id"

_encode = msgspec.json.encode
_headers = msgspec.json.Decoder(list[tuple[str, str]])
# To look a word up is a tenth of the work of calling its class; and ``value`` is a property, ``_value_`` is not.
_STATES: Final = {one.value: one for one in JobState}
_DELIVERIES: Final = {one.value: one for one in Delivery}
_SOURCES: Final = {None: None} | {one.value: one for one in Source}


def _write_failure(failure: Failure | None) -> Row:
    return (None, None) if failure is None else (failure.code, failure.text)


def _read_failure(code: str | None, text: str | None) -> Failure | None:
    return None if code is None else Failure(code=code, text=text or "")


# Laid out by the fields of their structs. A job and a callback are written out below, because every callback passes
# through both, and layouts take 6 microseconds more for them, a twenty-fifth of all that a callback costs.
_DUE: Final = Layout(Due, otherwise={"step": Otherwise(write=attrgetter("value"), read=Step)})
_DISPATCH: Final = Layout(
    Dispatch,
    otherwise={"error": Otherwise(_write_failure, _read_failure, ("error_code", "error_text"))},
    absent=("lapsed", "trial", "alias", "line"),
)
_ATTEMPT: Final = Layout(Attempt, otherwise={"detail": Otherwise(_encode, msgspec.json.decode)})
DUE, due_params, due_of = _DUE.columns, _DUE.row, _DUE.noun
DISPATCH, dispatch_params, dispatch_of = _DISPATCH.columns, _DISPATCH.row, _DISPATCH.noun
ATTEMPT, attempt_params, attempt_of = _ATTEMPT.columns, _ATTEMPT.row, _ATTEMPT.noun


def job_params(job: Job) -> Row:
    """A job as a row of JOB."""
    return (
        job.id,
        job.provider,
        job.operation,
        job.delivery._value_,
        job.key_id,
        job.remote_id,
        job.created_at,
        job.deadline_at,
        job.keep_ms,
        job.keep_from,
        job.files_when,
        *progress_params(job),
    )


def progress_params(job: Job) -> Row:
    """What may change of a job, as a row of JOB_PROGRESS."""
    held, error, answer = job.held, job.error, job.answer_held
    return (
        job.state._value_,
        job.succeeded_at,
        job.ended_at,
        None if job.settled_by is None else job.settled_by._value_,
        None if held is None else held.callback_id,
        None if held is None else held.offset,
        None if held is None else held.size,
        None if held is None else held.sha256,
        None if held is None else held.content_type,
        job.callbacks,
        job.first_callback,
        job.response_url,
        job.cancel_url,
        job.submitted_at,
        job.submission,
        job.cancel_requested_at,
        job.woken_by,
        None if error is None else error.code,
        None if error is None else error.text,
        None if job.ends_as is None else job.ends_as._value_,
        job.attention,
        job.word,
        None if held is None else held.start or None,
        None if answer is None else answer.callback_id,
        None if answer is None else answer.size,
        None if answer is None else answer.content_type,
    )


def job_of(row: Row) -> Job:
    """A job from a row of JOB; metadata and result are loaded apart."""
    (
        job_id,
        provider,
        operation,
        delivery,
        key_id,
        remote_id,
        created_at,
        deadline_at,
        keep_ms,
        keep_from,
        files_when,
        state,
        succeeded_at,
        ended_at,
        settled_by,
        held_callback,
        held_offset,
        held_size,
        held_sha256,
        held_type,
        callbacks,
        first_callback,
        response_url,
        cancel_url,
        submitted_at,
        submission,
        cancel_requested_at,
        woken_by,
        error_code,
        error_text,
        ends_as,
        attention,
        word,
        held_start,
        answer_callback,
        answer_size,
        answer_type,
    ) = row
    held = None
    if held_size is not None:
        held = Held(
            callback_id=held_callback,
            offset=held_offset,
            start=held_start or 0,
            size=held_size,
            sha256=held_sha256,
            content_type=held_type,
        )
    # By their places: to name them takes msgspec four times as long as all the rest of this.
    return Job(
        job_id,
        provider,
        created_at,
        deadline_at,
        operation,
        _STATES[state],
        _DELIVERIES[delivery],
        key_id,
        remote_id,
        response_url,
        cancel_url,
        submitted_at,
        succeeded_at,
        ended_at,
        keep_ms,
        keep_from,
        submission,
        cancel_requested_at,
        woken_by,
        _SOURCES[settled_by],
        held,
        None if error_code is None else Failure(code=error_code, text=error_text or ""),
        callbacks,
        first_callback,
        None if ends_as is None else _STATES[ends_as],
        attention,
        word,
        files_when,
        None if answer_size is None else _answer(answer_callback, answer_size, answer_type),
    )


def _answer(callback_id: str | None, size: int, content_type: str) -> Held:
    offset = 0 if callback_id is not None else ANSWER
    return Held(callback_id=callback_id, offset=offset, size=size, sha256="", content_type=content_type)


def callback_params(callback: Callback) -> Row:
    """A callback as a row of CALLBACK. Header bytes are kept one to one as latin-1 text in JSON."""
    return (
        callback.id,
        callback.provider,
        callback.route,
        callback.job_id,
        callback.received_at,
        callback.method,
        callback.query,
        _encode([(k.decode("latin-1"), v.decode("latin-1")) for k, v in callback.headers]),
        callback.body,
        callback.verdict._value_,
        callback.code,
        callback.key_id,
        callback.delivery_id,
        callback.remote_id,
        int(callback.is_first),
        callback.sender,
    )


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
        is_first=bool(row[14]),
        sender=row[15],
    )


def new_dispatch(job_id: str, handler: str, replay_id: str, now: int, *, state: str = "ready") -> Row:
    """A dispatch that is due at once, as a row of NEW_DISPATCH."""
    return (job_id, handler, replay_id, state, now, 0, now)
