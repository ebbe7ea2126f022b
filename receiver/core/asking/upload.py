"""Uploads: the file that some batch APIs want before the job, from the lines of the caller's request.

::

    [submit.upload]
    url = "https://api.openai.com/v1/files"
    set = { purpose = "batch" }
    into = "input_file_id"
    answer = "file"

The caller's request has the lines (``requests``, a list of objects, each of which becomes a line of a JSONL file), or
names a file of his own (``file``). Its id goes where the submission wants it. Nothing is bought by an upload, so one
whose answer is lost is made again.
"""

import json
from collections.abc import Generator, Mapping
from typing import Any, Final

from receiver.core.asking.assembly import at_path, put
from receiver.core.asking.exchange import (
    FilePart,
    HttpRequest,
    HttpResponse,
    Refused,
    TryLater,
    read_answer,
    words,
)
from receiver.core.description.provider import Provider
from receiver.core.errors import RequestError, UnreadableError
from receiver.core.model import HOUR, Failure, Value
from receiver.core.retry import parse_retry_after

_OK: Final = range(200, 300)
_TRY_LATER: Final = 429
_SERVER_ERROR: Final = 500


class Uploaded(Value, frozen=True, kw_only=True):
    """The provider has the file; *request* is the caller's, with its id in the place of the lines."""

    request: Mapping[str, Any]


def needs_upload(provider: Provider, request: Mapping[str, Any]) -> bool:
    """Whether *request* brings a file that is to be uploaded first."""
    terms = provider.submit.upload if provider.submit is not None else None
    return terms is not None and (terms.lines in request or terms.file in request)


def with_file(provider: Provider, request: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """*request* with the id of its file instead of the file.

    Raises:
        RequestError: it has both lines and a file, or a file and its id.
    """
    assert provider.submit is not None  # noqa: S101  (the caller looked)
    terms = provider.submit.upload
    assert terms is not None  # noqa: S101
    given = [name for name in (terms.lines, terms.file) if name in request]
    if len(given) > 1 or at_path(request, terms.into) is not None:
        raise RequestError(
            f"Give the lines ({terms.lines}), a file ({terms.file}) or the id of one that is there ({terms.into}), "
            "and only one of them.",
            code="request_field_reserved",
            field=f"request.{given[-1]}",
        )
    if terms.lines in request:
        _check_lines(request, terms.lines)
    holder: dict[str, Any] = {"body": {name: value for name, value in request.items() if name not in given}}
    put(holder, f"body.{terms.into}", file_id)
    body: dict[str, Any] = holder["body"]
    return body


def upload(
    provider: Provider, request: Mapping[str, Any], files: Mapping[str, FilePart], *, largest: int, now: int
) -> Generator[HttpRequest, HttpResponse, Uploaded | Refused | TryLater]:
    """Upload what *request* brings.

    Raises:
        RequestError: its lines are no list of objects.
    """
    assert provider.submit is not None  # noqa: S101  (the caller looked)
    terms = provider.submit.upload
    assert terms is not None  # noqa: S101
    part = files.get(terms.file)
    if part is None:
        lines = [json.dumps(line, ensure_ascii=False) for line in _check_lines(request, terms.lines)]
        part = FilePart(name=terms.filename, content="".join(f"{line}\n" for line in lines).encode())
    response = yield HttpRequest(
        purpose="upload", method="POST", url=terms.url, fields=terms.set, files={terms.field: part}
    )
    if response.status == _TRY_LATER or response.status >= _SERVER_ERROR:
        wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
        return TryLater(code=f"upload_status_{response.status}", wait=wait)
    if response.status not in _OK:
        refused = Failure(code=f"upload_refused_{response.status}", text=words(response))
        return Refused(error=refused)
    try:
        file_id = read_answer(provider, terms.answer, response, largest).remote_id
    except UnreadableError as error:
        return Refused(error=Failure(code=error.code, text=str(error)))
    if file_id is None:
        return Refused(
            error=Failure(code="upload_without_id", text="The provider's answer has no id of the file.")
        )
    return Uploaded(request=with_file(provider, request, file_id))


def _check_lines(request: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    lines = request.get(name)
    if not isinstance(lines, list) or not lines or not all(isinstance(line, dict) for line in lines):
        raise RequestError(
            f"{name} is a list of objects, one for each line of the file.",
            code="request_field_missing",
            field=f"request.{name}",
        )
    return lines
