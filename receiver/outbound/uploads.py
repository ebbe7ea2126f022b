"""Files of submissions: read when they are sent, never from a path that a remote caller named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from receiver.core.asking.exchange import FilePart
from receiver.core.errors import RequestError

_LARGEST: Final = 256 * 1024 * 1024


def open_files(request: Mapping[str, Any], *, allowed: bool) -> dict[str, FilePart]:
    """Read the file that *request* names under ``file``, if it names one.

    Raises:
        RequestError: it cannot be read, is larger than 256 MiB, or is not *allowed* to be.
    """
    path = request.get("file")
    if not isinstance(path, str):
        return {}
    if not allowed:
        raise RequestError(
            "A file of the server's own cannot be submitted through the API; use file_url, or submit from the "
            "library or the command line.",
            code="file_not_allowed",
            field="request.file",
        )
    file = Path(path)
    try:
        if file.stat().st_size > _LARGEST:
            raise RequestError(f"{file.name} is larger than {_LARGEST} bytes.", field="request.file")
        return {"file": FilePart(name=file.name, content=file.read_bytes())}
    except OSError as error:
        raise RequestError(
            f"The file {path} cannot be read: {error.strerror}.", code="file_unreadable", field="request.file"
        ) from error
