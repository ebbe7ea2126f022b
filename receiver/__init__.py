"""A receiver for the callbacks of asynchronous job APIs: one durable record from submission to handler.

What is exported is loaded when it is asked for, so that ``receiver --help`` starts without a web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from receiver.app import Receiver
    from receiver.core.errors import NothingSentError, OutcomeUnknownError, ReceiverError, RejectionError
    from receiver.core.file import File, FileState
    from receiver.core.model import Job, JobState, Result
    from receiver.handlers import idempotency_key
    from receiver.raising import Away, Dead, Discard, Retry
    from receiver.settings import Settings
    from receiver.steps.offline import verify_message as verify

__all__ = [
    "Away",
    "Dead",
    "Discard",
    "File",
    "FileState",
    "Job",
    "JobState",
    "NothingSentError",
    "OutcomeUnknownError",
    "Receiver",
    "ReceiverError",
    "RejectionError",
    "Result",
    "Retry",
    "Settings",
    "idempotency_key",
    "verify",
]

_HOMES: Final = {
    "Away": ("receiver.raising", "Away"),
    "Dead": ("receiver.raising", "Dead"),
    "Discard": ("receiver.raising", "Discard"),
    "File": ("receiver.core.file", "File"),
    "FileState": ("receiver.core.file", "FileState"),
    "Job": ("receiver.core.model", "Job"),
    "JobState": ("receiver.core.model", "JobState"),
    "NothingSentError": ("receiver.core.errors", "NothingSentError"),
    "OutcomeUnknownError": ("receiver.core.errors", "OutcomeUnknownError"),
    "Receiver": ("receiver.app", "Receiver"),
    "ReceiverError": ("receiver.core.errors", "ReceiverError"),
    "RejectionError": ("receiver.core.errors", "RejectionError"),
    "Result": ("receiver.core.model", "Result"),
    "Retry": ("receiver.raising", "Retry"),
    "Settings": ("receiver.settings", "Settings"),
    "idempotency_key": ("receiver.handlers", "idempotency_key"),
    "verify": ("receiver.steps.offline", "verify_message"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'receiver' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
