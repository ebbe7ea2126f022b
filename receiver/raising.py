"""What a handler raises to say what is to become of its completion."""

from datetime import timedelta
from typing import ClassVar, Final

from receiver.core.errors import ReceiverError
from receiver.core.model import DAY, SECOND

#: No other try is asked for later than that, in milliseconds: it would be one that nobody lives to see.
LONGEST_RETRY: Final = 366 * DAY


class Retry(ReceiverError):  # noqa: N818  (a handler raises it to say what to do, not what went wrong)
    """Raised by a handler that wants to be called again later; it uses up an attempt.

    Args:
        after: Seconds (or a timedelta) to wait, a year at most; the handler's backoff decides if it is left out.
    """

    code = "retry_requested"
    #: Whether it counts as a failure for the handler's circuit, rather than as something that the handler wants.
    fails: ClassVar[bool] = False

    def __init__(
        self, message: str = "The handler asked for another try.", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        self.after_ms = None if seconds is None else int(min(max(seconds * SECOND, 0), LONGEST_RETRY))


class Discard(ReceiverError):  # noqa: N818  (as above)
    """Raised by a handler that does not want this completion at all; it is not called again."""

    code = "discarded"

    def __init__(self, message: str = "The handler discarded the completion.") -> None:
        super().__init__(message)


class NotWanted(Discard):
    """The handler's own ``where`` said that it does not want this completion."""

    code = "not_wanted"

    def __init__(self) -> None:
        super().__init__("The handler's where said no.")


class Dead(ReceiverError):  # noqa: N818  (as above)
    """Raised by a handler that no later attempt will help: the dispatch is a dead letter at once."""

    code = "handler_gave_up"

    def __init__(self, message: str = "The handler said that no later attempt can succeed.") -> None:
        super().__init__(message)


class ResultUnfitError(Dead):
    """The result does not fit what the handler reads it as; the sentence names the field."""

    code = "result_unfit"


class ResultAbsentError(Dead):
    """The handler wants a result, and the job has none."""

    code = "result_absent"


class Away(ReceiverError):  # noqa: N818  (as above)
    """Raised by a handler whose other side is out of reach: it is called again later, and no attempt is used up."""

    code = "handler_away"
    #: Whether the other side wants nothing more: the handler is paused until a person resumes it.
    pauses: ClassVar[bool] = False

    def __init__(self, message: str = "What the handler needs is out of reach.") -> None:
        super().__init__(message)
