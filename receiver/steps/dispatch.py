"""Dispatch: run a handler on a completion, once at a time, and record what came of it."""

import asyncio
import contextvars
import inspect
import random
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from receiver.core.identity import ATTEMPT, new_id
from receiver.core.model import Attempt, Dispatch, Failure, Job
from receiver.core.retry import RetryAt, after_failure
from receiver.deadlines import Deadlines, LateError
from receiver.handlers import Discard, Handler, Handlers, Retry
from receiver.metrics import Metrics
from receiver.storage.dispatches import DispatchSettled
from receiver.storage.results import with_result
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

_LONGEST_TRACE: Final = 8000

#: The idempotency key of the dispatch that is running: stable over its attempts.
idempotency_key: contextvars.ContextVar[str] = contextvars.ContextVar("receiver_idempotency_key")


class RunDispatch:
    """Runs handlers. A handler runs at least once for a completion, and one attempt at a time."""

    def __init__(
        self, *, store: Store, handlers: Handlers, clock: Callable[[], int], metrics: Metrics
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._clock = clock
        self._metrics = metrics
        self._deadlines = Deadlines()

    async def run(self, dispatch: Dispatch, job: Job) -> DispatchSettled:
        """Run one attempt, in a task of its own; how it ended, which is still to be recorded."""
        handler = self._handlers.get(dispatch.handler)
        assert handler is not None  # noqa: S101  (only ours are claimed)
        started = self._clock()
        if dispatch.attempt > handler.backoff.attempts:
            # Every attempt was counted before it ran, so a handler that ends the process ends here.
            spent = Failure(
                code="attempts_exhausted",
                text="All attempts are used up; the timeline says how the earlier ones ended, if they could.",
            )
            return self._ended(dispatch, "attempts_exhausted", started, error=spent)
        if job.held is not None and job.result is None:
            job = with_result(job, await self._store.result(job))
        # Not set back: the task ends with the handler, and its context with it.
        idempotency_key.set(dispatch.id)
        try:
            if handler.plain:
                await _in_thread(handler.function, job, handler.timeout)
            else:
                await self._deadlines.keep(handler.function, job, handler.timeout)
        except (Exception, SystemExit, asyncio.CancelledError) as raised:
            task = asyncio.current_task()
            if isinstance(raised, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # we are to stop; what a handler raises by itself is its outcome, whatever it is
            return self._failed(dispatch, raised, started, handler=handler)
        return self._ended(dispatch, "succeeded", started)

    async def settle(self, ended: Sequence[DispatchSettled]) -> None:
        """Record how attempts ended: succeeded, failed, timed_out, retry_requested, discarded, attempts_exhausted."""
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
            else:
                lines.info(f"dispatch_{outcome}", code=attempt.code, **facts)

    def _failed(
        self, dispatch: Dispatch, raised: BaseException, started: int, *, handler: Handler
    ) -> DispatchSettled:
        """What comes of what a handler raised."""
        asked = None
        match raised:
            case LateError():
                text = f"The handler did not return within {handler.timeout} seconds."
                outcome, error = "timed_out", Failure(code="handler_timeout", text=text)
            case Discard():
                error = _failure(raised.code, str(raised))
                return self._ended(dispatch, "discarded", started, error=error)
            case Retry():
                outcome, error, asked = "retry_requested", _failure(raised.code, str(raised)), raised.after_ms
            case _:
                text = "".join(traceback.format_exception(raised))[-_LONGEST_TRACE:]
                outcome, error = "failed", _failure(type(raised).__name__, text)
        decision = after_failure(
            dispatch.attempt,
            backoff=handler.backoff,
            jitter=random.random(),
            now=self._clock(),
            at_least=asked,
        )
        retry_at = decision.when if isinstance(decision, RetryAt) else None
        return self._ended(dispatch, outcome, started, error=error, retry_at=retry_at)

    def _ended(
        self,
        dispatch: Dispatch,
        outcome: str,
        started: int,
        *,
        error: Failure | None = None,
        retry_at: int | None = None,
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
        )


def _failure(code: str, text: str) -> Failure:
    """A handler's own words, without what no database takes: a text that cannot be stored would never be settled."""
    plain = (
        one.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        for one in (code, text)
    )
    return Failure(code=next(plain), text=next(plain))


async def _in_thread(function: Callable[[Job], object], job: Job, timeout: float) -> None:  # noqa: ASYNC109
    """Run a plain function in a thread of its own.

    A thread cannot be stopped. Past the timeout we go on waiting, so that slot and lease are kept until it
    ends; only then is the attempt's failure recorded and the next one possible.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        failure: BaseException | None = None
        try:
            _refuse_coroutine(context.run(function, job))
        except BaseException as error:  # noqa: BLE001  (SystemExit in a handler must not pass for success)
            failure = error
        try:
            loop.call_soon_threadsafe(_resolve, ended, failure)
        except RuntimeError:
            return  # the process is ending; the lease lapses and the attempt counts

    # Not a pool: a pool's threads are joined at exit, and a stuck handler must not keep the process alive.
    threading.Thread(target=run, name="receiver-handler", daemon=True).start()
    done, _ = await asyncio.wait({ended}, timeout=timeout)
    late = not done
    failure = await ended
    if late:
        raise LateError
    if isinstance(failure, Exception):
        raise failure
    if failure is not None:
        raise RuntimeError(f"The handler raised {type(failure).__name__}.") from failure


def _refuse_coroutine(returned: object) -> None:
    if inspect.iscoroutine(returned):
        returned.close()
        raise TypeError("The handler is a plain function that returned a coroutine; write it as async def.")


def _resolve(ended: "asyncio.Future[BaseException | None]", failure: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(failure)
