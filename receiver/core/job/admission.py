"""Admission: a callback is verified and read, and decides what changes; live, in a replay and re-verified alike.

It is done in two parts, because the first needs only the bytes and the second the job as it stands in the
transaction: ``examine`` proves and reads, ``admit`` decides.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from receiver.core.description.provider import Provider
from receiver.core.description.shape import UNSUCCESSFUL
from receiver.core.enum_members import ACCEPTED, BY_CALLBACK, DUPLICATE, FAILED, SUCCEEDED, UNREADABLE
from receiver.core.errors import UnreadableError
from receiver.core.file import When
from receiver.core.job.standing import gathering, hears
from receiver.core.job.transition import Move, ask_more, hint, observe, woken
from receiver.core.message import Message
from receiver.core.model import Delivery, Held, Job, JobState, Observation, Value, Verdict
from receiver.core.reading.observation import lost_to_readers, read, unreadable_failure
from receiver.core.signature.verify import Key, prepare

_LONGEST_TYPE: Final = 200
#: So many callbacks of one job that change nothing are kept whole; the rest are counted.
MOST_KEPT = 20


class Terms(Value, frozen=True, kw_only=True):
    """How to record a job that nobody submitted here, should a callback name one, and when to ask about any."""

    delivery: Delivery
    deadline_ms: int
    keep_ms: int | None
    keep_from: str
    key_id: str
    #: How long to wait for a callback before asking about it; ``None`` where there is nobody to ask.
    look_ms: int | None = None
    #: What is done about the files that its result links to.
    files_when: When = "never"


class Unreadable(Value, frozen=True, kw_only=True, tag=True):
    """Why a genuine callback could not be read."""

    code: str


class Examined(Value, frozen=True, kw_only=True):
    """A callback after proof and reading, before anyone has looked at its job."""

    #: Whether a signature vouches for it, rather than its token alone.
    signed: bool
    key_id: str | None
    delivery_id: str | None
    #: What it says, for each way in which its job may have been submitted.
    readings: dict[Delivery, Observation | Unreadable]
    #: Digests of the results inside, for each reading that has one; computed outside the transaction.
    digests: dict[Delivery, str]
    #: Whether it names an address outside the provider's origins.
    foreign_url: bool
    #: Whether the provider can be asked about a job.
    askable: bool = False
    #: The states other than success in which it then may have a result.
    result_for: frozenset[JobState] = frozenset()
    #: The body as the result of a job whose outcome it is and cannot be read; ``None`` where it is something else.
    unread: Held | None = None

    def reading(self, delivery: Delivery) -> Observation | Unreadable:
        """What it says to a job that was submitted as *delivery*."""
        return self.readings.get(delivery) or next(iter(self.readings.values()))

    @property
    def remote_id(self) -> str | None:
        """The provider's job id, by whichever reading finds one."""
        for reading in self.readings.values():
            if isinstance(reading, Observation) and reading.remote_id is not None:
                return reading.remote_id
        return None

    @property
    def mark(self) -> str | None:
        """Our own id of the job, if the provider repeats it."""
        for reading in self.readings.values():
            if isinstance(reading, Observation) and reading.mark is not None:
                return reading.mark
        return None


class Admission(Value, frozen=True, kw_only=True):
    """What becomes of a callback and of its job."""

    verdict: Verdict
    code: str | None = None
    move: Move | None = None
    #: A result that must be copied out because the received bytes do not hold it as it is.
    content: bytes | None = None
    #: A provider's job id that an authenticated GET must confirm before it is believed.
    candidate_id: str | None = None
    #: Whether the timeline says that an address in the callback was not followed.
    fetch_refused: bool = False


def examine(message: Message, *, provider: Provider, keys: Sequence[Key], now: int, largest: int) -> Examined:
    """Prove that a callback is genuine and read it.

    Raises:
        RejectionError: it is not proved genuine.
        KeyUnavailableError: the key that would prove it is missing: our fault, never the sender's.
    """
    scheme = provider.verify
    assert scheme is not None  # noqa: S101  (a description with a callback has one)
    verified = prepare(scheme, tuple(keys)).verify(message, now=now)
    readings: dict[Delivery, Observation | Unreadable] = {}
    digests: dict[Delivery, str] = {}
    foreign = False
    for delivery, shape in provider.readings:
        try:
            readings[delivery] = seen = read(message, shape, claims=verified.claims, largest=largest)
        except UnreadableError as error:
            readings[delivery] = Unreadable(code=error.code)
            continue
        if seen.result is not None:
            digests[delivery] = hashlib.sha256(seen.result.content).hexdigest()
        if seen.response_url or seen.result_url or seen.cancel_url:
            foreign = foreign or _leads_elsewhere(seen, provider)
    return Examined(
        signed=verified.authenticated,
        key_id=verified.key_id,
        delivery_id=verified.delivery_id,
        readings=readings,
        digests=digests,
        foreign_url=foreign,
        askable=provider.poll is not None,
        result_for=provider.result_for,
        unread=None if provider.poll is not None else _unread(message, readings),
    )


def _unread(message: Message, readings: Mapping[Delivery, Observation | Unreadable]) -> Held | None:
    seen = readings.get(Delivery.RESULT)
    if not isinstance(seen, Unreadable) or not lost_to_readers(seen.code, message.body):
        return None
    content_type = (message.header(b"content-type") or b"application/octet-stream").decode("latin-1")
    return Held(
        size=len(message.body),
        sha256=hashlib.sha256(message.body).hexdigest(),
        content_type=content_type[:_LONGEST_TYPE],
    )


def _leads_elsewhere(seen: Observation, provider: Provider) -> bool:
    named = (seen.response_url, seen.result_url, seen.cancel_url)
    return any(url is not None and not provider.lists(url) for url in named)


def admit(job: Job, examined: Examined, *, callback_id: str, now: int) -> Admission:
    """Decide what a proved callback does to *job*, as it stands in the transaction."""
    seen = examined.reading(job.delivery)
    if isinstance(seen, Unreadable):
        return _unreadable(job, seen.code, examined, callback_id=callback_id, now=now)
    if seen.remote_id is not None and job.remote_id is not None and seen.remote_id != job.remote_id:
        return _unreadable(job, "job_id_mismatch", examined, callback_id=callback_id, now=now)
    if not examined.signed and job.delivery is not Delivery.RESULT:
        return _wake(job, seen, examined, callback_id)
    if seen.state is None and job.delivery is Delivery.RESULT:
        if seen.result is None and not seen.goes_on:
            return _unreadable(job, "status_missing", examined, callback_id=callback_id, now=now)
        seen = replace(seen, state=SUCCEEDED)
    if seen.state is None:
        return _wake(job, seen, examined, callback_id)
    return _believe(job, seen, examined, callback_id=callback_id, now=now)


def _unreadable(job: Job, code: str, examined: Examined, *, callback_id: str, now: int) -> Admission:
    """What a callback does that is about *job*, by its token or its signature, and says nothing that can be read.

    It is a reason to ask, whatever it holds. Where nobody can be asked and the body is the outcome, it is kept as that.
    """
    if examined.askable:
        move = woken(job, callback_id=callback_id, most=MOST_KEPT)
        return Admission(verdict=UNREADABLE, code=code, move=move)
    if job.delivery is not Delivery.RESULT or examined.unread is None:
        return Admission(verdict=UNREADABLE, code=code)
    seen = Observation(state=FAILED, error=unreadable_failure(code))
    held = replace(examined.unread, callback_id=callback_id)
    move = observe(job, seen, source=BY_CALLBACK, now=now, held=held)
    return Admission(verdict=UNREADABLE, code=code, move=move)


def _wake(job: Job, seen: Observation, examined: Examined, callback_id: str) -> Admission:
    if examined.signed and job.remote_id is None:
        job = replace(job, remote_id=seen.remote_id)
    if seen.state is FAILED:
        job = hint(job)
    move = woken(job, callback_id=callback_id, most=MOST_KEPT)
    named = seen.response_url or seen.result_url
    elsewhere = named is not None and job.response_url is not None and named != job.response_url
    return Admission(
        verdict=ACCEPTED if move.look_now and move.note is None else DUPLICATE,
        code=move.note,
        move=move,
        candidate_id=seen.remote_id if job.remote_id is None else None,
        fetch_refused=elsewhere or examined.foreign_url,
    )


def _believe(job: Job, seen: Observation, examined: Examined, *, callback_id: str, now: int) -> Admission:
    refused = examined.foreign_url
    if refused:
        # An address in a callback, even a signed one, is not followed off the listed origins: the poll knows better.
        seen = replace(seen, response_url=None, cancel_url=None, result_url=None)
    if _wants_more(job, seen, examined):
        told = replace(job, answer_held=_whole(callback_id))
        move = ask_more(told, seen, callback_id=callback_id)
        return Admission(verdict=ACCEPTED, move=move, fetch_refused=refused)
    held, content, result = None, None, seen.result
    if result is not None and seen.state is not None and seen.state.ended and hears(job, seen):
        inside = result.offset is not None
        held = Held(
            callback_id=callback_id if inside else None,
            offset=result.offset or 0,
            size=len(result.content),
            sha256=examined.digests.get(job.delivery) or next(iter(examined.digests.values())),
            content_type=result.content_type,
        )
        content = None if inside else result.content
    move = observe(job, seen, source=BY_CALLBACK, now=now, held=held)
    if (held is None or held.callback_id is None) and (move.taken or move.result_url is not None):
        # ``Held`` tells where in it the result lies.
        move = replace(move, job=replace(move.job, answer_held=_whole(callback_id)))
    if move.look_now:
        heeded = move.changed or job.callbacks < MOST_KEPT
        move = (
            replace(move, job=replace(move.job, woken_by=callback_id))
            if heeded
            else replace(move, look_now=False)
        )
    return Admission(
        verdict=ACCEPTED if move.changed else DUPLICATE,
        code=move.note,
        move=move,
        content=content if content is not None and move.taken else None,
        fetch_refused=refused,
    )


def _whole(callback_id: str) -> Held:
    """All of a callback, as what a job's provider said last."""
    return Held(callback_id=callback_id, size=0, sha256="")


def _wants_more(job: Job, seen: Observation, examined: Examined) -> bool:
    """Whether an end is told without its reason, or without a possible result, and the provider can be asked for it.

    False where the end was told before.
    """
    if (
        seen.state not in UNSUCCESSFUL
        or not examined.askable
        or job.state.ended
        or job.ends_as is not None
        or gathering(job)
    ):
        return False
    known = job.remote_id or seen.remote_id or job.response_url
    wanting = seen.state is FAILED and (seen.error is None or not seen.error.text)
    lacking = seen.state in examined.result_for and seen.result is None and seen.result_url is None
    return known is not None and (wanting or lacking)


def terms_for(provider: Provider, *, key_id: str) -> Terms:
    """How to record a job of *provider* that was not submitted here."""
    retention = provider.retention
    return Terms(
        delivery=provider.callback.delivers if provider.callback is not None else Delivery.NONE,
        deadline_ms=int(provider.deadline),
        keep_ms=None if retention is None else int(retention.keeps),
        keep_from="completion" if retention is None else retention.counted_from,
        key_id=key_id,
        look_ms=int(provider.callback.expected) if provider.callback and provider.poll else None,
        files_when="before" if provider.files else "never",
    )
