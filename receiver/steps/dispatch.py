"""Dispatch: run a handler on a completion, once at a time, and record what came of it."""

import asyncio
import os
import random
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from msgspec.structs import replace

from receiver.circuits import TOO_OLD, Circuits
from receiver.core import causes
from receiver.core.circuit import Sign
from receiver.core.identity import ATTEMPT, new_id
from receiver.core.model import DAY, PROGRESS, SECOND, Attempt, Dispatch, Failure, Job
from receiver.core.retry import RetryAt, after_failure
from receiver.handlers import Handler, idempotency_key
from receiver.metrics import Metrics
from receiver.raising import Away, Dead, Discard, Retry
from receiver.steps.calling import Guarded, in_thread, refuse_unrun
from receiver.steps.lending import Lending
from receiver.storage.claims import INTERRUPTED
from receiver.storage.dispatches import AWAY, DispatchSettled
from receiver.storage.store import Store
from receiver.timers import Deadlines, LateError

log = structlog.get_logger(__name__)

#: Characters that are kept of what a handler raised: half of them from its beginning, half from its end.
_LONGEST_TEXT: Final = 8000
_LONGEST_NAME: Final = 200
#: How long a completion is tried at least while the circuit of its handler is open.
TRIED_FOR: Final = DAY
#: Outcomes that tell of an error, also where the handler is called again.
_WRONG: Final = frozenset({"failed", "timed_out"})


class UnreadableOutcomeError(Exception):
    """What a handler raised is of a class of its own that cannot even be read."""


class RunDispatch:
    """Runs handlers: each at least once for a completion, and one attempt at a time."""

    def __init__(
        self,
        *,
        store: Store,
        lending: Lending,
        clock: Callable[[], int],
        metrics: Metrics,
        doubts: Callable[[], int],
        confirm: Callable[[Dispatch], Awaitable[bool]] | None,
        circuits: Circuits,
    ) -> None:
        self._store = store
        self._circuits = circuits
        self._doubts = doubts
        self._confirm = confirm
        self._clock = clock
        self._metrics = metrics
        self._deadlines = Deadlines()
        self._lending = lending
        self._process = os.getpid()

    async def run(
        self, dispatch: Dispatch, job: Job, *, handler: Handler, doubts: int, stopping: Callable[[], bool]
    ) -> DispatchSettled:
        """Run one attempt, in a task of its own; return how it ended, which is still to be recorded.

        Whatever the function raises is how it ended, be it no Exception at all.

        Args:
            dispatch: As it was claimed.
            job: Of which it is the completion.
            handler: Whose it is.
            doubts: How often, before this was claimed, it was in doubt whether this process still holds its leases.
            stopping: Whether the process is ending.

        Raises:
            CancelledError: the process is *stopping*, and the attempt was cut short.
        """
        started = self._clock()
        if dispatch.lapsed:
            return self._interrupted(dispatch, started, handler=handler)
        if dispatch.failures >= handler.backoff.attempts:
            spent = Failure(
                code="attempts_exhausted",
                text="The handler may be tried less often than it was already; the timeline says how that ended.",
            )
            sign = self._circuits.sign(dispatch, handler, "attempts_exhausted")
            return self._ended(dispatch, "attempts_exhausted", started, error=spent, sign=sign)
        if handler.max_age and started - dispatch.created_at > handler.max_age * SECOND:
            old = Failure(code="too_old", text=f"It had waited for longer than {handler.max_age:g} seconds.")
            sign = self._circuits.sign(dispatch, handler, TOO_OLD)
            return self._ended(dispatch, TOO_OLD, started, error=old, sign=sign)
        if dispatch.replay_id in PROGRESS:
            # The handler is told of a state before the end; whatever result there is by now belongs to the end.
            underway = replace(job, result=None)
            return await self._run(
                dispatch, underway, started, handler=handler, doubts=doubts, stopping=stopping
            )
        async with self._lending.lend(job, pieces=handler.pieces) as whole:
            return await self._run(
                dispatch, whole, started, handler=handler, doubts=doubts, stopping=stopping
            )

    async def _run(
        self,
        dispatch: Dispatch,
        job: Job,
        started: int,
        *,
        handler: Handler,
        doubts: int,
        stopping: Callable[[], bool],
    ) -> DispatchSettled:
        guard = _Guard(dispatch, doubts, now=self._doubts, confirm=self._confirm)
        if guard.doubtful() and not await guard.confirm():
            return self._lost(dispatch, started, handler=handler)
        # Not set back: the task ends with the handler, and its context with it.
        idempotency_key.set(dispatch.key)
        try:
            if handler.plain:
                await in_thread(handler.function, job, handler.timeout)
            else:
                returned = await self._deadlines.keep(guard.wrap(handler.function), job, handler.timeout)
                refuse_unrun(returned, plain=False)
            self._end_twin()
        except BaseException as raised:
            self._end_twin()
            task = _current_task()
            if task is None:
                raise  # the event loop is gone, and this coroutine with it
            if guard.lost:
                return self._lost(dispatch, started, handler=handler)
            if stopping() and task.cancelling() and not _is_said(raised):
                # What comes of being cut short says nothing about the handler.
                raise asyncio.CancelledError from raised
            try:
                return self._failed(dispatch, raised, started, handler=handler)
            except BaseException as error:  # noqa: BLE001  (it is the handler's own class)
                unread = UnreadableOutcomeError(
                    f"It raised a {_kind(raised)}, which cannot be read: {_kind(error)}."
                )
                return self._failed(dispatch, unread, started, handler=handler)
        sign = self._circuits.sign(dispatch, handler, "succeeded")
        return self._ended(dispatch, "succeeded", started, sign=sign)

    async def settle(self, ended: Sequence[DispatchSettled]) -> None:
        """Record how attempts ended.

        An outcome is succeeded, failed, timed_out, retry_requested, away, discarded, attempts_exhausted, too_old
        or interrupted.
        """
        settled = await self._store.settle_dispatches(ended)
        # Bound once, because that takes as long as a line.
        lines = log.bind()
        for one, ours in zip(ended, settled, strict=True):
            attempt = one.log
            outcome = attempt.outcome
            self._metrics.dispatch(attempt.handler, outcome)
            facts = {"job": attempt.job_id, "handler": attempt.handler, "attempt": attempt.number}
            if not ours:
                lines.warning("dispatch_superseded", **facts)
            elif outcome not in {"succeeded", "discarded"} and one.retry_at is None:
                lines.error("dispatch_dead", code=attempt.code, **facts)
            elif outcome == INTERRUPTED:
                lines.warning(
                    "dispatch_interrupted",
                    code=attempt.code,
                    interruptions=one.dispatch.interruptions + 1,
                    **facts,
                )
            else:
                tell = lines.warning if outcome in _WRONG else lines.info
                tell(f"dispatch_{outcome}", code=attempt.code, **facts)

    def _end_twin(self) -> None:
        """End a process that a handler forked off, and let go on: it would be this receiver a second time."""
        if os.getpid() != self._process:
            os._exit(1)

    def _lost(self, dispatch: Dispatch, started: int, *, handler: Handler) -> DispatchSettled:
        """What is recorded of an attempt that another node runs meanwhile: that node says how it ends."""
        return self._ended(
            dispatch,
            INTERRUPTED,
            started,
            error=Failure(code="lease_lost"),
            retry_at=self._clock(),
            sign=self._circuits.sign(dispatch, handler, INTERRUPTED),
        )

    def _interrupted(self, dispatch: Dispatch, now: int, *, handler: Handler) -> DispatchSettled:
        """What is recorded of an attempt whose process is gone: nobody knows whether this attempt ended the process."""
        times = dispatch.interruptions + 1
        text = "The process that ran the handler ended, or was frozen, before the handler did."
        retry_at = None
        if times < handler.interruptions:
            retry_at = now + handler.backoff.wait(times, jitter=random.random())
        else:
            text = (
                f"{times} processes ended, or were frozen, while they ran the handler; find out what it does to them, "
                "then retry this dispatch."
            )
        error = Failure(code="process_ended", text=text)
        sign = self._circuits.sign(dispatch, handler, INTERRUPTED)
        return self._ended(dispatch, INTERRUPTED, now, error=error, retry_at=retry_at, sign=sign)

    def _failed(
        self, dispatch: Dispatch, raised: BaseException, started: int, *, handler: Handler
    ) -> DispatchSettled:
        """What comes of what a handler raised."""
        asked = None
        sign = self._circuits.sign(dispatch, handler, "failed", raised)
        match raised:
            case LateError():
                text = f"The handler did not return within {handler.timeout} seconds."
                outcome, error = "timed_out", Failure(code="handler_timeout", text=text)
            case Discard():
                error = _failure(raised.code, _words(raised))
                return self._ended(dispatch, "discarded", started, error=error, sign=sign)
            case Dead():
                error = _failure(raised.code, _words(raised))
                return self._ended(dispatch, "failed", started, error=error, sign=sign)
            case Away():
                # Nothing is wrong with the completion, so none of its attempts is used up.
                error = _failure(raised.code, _words(raised))
                wait = handler.backoff.wait(1, jitter=random.random())
                later = self._clock() + wait
                return self._ended(dispatch, AWAY, started, error=error, retry_at=later, sign=sign)
            case Retry():
                outcome, error, asked = (
                    "retry_requested",
                    _failure(raised.code, _words(raised)),
                    raised.after_ms,
                )
            case _:
                outcome, error = "failed", _failure(_kind(raised), _trace(raised))
        now, failures = self._clock(), dispatch.failures + 1
        if dispatch.trial and not _is_last_trial(dispatch, handler, now=now):
            failures = min(failures, handler.backoff.attempts - 1)
        elif dispatch.trial:
            failures = handler.backoff.attempts
        decision = after_failure(
            failures, backoff=handler.backoff, jitter=random.random(), now=now, at_least=asked
        )
        retry_at = decision.when if isinstance(decision, RetryAt) else None
        return self._ended(dispatch, outcome, started, error=error, retry_at=retry_at, sign=sign)

    def _ended(
        self,
        dispatch: Dispatch,
        outcome: str,
        started: int,
        *,
        error: Failure | None = None,
        retry_at: int | None = None,
        sign: Sign | None = None,
    ) -> DispatchSettled:
        return DispatchSettled(
            dispatch=dispatch,
            log=Attempt(
                id=new_id(ATTEMPT, started),
                job_id=dispatch.job_id,
                step="dispatch",
                handler=dispatch.handler,
                replay_id=dispatch.replay_id,
                number=dispatch.attempt,
                started_at=started,
                duration_ms=max(self._clock() - started, 0),
                outcome=outcome,
                code=None if error is None else error.code,
                detail={} if error is None else {"error": error.text},
            ),
            retry_at=retry_at,
            error=error,
            sign=sign,
        )


class _Guard:
    """Makes sure of one dispatch, while others may have taken what this process holds."""

    def __init__(
        self,
        dispatch: Dispatch,
        doubts: int,
        *,
        now: Callable[[], int],
        confirm: Callable[[Dispatch], Awaitable[bool]] | None,
    ) -> None:
        self._dispatch = dispatch
        self._doubts = doubts
        self._now = now
        self._ask = confirm
        self._guarded: Guarded | None = None

    @property
    def lost(self) -> bool:
        """Whether the handler was cancelled because another node runs it."""
        return self._guarded is not None and self._guarded.lost

    def doubtful(self) -> bool:
        """Whether it may be another's by now."""
        return self._ask is not None and self._now() != self._doubts

    async def confirm(self) -> bool:
        """Make sure; whether it is still ours."""
        assert self._ask is not None  # noqa: S101  (else nothing is doubtful)
        doubts = self._now()
        ours = await self._ask(self._dispatch)
        self._doubts = doubts
        return ours

    def wrap(self, function: Callable[[Job], Any]) -> Callable[[Job], Any]:
        """*function*, guarded at each of its steps where another node may take it."""
        if self._ask is None:
            return function

        def guarded(job: Job) -> Guarded:
            self._guarded = Guarded(function(job), doubtful=self.doubtful, confirm=self.confirm)
            return self._guarded

        return guarded


def _is_last_trial(dispatch: Dispatch, handler: Handler, *, now: int) -> bool:
    """Whether a trial of an open circuit that failed was its completion's last attempt.

    While a circuit is open no attempts are used up, because it may be the other side's fault. Once the circuit has been
    open for a day, and this very completion was attempted as often as it may be, the fault is taken for the
    completion's own.
    """
    return dispatch.attempt >= handler.backoff.attempts and now - dispatch.created_at >= TRIED_FOR


def _failure(code: str, text: str) -> Failure:
    """A handler's own words, without what no database takes: a text that cannot be stored would never be settled."""
    if len(text) > _LONGEST_TEXT:
        text = f"{text[: _LONGEST_TEXT // 2]}\n…\n{text[-_LONGEST_TEXT // 2 :]}"
    plain = (
        one.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        for one in (str(code)[:_LONGEST_NAME], text)
    )
    return Failure(code=next(plain), text=next(plain))


def _words(raised: BaseException) -> str:
    """The exception's own words."""
    try:
        return str(raised)
    except BaseException as error:  # noqa: BLE001  (it is the handler's own class)
        return f"It cannot be written: {_kind(error)}."


def _trace(raised: BaseException) -> str:
    """Its traceback, and those of its causes, as far as there are not too many."""
    try:
        with causes.cut(raised) as shown:
            if shown.uncuttable:
                return f"{causes.LEFT_OUT}\n{_kind(raised)}: {_words(raised)}"
            text = "".join(traceback.format_exception(raised))
            return f"{causes.LEFT_OUT}\n\n{text}" if shown.cut else text
    except BaseException as error:  # noqa: BLE001  (a chain of a handler's own classes)
        return f"{_kind(raised)}, whose traceback cannot be written: {_kind(error)}."


def _kind(raised: BaseException) -> str:
    """The name of its class, which the class has no say in."""
    return str(type.__dict__["__name__"].__get__(type(raised)))


def _is_said(raised: BaseException) -> bool:
    """Whether a handler said by it what is to become of its completion; an exception's own class has no say in that."""
    return any(one in {Retry, Discard, Dead, Away} for one in type(raised).__mro__)


def _current_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs
        return None
