"""Runway: tasks that are polled, whose output is links that expire.

runwayml 5.24.0 (task_retrieve_response, image_to_video_create_response), read 2026-11-29: links "will expire within
24-48 hours; fetch the task again to get fresh URLs". How they are signed it does not say; see `storage.py`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator import documents
from receiver.simulator.content import Content, image
from receiver.simulator.jobs import Job, JobState, Submission
from receiver.simulator.storage import Storage, Stored
from receiver.simulator.system import RefusedError, System, base_url, bearer, read_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.simulator.callbacks import Sender
    from receiver.simulator.documents import JSON
    from receiver.simulator.settings import SimulatorSettings
    from receiver.simulator.tasks import Tasks

#: What a task's output links to, in this order.
FILES: Final = ("image.png", "video.mp4", "brief.mp4")
_VIDEO: Final = 30 * 1024 * 1024
_BRIEF: Final = 256 * 1024
_OPERATIONS: Final = ("image_to_video", "text_to_image", "text_to_video", "video_to_video")
_WORDS: Final = {
    JobState.CREATED: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.SUCCEEDED: "SUCCEEDED",
    JobState.FAILED: "FAILED",
    JobState.CANCELED: "CANCELLED",
}


class Runway(System):
    """Tasks whose output is three links: an image, a video that comes slowly, and one that dies soon."""

    name: ClassVar[str] = "runway"

    def __init__(self, *, settings: SimulatorSettings, sender: Sender, tasks: Tasks) -> None:
        super().__init__(settings=settings, sender=sender, tasks=tasks)
        self._storage = Storage(files=self._files, link_seconds=settings.link_seconds)

    def routes(self) -> list[Route]:
        """Return the paths of submissions, of tasks, and of what they link to."""
        return [
            *(Route(f"/v1/{one}", self._create, methods=["POST"]) for one in _OPERATIONS),
            Route("/v1/tasks/{id}", self._task, methods=["GET"]),
            Route("/v1/tasks/{id}", self._delete, methods=["DELETE"]),
            Route("/storage/{id}/{name}", self._file, methods=["GET"]),
        ]

    def error(self, status: int, message: str) -> JSONResponse:
        """Return `{"error": …}`."""
        return JSONResponse({"error": message}, status_code=status)

    def credentials(self, request: Request) -> str:
        """Return the API secret."""
        return bearer(request, "bearer")

    async def _create(self, request: Request) -> Response:
        self.authenticate(request)
        body = await read_json(request)
        if not body.get("model"):
            raise RefusedError("model is required")
        operation = request.url.path.rpartition("/")[2]
        submission = Submission(request=body, base_url=base_url(request), operation=operation)
        return await self.submit(submission, lambda job: JSONResponse(documents.runway_ack(job.id)))

    async def _task(self, request: Request) -> Response:
        job = self.find(request)
        if job.done and "expired" in job.plan:
            return self.show(job, lambda: self.error(404, "Not found"), result=False)
        return self.show(job, lambda: JSONResponse(self._document(job)), result=job.done)

    async def _delete(self, request: Request) -> Response:
        job = self.find(request)
        self.jobs.finish(job, JobState.CANCELED)
        return Response(status_code=204)

    def _document(self, job: Job) -> JSON:
        task = documents.runway_task(job.id, status=_WORDS[job.state], created_at=job.created_at)
        match job.state:
            case JobState.SUCCEEDED:
                return task | {"output": self._storage.links(job)}
            case JobState.FAILED:
                failed = job.plan.get("failed")
                reason = (failed.value if failed else None) or "An unexpected error occurred."
                return task | {"failure": reason, "failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
            case JobState.RUNNING:
                return task | {"progress": 0.5}
            case _:
                return task

    async def _file(self, request: Request) -> Response:
        # Whoever has the link may have the file.
        job = self.jobs.get(request.path_params["id"])
        if job is None or job.state is not JobState.SUCCEEDED:
            raise RefusedError("Not found", status=404)
        return await self._storage.answer(job, request)

    def _files(self, job: Job) -> list[Stored]:
        still, video, brief = FILES
        gone_at = (job.ended_at or job.created_at) + timedelta(seconds=self.settings.brief_seconds)
        large, more = job.plan.get("large_files"), job.plan.get("many_files")
        size = (large.size if large else None) or _VIDEO
        extras = [
            f"more-{number + 1}.{'mp4' if large else 'png'}"
            for number in range((more.size or 0) if more else 0)
        ]
        return [
            Stored(content=image(still, f"{job.id} {still}")),
            Stored(
                content=Content(name=video, seed=f"{job.id} {video}", size=size),
                seconds=self.settings.video_seconds,
            ),
            Stored(content=Content(name=brief, seed=f"{job.id} {brief}", size=_BRIEF), gone_at=gone_at),
            *(Stored(content=self._extra(job, name, size)) for name in extras),
        ]

    def _extra(self, job: Job, name: str, size: int) -> Content:
        seed = f"{job.id} {name}"
        return image(name, seed) if name.endswith(".png") else Content(name=name, seed=seed, size=size)
