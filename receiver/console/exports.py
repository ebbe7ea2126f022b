"""A job or a callback to take away: as curl, as a ``receiver`` command, as Python, as ``.http``, as a test."""

import json
import shlex
from typing import Any

import msgspec

from receiver.console.hiding import hidden
from receiver.core.model import Job
from receiver.storage.queries import Submission


def of_job(job: Job, submission: Submission) -> list[tuple[str, str]]:
    """How the same job is submitted once more: its name and the text, each; secrets are masked."""
    request: Any = hidden(msgspec.json.decode(submission.request))
    document: dict[str, Any] = {"provider": job.provider}
    if job.operation:
        document["operation"] = job.operation
    document["request"] = request
    if job.metadata:
        document["metadata"] = hidden(job.metadata)
    body = json.dumps(document, ensure_ascii=False)
    curl = (
        'curl -X POST "$RECEIVER_PUBLIC_URL/v1/jobs" \\\n'
        '  -H "Authorization: Bearer $RECEIVER_API_TOKEN" \\\n'
        "  -H 'content-type: application/json' \\\n"
        f"  --data-raw {shlex.quote(body)}"
    )
    options = [f"--operation {shlex.quote(job.operation)}"] if job.operation else []
    if job.metadata:
        options.append(f"--metadata {shlex.quote(json.dumps(hidden(job.metadata), ensure_ascii=False))}")
    command = (
        f"printf %s {shlex.quote(json.dumps(request, ensure_ascii=False))} \\\n"
        f"  | receiver submit {shlex.quote(job.provider)} - {' '.join(options)}"
    ).rstrip()
    named = "".join(
        f",\n    {name}={value!r}"
        for name, value in (("operation", job.operation), ("metadata", hidden(job.metadata)))
        if value
    )
    python = f"job = await receiver.submit(\n    {job.provider!r},\n    {request!r}{named},\n)"
    return [("curl", curl), ("receiver", command), ("Python", python)]
