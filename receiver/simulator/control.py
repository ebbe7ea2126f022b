"""The simulator's control API, for use from other processes: JSON below `/_control`.

It asks for no credentials and shows those that clients sent: it belongs on loopback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.simulator.faults import FAULTS, OFFERED
from receiver.simulator.jobs import JobState
from receiver.simulator.pulse import EVENTS
from receiver.simulator.settings import PROVIDERS
from receiver.simulator.system import RefusedError, read_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.simulator.server import Simulator

_IDLE_SECONDS: Final = 30.0


class Control:
    """The control API of *simulator*."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def app(self) -> Starlette:
        """Return the API as an ASGI application, to be mounted at `/_control`."""
        return Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route("/idle", self._idle, methods=["POST"]),
                Route("/faults", self._list_faults, methods=["GET"]),
                Route("/faults", self._order_faults, methods=["POST"]),
                Route("/faults", self._clear_faults, methods=["DELETE"]),
                Route("/jobs", self._jobs, methods=["GET"]),
                Route("/jobs/{id}", self._job, methods=["GET"]),
                Route("/jobs/{id}/finish", self._finish, methods=["POST"]),
                Route("/jobs/{id}/callback", self._send_callback, methods=["POST"]),
                Route("/callbacks", self._callbacks, methods=["GET"]),
                Route("/requests", self._requests, methods=["GET"]),
                Route("/pulse/webhook", self._set_webhook, methods=["POST"]),
                Route("/pulse/webhook", self._clear_webhook, methods=["DELETE"]),
            ],
            exception_handlers={
                RefusedError: _refused,
                ValueError: _refused,
                LookupError: _unknown,
                HTTPException: _http_error,
            },
        )

    async def _health(self, _: Request) -> Response:
        urls = {name: self._simulator.base_url(name) for name in PROVIDERS}
        return JSONResponse({"status": "ok", "providers": urls})

    async def _idle(self, _: Request) -> Response:
        try:
            await self._simulator.idle(timeout=_IDLE_SECONDS)
        except TimeoutError:
            return JSONResponse({"idle": False}, status_code=503)
        return JSONResponse({"idle": True})

    async def _list_faults(self, _: Request) -> Response:
        offered = {
            name: {
                "parameters": fault.parameters(),
                "providers": [provider for provider in PROVIDERS if name in OFFERED[provider]],
            }
            for name, fault in FAULTS.items()
        }
        return JSONResponse({"faults": offered, "planned": self._simulator.planned()})

    async def _order_faults(self, request: Request) -> Response:
        body = await read_json(request)
        orders = _typed(body, "faults", list) or []
        count = _typed(body, "count", int) if "count" in body else 1
        job_id = _typed(body, "job_id", str)
        self._simulator.faults(_provider(body.get("provider")), *orders, count=count, job_id=job_id)
        return Response(status_code=204)

    async def _clear_faults(self, request: Request) -> Response:
        self._simulator.clear_faults(_asked_provider(request))
        return Response(status_code=204)

    async def _jobs(self, request: Request) -> Response:
        jobs = self._simulator.jobs(_asked_provider(request))
        return JSONResponse({"jobs": [job.view() for job in jobs]})

    async def _job(self, request: Request) -> Response:
        return JSONResponse(self._simulator.job(request.path_params["id"]).view())

    async def _finish(self, request: Request) -> Response:
        body = await _optional_json(request)
        state = JobState(body["state"]) if body.get("state") else None
        job_id = request.path_params["id"]
        finished = self._simulator.release(job_id, state=state)
        return JSONResponse({"finished": finished, **self._simulator.job(job_id).view()})

    async def _send_callback(self, request: Request) -> Response:
        body = await _optional_json(request)
        job = self._simulator.job(request.path_params["id"])
        orders = _typed(body, "faults", list) or []
        sent = await self._simulator.send_callback(job.provider, job.id, *orders)
        return JSONResponse({"callbacks": [callback.view() for callback in sent]})

    async def _callbacks(self, request: Request) -> Response:
        sent = self._simulator.callbacks(_asked_provider(request), job_id=request.query_params.get("job_id"))
        return JSONResponse({"callbacks": [callback.view() for callback in sent]})

    async def _requests(self, request: Request) -> Response:
        received = self._simulator.requests(_asked_provider(request))
        return JSONResponse({"requests": [entry.view() for entry in received]})

    async def _set_webhook(self, request: Request) -> Response:
        body = await read_json(request)
        url, secret = _typed(body, "url", str), _typed(body, "secret", str)
        if not url or not secret:
            raise RefusedError("url and secret are required")
        events = _typed(body, "events", list)
        self._simulator.pulse_webhook(url, secret, events=EVENTS if events is None else tuple(events))
        return Response(status_code=204)

    async def _clear_webhook(self, request: Request) -> Response:
        self._simulator.clear_pulse_webhook(request.query_params.get("url"))
        return Response(status_code=204)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _unknown(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error.args[0]) if error.args else "not found"}, status_code=404)


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": str(error)}, status_code=status)


async def _optional_json(request: Request) -> dict[str, Any]:
    return await read_json(request) if await request.body() else {}


def _typed(body: dict[str, Any], key: str, kind: type[Any]) -> Any:  # noqa: ANN401  JSON, checked right here
    value = body.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise RefusedError(f"{key} is not what is expected there")
    return value


def _provider(name: object) -> str:
    if not isinstance(name, str) or name not in PROVIDERS:
        raise RefusedError(f"provider is one of {', '.join(PROVIDERS)}")
    return name


def _asked_provider(request: Request) -> str | None:
    name = request.query_params.get("provider")
    return None if name is None else _provider(name)
