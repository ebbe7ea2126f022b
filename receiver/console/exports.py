"""A job or a callback to take away: as curl, as a ``receiver`` command, as Python, as ``.http``, as a test."""

import json
import shlex
from typing import Any, Final

import msgspec

from receiver.console.hiding import hidden
from receiver.core.model import Callback, Job
from receiver.core.provider import Provider
from receiver.storage.queries import Submission
from receiver.views.document import timestamp

#: Headers that whatever sends a request sets by itself.
_CONNECTION: Final = {"host", "content-length", "connection", "transfer-encoding", "keep-alive", "expect"}
#: Bytes of a body that are written into an export.
_LONGEST_BODY: Final = 16 * 1024


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


def of_callback(
    callback: Callback, headers: list[tuple[str, str]], provider: Provider | None, public_url: str | None
) -> list[tuple[str, str]]:
    """A stored request to be sent once more, and a test of it; *headers* are as they are shown."""
    sent = [(name, value) for name, value in headers if name.lower() not in _CONNECTION]
    where = f"/{callback.route}/{callback.provider}" + ("/TOKEN" if callback.route == "callbacks" else "")
    url = f"{(public_url or 'http://127.0.0.1:8000').rstrip('/')}{where}"
    if callback.query:
        url += f"?{callback.query.decode('latin-1')}"
    body = f"receiver callbacks body {callback.id}"
    curl = " \\\n  ".join(
        [
            f"{body} | curl -X {callback.method} {shlex.quote(url)}",
            *(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in sent),
            "--data-binary @-",
        ]
    )
    lines = [f"{name}: {_one_line(value)}" for name, value in sent]
    text = callback.body[:_LONGEST_BODY].decode("utf-8", "replace")
    http = "\n".join([f"{callback.method} {_one_line(url)} HTTP/1.1", *lines, "", text])
    found = [("curl", curl), ("receiver", f"receiver callbacks show {callback.id}\n{body}"), (".http", http)]
    if provider is not None and provider.signed:
        found.append(("pytest", _test(callback, sent)))
    return found


def _test(callback: Callback, headers: list[tuple[str, str]]) -> str:
    """A test that the stored request is verified, or is not, as it was: it stands on public commands alone."""
    arguments = "".join(f'    "-H", {f"{name}: {value}"!r},\n' for name, value in headers)
    wanted = 4 if callback.verdict == "rejected" else 0
    name = callback.provider.replace("-", "_")
    return (
        "import subprocess\nimport sys\n\n"
        f"BODY = {callback.body[:_LONGEST_BODY]!r}\n"
        f"HEADERS = [\n{arguments}]\n\n\n"
        f"def test_the_callback_of_{name}_is_{callback.verdict}() -> None:\n"
        f'    """As {callback.id} was, with the key that is configured where this runs."""\n'
        "    ran = subprocess.run(\n"
        f'        [sys.executable, "-m", "receiver", "verify", {callback.provider!r}, "-",\n'
        f'         "--at", "{timestamp(callback.received_at)}", *HEADERS],\n'
        "        input=BODY,\n        check=False,\n    )\n"
        f"    assert ran.returncode == {wanted}\n"
    )


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
