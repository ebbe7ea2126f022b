"""Files: the bytes of what a job's result links to, from our own store: saved, or shown where nothing in them runs."""

import re
from typing import Final

from starlette.responses import Response

from receiver.api.files import answer_file
from receiver.console.ask import Ask, Route
from receiver.console.page import Page
from receiver.console.parts import Parts
from receiver.core.errors import NotFoundError
from receiver.core.file import File, FileState
from receiver.core.identity import JOB, is_id
from receiver.storage import files

#: What may be shown as what it is: a browser runs nothing in these.
MEDIA: Final = {
    "image/png": "img",
    "image/jpeg": "img",
    "image/gif": "img",
    "image/webp": "img",
    "image/avif": "img",
    "audio/mpeg": "audio",
    "audio/wav": "audio",
    "audio/x-wav": "audio",
    "audio/ogg": "audio",
    "audio/mp4": "audio",
    "audio/flac": "audio",
    "audio/webm": "audio",
    "video/mp4": "video",
    "video/webm": "video",
}
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


class FilesOfJob(Page):
    """The files of one job."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._kept = parts.files

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/jobs/{id}/files/{number}", self.save),
            Route("GET", "/jobs/{id}/files/{number}/shown", self.show),
        ]

    async def save(self, ask: Ask) -> Response:
        """Hand a file on to be saved."""
        return await answer_file(ask.request, await self._file(ask), self._kept)

    async def show(self, ask: Ask) -> Response:
        """An image, a sound or a film as what it is, in a sandbox; anything else is only saved."""
        file = await self._file(ask)
        if shown_as(file) is None:
            raise NotFoundError("This file can be saved only.", code="file_not_found")
        return await answer_file(ask.request, file, self._kept, shown=True)

    async def _file(self, ask: Ask) -> File:
        job_id, number = ask.named["id"], ask.named["number"]
        if not is_id(job_id, JOB) or _NUMBER.fullmatch(number) is None:
            raise NotFoundError("There is no such file.", code="file_not_found")
        return await self._store.read(files.of_number, job_id, int(number))


def shown_as(file: File) -> str | None:
    """How a stored file is shown: img, audio or video; ``None`` where it is only saved."""
    if file.state is not FileState.STORED:
        return None
    return MEDIA.get((file.content_type or "").partition(";")[0].strip().lower())
