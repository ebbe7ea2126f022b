"""The testing kit: a pytest plugin that plays the providers for a receiver in the same process.

pytest loads ``receiver.testing.plugin`` by its entry point. What is named here is loaded when it is asked for, so that
a test run which needs none of it pays nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from receiver.testing.clock import Clock
    from receiver.testing.kit import Kit
    from receiver.testing.outcome import Answer, Handled, Outcome
    from receiver.testing.provider import Provider
    from receiver.testing.signing import SignedRequest

__all__ = ["Answer", "Clock", "Handled", "Kit", "Outcome", "Provider", "SignedRequest"]

_HOMES: Final = {
    "Answer": "outcome",
    "Clock": "clock",
    "Handled": "outcome",
    "Kit": "kit",
    "Outcome": "outcome",
    "Provider": "provider",
    "SignedRequest": "signing",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'receiver.testing' has no attribute {name!r}")
    return getattr(import_module(f"receiver.testing.{_HOMES[name]}"), name)
