"""Handlers: which function wants which completion, and how it is to be run."""

import contextvars
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from receiver.core.errors import ConfigurationError, ReceiverError
from receiver.core.model import SECOND, HandlerSpec, Job, JobState, Value
from receiver.core.retry import Backoff

Function: TypeAlias = Callable[[Job], Awaitable[object] | object]
F = TypeVar("F", bound=Callable[..., Any])

#: The idempotency key of the dispatch that is running: stable over its attempts.
idempotency_key: contextvars.ContextVar[str] = contextvars.ContextVar("receiver_idempotency_key")

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_ATTEMPTS: Final = 8
_INTERRUPTIONS: Final = 12
#: After how many failures in a row a handler is left alone but for one trial at a time.
CIRCUIT: Final = 10
_STATES: Final = {"any", *(state.value for state in JobState if state.ended)}


class Retry(ReceiverError):  # noqa: N818  (a handler raises it to say what to do, not what went wrong)
    """Raised by a handler that wants to be called again later; it uses up an attempt.

    Args:
        after: Seconds (or a timedelta) to wait; the handler's backoff decides if it is left out.
    """

    code = "retry_requested"
    #: Whether it counts as a failure for the handler's circuit, rather than as something that the handler wants.
    fails: ClassVar[bool] = False

    def __init__(
        self, message: str = "The handler asked for another try.", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        self.after_ms = None if seconds is None else max(int(seconds * SECOND), 0)


class Discard(ReceiverError):  # noqa: N818  (as above)
    """Raised by a handler that does not want this completion at all; it is not called again."""

    code = "discarded"

    def __init__(self, message: str = "The handler discarded the completion.") -> None:
        super().__init__(message)


class Dead(ReceiverError):  # noqa: N818  (as above)
    """Raised by a handler that no later attempt will help: the dispatch is a dead letter at once."""

    code = "handler_gave_up"

    def __init__(self, message: str = "The handler said that no later attempt can succeed.") -> None:
        super().__init__(message)


class Away(ReceiverError):  # noqa: N818  (as above)
    """Raised by a handler whose other side is out of reach: it is called again later, and no attempt is used up."""

    code = "handler_away"
    #: Whether the other side wants nothing more: the handler is paused until a person resumes it.
    pauses: ClassVar[bool] = False

    def __init__(self, message: str = "What the handler needs is out of reach.") -> None:
        super().__init__(message)


class Handler(Value, frozen=True, kw_only=True):
    """A function, what it wants, and the limits it runs under."""

    spec: HandlerSpec
    function: Function
    #: Whether it is a plain function, which runs in a thread.
    plain: bool
    #: How many of its attempts run at once.
    concurrency: int = 8
    #: Seconds after which an attempt has failed.
    timeout: float = 300.0
    backoff: Backoff = Backoff()
    #: How often its process may end while it runs, before the dispatch is a dead letter.
    interruptions: int = _INTERRUPTIONS
    #: Whether it reads results piece by piece.
    pieces: bool = False
    #: After how many failures in a row its circuit opens; never if 0.
    circuit: int = CIRCUIT


class Handlers:
    """The handlers of this process, by name."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        #: Whether a receiver runs with these. A handler that is added later is refused: nobody would dispatch to it.
        self.in_use = False

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)

    @property
    def specs(self) -> list[HandlerSpec]:
        """What the store must know of each, so that any node can make dispatches for them."""
        return [handler.spec for handler in self]

    def get(self, name: str) -> Handler | None:
        """The handler called *name*."""
        return self._handlers.get(name)

    def snapshot(self) -> Mapping[str, Handler]:
        """Those that there are, for ``restore``."""
        return dict(self._handlers)

    def restore(self, handlers: Mapping[str, Handler]) -> None:
        """Have those of a snapshot, and no others."""
        self._handlers = dict(handlers)

    def put(self, handler: Handler) -> None:
        """Add a sink, which is a handler without a function of the user's; it replaces one of its name."""
        self._handlers[handler.spec.name] = handler

    def on(
        self,
        provider: str | None = None,
        *,
        state: str = JobState.SUCCEEDED.value,
        name: str | None = None,
        concurrency: int = 8,
        timeout: float = 300.0,
        attempts: int = _ATTEMPTS,
        interruptions: int | None = None,
        pieces: bool = False,
        first_wait: float = 5.0,
        longest_wait: float = 600.0,
        circuit: int = CIRCUIT,
    ) -> Callable[[F], F]:
        """Register a function for the completions of *provider* (every provider if left out) in *state*.

        Args:
            provider: A provider's name.
            state: How the job ended: succeeded, failed, canceled, expired, timed_out, or any.
            name: What the handler is called in the store; its function's name if left out. Renaming a
                function that has dispatches waiting leaves them without a handler, so long-lived ones get a name.
            concurrency: How many attempts run at once on a node.
            timeout: Seconds after which an attempt has failed. A plain function cannot be stopped: it keeps
                its slot until it ends.
            attempts: How often it is called before the dispatch is a dead letter.
            interruptions: How often its process may end while it runs, without having been told to, before the
                dispatch is a dead letter: 12, or as many as *attempts* where those are fewer than 8. It is called
                again later each time, with no other beside it that was interrupted. Being told to stop never counts.
            pieces: Whether ``job.result`` is not loaded but read piece by piece: ``async for piece in job.result``, in
                a plain function ``for piece in job.result``. A whole result is one copy for all handlers of its job.
            first_wait: Seconds before the second attempt; doubles with each.
            longest_wait: Seconds that no wait exceeds.
            circuit: After how many failures in a row it is left alone but for one trial at a time, with the same
                waits in between; the first success ends that. 0 for never.

        Raises:
            ConfigurationError: the name is taken or unusable, there is no such state, or the receiver runs.
        """
        if state not in _STATES:
            raise ConfigurationError(
                f"There is no state {state!r}; a handler wants one of {', '.join(sorted(_STATES))}.",
                code="handler_invalid",
            )
        if interruptions is None:
            interruptions = attempts if attempts < _ATTEMPTS else max(attempts, _INTERRUPTIONS)
        if min(concurrency, attempts, interruptions) < 1 or timeout <= 0 or circuit < 0:
            raise ConfigurationError(
                "concurrency, attempts, interruptions and timeout of a handler must be positive, and circuit not "
                "negative.",
                code="handler_invalid",
            )

        def register(function: F) -> F:
            if self.in_use:
                raise ConfigurationError(
                    f"The receiver has started, so {name or function.__name__!r} would miss what ends now; register "
                    "handlers before start(), when the module is imported.",
                    code="handler_late",
                )
            called = name or function.__name__
            if _NAME.fullmatch(called) is None:
                raise ConfigurationError(
                    f"{called!r} cannot name a handler; pass name= with letters, digits, '_', '.' and '-'.",
                    code="handler_invalid",
                )
            if called in self._handlers:
                raise ConfigurationError(
                    f"There is a handler {called!r} already; pass name= to one of them.",
                    code="handler_invalid",
                )
            self._handlers[called] = Handler(
                spec=HandlerSpec(name=called, provider=provider, state=state),
                function=function,
                plain=_is_plain(function),
                concurrency=concurrency,
                timeout=timeout,
                backoff=Backoff(
                    first=int(first_wait * SECOND), longest=int(longest_wait * SECOND), attempts=attempts
                ),
                interruptions=interruptions,
                pieces=pieces,
                circuit=circuit,
            )
            return function

        return register


class Audience:
    """Which completions anybody wants, by the handlers that are registered in the store, whichever node has them."""

    def __init__(self) -> None:
        self._specs: tuple[HandlerSpec, ...] | None = None
        self._wanted: dict[tuple[str, str], bool] = {}

    def are(self, specs: Iterable[HandlerSpec]) -> None:
        """Say which are registered now; safe to call from any thread."""
        self._specs, self._wanted = tuple(specs), {}

    def wants(self, provider: str, state: str) -> bool:
        """Whether somebody wants the jobs of *provider* that end in *state*, as far as is known."""
        known = self._wanted.get((provider, state))
        if known is None:
            known = self._specs is None or any(one.wants(provider, JobState(state)) for one in self._specs)
            self._wanted[provider, state] = known
        return known


def _is_plain(function: Function) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004  (an object with an async __call__)
    return not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called))
