"""The nouns of the receiver and the states they pass through.

Every noun is frozen; a change is ``msgspec.structs.replace``. They are msgspec structs rather than
dataclasses because one callback touches half a dozen of them, and a frozen dataclass of this width costs
microseconds to build where a struct costs a fraction of one.

Times are integers: milliseconds since the Unix epoch. Durations are milliseconds too.
"""

import json
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

from receiver.core.charset import charset_of, in_utf8
from receiver.core.file import File, When

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


#: How many states come before all ends.
_LAST: Final = 4


class JobState(StrEnum):
    """How far a job has come. States only move to the right, in the order of this list."""

    #: Recorded; left by the provider's answer, by a callback that overtakes it, or by the deadline.
    SUBMITTING = "submitting"
    #: Accepted by the provider; left by any observation, or by a look at the deadline that brings none.
    SUBMITTED = "submitted"
    #: The provider says that it works on it; left by a terminal observation, or as above.
    RUNNING = "running"
    #: The provider says that there is a result, which is not here yet; left by the fetch or retention.
    FETCHING = "fetching"
    #: The result is stored.
    SUCCEEDED = "succeeded"
    #: The provider refused the submission or says that the job failed.
    FAILED = "failed"
    #: The provider says that the job was canceled.
    CANCELED = "canceled"
    #: The provider deleted the result before it could be fetched; a person's look may still find it.
    EXPIRED = "expired"
    #: The deadline passed, and a look at it brought no outcome; a later authenticated one replaces it once.
    TIMED_OUT = "timed_out"

    #: The place in the order of states; all ends share the last place.
    rank: int
    #: Whether the job is over.
    ended: bool

    def __init__(self, _word: str) -> None:
        # Asked a dozen times of every callback, so found out once.
        self.rank = min(len(type(self).__members__), _LAST)
        self.ended = self.rank == _LAST


#: The states on the way to an end that a handler can hear of.
PROGRESS: Final = frozenset({"submitted", "running", "fetching"})


class Delivery(StrEnum):
    """What the provider was asked, at submission, to send to the callback URL."""

    #: Nothing: the job is polled.
    NONE = "none"
    #: "It is finished", without the result: a fetch follows.
    NOTIFICATION = "notification"
    #: The job's state, with the result once there is one.
    RESULT = "result"


class Source(StrEnum):
    """Who says something about a job."""

    SUBMIT = "submit"
    CALLBACK = "callback"
    POLL = "poll"
    DEADLINE = "deadline"
    CANCEL = "cancel"


class Verdict(StrEnum):
    """What became of a callback."""

    #: Genuine, and it changed something.
    ACCEPTED = "accepted"
    #: Genuine, and what it says was known already or comes too late.
    DUPLICATE = "duplicate"
    #: Genuine, but not in the described form; a replay reads it again.
    UNREADABLE = "unreadable"
    #: Not proved genuine; kept in quarantine.
    REJECTED = "rejected"


class Step(StrEnum):
    """What a due row asks the worker to do for a job."""

    #: Send the submission (again), or find that its outcome is unknown.
    SUBMIT = "submit"
    #: Ask the provider: poll the status, fetch the result, or find that the deadline has passed.
    LOOK = "look"
    #: Ask the provider to cancel.
    CANCEL = "cancel"
    #: Read which files a stored result links to.
    FILES = "files"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every noun."""


class Result(Value, frozen=True, kw_only=True):
    """What a provider sent, as it sent it."""

    content: bytes = b""
    content_type: str = "application/json"
    size: int = 0
    sha256: str = ""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Its content in pieces: a single one, unless the handler was registered with ``pieces=True``."""
        yield self.content

    def __iter__(self) -> Iterator[bytes]:
        """Its content in pieces, for plain functions."""
        yield self.content

    def json(self) -> Any:  # noqa: ANN401  (a provider's JSON has no type of ours)
        """Parse the result as JSON; raises ``msgspec.DecodeError`` if it is something else.

        What Python's own parser takes is taken: NaN and Infinity, numbers of any length, half an emoji. A charset that
        shows by the first bytes, or that the content type declares, is honoured.
        """
        try:
            return msgspec.json.decode(self.content)
        except msgspec.DecodeError as error:
            try:
                return json.loads(in_utf8(self.content, self.content_type), strict=False)
            except (ValueError, RecursionError):
                raise error from None

    def text(self) -> str:
        """Decode the result, as UTF-8 unless its content type says otherwise; raises ``UnicodeDecodeError``."""
        return self.content.decode(charset_of(self.content_type.encode("latin-1", "replace")) or "utf-8")


class Failure(Value, frozen=True, kw_only=True):
    """Why a job did not succeed: a stable code, and the provider's own words where it had any."""

    code: str
    text: str = ""


class Held(Value, frozen=True, kw_only=True):
    """Where a result lies that is already stored: a slice of a callback's body, or chunks of its own."""

    #: The callback whose body holds the result, or ``None`` where it was fetched into chunks.
    callback_id: str | None = None
    #: Where the slice begins, or which part the chunks are.
    offset: int = 0
    #: Where it begins in that part.
    start: int = 0
    size: int
    sha256: str
    content_type: str = "application/json"


class Job(Value, frozen=True):
    """One piece of work at a provider.

    ``id`` is ours and exists before the submission; ``remote_id`` is the provider's.
    """

    id: str
    provider: str
    created_at: int
    deadline_at: int
    operation: str = ""
    state: JobState = JobState.SUBMITTING
    delivery: Delivery = Delivery.NONE
    #: Which master key its callback token was made with.
    key_id: str = ""
    remote_id: str | None = None
    #: Where the provider said, in an authenticated answer, that the result will be.
    response_url: str | None = None
    cancel_url: str | None = None
    submitted_at: int | None = None
    #: When the provider was first known to have succeeded; retention counts from here.
    succeeded_at: int | None = None
    ended_at: int | None = None
    #: How long the provider keeps the result, and whether that counts from submission or completion.
    keep_ms: int | None = None
    keep_from: str = "completion"
    #: sending, unsure (sent, and tried again), sent, refused, unknown (no answer came), or none (not from here).
    submission: str = "sending"
    cancel_requested_at: int | None = None
    #: The wake-up that the next look answers.
    woken_by: str | None = None
    settled_by: Source | None = None
    held: Held | None = None
    error: Failure | None = None
    #: How many callbacks arrived for it, kept or only counted.
    callbacks: int = 0
    #: The id of the first one, if its job was known when it was stored.
    first_callback: str | None = None
    #: How an open job will end that did not succeed by its provider's word, while its reason or a result is asked for.
    ends_as: JobState | None = None
    #: Why somebody should look at it: ``needs_action`` (it goes on once a person has done something at the provider),
    #: or ``word_unlisted`` (its description does not say what the provider's word means); and that word.
    attention: str | None = None
    word: str | None = None
    #: Whether the files that its result links to are fetched, and whether its handlers wait for them.
    files_when: When = "never"
    #: Where its provider's last word lies, if that is not the callback that ``held`` names.
    answer_held: Held | None = None
    metadata: dict[str, Any] = {}
    #: The place in a distributed trace that it belongs to (W3C ``traceparent``), loaded as the metadata is.
    traceparent: str | None = None
    #: Loaded for handlers and on request, never for lists.
    result: Result | None = None
    files: tuple[File, ...] = ()
    #: The provider's last word about it, whole: what says how it ended, the result inside or not. Loaded likewise.
    answer: Result | None = None

    @property
    def answered(self) -> bool:
        """Whether its provider's last word is kept."""
        return self.answer_held is not None or (self.held is not None and self.held.callback_id is not None)


class ResultAt(Value, frozen=True, kw_only=True):
    """A result inside the bytes that announced it."""

    content: bytes
    content_type: str = "application/json"
    #: Where it begins in the received bytes, or ``None`` if those had to be decoded first.
    offset: int | None = None


class Observation(Value, frozen=True, kw_only=True, tag=True):
    """What one source says about a job. ``None`` means that it does not say."""

    state: JobState | None = None
    #: The provider's own word for the state, for the timeline.
    word: str | None = None
    remote_id: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None
    result: ResultAt | None = None
    #: Where the result can be fetched, as named by this source.
    result_url: str | None = None
    error: Failure | None = None
    #: Our job's id, as the provider repeats it.
    mark: str | None = None
    #: Why a person should look at the job: ``needs_action``, or ``word_unlisted``.
    attention: str | None = None
    #: Whether it brings no more than the first page of the result: there is a next one, to be asked for.
    goes_on: bool = False


class Callback(Value, frozen=True, kw_only=True):
    """One HTTP request that arrived, kept byte for byte."""

    id: str
    provider: str
    #: ``callbacks`` (an address for one job) or ``webhooks`` (one for the account).
    route: str
    job_id: str | None = None
    received_at: int
    method: str = "POST"
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    verdict: Verdict = Verdict.ACCEPTED
    #: Why it was rejected, unreadable or without effect.
    code: str | None = None
    key_id: str | None = None
    delivery_id: str | None = None
    remote_id: str | None = None
    #: Whether its job names it as its first.
    is_first: bool = False
    #: The IP address that it came from, or "unknown"; ``None`` where that was not kept yet.
    sender: str | None = None


class Due(Value, frozen=True, kw_only=True):
    """Something the worker has to do for a job, not before ``run_at``.

    A claim moves ``run_at`` to the end of its lease, so a row whose owner died becomes due by itself.
    """

    job_id: str
    step: Step
    provider: str
    run_at: int
    #: When the provider deletes the result, as far as its description tells.
    expires_at: int | None = None
    #: In which order it is done (``core/job/urgency``), and from when on the deletion is near.
    lane: int = 3
    urgent_at: int | None = None
    attempt: int = 0
    owner: str | None = None
    #: How often in a row it failed; a success sets it back.
    failures: int = 0
    #: The single-use address whose fetch was begun: never asked again.
    spent_url: str | None = None
    #: The node that began it: it may hold what came, also while nobody hears of it.
    spent_by: str | None = None
    #: Where the result is, when the provider named an address.
    result_url: str | None = None
    #: An id that only a wake-up named: believed once the provider itself answers to it.
    candidate_id: str | None = None
    #: Since when something has spoken for the job's end that is not believed at once.
    doubt_since: int | None = None


class Dispatch(Value, frozen=True, kw_only=True):
    """One completion for one handler."""

    job_id: str
    handler: str
    replay_id: str = ""
    #: ready, lined (behind others of its key) or dead; a running one is ready with an owner, a finished one is gone.
    state: str = "ready"
    run_at: int
    attempt: int = 0
    owner: str | None = None
    created_at: int
    error: Failure | None = None
    #: How many of its attempts failed.
    failures: int = 0
    #: How many did not end because their process ended first: this handler may be what ends the process.
    interruptions: int = 0
    #: Whether it was claimed from an owner that is gone: the attempt is then that one's, and is not run again.
    lapsed: bool = False
    #: Which trial of an open circuit it was claimed for; 0 if for none.
    trial: int = 0
    #: The name that its handler had when it was made, if that was another.
    alias: str | None = None
    #: Which line of its handler it stands in, if that orders its completions.
    line: str | None = None

    @property
    def id(self) -> str:
        """The dispatch's name."""
        return ":".join(filter(None, (self.job_id, self.handler, self.replay_id)))

    @property
    def key(self) -> str:
        """The idempotency key that its handler is given: its name, also after the handler was renamed."""
        return ":".join(filter(None, (self.job_id, self.alias or self.handler, self.replay_id)))


class Attempt(Value, frozen=True, kw_only=True):
    """One run of a step or of a handler, finished."""

    id: str
    job_id: str
    #: submit, receive, poll, fetch, files, file, state, cancel, deadline, dispatch, replay.
    step: str
    handler: str = ""
    replay_id: str = ""
    number: int = 1
    started_at: int
    duration_ms: int = 0
    outcome: str
    code: str | None = None
    detail: dict[str, Any] = {}
