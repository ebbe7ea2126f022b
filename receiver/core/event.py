"""The attributes of a CloudEvent that tells of a completion, and such an event as a short text without data.

CloudEvents 1.0 (https://github.com/cloudevents/spec, as the package cloudevents 2.2.0 has it).
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from receiver.core.model import PROGRESS, Job

JSON: Final = "application/json"
SPEC_VERSION: Final = "1.0"


def attributes_of(job: Job, *, replay_id: str) -> dict[str, str]:
    """What is said of a completion of *job*, its metadata loaded; ``time`` and what the data is come later."""
    state = replay_id if replay_id in PROGRESS else job.state.value
    attributes = {
        "id": f"{job.id}:{replay_id}" if replay_id else job.id,
        "source": f"/providers/{job.provider}",
        "type": f"receiver.job.{state}.v1",
        "subject": job.id,
        "datacontenttype": JSON,
    }
    if job.traceparent is not None:
        attributes["traceparent"] = job.traceparent
    return attributes


def result_address(job: Job, *, public_url: str | None) -> str:
    """Where the result of *job* is, as ``dataref`` says it: a relative address where nobody knows our own."""
    return f"{(public_url or '').rstrip('/')}/v1/jobs/{job.id}/result"


def written_time(at: int) -> str:
    """*at*, in milliseconds since the Unix epoch, as the attribute ``time``."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")


def notice_of(attributes: dict[str, str], *, at: int) -> str:
    """The event with these *attributes* as one JSON document without data, so that it has no type of data either."""
    said = {name: value for name, value in attributes.items() if name != "datacontenttype"}
    document = {"specversion": SPEC_VERSION, **said, "time": written_time(at)}
    return msgspec.json.encode(document).decode()
