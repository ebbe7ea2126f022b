"""What a program hears from an HTTP sink, proved and read: for web frameworks that have routes of their own."""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from receiver.core.errors import ReceiverError
from receiver.core.message import lowered
from receiver.core.model import JobState, Result, Value
from receiver.core.signature.standard import STANDARD_WEBHOOKS
from receiver.core.signature.verify import Message, load_key, verify
from receiver.views.job import JobDocument

_TYPE: Final = re.compile(r"receiver\.job\.([a-z_]+)\.v1")
_JSON: Final = "application/json"


class EventUnreadableError(ReceiverError):
    """The request is genuine, and is no completion as an HTTP sink sends one."""

    code = "event_unreadable"
    status = 422


class CompletionEvent(Value, frozen=True, kw_only=True):
    """One completion, as an HTTP sink tells it. It may come more than once, with the same ``id``."""

    id: str
    job_id: str
    provider: str
    state: JobState
    #: The job; ``None`` where its result is no JSON, which then is all that was sent.
    job: JobDocument | None = None
    #: The result, if it came along.
    result: Result | None = None
    #: Whether there is a result that was too large to come along: ``Client.result(event.job_id)`` fetches it.
    elsewhere: bool = False
    #: Whether it is an example that ``receiver sinks test`` sent.
    test: bool = False


class _Data(msgspec.Struct, frozen=True):
    job: JobDocument
    result: msgspec.Raw = msgspec.Raw()


def read_event(
    body: bytes,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    secret: str,
    now: float | None = None,
) -> CompletionEvent:
    """Prove that a request comes from your receiver, and read it.

    Args:
        body: The bytes as they arrived.
        headers: The headers as they arrived, of a framework or of WSGI.
        secret: The sink's secret (``whsec_…``); several, comma-separated, while it is being changed.
        now: The time, in seconds since the Unix epoch; this machine's if left out.

    Raises:
        RejectionError: it is not genuine, or too old; answer 401.
        EventUnreadableError: it is no completion; answer 422.
        ConfigurationError: the secret is not in the form of one.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    named = lowered((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)
    keys = [
        load_key(f"secret#{number}", one, scheme=STANDARD_WEBHOOKS)
        for number, one in enumerate(secret.split(","), start=1)
    ]
    moment = int((time.time() if now is None else now) * 1000)  # noqa: TID251  (a caller's clock is this machine's)
    verify(Message(body=body, headers=named), scheme=STANDARD_WEBHOOKS, keys=keys, now=moment)
    return _read(body, {name.decode("latin-1"): value.decode("latin-1") for name, value in named})


def _read(body: bytes, headers: dict[str, str]) -> CompletionEvent:
    found = _TYPE.fullmatch(headers.get("ce-type", ""))
    source = headers.get("ce-source", "")
    if found is None or found[1] not in set(JobState) or not headers.get("ce-subject"):
        raise EventUnreadableError(f"An event of the type {headers.get('ce-type')!r} is no completion.")
    facts: dict[str, Any] = {
        "id": headers.get("ce-id", ""),
        "job_id": headers["ce-subject"],
        "provider": source.rpartition("/")[2],
        "state": JobState(found[1]),
        "elsewhere": "ce-dataref" in headers,
        "test": headers.get("ce-receivertest") == "true",
    }
    content_type = headers.get("content-type", _JSON)
    if content_type.partition(";")[0].strip() != _JSON:
        return CompletionEvent(
            **facts, result=Result(content=body, content_type=content_type, size=len(body))
        )
    try:
        data = msgspec.json.decode(body, type=_Data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EventUnreadableError(f"The event's data is not a job and its result: {error}.") from error
    result = None
    content = bytes(data.result)
    if content:
        described = data.job.result
        result = Result(
            content=content,
            content_type=_JSON if described is None else described.content_type,
            size=len(content),
            sha256="" if described is None else described.sha256,
        )
    return CompletionEvent(**facts, job=data.job, result=result)
