"""A handler's circuit: its states, and how the end of an attempt changes it."""

from receiver.core.model import Failure, Value


class Sign(Value, frozen=True, kw_only=True):
    """What the end of an attempt says about its handler, for the handler's circuit."""

    #: ``works``, ``fails``, ``pauses`` (the other side wants nothing more), or ``unclear`` after a trial.
    word: str
    #: After how many failures in a row the circuit opens.
    most: int = 0
    #: Milliseconds until the next trial, if it is open then.
    wait: int = 0


class Circuit(Value, frozen=True, kw_only=True):
    """The switch of a handler that fails, or that was paused."""

    handler: str
    #: ``closed`` while failures are only counted, ``open`` (one trial at a time), or ``paused`` (nothing at all).
    state: str = "closed"
    #: How many attempts failed in a row.
    failures: int = 0
    #: How many trials there were since it opened.
    trials: int = 0
    #: Since when it is in this state.
    since: int
    #: When the next trial may begin.
    trial_at: int | None = None
    #: Who paused it, if a person did.
    who: str | None = None
    error: Failure | None = None

    @property
    def holds(self) -> bool:
        """Whether it holds dispatches up."""
        return self.state != "closed"
