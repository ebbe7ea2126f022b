"""Examples for the description of ``/v1``: of parameters, and of bodies. A test sends every one of them."""

from typing import Any, Final

_JOB: Final = "job_01a1fc955f4d7000800000000000000a"
_CALLBACK: Final = "cb_01a1fc9560a27000800000000000000b"

#: What stands for a parameter of that name, wherever it is.
PARAMETERS: Final[dict[str, Any]] = {
    "id": _JOB,
    "name": "laptop",
    "number": 1,
    "provider": "perplexity",
    "state": "succeeded",
    "verdict": "rejected",
    "job": _JOB,
    "since": "2026-11-21T05:00:00Z",
    "limit": 20,
    "cursor": _JOB,
    "after": "0",
    "wait": "0.5",
    "Range": "bytes=0-99",
    "X-Receiver-Url": "https://hooks.example.com/webhooks/pulse",
    "X-Receiver-At": "2026-11-21T05:00:00Z",
}
#: What stands for it in one operation instead.
OF_OPERATIONS: Final[dict[str, dict[str, Any]]] = {
    "GET /v1/alarms": {"state": "raised"},
    "GET /v1/callbacks": {"cursor": _CALLBACK},
    "GET /v1/callbacks/{id}": {"id": _CALLBACK},
    "GET /v1/callbacks/{id}/body": {"id": _CALLBACK},
    "POST /v1/callbacks/{id}/replay": {"id": _CALLBACK},
    "GET /v1/dispatches": {"state": "dead", "cursor": f"{_JOB}:save_report"},
    "POST /v1/dispatches/{id}/retry": {"id": f"{_JOB}:save_report"},
    "DELETE /v1/dispatches/{id}": {"id": f"{_JOB}:save_report"},
    "POST /v1/handlers/{name}/pause": {"name": "save_report"},
    "POST /v1/handlers/{name}/resume": {"name": "save_report"},
    "POST /v1/verify/{provider}": {"provider": "pulse"},
}
_REPLAY: Final[dict[str, Any]] = {"dry_run": True}
#: Bodies by operation, each with its name.
BODIES: Final[dict[str, dict[str, Any]]] = {
    "POST /v1/jobs": {
        "a question": {
            "provider": "perplexity",
            "request": {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "Tea?"}]},
        },
        "everything": {
            "provider": "netnut",
            "request": {"engine": "perplexity", "prompt": "Tea?"},
            "operation": "",
            "idempotency_key": "order-1842",
            "metadata": {"topic": "tea"},
            "deadline": 3600,
        },
    },
    "POST /v1/jobs/{id}/replay": {"what would happen": _REPLAY},
    "POST /v1/callbacks/{id}/replay": {"what would happen": _REPLAY},
    "PUT /v1/readers/{name}": {"a place": {"cursor": "0"}, "the end": {"cursor": "latest"}},
}
