"""A job or a callback to take away: as curl, as a ``receiver`` command, as Python, as ``.http``, as a test."""

import json
import re
import shlex
from typing import Any, Final

import msgspec

from receiver.core.description.provider import Provider
from receiver.core.model import Callback, Job
from receiver.storage.queries import Submission
from receiver.views.masking import masked_value

#: Headers that whatever sends a request sets by itself.
_CONNECTION: Final = {"host", "content-length", "connection", "transfer-encoding", "keep-alive", "expect"}
#: Bytes of a body, and of a request, that are written into an export; a box does not hold much more.
_LONGEST_BODY: Final = 16 * 1024
#: Beginnings of lines, and signs, that clients of ``.http`` read as their own: another request, a file, a variable.
_READ_OTHERWISE: Final = re.compile(r"^[ \t]*(#|[<>]|//|@)|\{\{|\r", re.MULTILINE)


def of_job(job: Job, submission: Submission) -> list[tuple[str, str]]:
    """How the same job is submitted once more: its name and the text, each; secrets are masked.

    None for a request that is too long to be pasted.
    """
    if len(submission.request) > _LONGEST_BODY:
        return []
    request: Any = masked_value(msgspec.json.decode(submission.request))
    document: dict[str, Any] = {"provider": job.provider}
    if job.operation:
        document["operation"] = job.operation
    document["request"] = request
    if job.metadata:
        document["metadata"] = masked_value(job.metadata)
    body = json.dumps(document, ensure_ascii=False)
    curl = (
        'curl -X POST "$RECEIVER_PUBLIC_URL/v1/jobs" \\\n'
        '  -H "Authorization: Bearer $RECEIVER_API_TOKEN" \\\n'
        "  -H 'content-type: application/json' \\\n"
        f"  --data-raw {shlex.quote(body)}"
    )
    options = [f"--operation {shlex.quote(job.operation)}"] if job.operation else []
    if job.metadata:
        options.append(
            f"--metadata {shlex.quote(json.dumps(masked_value(job.metadata), ensure_ascii=False))}"
        )
    command = (
        f"printf %s {shlex.quote(json.dumps(request, ensure_ascii=False))} \\\n"
        f"  | receiver submit {shlex.quote(job.provider)} - {' '.join(options)}"
    ).rstrip()
    named = "".join(
        f",\n    {name}={value!r}"
        for name, value in (("operation", job.operation), ("metadata", masked_value(job.metadata)))
        if value
    )
    python = f"job = await receiver.submit(\n    {job.provider!r},\n    {request!r}{named},\n)"
    return [("curl", curl), ("receiver", command), ("Python", python)]


def of_callback(
    callback: Callback,
    headers: list[tuple[str, str]],
    provider: Provider | None,
    public_url: str | None,
    told: tuple[Job, Submission] | None,
    *,
    token: str,
) -> list[tuple[str, str]]:
    """A stored request to be sent once more, and a test of it.

    Args:
        callback: The request.
        headers: Its headers as they are shown.
        provider: Its description, unless that is gone.
        public_url: Where the receiver is.
        told: The job that it is about, and how that was submitted, where they are known.
        token: What its callback URL ends with, where it came to one.
    """
    sent = [(name, value) for name, value in headers if name.lower() not in _CONNECTION]
    where = f"/{callback.route}/{callback.provider}" + (f"/{token}" if callback.route == "callbacks" else "")
    url = f"{(public_url or 'http://127.0.0.1:8000').rstrip('/')}{where}"
    if callback.query:
        url += f"?{callback.query.decode('latin-1')}"
    body = f"receiver callbacks body {callback.id}"
    curl = " \\\n  ".join(
        [
            # Brackets in an address would be a pattern for many addresses.
            f"{body} | curl -g -X {shlex.quote(callback.method)} {shlex.quote(url)}",
            *(f"-H {shlex.quote(f'{name}: {value}' if value else f'{name};')}" for name, value in sent),
            "--data-binary @-",
        ]
    )
    found = [
        ("curl", curl),
        ("receiver", f"receiver callbacks show {callback.id}\n{body}"),
        (".http", _http(callback, url, sent)),
    ]
    if told is not None and len(told[1].request) > _LONGEST_BODY:
        told = None
    if provider is not None and (told is not None or provider.signed):
        found.append(("pytest", _test(callback, sent, told)))
    return found


def _http(callback: Callback, url: str, sent: list[tuple[str, str]]) -> str:
    """A request as clients of ``.http`` read it, and nothing in it that they would read otherwise."""
    left_out = [name for name, value in sent if "{{" in value]
    lines = [f"{name}: {_one_line(value)}" for name, value in sent if "{{" not in value]
    notes = [f"# left out, for it would be filled in: {name}" for name in left_out]
    body = _inline(callback)
    if body is None:
        notes.append(f"# receiver callbacks body {callback.id} > {callback.id}.body")
        body = f"< ./{callback.id}.body"
    address = _one_line(url).replace("{{", "%7B%7B")
    return "\n".join([*notes, f"{callback.method} {address} HTTP/1.1", *lines, "", body])


def _inline(callback: Callback) -> str | None:
    """A body as it stands in a file of ``.http``; ``None`` for one that has to be read from a file of its own."""
    if len(callback.body) > _LONGEST_BODY:
        return None
    try:
        text = callback.body.decode()
    except UnicodeDecodeError:
        return None
    return None if _READ_OTHERWISE.search(text) else text


def _test(callback: Callback, sent: list[tuple[str, str]], told: tuple[Job, Submission] | None) -> str:
    """A test that a receiver takes the same body, signed anew: it stands on the testing kit alone."""
    content_type = next((value for name, value in sent if name.lower() == "content-type"), "application/json")
    whole = len(callback.body) <= _LONGEST_BODY
    file = f"{callback.id}.body"
    body = repr(callback.body) if whole else f'Path(__file__).with_name("{file}").read_bytes()'
    above = "" if whole else f"# receiver callbacks body {callback.id} > {file}\nfrom pathlib import Path\n\n"
    begun, sends = _told(callback, told, content_type)
    return (
        f"{above}BODY = {body}\n\n\n"
        f"async def test_a_callback_of_{callback.provider.replace('-', '_')}_is_taken(receiver, provider) -> None:\n"
        f'    """A body as {callback.id} had, signed by the testing kit; handlers are those of receiver_app."""\n'
        f"{begun}    {sends}\n"
    )


def _told(callback: Callback, told: tuple[Job, Submission] | None, content_type: str) -> tuple[str, str]:
    """The lines that submit the job which a callback is for, if it is known, and those that send it."""
    if told is None or told[0].submission == "none":
        signed = f"provider.signed({callback.provider!r}, BODY, content_type={content_type!r})"
        return "", f"answer = await provider.send({signed})\n    assert answer.status < 300, answer"
    job, submission = told
    request = masked_value(msgspec.json.decode(submission.request))
    options = f", operation={job.operation!r}" if job.operation else ""
    begun = f"    job = await receiver.submit({job.provider!r}, {request!r}{options})\n"
    body = "BODY"
    if job.remote_id is not None and job.remote_id.encode() in callback.body:
        body = f"BODY.replace({job.remote_id.encode()!r}, job.remote_id.encode())"
    delivered = f"outcome = await provider.deliver(job, {body}, content_type={content_type!r})"
    return begun, f"{delivered}\n    assert outcome.answers[0].status < 300, outcome.answers"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
