"""Jobs, observations and descriptions to test with; times are integers of milliseconds."""

from importlib.resources import files
from typing import Any, Final

import msgspec

from receiver.catalog import load_file
from receiver.core.description.provider import Provider, describe
from receiver.core.model import DAY, HOUR, Delivery, Job

NOW: Final = 1_795_000_000_000
JOB_ID: Final = f"job_{NOW:012x}7000800000000000000a"
LARGEST: Final = 1024 * 1024
SYSTEMS: Final = ("netnut", "perplexity", "perplexity-webhook", "pulse", "yandex")


def job(**changes: Any) -> Job:  # noqa: ANN401
    """A job that was submitted just now, for a provider that posts results."""
    return Job(
        **{
            "id": JOB_ID,
            "provider": "acme",
            "delivery": Delivery.RESULT,
            "key_id": "00000000",
            "created_at": NOW,
            "deadline_at": NOW + 2 * HOUR,
            "keep_ms": 3 * DAY,
            **changes,
        }
    )


def packaged(name: str) -> Provider:
    """A description that comes with the receiver."""
    return load_file(files("receiver.providers") / f"{name}.toml")


def description(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A description as parsed from TOML; a change replaces a whole table."""
    return {
        "name": "acme",
        "title": "Acme",
        "origins": ["https://api.acme.example"],
        "sources": [{"url": "https://acme.example/docs", "read": "2026-11-20"}],
        "submit": {"url": "https://api.acme.example/jobs"},
        "callback": {"where": "body", "path": "callback_url"},
        "verify": {"scheme": "url_token"},
        "poll": {"url": ["https://api.acme.example/jobs/{id}"]},
        "shapes": {
            "answer": {
                "id": ["id"],
                "status": "status",
                "states": {"done": "succeeded", "error": "failed", "working": "running"},
                "result": "result",
                "result_url": "result_url",
                "response_url": "response_url",
                "cancel_url": "cancel_url",
                "error": ["reason"],
            },
            "result": {
                "id": ["id"],
                "status": "status",
                "states": {"done": "succeeded", "error": "failed", "working": "running"},
                "result": "result",
                "result_url": "result_url",
                "response_url": "response_url",
                "cancel_url": "cancel_url",
                "error": ["reason"],
            },
            "notification": {"id": ["id"], "response_url": "response_url"},
        },
        **changes,
    }


def acme(**changes: Any) -> Provider:  # noqa: ANN401
    """The provider that ``description`` describes."""
    return describe(description(**changes))


def marking(provider: Provider) -> Provider:
    """*provider*, repeating as ``mark`` what a submission says there."""
    assert provider.submit is not None
    shapes = {name: msgspec.structs.replace(shape, mark=("mark",)) for name, shape in provider.shapes.items()}
    submit = msgspec.structs.replace(provider.submit, mark="mark")
    return msgspec.structs.replace(provider, shapes=shapes, submit=submit)


SIGNED: Final[dict[str, Any]] = {
    "verify": {"scheme": "hmac", "header": "x-signature", "encoding": "hex", "signed": "{body}"},
    "key": {"source": "settings", "secret": "env:ACME_SECRET"},
}
