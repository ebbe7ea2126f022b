"""Handlers: which function wants which completion, and how it is to be run."""

import contextvars
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from receiver.core.errors import ConfigurationError
from receiver.core.handler import BLOCK, GO_ON, HandlerSpec
from receiver.core.model import PROGRESS, SECOND, Job, JobState, Value
from receiver.core.retry import Backoff
from receiver.injection import Wanted, wanted_by
from receiver.raising import NotWanted

Function: TypeAlias = Callable[[Job], Awaitable[object] | object]
F = TypeVar("F", bound=Callable[..., Any])

#: The idempotency key of the dispatch that is running: stable over its attempts.
idempotency_key: contextvars.ContextVar[str] = contextvars.ContextVar("receiver_idempotency_key")

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_ORDER: Final = re.compile(r"provider|operation|job|metadata\.[A-Za-z0-9_-]{1,100}")
_ATTEMPTS: Final = 8
_INTERRUPTIONS: Final = 12
#: After how many failures in a row a handler is left alone but for one trial at a time.
CIRCUIT: Final = 10
#: What a handler can hear of: how jobs end, and how far they have come.
STATES: Final = frozenset({"any", *PROGRESS, *(state.value for state in JobState if state.ended)})


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
    #: How many attempts begin a second, on all nodes together; as many as there are if 0.
    rate: float = 0.0
    #: Seconds after which a completion is too old to be handled; never if 0.
    max_age: float = 0.0


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
        """The handlers that are registered now, for ``restore``."""
        return dict(self._handlers)

    def restore(self, handlers: Mapping[str, Handler]) -> None:
        """Register the handlers of a snapshot, and no others."""
        self._handlers = dict(handlers)

    def put(self, handler: Handler) -> None:
        """Add a sink, which is a handler without a function of the user's; it replaces one of its name."""
        self._handlers[handler.spec.name] = handler

    def on(
        self,
        provider: str | None = None,
        *,
        state: str = JobState.SUCCEEDED.value,
        metadata: Mapping[str, Any] | None = None,
        where: Callable[[Job], bool] | None = None,
        name: str | None = None,
        aliases: Iterable[str] = (),
        ordered_by: str | None = None,
        on_dead: str = BLOCK,
        concurrency: int = 8,
        timeout: float = 300.0,
        attempts: int = _ATTEMPTS,
        interruptions: int | None = None,
        pieces: bool = False,
        first_wait: float = 5.0,
        longest_wait: float = 600.0,
        circuit: int = CIRCUIT,
        rate: float = 0.0,
        max_age: float = 0.0,
    ) -> Callable[[F], F]:
        """Register a function for the completions of *provider* (every provider if left out) in *state*.

        Args:
            provider: A provider's name.
            state: How the job ended: succeeded, failed, canceled, expired, timed_out, or any. Or how far it has come,
                for a display of progress: submitted, running, fetching, each told once, when it is first seen.
            metadata: What the job's metadata must have, by key: only such completions are dispatched to it.
            where: Asked by the process that runs the handler, before the function: whether it wants this job.
            name: What the handler is called in the store; its function's name if left out, where it has one. Renaming
                a function that has dispatches waiting leaves them without a handler, so long-lived ones get a name.
            aliases: The names that it had before: what waits under one of them goes to this handler.
            ordered_by: ``metadata.<key>``, ``provider``, ``operation`` or ``job``: completions of jobs that have the
                same are handled one at a time, in the order of completion, on all nodes.
            on_dead: What becomes of the dispatches behind a dead letter: with ``block`` they wait until it is retried
                or discarded, with ``continue`` they go on.
            concurrency: How many attempts run at once on a node.
            timeout: Seconds after which an attempt has failed. A plain function cannot be stopped: it keeps
                its slot until it ends.
            attempts: How often it is called before the dispatch is a dead letter.
            interruptions: How often its process may end while it runs, without having been told to, before the
                dispatch is a dead letter: 12, or as many as *attempts* where those are fewer than 8 or more
                than 12. Each time it is called again later, with no other interrupted dispatch beside it. Being told
                to stop never counts.
            pieces: Whether ``job.result`` is not loaded but read piece by piece: ``async for piece in job.result``, in
                a plain function ``for piece in job.result``. A whole result is one copy for all handlers of its job.
            first_wait: Seconds before the second attempt; doubles with each.
            longest_wait: Seconds that no wait exceeds.
            circuit: After how many failures in a row it is left alone but for one trial at a time, with the same
                waits in between; the first success ends that. 0 for never.
            rate: How many attempts begin a second, on all nodes together; 0 for as many as there are.
            max_age: Seconds after which a completion is too old, and becomes a dead letter uncalled; 0 for never.

        Raises:
            ConfigurationError: the name is taken or unusable, there is no such state, or the receiver runs.
        """
        if state not in STATES:
            raise _invalid(
                f"There is no state {state!r}; a handler wants one of {', '.join(sorted(STATES))}."
            )
        if interruptions is None:
            interruptions = attempts if attempts < _ATTEMPTS else max(attempts, _INTERRUPTIONS)
        if min(concurrency, attempts, interruptions) < 1 or timeout <= 0:
            raise _invalid("concurrency, attempts, interruptions and timeout of a handler must be positive.")
        if min(circuit, rate, max_age) < 0:
            raise _invalid("circuit, rate and max_age of a handler must not be negative.")
        _check_filters(provider, where)
        check_order(ordered_by, on_dead)
        wishes = as_metadata(metadata or {})

        def register(function: F) -> F:
            called = name or _name_of(function)
            if self.in_use:
                raise ConfigurationError(
                    f"The receiver has started, so {called!r} would miss what ends now; register handlers before "
                    "start(), when the module is imported.",
                    code="handler_late",
                )
            known = self._checked(called, tuple(aliases))
            wanted = wanted_by(function, name=called)
            if wanted is not None and wanted.needs_result and state != JobState.SUCCEEDED.value:
                raise _invalid(
                    f"{called!r} wants a result, which jobs in the state {state!r} may not have; write … | None."
                )
            if wanted is not None and wanted.needs_whole and pieces:
                raise _invalid(f"{called!r} reads the whole result; register it without pieces=True.")
            plain = _is_plain(function)
            self._handlers[called] = Handler(
                spec=HandlerSpec(
                    name=called,
                    provider=provider,
                    state=state,
                    metadata=wishes,
                    aliases=known,
                    ordered_by=ordered_by,
                    on_dead=on_dead,
                ),
                function=_prepared(function, plain=plain, wanted=wanted, where=where),
                plain=plain,
                concurrency=concurrency,
                timeout=timeout,
                backoff=Backoff(
                    first=int(first_wait * SECOND), longest=int(longest_wait * SECOND), attempts=attempts
                ),
                interruptions=interruptions,
                pieces=pieces,
                circuit=circuit,
                rate=rate,
                max_age=max_age,
            )
            return function

        return register

    def _checked(self, called: str, aliases: tuple[str, ...]) -> tuple[str, ...]:
        """The aliases of a handler, once it is sure that all its names are free."""
        for one in (called, *aliases):
            if _NAME.fullmatch(one) is None:
                raise _invalid(
                    f"{one!r} cannot name a handler; pass a name= of letters, digits, '_', '.' and '-'."
                )
            taken = {name for other in self for name in (other.spec.name, *other.spec.aliases)}
            if one in taken or (one == called and called in aliases):
                raise _invalid(f"There is a handler {one!r} already; pass name= to one of them.")
        return aliases


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


def _check_filters(provider: object, where: Callable[[Job], object] | None) -> None:
    if callable(provider):
        raise _invalid(
            "on takes what is wanted, and then the function: write @receiver.on(), with its brackets."
        )
    if not isinstance(provider, str | None):
        raise _invalid(f"provider is the name of one provider, or left out for every one, not {provider!r}.")
    if where is not None and not _is_plain(where):
        raise _invalid("where must be a plain function: it is asked before the handler is called.")


def check_order(ordered_by: str | None, on_dead: str) -> None:
    """Raise ConfigurationError where nobody can order completions so."""
    if ordered_by is not None and _ORDER.fullmatch(ordered_by) is None:
        raise _invalid(
            f"Nobody can order completions by {ordered_by!r}; it is metadata.<key>, provider, operation or job."
        )
    if on_dead not in {BLOCK, GO_ON}:
        raise _invalid(f"on_dead is {BLOCK} or {GO_ON}, not {on_dead!r}.")


def as_metadata(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """What is wanted of metadata, as the store will have it; raises ConfigurationError where it is no JSON."""
    try:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(wishes)))
    except (TypeError, ValueError) as error:
        raise _invalid(f"metadata of a handler must be JSON: {error}.") from error
    return found


def _prepared(
    function: Callable[..., Any],
    *,
    plain: bool,
    wanted: Wanted | None,
    where: Callable[[Job], bool] | None,
) -> Function:
    """*function*, as it is called with a job: asked first whether it wants it, and given what it asks for."""
    if wanted is None and where is None:
        return function

    def arguments(job: Job) -> tuple[list[Any], dict[str, Any]]:
        if where is not None and not where(job):
            raise NotWanted
        return ([job], {}) if wanted is None else wanted.arguments(job)

    def call(job: Job) -> object:
        positional, named = arguments(job)
        return function(*positional, **named)

    async def call_later(job: Job) -> object:
        positional, named = arguments(job)
        return await function(*positional, **named)

    return call if plain else call_later


def _invalid(sentence: str) -> ConfigurationError:
    return ConfigurationError(sentence, code="handler_invalid")


def _name_of(function: Callable[..., Any]) -> str:
    found = getattr(function, "__name__", None)
    if not isinstance(found, str):
        raise _invalid(f"A {type(function).__name__} has no name of its own; pass name=.")
    return found


def _is_plain(function: Function) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004  (an object with an async __call__)
    return not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called))
