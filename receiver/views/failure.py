"""Why something failed, on one line."""

from receiver.core.model import Failure
from receiver.views.masking import masked


def failure_line(error: Failure | None) -> str:
    """The code of *error*, and the last line of what is known of it."""
    return "" if error is None else f"{error.code}: {what(error)}".removesuffix(": ")


def what(error: Failure) -> str:
    """What *error* says besides its code: of a traceback, what was raised.

    The code of a handler's exception is the name of its class, with which a traceback's last line begins as well.
    """
    last = last_line(masked(error.text))
    name, _, rest = last.partition(":")
    return rest.strip() if name.rpartition(".")[2] == error.code else last


def last_line(text: str) -> str:
    """The last line of *text* that is not empty: of a traceback, what was raised."""
    return next(filter(None, (line.strip() for line in reversed(text.splitlines()))), "")
