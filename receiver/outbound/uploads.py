"""Files of submissions: in the request, or read when they are sent; never from a path that a remote caller named."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from receiver.core.asking.exchange import FilePart
from receiver.core.asking.upload import check_size, file_of, needs_upload, terms_of
from receiver.core.description.provider import Provider
from receiver.core.errors import RequestError

_LONGEST_NAME: Final = 255
_NO_FILE: Final = 'file is a path, or {"name": "a.pdf", "content": "<base64>"} with a plain name.'


def open_files(provider: Provider, request: Mapping[str, Any], *, allowed: bool) -> dict[str, FilePart]:
    """The file that *request* has under ``file``: a path, or ``{"name": …, "content": base64}``.

    Raises:
        RequestError: it cannot be read, it or the file of the request's lines is larger than may be uploaded, or a path
            is not *allowed*.
    """
    terms = terms_of(provider)
    files = _opened(request, allowed=allowed, largest=terms.largest if terms is not None else None)
    if needs_upload(provider, request):
        file_of(provider, request, files)
    return files


def _opened(request: Mapping[str, Any], *, allowed: bool, largest: int | None) -> dict[str, FilePart]:
    given = request.get("file")
    if isinstance(given, Mapping):
        brought = _brought(given)
        check_size(brought.name, len(brought.content), field="request.file.content", largest=largest)
        return {"file": brought}
    if not isinstance(given, str):
        return {}
    if not allowed:
        raise RequestError(
            "A file of the server's own cannot be submitted through the API: send it in the request, as "
            '{"name": "a.pdf", "content": "<base64>"}, or its address as file_url, or submit from the library or the '
            "command line.",
            code="file_not_allowed",
            field="request.file",
        )
    file = Path(given)
    try:
        check_size(file.name, file.stat().st_size, field="request.file", largest=largest)
        return {"file": FilePart(name=file.name, content=file.read_bytes())}
    except OSError as error:
        raise RequestError(
            f"The file {given} cannot be read: {error.strerror}.",
            code="file_unreadable",
            field="request.file",
        ) from error


def _brought(given: Mapping[str, Any]) -> FilePart:
    """A file that is in the request."""
    name, content = given.get("name"), given.get("content")
    known = given.keys() == {"name", "content"} and isinstance(name, str) and _is_name(name)
    if not known or not isinstance(name, str) or not isinstance(content, str):
        raise RequestError(_NO_FILE, code="file_unreadable", field="request.file")
    try:
        return FilePart(name=name, content=base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f"The content of the file {name} is no base64.",
            code="file_unreadable",
            field="request.file.content",
        ) from error


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and not {"/", "\\", '"'} & set(name)
