"""``/v1/jobs/{id}/files``: the files that a job's result links to, and the bytes of those that are stored."""

import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from receiver.api.jobs import AS_FILE, job_id
from receiver.api.resource import Operation, answer
from receiver.core.errors import NotFoundError
from receiver.core.file import File, FileState
from receiver.core.files.naming import safe_name
from receiver.files.store import FileStore
from receiver.storage import files
from receiver.storage.store import Store
from receiver.views.file import FileDocument, file_document

_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
#: Types that no browser runs; everything else leaves as bytes.
_HARMLESS: Final = re.compile(
    r"image/(png|jpeg|gif|webp|avif|bmp|tiff)|(audio|video)/[a-z0-9.+-]+|application/(json|zip|gzip)|text/(plain|csv)"
)


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a job, in the order of its result."""

    files: list[FileDocument]


class Files:
    """The operations on files."""

    def __init__(self, *, store: Store, kept: FileStore) -> None:
        self._store = store
        self._kept = kept

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/jobs/{id}/files",
                summary="The files that the result links to: waiting, stored or lost.",
                endpoint=self.list,
                answers={200: FileList},
                problems=(404,),
            ),
            Operation(
                method="GET",
                path="/v1/jobs/{id}/files/{number}",
                summary="The bytes of a stored file; Range is understood.",
                endpoint=self.read,
                headers=("Range", "If-Range"),
                answers={
                    200: "*/*",
                    206: "*/*",
                    304: None,
                    416: None,
                },
                problems=(404,),
            ),
        ]

    async def list(self, request: Request) -> Response:
        """List the files of a job."""
        job = await self._store.job(job_id(request))
        found = await self._store.read(files.of_job, job.id)
        return answer(FileList(files=[file_document(one) for one in found]))

    async def read(self, request: Request) -> Response:
        """Stream a file, or a part of it."""
        job = await self._store.job(job_id(request))
        number = request.path_params["number"]
        if _NUMBER.fullmatch(number) is None:
            raise NotFoundError("Files are numbered from 1.", code="file_not_found")
        file = await self._store.read(files.of_number, job.id, int(number))
        return await answer_file(request, file, self._kept)


async def answer_file(request: Request, file: File, kept: FileStore, *, shown: bool = False) -> Response:
    """A stored file, or the part of it that *request* asks for; *shown*: in a page, where its type allows it."""
    if file.state is not FileState.STORED or file.sha256 is None or file.size is None:
        why = f" ({file.code})" if file.code else ""
        raise NotFoundError(f"The file {file.number} is {file.state}{why}.", code="file_not_stored")
    etag = f'"{file.sha256}"'
    headers = AS_FILE | {
        "etag": etag,
        "accept-ranges": "bytes",
        "content-type": safe_type(file.content_type),
        "content-disposition": disposition(file, shown=shown),
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, file.size, 200
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is not None and request.headers.get("if-range", etag) == etag:
        start, end = _part(asked, file.size)
        if start >= end:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{file.size}"})
        status = 206
        headers |= {"content-range": f"bytes {start}-{end - 1}/{file.size}"}
    headers |= {"content-length": str(end - start)}
    pieces = kept.read(file.sha256, start=start, length=end - start)
    # Before anything is answered: afterwards it is too late for a 503.
    first = await anext(pieces, b"")
    return StreamingResponse(_joined(first, pieces), status_code=status, headers=headers)


def safe_type(content_type: str | None) -> str:
    """The type under which a file leaves: never one that a browser would run."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return media_type if _HARMLESS.fullmatch(media_type) else "application/octet-stream"


def disposition(file: File, *, shown: bool = False) -> str:
    """A ``Content-Disposition`` with the file's name (RFC 6266), made safe."""
    name = safe_name(file.name, number=file.number, content_type=file.content_type)
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _part(asked: re.Match[str], size: int) -> tuple[int, int]:
    if asked[3] is not None:
        return max(size - int(asked[3]), 0), size
    return int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
