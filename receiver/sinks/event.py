"""A completion as a CloudEvent 1.0 (https://github.com/cloudevents/spec, as cloudevents 2.2.0 has it).

Its ``data`` is the job as ``/v1`` shows it and the result beside it. A result that is not JSON is the data
itself, with its own content type; one that is too large is left out, and ``dataref`` says where it is.
"""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from receiver.core.alarms.alarm import Alarm
from receiver.core.event import JSON, SPEC_VERSION, attributes_of, result_address, written_time
from receiver.core.identity import JOB, new_id
from receiver.core.model import PROGRESS, Job, JobState, Result, Value
from receiver.views.alarm import alarm_document
from receiver.views.job import job_document

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent

#: The media type of an event whose attributes stand in the document.
STRUCTURED: Final = "application/cloudevents+json"
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_WORD: Final = 100
#: What a header may hold as it is: all printable ASCII but blank, quote and percent sign.
_SAFE: Final = "".join(one for one in map(chr, range(0x21, 0x7F)) if one not in '"%')
_PLAIN: Final = re.compile(r"[!#$&-~]*")


class Event(Value, frozen=True, kw_only=True):
    """One completion (or one alarm), ready to be sent: the same bytes in every attempt."""

    #: The completion's id: the same for every sink and attempt, another for a replay.
    id: str
    #: The job, or the alarm, that it is about.
    subject: str
    #: What stands for this event in an address, a subject or a file's name.
    fields: dict[str, str]
    attributes: dict[str, str]
    #: The event's time, in milliseconds since the Unix epoch.
    at: int
    #: Its data, and whether that is the JSON document rather than a result's own bytes.
    data: bytes
    json: bool = True

    def cloud_event(self, *, parsed: bool = False) -> "CloudEvent":
        """The event as its library has it; its data *parsed* where the whole event becomes one document."""
        from cloudevents.core.v1.event import CloudEvent  # noqa: PLC0415  (only who has a sink pays for it)

        attributes: dict[str, Any] = self.attributes | {"time": datetime.fromtimestamp(self.at / 1000, UTC)}
        data = msgspec.json.decode(self.data) if parsed and self.json else self.data
        return CloudEvent(attributes, data)

    def structured(self) -> bytes:
        """The whole event as one JSON document."""
        from cloudevents.core.formats.json import JSONFormat  # noqa: PLC0415  (as above)

        return JSONFormat().write(self.cloud_event(parsed=True))

    def headers(self, prefix: str) -> dict[str, str]:
        """The attributes as headers of a message whose payload is the data; content-type without a prefix.

        As ``cloudevents.core.bindings.http.to_binary`` makes them, written here because that takes as long as to send
        the message.
        """
        said = {"specversion": SPEC_VERSION, **self.attributes, "time": written_time(self.at)}
        content_type = said.pop("datacontenttype")
        found = {prefix + name: _header(value) for name, value in said.items()}
        found["content-type"] = content_type
        return found


def event_of(
    job: Job, *, replay_id: str = "", largest: int, public_url: str | None, now: int, test: bool = False
) -> Event:
    """Describe a completion.

    Args:
        job: The job, with its result loaded.
        replay_id: The replay, or ``late``, that this completion is told anew for; or the state on the way to an end
            that is told of, which the job may have left by now.
        largest: Bytes of a result that travels with the event.
        public_url: Where ``dataref`` points below; without it, it is a relative address.
        now: The event's time where the job has no end.
        test: Whether it is an example, and marked as one.
    """
    at = job.ended_at if job.ended_at is not None else now
    attributes = attributes_of(job, replay_id=replay_id)
    if test:
        attributes["receivertest"] = "true"
    content, is_json = b"", False
    if job.result is not None:
        if job.result.size > largest or len(job.result.content) > largest:
            attributes["dataref"] = result_address(job, public_url=public_url)
        else:
            content, is_json = job.result.content, _is_json(job.result.content)
    fields = {f"metadata.{key}": _word(value) for key, value in job.metadata.items()} | {
        "provider": job.provider,
        "state": replay_id if replay_id in PROGRESS else job.state.value,
        "operation": job.operation or "none",
        "job": job.id,
        "date": _date(at),
    }
    data = content
    if not content or is_json:
        document: dict[str, Any] = {"job": job_document(job)}
        if is_json:
            document["result"] = msgspec.Raw(content)
        data = msgspec.json.encode(document)
    elif job.result is not None:
        attributes["datacontenttype"] = _media_type(job.result.content_type)
    return Event(
        id=attributes["id"],
        subject=job.id,
        fields=fields,
        attributes=attributes,
        at=at,
        data=data,
        json=not content or is_json,
    )


def event_of_alarm(alarm: Alarm, *, word: str, at: int) -> Event:
    """Describe that *alarm* was ``raised`` or ``cleared``, as *word* says, at a time.

    In an address ``{state}`` is the word, ``{operation}`` the alarm's name and ``{job}`` its id.
    """
    attributes = {
        "id": f"{alarm.id}:{word}",
        "source": f"/alarms/{alarm.name}",
        "type": f"receiver.alarm.{word}.v1",
        "subject": alarm.id,
        "datacontenttype": JSON,
    }
    fields = {
        "provider": alarm.provider or "none",
        "state": word,
        "operation": alarm.name,
        "job": alarm.id,
        "date": _date(at),
    }
    data = msgspec.json.encode({"alarm": alarm_document(alarm)})
    return Event(
        id=attributes["id"], subject=alarm.id, fields=fields, attributes=attributes, at=at, data=data
    )


def example(*, now: int) -> Job:
    """A job that never was, for ``receiver sinks test``."""
    content = b'{"message":"This is a test of a sink. No job has ended."}'
    return Job(
        id=new_id(JOB, now),
        provider="test",
        created_at=now,
        deadline_at=now,
        ended_at=now,
        state=JobState.SUCCEEDED,
        metadata={"test": True},
        result=Result(content=content, size=len(content)),
    )


def _header(value: str) -> str:
    """*value* as a header may hold it (CloudEvents' HTTP binding, 3.1.3.2)."""
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_SAFE)


def _media_type(said: str) -> str:
    """A provider's Content-Type as any kind of message can carry it; without its parameters where one is odd."""
    for one in (said, said.partition(";")[0]):
        if (word := one.strip()) and word.isascii() and word.isprintable():
            return word
    return "application/octet-stream"


def _date(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}"


def _word(value: object) -> str:
    """*value* of a caller's metadata as one word: nothing in it can climb a path or split a subject."""
    return _ODD.sub("_", value if isinstance(value, str) else str(value))[:_LONGEST_WORD] or "none"


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
