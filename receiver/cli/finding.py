"""What a check of ``receiver doctor`` finds."""

from typing import Final

from receiver.core.errors import ReceiverError
from receiver.core.model import Value

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"


class Check(Value, frozen=True, kw_only=True):
    """What was found: ok, warn or fail, and what to do next."""

    name: str
    status: str
    text: str
    next: str = ""


def failed(name: str, error: ReceiverError, following: str) -> Check:
    """A check that an error made fail."""
    return Check(name=name, status=FAIL, text=plain(error), next=following)


def plain(error: ReceiverError) -> str:
    """What an error says, as a part of a line."""
    return str(error).rstrip(".")
