"""Uploads: the file that some batch APIs want before the job, from the lines of the caller's request.

::

    [submit.upload]
    url = "https://api.openai.com/v1/files"
    set = { purpose = "batch" }
    into = "input_file_id"
    answer = "file"

The caller's request has the lines (``requests``, a list of objects, each of which becomes a line of a JSONL file), or
names a file of his own (``file``). The id of the uploaded file goes where the submission wants it. An upload costs
nothing, so an upload whose answer is lost is repeated.

Some APIs want more than one request: the place of the file first and then its bytes there (``then``), and a file to be
checked by the provider before a job may use it (``ready``).
"""

import hashlib
import json
import re
from collections.abc import Generator, Mapping
from typing import Any, Final
from urllib.parse import quote

from msgspec.structs import replace

from receiver.core.asking.assembly import at_path, is_wrapped, put
from receiver.core.asking.exchange import (
    FilePart,
    HttpRequest,
    HttpResponse,
    Refused,
    TryLater,
    read_answer,
    words,
)
from receiver.core.description.parts import Upload, Uploading
from receiver.core.description.provider import Provider
from receiver.core.errors import RequestError, UnreadableError
from receiver.core.model import HOUR, Failure, Job, JobState, Observation, Value
from receiver.core.retry import parse_retry_after

#: The code of a submission that waits until its file may be used.
NOT_READY: Final = "upload_not_ready"
#: The most bytes that are uploaded: a file is held in memory while it is sent, and sent in one piece.
LARGEST: Final = 256 * 1024 * 1024
_OK: Final = range(200, 300)
_TRY_LATER: Final = 429
_SERVER_ERROR: Final = 500
_FIELD: Final = re.compile(r"\{request:([A-Za-z0-9_]+)(?:=([^{}]*))?\}")
_ENDED_BADLY: Final = frozenset({JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})


class Uploaded(Value, frozen=True, kw_only=True):
    """The provider has the file, by that id."""

    file_id: str


class Ready(Value, frozen=True, kw_only=True):
    """The file may be used."""


def terms_of(provider: Provider) -> Upload | None:
    """How the provider wants files uploaded, if jobs are made of them."""
    return provider.submit.upload if provider.submit is not None else None


def needs_upload(provider: Provider, request: Mapping[str, Any]) -> bool:
    """Whether *request* brings a file that is to be uploaded first."""
    terms = terms_of(provider)
    return terms is not None and (terms.lines in request or terms.file in request)


def with_file(provider: Provider, request: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """*request* with the id of its file instead of the file, and without what only the upload needs.

    Raises:
        RequestError: it has both lines and a file, or a file and its id.
    """
    terms = terms_of(provider)
    assert terms is not None  # noqa: S101  (the caller looked)
    assert provider.submit is not None  # noqa: S101
    into, wrap = terms.into, provider.submit.wrap
    if wrap is not None and is_wrapped(wrap, request):
        into = f"{wrap}.{into}"
    given = [name for name in (terms.lines, terms.file) if name in request]
    if len(given) > 1 or at_path(request, into) is not None:
        raise RequestError(
            f"Give the lines ({terms.lines}), a file ({terms.file}) or the id of one that is there ({terms.into}), "
            "and only one of them.",
            code="request_field_reserved",
            field=f"request.{given[-1]}",
        )
    if terms.lines in request:
        _check_lines(request, terms.lines)
    fields = {name: default for one in terms.requests for name, default in _fields_in(one)}
    for name, default in fields.items():
        _field(request, name, default)
    ours = {*given, *fields} - _kept_fields(provider)
    holder: dict[str, Any] = {"body": {name: value for name, value in request.items() if name not in ours}}
    put(holder, f"body.{into}", file_id)
    body: dict[str, Any] = holder["body"]
    return body


def file_of(provider: Provider, request: Mapping[str, Any], files: Mapping[str, FilePart]) -> FilePart:
    """The file that is uploaded: the one of *files*, or one made of the lines of *request*.

    Raises:
        RequestError: the lines are no list of objects, or the file is larger than may be uploaded.
    """
    terms = terms_of(provider)
    assert terms is not None  # noqa: S101  (the caller looked)
    part, named = files.get(terms.file), terms.file
    if part is None:
        lines = [json.dumps(line, ensure_ascii=False) for line in _check_lines(request, terms.lines)]
        part = FilePart(name=terms.filename, content="".join(f"{line}\n" for line in lines).encode())
        named = terms.lines
    check_size(part.name, len(part.content), field=f"request.{named}", largest=terms.largest)
    return part


def check_size(name: str, size: int, *, field: str, largest: int | None = None) -> None:
    """Refuse a file that is larger than may be uploaded, by *largest* or by what is held in memory.

    Raises:
        RequestError: it is.
    """
    most = min(largest or LARGEST, LARGEST)
    if size > most:
        whose = "the provider takes in one request" if most < LARGEST else "is held in memory"
        raise RequestError(
            f"The file {name} has {size} bytes; {most} are the most that {whose}. Nothing was sent: divide it into "
            "several jobs, or upload it yourself and submit its id or its address.",
            code="upload_too_large",
            field=field,
        )


def upload(
    provider: Provider,
    job: Job,
    request: Mapping[str, Any],
    files: Mapping[str, FilePart],
    *,
    largest: int,
    now: int,
) -> Generator[HttpRequest, HttpResponse, Uploaded | Refused | TryLater]:
    """Upload what *request* brings.

    Raises:
        RequestError: its lines are no list of objects or too many, or it lacks a field that an address needs.
    """
    terms = terms_of(provider)
    assert terms is not None  # noqa: S101  (the caller looked)
    part = file_of(provider, request, files)
    known = _facts(job, part, now=now)
    for asked in terms.requests:
        if "{response_url}" in asked.url and "response_url" not in known:
            return _refused(
                "upload_without_address", "The provider's answer does not say where the file goes."
            )
        response = yield _written(asked, part, known, request)
        trouble = _trouble(response, {*asked.accepts, *asked.there}, now=now)
        if trouble is not None:
            return trouble
        if asked.answer is None:
            continue
        try:
            seen = read_answer(provider, asked.answer, response, largest)
        except UnreadableError as error:
            return _refused(error.code, str(error))
        if seen.state in _ENDED_BADLY:
            return _unusable(seen)
        known |= {"id": seen.remote_id} if seen.remote_id is not None else {}
        known |= {"response_url": seen.response_url} if seen.response_url is not None else {}
        if response.status in asked.there:
            break
    if "id" not in known:
        return _refused("upload_without_id", "The provider's answer has no id of the file.")
    return Uploaded(file_id=known["id"])


def readiness(
    provider: Provider, file_id: str, *, largest: int, now: int
) -> Generator[HttpRequest, HttpResponse, Ready | Refused | TryLater]:
    """Ask whether an uploaded file may be used by now."""
    terms = terms_of(provider)
    assert terms is not None  # noqa: S101  (the caller looked)
    if terms.ready is None:
        return Ready()
    url = _filled(terms.ready.url, {"id": file_id}, {})
    response = yield HttpRequest(purpose="upload", method="GET", url=url)
    trouble = _trouble(response, set(), now=now)
    if trouble is not None:
        return trouble
    try:
        seen = read_answer(provider, terms.ready.answer, response, largest)
    except UnreadableError as error:
        return _refused(error.code, str(error))
    if seen.state in _ENDED_BADLY:
        return _unusable(seen)
    if seen.state is JobState.SUCCEEDED:
        return Ready()
    return TryLater(code=NOT_READY, wait=int(terms.ready.every))


def _facts(job: Job, part: FilePart, *, now: int) -> dict[str, str]:
    """What the texts of a description may say of an upload."""
    return {
        # A name that nothing has yet, in letters and digits: an attempt that was cut short is in nobody's way.
        "unique": f"{job.id.rpartition('_')[2]}{now:x}",
        "filename": part.name,
        "size": str(len(part.content)),
        "sha256": hashlib.sha256(part.content).hexdigest(),
    }


def _written(
    asked: Uploading, part: FilePart, known: Mapping[str, str], request: Mapping[str, Any]
) -> HttpRequest:
    named = asked.url == "{response_url}"
    sent = HttpRequest(
        purpose="upload",
        method=asked.method,
        # An address that an answer names is good for whoever has it: it gets no credentials.
        url=known["response_url"] if named else _filled(asked.url, known, request),
        headers={name.lower(): _told(value, known, request) for name, value in asked.headers.items()},
        credentials=not named,
        anywhere=named,
    )
    change: dict[str, Any] = {}
    match asked.content:
        case "multipart":
            change = {"fields": _told(asked.set, known, request), "files": {asked.field: part}}
        case "fields":
            change = {"fields": _told(asked.set, known, request)}
        case "bytes":
            change = {"body": part.content}
        case "json":
            headers = {"content-type": "application/json"} | sent.headers
            body = json.dumps(_told(asked.set, known, request)).encode()
            change = {"headers": headers, "body": body}
    return replace(sent, **change)


def _trouble(response: HttpResponse, fine: set[int], *, now: int) -> Refused | TryLater | None:
    """What an answer means that does not say that the upload succeeded."""
    if response.status in _OK or response.status in fine:
        return None
    status = response.status
    if status == _TRY_LATER or status >= _SERVER_ERROR:
        wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
        return TryLater(code=f"upload_status_{status}", wait=wait)
    return _refused(f"upload_refused_{status}", words(response))


def _refused(code: str, text: str) -> Refused:
    return Refused(error=Failure(code=code, text=text))


def _unusable(seen: Observation) -> Refused:
    text = seen.error.text if seen.error is not None else ""
    return _refused("upload_unusable", text or f"The provider says of the file: {seen.word}.")


def _told(value: Any, known: Mapping[str, str], request: Mapping[str, Any]) -> Any:  # noqa: ANN401  (JSON)
    """*value* with what is known filled into its texts, as it is."""
    if isinstance(value, Mapping):
        return {name: _told(one, known, request) for name, one in value.items()}
    if isinstance(value, list):
        return [_told(one, known, request) for one in value]
    if not isinstance(value, str):
        return value
    for name, text in known.items():
        value = value.replace(f"{{{name}}}", text)
    return _FIELD.sub(lambda found: _field(request, found[1], found[2]), value)


def _filled(url: str, known: Mapping[str, str], request: Mapping[str, Any]) -> str:
    """An address with what is known filled in."""
    for name, text in known.items():
        url = url.replace(f"{{{name}}}", quote(text, safe=""))
        if f"{{+{name}}}" in url:
            if {"", ".", ".."} & set(text.split("/")):
                raise RequestError("The id of the file leads elsewhere.", code="url_unreadable")
            url = url.replace(f"{{+{name}}}", quote(text, safe="/"))
    return _FIELD.sub(lambda found: quote(_field(request, found[1], found[2]), safe=""), url)


def _field(request: Mapping[str, Any], name: str, default: str | None) -> str:
    value = request.get(name, default)
    if not isinstance(value, str) or not value.isprintable() or value == "":
        raise RequestError(
            f"The upload needs the request's {name}, as a text.",
            code="request_field_missing",
            field=f"request.{name}",
        )
    return value


def _fields_in(asked: Uploading) -> list[tuple[str, str]]:
    """The fields of the caller's request that an upload uses, each with its default."""
    return _FIELD.findall(f"{asked.url} {json.dumps(asked.headers)} {json.dumps(asked.set)}")


def _kept_fields(provider: Provider) -> set[str]:
    """Fields of the caller's request that the submission uses, too."""
    terms = provider.submit
    assert terms is not None  # noqa: S101  (the caller looked)
    urls = [terms.url, *(one.url or "" for one in provider.operations.values())]
    return {name for url in urls for name, _ in _FIELD.findall(url)}


def _check_lines(request: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    lines = request.get(name)
    if not isinstance(lines, list) or not lines or not all(isinstance(line, dict) for line in lines):
        raise RequestError(
            f"{name} is a list of objects, one for each line of the file.",
            code="request_field_missing",
            field=f"request.{name}",
        )
    return lines
